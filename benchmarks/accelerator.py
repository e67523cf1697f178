"""All that an accelerator must show, in one command of under 8 minutes.

    python -m benchmarks.accelerator --out FILE.json   # an NVIDIA GPU or a TPU
    python -m benchmarks.accelerator --smoke           # tiny, 2 minutes of a CPU core
    python -m benchmarks.accelerator --parts checks,roofline

    checks      every public score and selector against float64, on inputs that a
                product with short factors (TF32, bfloat16) would leave visibly wrong
    roofline    1M × 512 with 10 classes and 1M × 768 with 1,000, a thousand holdout
                samples: operations, bytes, and the share of what a large product and a
                large array reach on this device in the same run
    selectors   k-center and BADGE: 1,000 picks of a million rows, d = 384
    resnet18    16,384 images of 32×32: forward pass, `iwps_last_layer` with features,
                `iwps_app` and the holdout's gradient
    round       50,000 such images, made up: training, test, scores and picks of a round
    deeplab     DeepLabv3-ResNet50 at 712×712: training step, scores, memory

Each part is a process of its own, which writes what it has measured as it goes. A part
that fails is told with its error, and one that has not ended in time is cut; both keep
what they have, and the others go on. What a part leaves of its time the later ones may
take. The exit status is 1 if a part failed, was cut, or has a check that is not met.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import command
from benchmarks.accelerator_parts import MACHINE, PARTS, add
from experiments.engine.command_line import refusals_in_one_sentence
from iwps_jax.app.options import Flag
from iwps_jax.refusal import Refusal

PROBE_SECONDS, USUAL_PROBE_SECONDS = 60, 20
HASTE = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
UNHURRIED = 10
"""Times the time of every part, where tiny sizes are to show that all works."""
DONE, FAILED, CUT = "done", "failed", "cut"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the benchmark."""

    parts: str = ",".join(PARTS)
    """which, with commas between them"""
    smoke: Flag = False
    """tiny sizes and programs compiled in haste, for any device"""
    out: Path | None = None
    """JSON file to write"""

    def __post_init__(self):
        """Refuses parts that are not there."""
        command.require_known("parts", self.names, tuple(PARTS))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parts."""
        return tuple(self.parts.split(","))


def command_of(part: str, out: Path, smoke: bool) -> list[str]:
    """The words that run one part."""
    words = [sys.executable, "-m", "benchmarks.accelerator_parts", part]
    return [*words, "--out", str(out), *(["--smoke"] if smoke else [])]


def environment(smoke: bool) -> dict[str, str]:
    """Of a part: the CPU computes the references, beside the device that is named."""
    own = dict(os.environ) | (HASTE if smoke else {})
    named = own.get("JAX_PLATFORMS", "")
    if named and "cpu" not in named.split(","):
        own["JAX_PLATFORMS"] = f"{named},cpu"
    return own


def attempt(words: Sequence[str], seconds: float, smoke: bool) -> dict[str, Any]:
    """Runs a part; how it ended, the seconds, and its error if it has one."""
    start = time.monotonic()
    print(flush=True, end="")  # its tables go where ours go, after them
    try:
        ended = subprocess.run(
            words,
            stderr=subprocess.PIPE,
            timeout=max(seconds, 0),
            env=environment(smoke),
        )
        status = FAILED if ended.returncode else DONE
        errors = ended.stderr
    except subprocess.TimeoutExpired as error:
        status, errors = CUT, error.stderr or b""
    taken = time.monotonic() - start
    told = {"status": status, "seconds": taken}
    lines = errors.decode(errors="replace").strip().splitlines()
    if status == CUT:
        told["error"] = f"not ended after {seconds:.0f} s"
    elif status == FAILED:
        told["error"] = lines[-1] if lines else f"exit status {ended.returncode}"
    if status != DONE:
        print(*lines[-20:], sep="\n", file=sys.stderr)
    return told


def probe(out: Path, smoke: bool) -> None:
    """What the device is; refuses a CPU that would be busy for hours."""
    told = attempt(command_of(MACHINE, out, smoke), PROBE_SECONDS, smoke)
    if told["status"] != DONE:
        raise Refusal(f"no device can be used: {told['error']}")
    machine = json.loads(out.read_text())["machine"]
    print(f"{machine['device']}, jax {machine['jax']}")
    if machine["platform"] == "cpu" and not smoke:
        raise Refusal("JAX sees a CPU only; --smoke runs all parts at tiny sizes.")


def missed(part: dict[str, Any]) -> list[str]:
    """The checks of a part that are not met."""
    found = part.get("results", {}).get("checks", {})
    return [name for name, check in found.items() if not check["met"]]


def show(parts: dict[str, Any]) -> None:
    """Prints how each part ended."""
    table = Table("part", "", title="parts", title_justify="left")
    table.add_column("s", justify="right")
    table.add_column("")
    for name, part in parts.items():
        unmet = missed(part)
        sentences = [f"not met: {', '.join(unmet)}"] if unmet else []
        sentences += [part["error"]] if "error" in part else []
        table.add_row(
            name, part["status"], f"{part['seconds']:.0f}", "; ".join(sentences)
        )
    Console(width=120).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the parts one after another, and keeps the numbers."""
    options = command.parse(Options, "accelerator", __doc__, arguments)
    with contextlib.ExitStack() as stack:
        stack.enter_context(refusals_in_one_sentence("starts anew"))
        out = options.out
        if out is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            out = Path(folder) / "numbers.json"
        settings = {"parts": list(options.names), "smoke": options.smoke}
        head = {"benchmark": "accelerator", "settings": settings, "parts": {}}
        out.write_text(json.dumps(head, indent=1) + "\n")
        start, allowed = time.monotonic(), USUAL_PROBE_SECONDS
        probe(out, options.smoke)
        for name in options.names:
            allowed += PARTS[name].seconds * (UNHURRIED if options.smoke else 1)
            left = allowed - (time.monotonic() - start)
            words = command_of(name, out, options.smoke)
            told = attempt(words, left, options.smoke)
            add(out, {"parts": {name: told}})
        parts = json.loads(out.read_text())["parts"]
    show(parts)
    if any(part["status"] != DONE or missed(part) for part in parts.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
