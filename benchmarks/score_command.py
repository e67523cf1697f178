"""What does `iwps score` take for a pool of 10 GB: seconds, and memory of its own?

    python -m benchmarks.score_command --folder DIR     # 10 GB in DIR, some minutes
    python -m benchmarks.score_command --smoke          # seconds

Writes float32 features a block at a time, forgets the pages the system has cached of
them, runs the command as a user does, in a process of its own, and removes the file.
While it runs, what Linux says of the process is read twenty times a second: RssAnon,
its own pages, and VmHWM, the most of all resident pages, among them those of the
libraries. The seconds are of the whole command, from the start of Python to the end;
those of the same command on so few rows that only starting and compiling counts are
beside them. The same scan of a memory map, which a function of the user's returns,
takes turns with it, `--repeats` times: what reading files a part at a time costs is the
median ratio of two runs that follow each other, with the least and the largest. The
scores of all picks are held against those of the
library on these rows.
"""

import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import command
from benchmarks.command import Positive
from benchmarks.large_pool import Sizes, a_model, forget_pages, write_pool
from iwps_jax import methods
from iwps_jax.app.files.picks import read_picks
from iwps_jax.app.options import Flag
from iwps_jax.method import Model
from iwps_jax.picking import bind_score
from iwps_jax.types import Head, Holdout

SECONDS_BETWEEN_LOOKS = 0.05
ROOT = Path(__file__).parents[1]
MAPPED = """
import numpy as np

def pool():
    return np.load({path!r}, mmap_mode="r")
"""
"""A pool as a function of the user's, which the command scores as the array it is."""
FEW_ROWS = 2**16  # what one look of the host takes: compiled as for a large pool
SMOKE = {"rows": 150_000, "dim": 16, "holdout_size": 10, "k": 50}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Sizes):
    """The options of the benchmark."""

    repeats: Positive = 1
    rows: Positive = 10_000_000
    method: Literal["iwps", "iwps_app"] = "iwps"
    folder: Path | None = None
    """for the pool; default: that of temporary files"""
    smoke: Flag = False
    """a tiny pool, in seconds"""


class Ran(NamedTuple):
    """A command that has run.

    Attributes:
        seconds: from its start to its end.
        cpu_seconds: of all its threads.
        anonymous_megabytes: the most of its own pages (RssAnon).
        resident_megabytes: the most of all its pages (VmHWM).
    """

    seconds: float
    cpu_seconds: float
    anonymous_megabytes: float
    resident_megabytes: float


def run_watched(arguments: Sequence[str], folder: Path) -> Ran:
    """Runs a command of `iwps` in a process of its own and looks at its memory."""
    start, used = time.perf_counter(), cpu_seconds()
    process = subprocess.Popen(
        [sys.executable, "-m", "iwps_jax", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder)))},
    )
    anonymous = resident = 0.0
    while process.poll() is None:
        held = _held_megabytes(process.pid)
        anonymous = max(anonymous, held.get("RssAnon", 0.0))
        resident = max(resident, held.get("VmHWM", 0.0))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"iwps {arguments[0]} has failed, see above.")
    return Ran(seconds, cpu_seconds() - used, anonymous, resident)


def cpu_seconds() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _held_megabytes(pid) -> dict[str, float]:
    """What Linux says of a process's memory, by kind; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {
        name: int(value.split()[0]) * 1024 / 1e6
        for name, _, value in (line.partition(":") for line in lines)
        if value.endswith(" kB")
    }


def measure(options: Options, folder: Path) -> dict:
    """Writes the files, runs the command on few rows and on all, checks the picks."""
    model = a_model(options.dim, options.classes, options.holdout_size)
    np.savez(folder / "head.npz", kernel=model["kernel"], bias=model["bias"])
    holdout = model["holdout_features"], model["holdout_labels"]
    np.savez(folder / "holdout.npz", features=holdout[0], labels=holdout[1])
    sizes = {"few.npy": min(FEW_ROWS, options.rows), "pool.npy": options.rows}
    for name, rows in sizes.items():
        write_pool(folder / name, rows, options.dim, np.float32)
    path = str(folder / "pool.npy")
    (folder / "mapped.py").write_text(MAPPED.format(path=path))

    def run(pool: str) -> Ran:
        for name in sizes:
            forget_pages(folder / name)
        given = ("score", "--pool", pool, "--method", options.method)
        given += ("--head", str(folder / "head.npz"))
        given += ("--holdout", str(folder / "holdout.npz"))
        given += ("--k", str(options.k), "--out", str(folder / "picks.csv"))
        return run_watched(given, folder)

    few = run(str(folder / "few.npy"))
    turns = [(run("mapped:pool"), run(path)) for _ in range(options.repeats)]
    whole = min((ran for _, ran in turns), key=lambda ran: ran.cpu_seconds)
    picks = read_picks(folder / "picks.csv")
    chosen = np.load(folder / "pool.npy", mmap_mode="r")[[int(p.row) for p in picks]]
    known = Model(head=Head(model["kernel"], model["bias"]), holdout=Holdout(*holdout))
    direct = np.asarray(bind_score(methods.row_of(options.method), known)(chosen))
    scores = np.array([float(pick.score) for pick in picks])
    return {
        "seconds": whole.seconds,
        "seconds_of_few_rows": few.seconds,
        "cpu_seconds": whole.cpu_seconds,
        "seconds_to_memory_map": [b.seconds / a.seconds for a, b in turns],
        "cpu_to_memory_map": [b.cpu_seconds / a.cpu_seconds for a, b in turns],
        "rows_per_second": options.rows / whole.seconds,
        "file_gigabytes": (folder / "pool.npy").stat().st_size / 1e9,
        "anonymous_megabytes": whole.anonymous_megabytes,
        "anonymous_megabytes_of_few_rows": few.anonymous_megabytes,
        "resident_megabytes": whole.resident_megabytes,
        "largest_error_of_picked": float(np.abs(direct - scores).max()),
    }


def print_table(options: Options, results: dict) -> None:
    """Prints what was measured."""
    table = Table("what", "measured", title=f"iwps score --method {options.method}")
    table.add_row("rows", f"{options.rows:,} x {options.dim} float32")
    table.add_row("file, GB", f"{results['file_gigabytes']:.2f}")
    table.add_row("seconds, all of the command", f"{results['seconds']:.1f}")
    table.add_row(
        "of these on few rows: start, compile", f"{results['seconds_of_few_rows']:.1f}"
    )
    table.add_row("rows/s, all of the command", f"{results['rows_per_second']:,.0f}")
    table.add_row("CPU seconds", f"{results['cpu_seconds']:.1f}")
    for name in ("seconds", "cpu"):
        ratios = results[f"{name}_to_memory_map"]
        table.add_row(
            f"{name}, times those of a memory map",
            f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        )
    for name, kind in (
        ("anonymous_megabytes", "most of its own pages, MB"),
        ("anonymous_megabytes_of_few_rows", "the same on few rows, MB"),
        ("resident_megabytes", "most of all pages, the libraries' too, MB"),
    ):
        table.add_row(kind, f"{results[name]:,.0f}")
    error = results["largest_error_of_picked"]
    table.add_row("largest error of a picked score", f"{error:.2g}")
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and keeps the numbers."""
    options = command.parse(Options, "score_command", __doc__, arguments)
    if options.smoke:
        options = dataclasses.replace(options, **SMOKE)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results = measure(options, Path(folder))
    print_table(options, results)
    # The folder is of this machine alone.
    results = {"results": results}
    ignored = ["folder"]
    command.finish("score_command", options, results, ignored=ignored)


if __name__ == "__main__":
    main()
