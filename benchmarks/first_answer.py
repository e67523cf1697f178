"""How soon does `iwps score` answer the first time, and how soon the next time?

    python -m benchmarks.first_answer                   # 100,000 x 768, a minute
    python -m benchmarks.first_answer --against FOLDER  # beside another clone
    python -m benchmarks.first_answer --smoke           # seconds

Process time of whole commands, each in a process of its own: `iwps --help`, then
`iwps score` on a pool in half precision with no compiled program kept, again with
those that it has kept, and with `--no-cache`. They start anew `--repeats` times;
the table has the median, the least and the most. A clone of another version, in turns
with this one, has the same rows.
"""

import dataclasses
import os
import statistics
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
from benchmarks.large_pool import Sizes, a_model, write_pool
from benchmarks.score_command import ROOT, cpu_seconds
from iwps_jax.app.options import Flag
from iwps_jax.refusal import Refusal

SMOKE = {"rows": 2_000, "dim": 16, "holdout_size": 10, "k": 50, "repeats": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Sizes):
    """The options of the benchmark."""

    repeats: Positive = 3
    rows: Positive = 100_000
    dim: Positive = 768
    method: str = "iwps"
    against: Path | None = None
    """a clone of another version"""
    smoke: Flag = False
    """a tiny pool, in seconds"""


def measure(options: Options, folder: Path) -> dict[str, list[float]]:
    """CPU seconds of every command, by version and command."""
    model = a_model(options.dim, options.classes, options.holdout_size)
    np.savez(folder / "head.npz", kernel=model["kernel"], bias=model["bias"])
    holdout = model["holdout_features"], model["holdout_labels"]
    np.savez(folder / "holdout.npz", features=holdout[0], labels=holdout[1])
    write_pool(folder / "pool.npy", options.rows, options.dim)
    score = ("score", "--pool", "pool.npy", "--method", options.method)
    score += ("--head", "head.npz", "--holdout", "holdout.npz", "--k", str(options.k))
    clones = {"": ROOT}
    if options.against is not None:
        if not (options.against / "iwps_jax").is_dir():
            raise Refusal(f"--against must be a clone, got {options.against}.")
        clones["the other clone: "] = options.against.absolute()
    told: dict[str, list[float]] = {}
    for number in range(options.repeats):
        for version, clone in clones.items():
            cache = folder / f"cache {version.strip(': ')} {number}"
            for name, words in {
                "iwps --help": ("--help",),
                "the first command": score,
                "the next one": score,
            }.items():
                seconds = _seconds(words, folder, clone, cache)
                told.setdefault(version + name, []).append(seconds)
        seconds = _seconds((*score, "--no-cache"), folder, ROOT, cache)
        told.setdefault("one with --no-cache", []).append(seconds)
    return told


def _seconds(words, folder, clone, cache) -> float:
    environment = {**os.environ, "IWPS_JAX_CACHE": str(cache), "PYTHONPATH": str(clone)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    before = cpu_seconds()
    done = subprocess.run(
        [sys.executable, "-m", "iwps_jax", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return cpu_seconds() - before


def print_table(options: Options, told: dict[str, list[float]]) -> None:
    """Prints what was measured."""
    table = Table(
        *("command", "CPU seconds", "least", "most"),
        title=f"iwps score --method {options.method}, {options.rows:,} x {options.dim}",
    )
    for name, seconds in told.items():
        numbers = statistics.median(seconds), min(seconds), max(seconds)
        table.add_row(name, *(f"{number:.2f}" for number in numbers))
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and keeps the numbers."""
    options = command.parse(Options, "first_answer", __doc__, arguments)
    if options.smoke:
        options = dataclasses.replace(options, **SMOKE)
    with tempfile.TemporaryDirectory() as folder:
        told = measure(options, Path(folder))
    print_table(options, told)
    command.finish("first_answer", options, {"cpu_seconds": told}, ignored=["against"])


if __name__ == "__main__":
    main()
