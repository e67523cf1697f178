"""Judges inputs in a process of its own, which may hang, fill the memory, or crash.

A line `reader seed number` comes in, the verdict goes out as a line of JSON. The memory
is bounded, and the most of it is measured, where the system is Linux.
"""

import json
import resource
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from tests.fuzz.judge import judge
from tests.fuzz.readers import READERS

MOST_MEGABYTES = 500
ROOM = 4 * 2**30
"""Bytes of addresses beyond those of the libraries; a machine bears as much."""


def megabytes(kind: str) -> float:
    """What Linux says of this process's memory: VmRSS, VmHWM (the most) or VmSize."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def forget_the_most() -> None:
    """Lets VmHWM begin anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Reads lines until there are no more."""
    with suppress(ValueError, OSError):
        most = int(megabytes("VmSize") * 1e6) + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for row in READERS.values():  # the first time may take long
        row.make(np.random.default_rng(0))
    with tempfile.TemporaryDirectory(prefix="fuzz_") as name:
        print("ready", flush=True)
        for line in sys.stdin:
            reader, seed, number = line.split()
            forget_the_most()
            before = megabytes("VmRSS")

            def beyond(before=before) -> float:
                taken = megabytes("VmHWM") - before
                return taken if taken > MOST_MEGABYTES else 0.0

            verdict = judge(reader, int(seed), int(number), Path(name) / "x", beyond)
            print(json.dumps(verdict), flush=True)


if __name__ == "__main__":
    main()
