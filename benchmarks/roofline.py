r"""How near does a score come to what this machine could do?

    python -m benchmarks.roofline                     # 1 minute, 2 CPU cores
    python -m benchmarks.roofline --out FILE.json     # keeps the numbers
    python -m benchmarks.roofline --pool-size 1_000_000 --chunk-size 65536 \
        --square 8192 --memory-megabytes 4000         # for a GPU

The machine's own peaks are measured in the same turns: floating-point operations a
second of a square matrix product (float32 at highest precision, as in the library),
and bytes a second of changing a large array in place, read and written over and over:
fresh memory would be several times slower on a CPU. From the operations and bytes that
the mathematics of a score needs, whatever the program does, follow the

    floor = max(operations / peak operations, bytes / peak bytes)   seconds

and the share of the roofline that is reached, floor / measured. Arrays are float32,
each read or written once; N pool, M holdout, d features, C classes, T steps; an
exponential counts as one operation, which makes the floor a low one:

    iwps_last_layer      2 N M d (couplings) + 2 (N + M) d C (logits) + 5 T N C (steps)
                         + 5 N M C (the change of the holdout loss)
                         4 (N d + M d + d C + N) bytes
    iwps_app_last_layer  4 (N + M) d C (logits, and the holdout gradient on features)
                         + 5 N C; the same bytes
    entropy              5 N C; 4 (N C + N) bytes
    k_center_greedy      3 N d + 2 N for each pick; 4 (N d + 2 N) bytes, since a pick
                         depends on the one before

The step of the core-set is the difference of two runs with more and fewer picks. What
fits into the caches, as logits of few classes may, can be faster than the roofline.
Aimed at: half of it for `iwps_last_layer` at a million candidates on a GPU.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import iwps_jax
from benchmarks import command, measure, scores
from benchmarks.command import Positive, Unmeasured
from benchmarks.measure import Program, Ratio, Timing
from iwps_jax.refusal import Refusal

LEARNING_RATE = 1e-3
PEAK_PRODUCT, PEAK_MEMORY = "matrix product", "memory"
PASSES = 8
FEW_PICKS, MORE_PICKS = 2, 18
FEW, MORE, STEP = (
    f"k_center_greedy, {FEW_PICKS} picks",
    f"k_center_greedy, {MORE_PICKS} picks",
    "k_center_greedy, a pick",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 7
    pool_size: Positive = 50_000
    holdout_size: Positive = 1000
    dimension: Positive = 512
    classes: Positive = 10
    chunk_size: Positive = 1024
    square: Positive = 2048
    memory_megabytes: Positive = 200

    def __post_init__(self):
        """Refuses a pool that is smaller than the picks."""
        super().__post_init__()
        if self.pool_size <= MORE_PICKS:
            raise Refusal(
                f"--pool-size must be above {MORE_PICKS}, got {self.pool_size}."
            )


class Need(NamedTuple):
    """What the mathematics of a score needs.

    Attributes:
        operations: on floating-point numbers.
        moved: bytes.
    """

    operations: float
    moved: float


def needs(n: int, m: int, d: int, c: int) -> dict[str, Need]:
    """By name, for N, M, d and C as in the module's docstring.

    Example:
        >>> needs(n=1, m=1, d=1, c=2)["entropy"]
        Need(operations=10, moved=12)
    """
    head = 4 * (n * d + m * d + d * c + n)
    change = 2 * n * m * d + 2 * (n + m) * d * c + 5 * scores.STEPS * n * c
    return {
        "iwps_last_layer": Need(change + 5 * n * m * c, head),
        "iwps_app_last_layer": Need(4 * (n + m) * d * c + 5 * n * c, head),
        "entropy": Need(5 * n * c, 4 * (n * c + n)),
        STEP: Need(3 * n * d + 2 * n, 4 * (n * d + 2 * n)),
    }


def programs(
    arrays: scores.Arrays, chunk_size: int, square: int, memory_megabytes: int
) -> dict[str, Program]:
    """The two peaks, and the scores."""
    matrix = jnp.ones((square, square))
    long = jnp.ones(250_000 * memory_megabytes)
    labeled = jnp.zeros(len(arrays.features), bool).at[0].set(True)

    def k_center(k):
        run = jax.jit(lambda h, labeled: iwps_jax.k_center_greedy(h, k, labeled))
        return Program(run, (arrays.features, labeled), len(labeled))

    made = {
        PEAK_PRODUCT: Program(
            jax.jit(lambda x, y: jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)),
            (matrix, matrix),
            2 * square**3,
        ),
        PEAK_MEMORY: Program(
            jax.jit(lambda x: jax.lax.fori_loop(0, PASSES, lambda _, y: -y, x)),
            (long,),
            2 * PASSES * long.nbytes,
        ),
    }
    for row in scores.rows(LEARNING_RATE):
        if row.name in ("iwps_last_layer", "iwps_app_last_layer", "entropy"):
            made[row.name] = scores.as_program(
                row, arrays, chunk_size=chunk_size, max_exponentials=0
            )
    return {**made, FEW: k_center(FEW_PICKS), MORE: k_center(MORE_PICKS)}


def a_pick(few: Timing, more: Timing, pool_size: int) -> Timing | Unmeasured:
    """What one more pick takes, turn by turn; the pool is read once for each."""
    seconds = [
        (long - short) / (MORE_PICKS - FEW_PICKS)
        for long, short in zip(more.seconds, few.seconds, strict=True)
    ]
    if min(seconds) <= 0:
        return Unmeasured("more picks took no longer: try a larger --pool-size")
    return Timing(pool_size, seconds, None, None, None)


class Reached(NamedTuple):
    """How far a score is from the roofline.

    Attributes:
        need: operations and bytes.
        bound: "operations" or "bytes", whichever sets the floor.
        floor_seconds: in the median turn.
        share: floor / measured, turn by turn.
    """

    need: Need
    bound: str
    floor_seconds: float
    share: Ratio


def reached(need: Need, product: Timing, memory: Timing, timing: Timing) -> Reached:
    """Floor against measured, with each turn's own peaks."""
    by_operations = Timing(1, _scaled(product, need.operations), None, None, None)
    by_bytes = Timing(1, _scaled(memory, need.moved), None, None, None)
    floor = max(by_operations, by_bytes, key=lambda timing: 1 / timing.rate)
    share = measure.speed_ratio(timing._replace(samples=1), floor)
    bound = "operations" if floor is by_operations else "bytes"
    return Reached(need, bound, 1 / floor.rate, share)


def _scaled(peak: Timing, amount: float) -> list[float]:
    """Seconds of every turn for that amount at the peak's pace."""
    return [amount / peak.samples * seconds for seconds in peak.seconds]


def show(found: dict[str, Reached], timings: dict[str, Timing | Unmeasured]) -> None:
    """Prints a row for each score."""
    table = Table("score", title="floor against measured", title_justify="left")
    for column in ("GFLOP", "GB", "bound by", "floor s", "measured s", "reached"):
        table.add_column(column, justify="right")
    table.add_column("lowest to highest")
    for name, (need, bound, floor, share) in found.items():
        table.add_row(
            name,
            command.digits(need.operations / 1e9),
            command.digits(need.moved / 1e9),
            bound,
            command.digits(floor),
            command.digits(timings[name].samples / timings[name].rate),
            f"{100 * share.median:.0f} %",
            f"{100 * share.lowest:.0f} to {100 * share.highest:.0f} %",
        )
    Console(width=120).print(table)


def measured(options: Options) -> dict[str, dict]:
    """Times and prints; the numbers as JSON."""
    sizes = options.pool_size, options.classes, options.dimension, options.holdout_size
    arrays = scores.random_arrays(*sizes, without=("draws",))
    timings = measure.in_turns(
        programs(arrays, options.chunk_size, options.square, options.memory_megabytes),
        options.repeats,
    )
    timings[STEP] = a_pick(timings[FEW], timings[MORE], options.pool_size)
    peaks = timings[PEAK_PRODUCT], timings[PEAK_MEMORY]
    n, c, d, m = sizes
    found = {
        name: reached(need, *peaks, timings[name])
        for name, need in needs(n, m, d, c).items()
        if isinstance(timings[name], Timing)
    }
    print(
        f"this machine, in this run: {command.digits(peaks[0].rate / 1e9)} GFLOP/s, "
        f"{command.digits(peaks[1].rate / 1e9)} GB/s"
    )
    scored = {k: v for k, v in timings.items() if k not in (PEAK_PRODUCT, PEAK_MEMORY)}
    command.show_timings(f"pool {n:,}, {m:,} holdout, d {d:,}, {c:,} classes", scored)
    show(found, timings)
    return {
        "timings": command.as_json(timings),
        "reached": {
            name: {
                **{k: v for k, v in row._asdict().items() if k != "need"},
                **row.need._asdict(),
                "share": row.share._asdict(),
            }
            for name, row in found.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "roofline", __doc__, arguments)
    command.finish("roofline", options, measured(options))


if __name__ == "__main__":
    main()
