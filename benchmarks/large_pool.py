"""Does a pool that fits no memory cost more a sample than one that does?

    python -m benchmarks.large_pool                     # 10 GB on disk, five minutes
    python -m benchmarks.large_pool --rows 2000000      # 1 GB, a minute

Writes features in half precision to a file, forgets the pages the system has cached of
it, and picks the best by exact IWPS on the last layer through a memory map. The rate is
compared with that of the same scan of rows held in memory, before and after it in the
same run, on all devices; each core of a CPU is one here. Resident memory is what the
process itself holds (RssAnon of Linux); the pages of the file that the system caches
can be given back at any time.
"""

import dataclasses
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import iwps_jax
from benchmarks import command
from benchmarks.command import Positive

BLOCK = 2**16
LEAST_SHARE, MOST_GIGABYTES = 0.6, 3.0


def write_pool(path: Path, rows: int, dim: int, dtype: type = np.float16) -> None:
    """Distinct random rows, by default in half precision, a block at a time."""
    block = np.random.default_rng(0).normal(size=(BLOCK, dim)).astype(dtype)
    pool = np.lib.format.open_memmap(path, "w+", dtype, (rows, dim))
    for number, start in enumerate(range(0, rows, BLOCK)):
        stop = min(start + BLOCK, rows)
        # Other neighbors and signs: no row is in the file twice.
        turned = np.roll(block, number, axis=1)
        turned *= dtype(1 + number / (rows // BLOCK + 1))
        pool[start:stop] = turned[: stop - start]
    pool.flush()


def forget_pages(path: Path) -> None:
    """Makes the system read the file from the disk again."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes(command.Options):
    """The options of a scan: sizes of pool and model, and the number of picks."""

    rows: Positive
    dim: Positive = 256
    classes: Positive = 10
    holdout_size: Positive = 100
    k: Positive = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Sizes):
    """The options of the benchmark."""

    repeats: Positive = 1
    rows: Positive = 20_000_000
    memory_rows: Positive = 2_000_000
    folder: Path | None = None
    """on the disk to measure; default: a temporary one"""


def a_model(dim: int, classes: int, holdout: int) -> dict[str, np.ndarray]:
    """A last layer and labeled samples to judge by."""
    rng = np.random.default_rng(1)
    return {
        "kernel": (rng.normal(size=(dim, classes)) / 10).astype(np.float32),
        "bias": np.zeros(classes, np.float32),
        "holdout_features": rng.normal(size=(holdout, dim)).astype(np.float32),
        "holdout_labels": (np.arange(holdout) % classes).astype(np.int32),
    }


class ResidentMemory:
    """The most the process held in its own pages within a `with` block, in GB."""

    def __enter__(self):
        """Starts to look, ten times a second."""
        self.gigabytes, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error):
        """Stops looking."""
        self._done.set()
        self._thread.join()

    def _look(self):
        while not self._done.wait(0.1):
            status = Path("/proc/self/status").read_text()
            held = status.split("RssAnon:")[1].split()[0]
            self.gigabytes = max(self.gigabytes, int(held) * 1024 / 1e9)


def timed_scan(score, pool, k: int) -> tuple[float, iwps_jax.TopK]:
    """Rows a second of one scan, and what it picks."""
    start = time.perf_counter()
    top = iwps_jax.top_k_of_pool(score, pool, k, show_progress=True)
    return len(pool) / (time.perf_counter() - start), top


def measure(options: Options, path: Path) -> dict:
    """The rates and the memory."""
    model = a_model(options.dim, options.classes, options.holdout_size)
    score = partial(iwps_jax.iwps_last_layer, **model)
    on_disk = np.load(path, mmap_mode="r")
    in_memory = np.array(on_disk[: options.memory_rows])
    timed_scan(score, in_memory, options.k)  # compiles
    rate, expected = timed_scan(score, in_memory, options.k)
    rates_in_memory, rates_from_disk = [rate], []
    with ResidentMemory() as memory:
        for _ in range(options.repeats):
            forget_pages(path)
            rate, top = timed_scan(score, on_disk, options.k)
            rates_from_disk.append(rate)
            rates_in_memory.append(timed_scan(score, in_memory, options.k)[0])
    direct = np.asarray(jax.jit(score)(on_disk[top.rows]))
    of_first_rows = top.rows[top.rows < options.memory_rows]
    return {
        "samples_per_second_from_disk": rates_from_disk,
        "samples_per_second_in_memory": rates_in_memory,
        "share": statistics.mean(rates_from_disk) / statistics.mean(rates_in_memory),
        "resident_gigabytes": memory.gigabytes - in_memory.nbytes / 1e9,
        "file_gigabytes": path.stat().st_size / 1e9,
        "largest_error_of_picked": float(np.abs(direct - top.scores).max()),
        "picks_agree": bool(np.isin(of_first_rows, expected.rows).all()),
    }


def print_table(results: dict) -> None:
    """Prints the rates, and whether the aims were met."""
    table = Table("what", "measured", "aim")
    held, share = results["resident_gigabytes"], results["share"]
    met = {True: "met", False: "MISSED"}
    for where, name in (("in memory", "in_memory"), ("from disk, cold", "from_disk")):
        rates = results[f"samples_per_second_{name}"]
        shown = ", ".join(f"{rate:,.0f}" for rate in rates)
        table.add_row(f"{where}, samples/s", shown, "")
    table.add_row(
        "share of the rate in memory",
        f"{share:.0%}",
        f"at least {LEAST_SHARE:.0%} ({met[share >= LEAST_SHARE]})",
    )
    table.add_row(
        "resident memory, GB",
        f"{held:.2f}",
        f"at most {MOST_GIGABYTES} ({met[held <= MOST_GIGABYTES]})",
    )
    table.add_row("file, GB", f"{results['file_gigabytes']:.1f}", "")
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the pool, scans it, prints and keeps the numbers."""
    options = command.parse(Options, "large_pool", __doc__, arguments)
    with suppress(RuntimeError):  # JAX has been used before
        jax.config.update("jax_num_cpu_devices", os.cpu_count())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "pool.npy"
        write_pool(path, options.rows, options.dim)
        results = measure(options, path)
    print_table(results)
    # The numbers depend on the folder, but it is of this machine alone.
    results = {"results": results}
    command.finish("large_pool", options, results, ignored=["folder"])


if __name__ == "__main__":
    main()
