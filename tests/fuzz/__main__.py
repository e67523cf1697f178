"""Damages files at random, and shows what our readers make of them.

    python -m tests.fuzz --inputs 20000                 # some minutes
    python -m tests.fuzz --inputs 500 --reader npz --seed 7

For each reader, a table counts the inputs that were refused, those that were read as
the format's own library reads them, and the faults of each kind. The files of a fault
go to a folder, with the verdict. A seed and a number give the same input everywhere.
The exit status is 1 if there is a fault.
"""

import dataclasses
import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from iwps_jax import command_line
from tests.fuzz.judge import FAULTS, READ, REFUSED, Verdict, files_of
from tests.fuzz.readers import READERS

ROOT = Path(__file__).parents[2]
SECONDS, SECONDS_TO_START = 10, 120
PATIENCE = 12
"""How many times as long a worker may wait for the machine, which others use too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command."""

    inputs: int = 20_000
    """how many, over all readers"""
    seed: int = 0
    """of the random changes"""
    reader: Literal[tuple(READERS)] | None = None  # type: ignore[valid-type]
    """only this one"""
    faults: Path = Path("fuzz_faults")
    """folder for the inputs that show a fault"""


class Worker:
    """A process that judges, and is started again when it has ended."""

    def __init__(self):
        """Starts it."""
        self._start()

    def _start(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._answer(SECONDS_TO_START) != "ready\n":
            raise SystemExit("the worker does not start: python -m tests.fuzz.worker")

    def _answer(self, seconds) -> str | None:
        """Its next line, empty if it has ended; None if none comes in time."""
        before, start = self._seconds(), time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not selector.select(timeout=1):
                is_busy = self._seconds() - before > seconds
                if is_busy or time.monotonic() - start > PATIENCE * seconds:
                    return None
        return self._process.stdout.readline()

    def _seconds(self) -> float:
        """What it has computed; on systems that do not tell, since the year 1970."""
        try:
            told = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return time.time()
        ticks = told.rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def judge(self, reader: str, seed: int, number: int) -> Verdict:
        """The verdict on an input, within ten seconds."""
        self._process.stdin.write(f"{reader} {seed} {number}\n")
        self._process.stdin.flush()
        answer = self._answer(SECONDS)
        if answer:
            return Verdict(*json.loads(answer))
        self.stop()
        status = self._process.returncode
        self._start()
        return Verdict("hang") if answer is None else Verdict("crash", f"{status}")

    def stop(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()


def keep(folder: Path, reader: str, seed: int, number: int, verdict: Verdict) -> None:
    """Writes the files of a fault, and the verdict."""
    here = folder / f"{reader}-{seed}-{number}"
    files, _ = files_of(reader, seed, number)
    for name, content in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(content)
    said = f"{verdict.kind}: {FAULTS[verdict.kind]}\n\n{verdict.said}\n"
    (here / "verdict.txt").write_text(said, errors="backslashreplace")


def print_table(counts: dict[str, Counter]) -> None:
    """The verdicts on the inputs of each reader."""
    kinds = [REFUSED, READ, *(k for k in FAULTS if any(c[k] for c in counts.values()))]
    table = Table("reader", "inputs", *kinds)
    for reader, count in counts.items():
        columns = (count.total(), *(count[kind] for kind in kinds))
        table.add_row(reader, *(f"{number:,}" for number in columns))
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judges, keeps what is faulty, and prints the table; returns the exit status."""
    options = command_line.parse(
        Options, prog="python -m tests.fuzz", about=__doc__, arguments=arguments
    )
    names = list(READERS) if options.reader is None else [options.reader]
    counts: dict[str, Counter] = {name: Counter() for name in names}
    worker = Worker()
    try:
        for number in range(options.inputs):
            reader = names[number % len(names)]
            verdict = worker.judge(reader, options.seed, number)
            counts[reader][verdict.kind] += 1
            if verdict.kind in FAULTS:
                keep(options.faults, reader, options.seed, number, verdict)
    finally:
        worker.stop()
        print_table(counts)
    num_faults = sum(count[kind] for count in counts.values() for kind in FAULTS)
    if num_faults:
        print(f"{num_faults:,} faults, in {options.faults}")
    return 1 if num_faults else 0


if __name__ == "__main__":
    sys.exit(main())
