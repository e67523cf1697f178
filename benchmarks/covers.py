"""How many passes over the features does a greedy cover take, and how long?

    python -m benchmarks.covers                          # 20 minutes on 2 busy cores
    python -m benchmarks.covers --pool-sizes 1000000     # half an hour
    python -m benchmarks.covers --out FILE.json          # keeps the numbers

Balanced herding with the targets that it has by default, on the pools of
`benchmarks.batch_methods`. A pass is as many rows taken at hand as the pool has; the
plain form takes one for the first gains and one for each pick but the last: k. Seconds
are those of the process, on all cores, of a call that compiles nothing.
"""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from benchmarks import command
from benchmarks.batch_methods import make_problem
from benchmarks.command import Positive
from iwps_jax.contrib.balanced_herding import (
    NUM_TARGETS,
    balanced_herd,
    target_weights,
)
from iwps_jax.refusal import Refusal
from iwps_jax.scores.head import head_logits
from iwps_jax.selection import cover


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 1
    pool_sizes: tuple[Positive, ...] = (20_000, 100_000)
    dim: Positive = 384
    classes: Positive = 10
    k: tuple[Positive, ...] = (10, 100, 1000)
    """rows to choose"""
    num_targets: Positive = NUM_TARGETS

    def __post_init__(self):
        """Refuses more picks than there are rows."""
        super().__post_init__()
        if max(self.k) > min(self.pool_sizes):
            raise Refusal(
                f"k must be at most {min(self.pool_sizes)}, the rows of the smallest "
                f"pool, got {max(self.k)}."
            )


@partial(jax.jit, static_argnames=("k", "num_targets"))
def herd(key, pool, labeled, head, *, k, num_targets):
    """The picks of balanced herding, and how often rows were taken at hand."""
    features = jnp.concatenate([pool, labeled])
    is_labeled = jnp.arange(len(features), dtype=jnp.int32) >= len(pool)
    weights = target_weights(head_logits(features, *head), ~is_labeled, 1.0)
    return balanced_herd(
        key, features, weights, is_labeled, None, k=k, num_targets=num_targets
    )


def measure(
    pool_size: int, dim: int, num_classes: int, k: int, options: Options
) -> dict[str, Any]:
    """Passes and seconds of a pool and a number of picks."""
    pool, model = make_problem(pool_size, dim, num_classes)
    arguments = pool, model.labeled.features, model.head
    size = cover.rows_at_hand(min(options.num_targets, pool_size))
    size = min(size, pool_size + len(model.labeled.labels))
    turns, seconds = 0, []
    for turn in range(options.repeats + 1):
        start = time.process_time()
        picks, turns = jax.block_until_ready(
            herd(jax.random.key(0), *arguments, k=k, num_targets=options.num_targets)
        )
        if turn:
            seconds.append(time.process_time() - start)
    return {
        "rows": pool_size,
        "k": k,
        "passes": round(int(turns) * size / pool_size, 3),
        "cpu_seconds": [round(second, 2) for second in seconds],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and keeps the numbers."""
    options = command.parse(Options, "covers", __doc__, arguments)
    found = []
    table = Table("rows", "k", "passes", "CPU s", title="balanced herding")
    for pool_size in options.pool_sizes:
        for k in options.k:
            row = measure(pool_size, options.dim, options.classes, k, options)
            found.append(row)
            cells = f"{row['passes']:.2f}", f"{min(row['cpu_seconds']):.1f}"
            table.add_row(f"{pool_size:,}", f"{k:,}", *cells)
    Console(width=100).print(table)
    command.finish("covers", options, {"results": found})


if __name__ == "__main__":
    main()
