"""Several processes use one campaign at once.

    python -m tests.crowd --processes 8 --commands 200

Each process takes batches and hands in their answers, as fast as it can. At the end,
every sample must have been given once, every answer must be in the campaign, and the
journal must hold. The exit status is 1 if one of these is not so.
"""

import contextlib
import csv
import dataclasses
import io
import multiprocessing
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from iwps_jax import command_line
from iwps_jax.__main__ import main as iwps
from iwps_jax.app.campaign import folder, labels_of, unanswered_of
from iwps_jax.app.campaign.state import batches_of

K = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command."""

    processes: int = 8
    """how many at once"""
    commands: int = 200
    """how many in all, half of them iwps next and half iwps label"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs them, and tells what it found; returns the exit status."""
    options = command_line.parse(
        Options, prog="python -m tests.crowd", about=__doc__, arguments=arguments
    )
    with tempfile.TemporaryDirectory() as where:
        rounds = -(-options.commands // (2 * options.processes))
        faults = run_crowd(Path(where), options.processes, rounds)
    commands = 2 * rounds * options.processes
    print(
        f"{options.processes} processes, {commands} commands: {len(faults)} faults",
        *faults,
        sep="\n  ",
    )
    return int(len(faults) > 0)


def run_crowd(where: Path, processes: int, rounds: int) -> list[str]:
    """Lets processes take and answer batches in a folder; what was wrong.

    Args:
        where: an empty folder.
        processes: how many at once.
        rounds: batches that each takes.
    """
    size = processes * rounds * K + 20
    pool = np.random.default_rng(0).normal(size=(size, 3)).astype(np.float32)
    np.save(where / "pool.npy", pool)
    np.savez(where / "holdout.npz", features=pool[:4], labels=np.arange(4) % 2)
    here = Path.cwd()
    os.chdir(where)
    try:
        given = "--pool pool.npy --holdout holdout.npz --method random"
        _command(f"init {given}")
        context = multiprocessing.get_context("spawn")  # threads of JAX do not fork
        people = [
            context.Process(target=_label_much, args=(where, number, rounds))
            for number in range(processes)
        ]
        for person in people:
            person.start()
        for person in people:
            person.join()
    finally:
        os.chdir(here)
    faults = [
        f"process {number} ended with {person.exitcode}"
        for number, person in enumerate(people)
        if person.exitcode
    ]
    return faults + _faults(where, processes * rounds * K)


def _label_much(where, number, rounds):
    os.chdir(where)
    for turn in range(rounds):
        batch = f"{number} {turn}.csv"
        _command(f"next --k {K} --wait 600 --out", batch)
        rows = _rows(Path(batch))
        with Path(f"answers {batch}").open("w") as file:
            file.write("id,label\n" + "".join(f"{row},1\n" for row in rows))
        _command(f"label --wait 600 --annotator p{number}", f"answers {batch}")


def _command(text, *more):
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent):
        try:
            iwps([*text.split(), *more])
        except SystemExit as end:
            if end.code:
                raise


def _rows(path) -> list[int]:
    with path.open(newline="") as file:
        return [int(row["row"]) for row in csv.DictReader(file)]


def _faults(where, expected) -> list[str]:
    state = folder.read_record(where / "campaign")
    given = Counter(row for path in where.glob("[0-9]*.csv") for row in _rows(path))
    asked = Counter(row for batch in batches_of(state) for row in batch.rows.tolist())
    labels = labels_of(state)
    faults = []
    if max(given.values()) > 1 or max(asked.values()) > 1:
        faults.append(f"given twice: {[row for row, n in given.items() if n > 1]}")
    if given != asked or len(given) != expected:
        faults.append(f"{len(given)} samples were given, {len(asked)} kept")
    if {*labels} != {*given} or unanswered_of(state):
        faults.append(f"{len(given)} samples were answered, {len(labels)} kept")
    return faults


if __name__ == "__main__":
    sys.exit(main())
