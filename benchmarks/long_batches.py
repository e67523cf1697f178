"""What do the last picks of a long batch cost, in time and in memory?

    python -m benchmarks.long_batches                       # 5 minutes on 2 busy cores
    python -m benchmarks.long_batches --out FILE.json       # keeps the numbers

The loop of `iwps_batch` in the dimensions of the head, against the form before it, in
columns: that keeps the covariance of every candidate with every target and with every
pick, and a pick reads them all. Both take turns on the same candidates; the time of the
last picks is that of all picks less that of the first ones. Seconds are those of the
process, on all cores. Memory is by the compiler's account, for as many picks as
`--most`, of a pool with ten candidates a pick.

Picks are compared with those of the columns in float64.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import iwps_jax
from benchmarks import command, measure
from benchmarks.command import Comparison, Positive
from benchmarks.measure import Timing
from iwps_jax import blocks, numerics
from iwps_jax.refusal import Refusal
from iwps_jax.selection.greedy import greedy
from iwps_jax.selection.information import Candidates, Targets, pick_in_turn

DIMS, COLUMNS = "dimensions", "columns"
AIM = "20 times faster on the last picks"
CANDIDATES_PER_PICK = 10
NUM_TARGETS = 400

_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 3
    candidates: Positive = 10_000
    dim: Positive = 256
    classes: Positive = 10
    k: Positive = 2000
    last: Positive = 500
    """of these picks, those that are timed"""
    most: Positive = 10_000
    """picks of the batch whose memory is asked for"""

    def __post_init__(self):
        """Refuses more picks than there are candidates."""
        super().__post_init__()
        if not self.last < self.k <= self.candidates:
            raise Refusal(
                f"k must be more than the last {self.last} and at most "
                f"{self.candidates}, the candidates, got {self.k}."
            )


def pick_by_columns(k, eligible, candidates: Candidates, targets: Targets, counts):
    """The form before: `columns` grows to [k, candidates], and each pick reads it."""
    usefulness, points, probs, variance = candidates
    points = points.T

    def gain(i, state, eligible):
        covariance, own, _, counts = state
        told = variance * _matmul(covariance**2, targets.weights)
        return (
            usefulness * _matmul(probs, 1 / (1 + counts)) * told / (1 + variance * own)
        )

    def learn(i, state, row):
        covariance, own, columns, counts = state
        shrink = jnp.sqrt(variance[row] / (1 + variance[row] * own[row]))
        shared = _matmul(columns[:, row], columns)
        column = (_matmul(points, points[row]) - shared) * shrink
        return (
            covariance - column[:, None] * (covariance[row] * shrink)[None],
            jnp.maximum(own - column**2, 0),
            columns.at[i].set(column),
            counts + probs[row],
        )

    start = (
        _matmul(points, targets.points),
        blocks.sum_rows(points**2),
        jnp.zeros((k, len(points)), points.dtype),
        counts,
    )
    return greedy(k, start, eligible, gain=gain, update=learn, best=jnp.argmax)


FORMS = {DIMS: pick_in_turn, COLUMNS: pick_by_columns}


def make_case(options: Options) -> tuple:
    """Arguments of both forms but k: normal points, of about the length of whitened."""
    rng = np.random.default_rng(0)
    dims = options.dim + 1

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    logits = 2 * normal(options.candidates, options.classes)
    probs = np.asarray(jax.nn.softmax(logits))
    candidates = Candidates(
        usefulness=rng.random(options.candidates).astype(np.float32),
        points=4 / np.sqrt(dims, dtype=np.float32) * normal(dims, options.candidates),
        probs=probs,
        variance=np.sum(probs * (1 - probs), axis=1),
    )
    weights = rng.random(NUM_TARGETS).astype(np.float32) / NUM_TARGETS
    targets = Targets(normal(dims, NUM_TARGETS), weights)
    counts = np.full(options.classes, 10, np.float32)
    return np.ones(options.candidates, bool), candidates, targets, counts


def timed(options: Options, case: tuple) -> tuple[dict[str, Timing], dict[str, Any]]:
    """Seconds of all and of the last picks of each form, in turns, and the picks."""
    first = options.k - options.last
    ready: dict[tuple[str, int], tuple[Callable, Timing]] = {}
    for name, form in FORMS.items():
        for k in (first, options.k):
            program = measure.Program(jax.jit(partial(form, k)), case, k)
            ready[name, k] = measure.compiled(program)
    picks: dict[str, Any] = {}
    seconds: dict[tuple[str, int], list[float]] = {at: [] for at in ready}
    for _ in range(options.repeats):
        for (name, k), (run, _) in ready.items():
            start = time.process_time()
            picks[name] = np.asarray(run(*case))
            seconds[name, k].append(time.process_time() - start)
    timings = {}
    for name in FORMS:
        whole, before = seconds[name, options.k], seconds[name, first]
        compiled = ready[name, options.k][1]
        timings[name] = compiled._replace(seconds=whole)
        # Beside other work, less than nothing can be left of a difference.
        rest = [max(both - one, 1e-9) for both, one in zip(whole, before, strict=True)]
        timings[f"{name}, last"] = Timing(options.last, rest, None, None, None)
    return timings, picks


def same_as_float64(options: Options, case: tuple, picks: dict) -> dict[str, Any]:
    """How many picks come before the first that float64 makes otherwise, by form."""
    with jax.enable_x64(True):

        def widen(leaf):
            return leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf

        exact = jax.jit(partial(pick_by_columns, options.k))
        expected = np.asarray(exact(*jax.tree.map(widen, case)))
    found = {}
    for name, rows in picks.items():
        differ = np.flatnonzero(rows != expected)
        found[name] = int(differ[0]) if len(differ) else options.k
    return found


def memory(options: Options) -> dict[str, Timing]:
    """The account of a long batch: both loops, and `iwps_batch` around the first."""
    pool = CANDIDATES_PER_PICK * options.most
    shape, dims, classes = jax.ShapeDtypeStruct, options.dim, options.classes

    def floats(*sizes):
        return shape(sizes, jnp.float32)

    case = (
        shape((pool,), bool),
        Candidates(
            floats(pool), floats(dims + 1, pool), floats(pool, classes), floats(pool)
        ),
        Targets(floats(dims + 1, NUM_TARGETS), floats(NUM_TARGETS)),
        floats(classes),
    )
    evidence = iwps_jax.Evidence(
        features=floats(pool, dims),
        kernel=floats(dims, classes),
        bias=floats(classes),
        holdout_features=floats(100, dims),
        labeled_features=floats(1000, dims),
        labels=shape((1000,), jnp.int32),
    )

    def whole(key, scores, evidence):
        return iwps_jax.iwps_batch(
            key, scores, evidence, options.most, candidates_per_pick=CANDIDATES_PER_PICK
        )

    programs = {
        f"{name}, {options.most:,} picks": (partial(form, options.most), case)
        for name, form in FORMS.items()
    }
    arguments = jax.random.key(0), floats(pool), evidence
    programs[f"iwps_batch, {options.most:,} picks"] = whole, arguments
    return {
        name: measure.compiled(measure.Program(jax.jit(run), given, options.most))[1]
        for name, (run, given) in programs.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "long_batches", __doc__, arguments)
    case = make_case(options)
    timings, picks = timed(options, case)
    same = same_as_float64(options, case, picks)
    accounts = memory(options)
    title = f"{options.k:,} of {options.candidates:,} x {options.dim}"
    command.show_timings(title, timings)
    last = Comparison(f"{DIMS}, last", f"{COLUMNS}, last", AIM, 20)
    ratios = command.compared(timings, [Comparison(DIMS, COLUMNS), last])
    command.show_ratios(f"{title}, seconds of the process", ratios)
    console = Console(width=100)
    for name, picks_alike in same.items():
        console.print(f"{name}: {picks_alike:,} picks as in float64, then another")
    for name, account in accounts.items():
        console.print(f"{name}: {account.temporary_megabytes:,.0f} MB temporary")
    command.finish(
        "long_batches",
        options,
        {
            "timings": command.as_json(timings),
            "ratios": ratios,
            "picks_as_in_float64": same,
            "temporary_megabytes": {
                name: account.temporary_megabytes for name, account in accounts.items()
            },
        },
    )


if __name__ == "__main__":
    main()
