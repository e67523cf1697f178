r"""How many samples a second does every score on arrays take, in how much memory?

    python -m benchmarks.throughput                    # 4 minutes, 2 CPU cores
    python -m benchmarks.throughput --out FILE.json    # keeps the numbers
    python -m benchmarks.throughput --full --max-gigabytes 60 --chunk-size 65536 \
        --max-exponentials 20_000_000_000              # for a GPU

Grid: pool size, classes, features. From its smallest corner one axis is varied at a
time, then classes and features are largest together; `--full` takes all combinations.
Scores of logits and draws do not read features, so they have rows at the smallest d
only. A row whose arrays, counted twice since a copy may be held, do not fit into
`--max-gigabytes` says so. Where a candidate costs classes² exponentials a holdout
sample, as many candidates are timed as `--max-exponentials` allows.

Every row takes turns with the head's own forward pass, the unit of the ratios.
Memory is the compiler's account: arguments, results and what is held in between. On a
GPU the JSON also has the most that the device held, up to and including each place.
What a score costs beside a network's forward pass is in `benchmarks.networks`.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks import command, measure, scores
from benchmarks.command import Comparison, Positive, Unmeasured
from benchmarks.measure import Timing
from iwps_jax.app.options import Flag

LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 5
    pool_sizes: tuple[Positive, ...] = (10_000, 100_000, 1_000_000)
    classes: tuple[Positive, ...] = (10, 100, 1000)
    dimensions: tuple[Positive, ...] = (256, 512, 2048)
    holdout_size: Positive = 100
    chunk_size: Positive = 1024
    max_gigabytes: Positive = 4
    max_exponentials: Positive = 200_000_000
    full: Flag = False
    """all combinations"""


class Case(NamedTuple):
    """A place of the grid."""

    pool_size: int
    num_classes: int
    dimension: int

    def __str__(self) -> str:
        """What the rows of this place are under, in tables and JSON."""
        return (
            f"pool {self.pool_size:,}, {self.num_classes:,} classes, "
            f"d {self.dimension:,}"
        )

    def gigabytes(self, reads: str) -> float:
        """Size of the array that a score reads, in float32."""
        width = {
            "features": self.dimension,
            "logits": self.num_classes,
            "draws": scores.NUM_DRAWS * self.num_classes,
        }[reads]
        return 4e-9 * self.pool_size * width


def grid(
    pool_sizes: Sequence[int],
    classes: Sequence[int],
    dimensions: Sequence[int],
    *,
    full: bool,
) -> list[Case]:
    """Places to measure at, the smallest first, none twice.

    Example:
        >>> [tuple(case) for case in grid([9, 99], [2], [4, 8], full=False)]
        [(9, 2, 4), (9, 2, 8), (99, 2, 4)]
    """
    everywhere = sorted(
        itertools.starmap(Case, itertools.product(pool_sizes, classes, dimensions))
    )
    if full:
        return list(dict.fromkeys(everywhere))
    least = Case(min(pool_sizes), min(classes), min(dimensions))
    corner = Case(least.pool_size, max(classes), max(dimensions))
    return [
        case
        for case in dict.fromkeys(everywhere)
        if case == corner or sum(a != b for a, b in zip(case, least, strict=True)) <= 1
    ]


def measured(case: Case, options: Options) -> dict[str, Timing | Unmeasured]:
    """Times the rows of one place that fit."""
    needed = {
        name: 2 * case.gigabytes(name) for name in ("features", "logits", "draws")
    }
    too_large = {name for name in needed if needed[name] > options.max_gigabytes}
    is_repeated = case.dimension > min(options.dimensions)
    arrays = scores.random_arrays(
        *case,
        options.holdout_size,
        without=too_large | ({"logits", "draws"} if is_repeated else set()),
    )
    rows = [
        row
        for row in scores.rows(LEARNING_RATE)
        if row.reads == "features" or not is_repeated
    ]
    timings = measure.in_turns(
        {
            row.name: scores.as_program(
                row,
                arrays,
                chunk_size=options.chunk_size,
                max_exponentials=options.max_exponentials,
            )
            for row in rows
            if row.reads not in too_large
        },
        options.repeats,
    )
    return {
        row.name: timings.get(
            row.name,
            Unmeasured(
                f"needs {needed[row.reads]:,.1f} gigabytes, "
                f"{options.max_gigabytes:,} allowed"
            ),
        )
        for row in rows
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "throughput", __doc__, arguments)
    timings, ratios, peaks = {}, {}, {}
    cases = grid(
        options.pool_sizes, options.classes, options.dimensions, full=options.full
    )
    for case in cases:
        timings[str(case)] = found = measured(case, options)
        peaks[str(case)] = measure.device_peak_megabytes()
        command.show_timings(str(case), found)
        ratios[str(case)] = command.compared(
            found,
            [Comparison(name, scores.UNIT) for name in found if name != scores.UNIT],
        )
    command.finish(
        "throughput",
        options,
        {
            "timings": {case: command.as_json(of) for case, of in timings.items()},
            "ratios": ratios,
            "device_peak_megabytes_so_far": peaks,
        },
    )


if __name__ == "__main__":
    main()
