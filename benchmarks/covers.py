"""How many passes over the features does a greedy cover take, and how long?

    python -m benchmarks.covers                          # 20 minutes on 2 busy cores
    python -m benchmarks.covers --pool-sizes 1000000     # half an hour
    python -m benchmarks.covers --num-targets 600 8192 --pool-sizes 20000
    python -m benchmarks.covers --out FILE.json          # keeps the numbers

Balanced herding with the targets that it has by default, on the pools of
`benchmarks.batch_methods`. A pass is as many rows taken at hand as the pool has; the
plain form takes one for the first gains and one for each pick but the last: k. Seconds
are those of the process, on all cores, of a call that compiles nothing.

The share says how much the drawn targets cost: the gain in cover of all rows that the
picks bring, divided by the gain of the picks for which all rows were targets. It is
measured for pools of up to --whole rows.
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
from iwps_jax.refusal import Refusal
from iwps_jax.scores.head import head_logits
from iwps_jax.selection import cover
from iwps_jax.selection.balanced_herding import (
    NUM_TARGETS,
    balanced_herd,
    mean_distance,
    target_weights,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 1
    pool_sizes: tuple[Positive, ...] = (20_000, 100_000)
    dim: Positive = 384
    classes: Positive = 10
    k: tuple[Positive, ...] = (10, 100, 1000)
    """rows to choose"""
    num_targets: tuple[Positive, ...] = (NUM_TARGETS,)
    whole: Positive = 20_000
    """rows of the largest pool that is herded with all rows as targets, too"""

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


@jax.jit
def gain_in_cover(pool, labeled, head, picks):
    """Σ_u w_u (cover_u with the picks - cover_u without), u all rows of the pool."""
    features = jnp.concatenate([pool, labeled])
    is_labeled = jnp.arange(len(features), dtype=jnp.int32) >= len(pool)
    weights = target_weights(head_logits(features, *head), ~is_labeled, 1.0)
    targets = cover.all_targets(features, ~is_labeled)
    inverse = 1 / mean_distance(features, is_labeled, targets.place)

    def cover_of(rows):
        nearest = cover.nearest_of(features, cover.used(rows), targets)
        return jnp.exp(-nearest * inverse * inverse)

    added = cover_of(is_labeled.at[picks].set(True)) - cover_of(is_labeled)
    return jnp.where(is_labeled, 0, weights * added).sum()


def measure(
    pool_size: int, dim: int, num_classes: int, k: int, options: Options
) -> list[dict[str, Any]]:
    """Passes, seconds and shares of a pool and a number of picks."""
    pool, model = make_problem(pool_size, dim, num_classes)
    arguments = pool, model.labeled.features, model.head

    def pick(number):
        start = time.process_time()
        picks, turns = jax.block_until_ready(
            herd(jax.random.key(0), *arguments, k=k, num_targets=number)
        )
        return picks, int(turns), time.process_time() - start

    def gain(picks):
        return float(gain_in_cover(*arguments, picks))

    of_whole = gain(pick(pool_size)[0]) if pool_size <= options.whole else None
    found = []
    for number in options.num_targets:
        size = cover.rows_at_hand(min(number, pool_size))
        size = min(size, pool_size + len(model.labeled.labels))
        picks, turns, _ = pick(number)
        seconds = [pick(number)[2] for _ in range(options.repeats)]
        row = {
            "rows": pool_size,
            "k": k,
            "targets": number,
            "passes": round(turns * size / pool_size, 3),
            "cpu_seconds": [round(second, 2) for second in seconds],
        }
        if of_whole is not None:
            row["share"] = round(gain(picks) / of_whole, 4)
        found.append(row)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints and keeps the numbers."""
    options = command.parse(Options, "covers", __doc__, arguments)
    found = []
    names = "rows", "k", "targets", "passes", "CPU s", "share"
    table = Table(*names, title="balanced herding")
    for pool_size in options.pool_sizes:
        for k in options.k:
            for row in measure(pool_size, options.dim, options.classes, k, options):
                found.append(row)
                sizes = (f"{row[name]:,}" for name in ("rows", "k", "targets"))
                cells = f"{row['passes']:.2f}", f"{min(row['cpu_seconds']):.1f}"
                share = f"{row['share']:.3f}" if "share" in row else "-"
                table.add_row(*sizes, *cells, share)
    Console(width=100).print(table)
    command.finish("covers", options, {"results": found})


if __name__ == "__main__":
    main()
