"""How far does one damaged row move a campaign, and what do 10,000 answers cost?

    python -m benchmarks.reliability                    # a minute or two, 2 CPU cores
    python -m benchmarks.reliability --out FILE.json    # keeps the numbers

A campaign on 300 handwritten digits is fitted with and without one row of 1e6, in one
feature, in half of them or in all; the table has the largest move of the accuracy on
300 other digits, in points. All 300 have labels, or 100: then the row may be one of
those, and the move is beside that of leaving out this one label.

Then `iwps status` and `iwps label` run on a campaign of 20,000 rows with 10,000
answers, an event each, in processes of their own: process time from after the imports
to the end, first without compiled programs from earlier commands, then with them.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import command
from benchmarks.command import Positive
from iwps_jax.app.campaign import Answers, Batch, folder, start, tell
from iwps_jax.app.campaign.state import ids_of
from iwps_jax.atomic_write import write_atomically

WIDTH, CLASSES, BATCH = 64, 10, 50
TIMED = """
import sys, time
from importlib import import_module
from iwps_jax.__main__ import main
import_module(f"iwps_jax.app.commands.{sys.argv[1]}")
start = time.process_time()
try:
    main(sys.argv[1:])
finally:
    print("seconds", time.process_time() - start)
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the benchmark."""

    answers: Positive = 10_000
    """of the campaign, one event each"""
    seeds: Positive = 10
    """splits of the digits"""
    out: Path | None = None
    """JSON file for the numbers"""


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Measures and prints; returns the numbers."""
    options = command.parse(Options, "reliability", __doc__, arguments)
    numbers = {
        f"one row of 1e6 among 300; {name}: points": move
        for name, move in moves(options.seeds).items()
    }
    with tempfile.TemporaryDirectory() as where:
        for name, seconds in command_seconds(Path(where), options.answers).items():
            numbers[f"{name}, {options.answers:,} answers: CPU seconds"] = seconds
    table = Table("what", "number")
    for name, number in numbers.items():
        table.add_row(name, f"{number:.2f}")
    Console().print(table)
    if options.out is not None:
        text = json.dumps({"machine": os.uname().machine, **numbers}, indent=1)
        write_atomically(options.out, text + "\n")
    return numbers


def moves(seeds: int) -> dict[str, float]:
    """How far one row moves the holdout accuracy at most, in points."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    largest: dict[str, float] = {}
    few = [*range(0, 300, 3)]
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(labels))
        digits = images[order].astype(np.float32), labels[order]
        of_all, of_few = _accuracy(*digits, range(300)), _accuracy(*digits, few)
        found = {
            "100 labels, one left out, no damage": [
                _accuracy(*digits, [row for row in few if row != 150]) - of_few
            ]
        }
        for column in (20, slice(None), slice(0, WIDTH, 2)):
            labeled, other = (_damaged(digits, row, column) for row in (150, 151))
            for name, move in {
                "300 labels": _accuracy(*labeled, range(300)) - of_all,
                "100 labels, all of others": _accuracy(*other, few) - of_few,
                "100 labels, one of that row": _accuracy(*labeled, few) - of_few,
            }.items():
                found.setdefault(name, []).append(move)
        for name, some in found.items():
            largest[name] = max(largest.get(name, 0.0), *(100 * abs(x) for x in some))
    return largest


def _damaged(digits, row, column):
    features, truth = digits
    features = features.copy()
    features[row, column] = 1e6
    return features, truth


def _accuracy(features, truth, rows) -> float:
    judged = features[300:600], truth[300:600]
    state = start(features[:300], *judged, classes=[str(c) for c in range(CLASSES)])
    state = tell(state, [*map(str, rows)], [str(truth[row]) for row in rows])
    assert state.head is not None
    return state.head.holdout_accuracy


def command_seconds(where: Path, answers: int) -> dict[str, float]:
    """Process time of the commands on a campaign of so many answers."""
    _write_campaign(where, answers)
    environment = {**os.environ, "IWPS_JAX_CACHE": str(where / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    told = {}
    for name, words in {
        "status": ["status"],
        "label, first": ["label", "answers.csv"],
        "label, again": ["label", "answers.csv"],
    }.items():
        shutil.copytree(where / "campaign", where / name)
        done = subprocess.run(
            [sys.executable, "-c", TIMED, *words, "--campaign", name],
            cwd=where,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        told[name] = float(done.stdout.split()[-1])
    return told


def _write_campaign(where: Path, answers: int) -> None:
    rng = np.random.default_rng(0)
    size = 2 * answers
    truth = rng.integers(0, CLASSES, size)
    centers = rng.normal(size=(CLASSES, WIDTH)) / 2
    pool = (centers[truth] + rng.normal(size=(size, WIDTH))).astype(np.float32)
    np.save(where / "pool.npy", pool)
    judged, *rest = np.split(rng.permutation(size), [200])
    state = start(
        pool,
        pool[judged],
        truth[judged],
        classes=[str(c) for c in range(CLASSES)],
        holdout_rows=judged,
        method="margin",
    )
    rows = rest[0][: answers + BATCH]
    events: list[Batch | Answers] = []
    for begin in range(0, len(rows), BATCH):
        some = rows[begin : begin + BATCH]
        ones = np.ones(len(some), np.float32)
        events.append(Batch(some, ones, truth[some], ones, "margin"))
        if begin < answers:
            events += [
                Answers(
                    some[i : i + 1], truth[some[i : i + 1]], begin + i + 1, 1.0, 0.5
                )
                for i in range(len(some))
            ]
    state = state._replace(events=tuple(events))
    folder.create(where / "campaign", folder.Paths(where / "pool.npy", None), state)
    lines = zip(ids_of(state.task, some), truth[some], strict=True)
    text = "id,label\n" + "".join(f"{id_},{label}\n" for id_, label in lines)
    (where / "answers.csv").write_text(text)


if __name__ == "__main__":
    main()
