"""How long do k-center and BADGE take at 10k, 100k and 1M points, and in what memory?

    python -m benchmarks.selection                       # 20 minutes on 2 busy cores
    python -m benchmarks.selection --out selection.json  # keeps the numbers
    python -m benchmarks.selection --memory-pool 1000000 --memory-k 10000

All programs of one pool size take turns. Features are standard normal, one row in a
hundred is labeled. A pick cannot be faster than one reading of the features: the last
row of each table multiplies them by a vector, k times over, and beside each program
stands its share of that row's bytes a second. Memory is XLA's account of what a program
needs beside its arguments and its result.

Then CPU seconds against the plain forms, which read the pool for every pick, against
NumPy and, where it is installed, scikit-activeml; and, if asked for, peak memory.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import iwps_jax
from benchmarks import command, lazy_selection, measure
from benchmarks.command import Positive
from iwps_jax.refusal import Refusal

LABELED_SHARE = 100
MEMORY_DIM = 384
FLOOR = "features · vector"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 2
    pool_sizes: tuple[Positive, ...] = (10_000, 100_000, 1_000_000)
    dim: Positive = 256
    k: Positive = 100
    """rows to choose"""
    lazy_pool: Positive = 200_000
    """rows of the pool on which the plain forms run as well"""
    lazy_k: Positive = 1000
    """rows to choose there"""
    peer_pool: Positive = 10_000
    """rows of the pool on which scikit-activeml runs as well"""
    memory_pool: Positive | None = None
    """rows of 384 features for the peak memory; not measured by default"""
    memory_k: Positive = 10_000
    """rows to choose there"""

    def __post_init__(self):
        """Refuses more picks than there are unlabeled rows."""
        super().__post_init__()
        most = min(self.pool_sizes) * (LABELED_SHARE - 1) // LABELED_SHARE
        if self.k > most:
            raise Refusal(
                f"k must be at most {most}, the unlabeled rows, got {self.k}."
            )


class Case(NamedTuple):
    """One selector on one kind of pool.

    Attributes:
        name: in the table.
        dtype: of the features and logits.
        is_labeled: whether one row in a hundred is a center already.
        num_classes: of the logits of BADGE; None for k-center.
    """

    name: str
    dtype: str
    is_labeled: bool
    num_classes: int | None


CASES = (
    Case("k-center, none labeled", "float32", False, None),
    Case("k-center, 1% labeled", "float32", True, None),
    Case("k-center, none labeled, bfloat16", "bfloat16", False, None),
    Case("BADGE, 10 classes", "float32", False, 10),
    Case("BADGE, 10 classes, bfloat16", "bfloat16", False, 10),
)


def make_program(case: Case, features: jax.Array, k: int) -> measure.Program:
    """The selector of this case as a jitted program; k picks are its samples."""
    features = features.astype(case.dtype)
    rows = jnp.arange(len(features))
    if case.num_classes is None:
        every = LABELED_SHARE if case.is_labeled else len(features) + 1
        labeled = (rows + 1) % every == 0
        run = jax.jit(lambda h, labeled: iwps_jax.k_center_greedy(h, k, labeled))
        return measure.Program(run, (features, labeled), k)
    key = jax.random.key(1)
    logits = jax.random.normal(key, (len(features), case.num_classes), case.dtype)
    run = jax.jit(lambda key, h, logits: iwps_jax.badge(key, h, logits, k))
    return measure.Program(run, (jax.random.key(2), features, logits), k)


def make_reading(features: jax.Array, k: int) -> measure.Program:
    """Reads the features k times and does next to nothing with them."""

    def add(features, i, total):
        return total + jnp.matmul(features, features[i], precision="highest")

    def read(features):
        zeros = jnp.zeros(len(features))
        return jax.lax.fori_loop(0, k, partial(add, features), zeros)

    return measure.Program(jax.jit(read), (features,), k)


def run_pool(pool_size: int, dim: int, k: int, repeats: int) -> dict[str, dict]:
    """Times all cases on one pool in turns; what was measured, by name."""
    features = jax.random.normal(jax.random.key(0), (pool_size, dim))
    programs = {case.name: make_program(case, features, k) for case in CASES}
    programs[FLOOR] = make_reading(features, k)
    timings = measure.in_turns(programs, repeats)
    results = {}
    for name, timing in timings.items():
        # A program and the reading of its turn, both per pick and per byte.
        ratio = measure.speed_ratio(timing, timings[FLOOR])
        width = next(
            array.itemsize for array in programs[name].arguments if array.ndim == 2
        )
        share = measure.Ratio(*(width / features.itemsize * turn for turn in ratio))
        results[name] = {**timing._asdict(), "share_of_bandwidth": share._asdict()}
    return results


def print_table(pool_size: int, dim: int, results: dict[str, dict]) -> None:
    """Prints what was measured on one pool."""
    table = Table(
        "program", title=f"pool of {pool_size:,} x {dim}, median of the turns"
    )
    columns = "seconds", "ms a pick", "of bandwidth", "temporary MB", "compile s"
    for column in columns:
        table.add_column(column, justify="right")
    for name, result in results.items():
        seconds = statistics.median(result["seconds"])
        table.add_row(
            name,
            f"{seconds:.3f}",
            f"{1e3 * seconds / result['samples']:.2f}",
            f"{result['share_of_bandwidth']['median']:.0%}",
            f"{result['temporary_megabytes']:.1f}",
            f"{result['compile_seconds']:.1f}",
        )
    Console(width=100).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "selection", __doc__, arguments)
    results = {}
    for pool_size in options.pool_sizes:
        results[pool_size] = run_pool(
            pool_size, options.dim, options.k, options.repeats
        )
        print_table(pool_size, options.dim, results[pool_size])
    lazy = lazy_selection.run(
        options.lazy_pool,
        options.dim,
        options.lazy_k,
        options.repeats,
        options.peer_pool,
        options.k,
    )
    found = {"results": results, "lazy": lazy}
    if options.memory_pool is not None:
        found["memory"] = lazy_selection.measure_memory(
            options.memory_pool, MEMORY_DIM, options.memory_k
        )
        print(found["memory"])
    constants = {"labeled_share": 1 / LABELED_SHARE, "memory_dim": MEMORY_DIM}
    command.finish("selection", options, {"constants": constants, **found})


if __name__ == "__main__":
    main()
