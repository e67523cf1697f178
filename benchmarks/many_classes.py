r"""What do the forms of the exact look-aheads cost beside those that they replaced?

    python -m benchmarks.many_classes                   # 4 minutes, 2 CPU cores
    python -m benchmarks.many_classes --out FILE.json   # keeps the numbers

Both forms take turns in one run, and process time is counted, that of all cores. Of
each pair the largest difference is printed too, in relation to the largest score; of
`expected_entropy_reduction`, against every label by itself in float64, with the rank
correlation.

`iwps_last_layer` is timed on features of unit norm, for which steps are small, in the
form with which a scan begins, beside the logits of the head. `iwps` goes through a
network of the widths 784, 256, 256, 10: "unsure" has logits as it is drawn, "sure"
twenty times those. The last pair asks what `iwps_mlp` could save: half of the units are
off at a candidate, and the change of the holdout behind the first layer is zero there.
The product is made with the kernel's rows of those that are on, of which there must be
room for `ROOM` to hold them all.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import iwps_jax
from benchmarks import autodiff, command, measure, plain_forms
from benchmarks.command import Comparison, Positive
from benchmarks.measure import Program, chunked
from iwps_jax import numerics
from iwps_jax.known_step import look_ahead_for
from iwps_jax.method import LEARNING_RATE, STEPS, Model, Rows
from iwps_jax.types import Head, Holdout

LOOK_AHEAD = dict(steps=STEPS, learning_rate=LEARNING_RATE)
WIDTHS = (784, 256, 256, 10)
ROOM = 160
LOGITS = "logits of the head"
NOW, BEFORE, AUTODIFF = "now", "before", "by vmapped grad"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 5
    pool_size: Positive = 2048
    classes: Positive = 1000
    dimension: Positive = 768
    holdout_size: Positive = 100
    chunk_size: Positive = 64
    judged: Positive = 32
    """candidates of the error reduction that are scored in float64"""


def head_arrays(options: Options, pool_size: int, classes: int, *, is_unit: bool):
    """Features, a head, and features and labels of the holdout."""
    rng = np.random.default_rng(0)
    d, m = options.dimension, options.holdout_size
    features, holdout = (rng.normal(size=(n, d)) for n in (pool_size, m))
    kernel = rng.normal(size=(d, classes)) / (1 if is_unit else d**0.5)
    for rows in (features, holdout):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        # Else h·g deviates by 16, as at d = 256.
        rows *= 1 / norms if is_unit else (256 / d) ** 0.25
    arrays = (features, kernel, np.zeros(classes), holdout)
    return *map(jnp.float32, arrays), jnp.arange(m) % classes


def error_reductions(options: Options, classes: int, pool_size: int, few: int) -> dict:
    """Both forms, the one before on a few candidates."""
    *arrays, _ = head_arrays(options, pool_size, classes, is_unit=False)
    now = partial(iwps_jax.expected_entropy_reduction, **LOOK_AHEAD)
    before = partial(plain_forms.expected_entropy_reduction, **LOOK_AHEAD)
    features, *others = arrays
    return {
        NOW: Program(chunked(now, options.chunk_size), tuple(arrays), pool_size),
        BEFORE: Program(chunked(before, 2), (features[:few], *others), few),
    }


def last_layers(options: Options, classes: int) -> dict:
    """Both forms, and the logits."""
    arrays = head_arrays(options, options.pool_size, classes, is_unit=True)

    def of(score_fn):
        return Program(chunked(score_fn, options.chunk_size), arrays, options.pool_size)

    return {
        LOGITS: of(lambda h, kernel, bias, *_: h @ kernel + bias[None]),
        NOW: of(of_scans(arrays)),
        BEFORE: of(partial(plain_forms.iwps_last_layer, **LOOK_AHEAD)),
    }


def of_scans(arrays: tuple) -> Callable[..., jax.Array]:
    """The look-ahead in the form with which a scan of these candidates begins."""
    features, *head, judging, labels = arrays
    model = Model(Head(*head), Holdout(judging, labels))
    form, *_ = look_ahead_for(Rows(features=np.asarray(features[:256])), model)

    def score(features, kernel, bias, judging, labels):
        known = model._replace(
            head=Head(kernel, bias), holdout=Holdout(judging, labels)
        )
        return form(Rows(features=features), known)[0]

    return score


def networks(options: Options, sureness: float) -> dict:
    """The look-ahead of all parameters, both forms and by autodiff."""
    rng = np.random.default_rng(0)
    shapes = list(zip(WIDTHS[:-1], WIDTHS[1:], strict=True))
    kernels = [rng.normal(size=shape) * (2 / shape[0]) ** 0.5 for shape in shapes]
    kernels[-1] *= sureness
    layers = [(jnp.float32(kernel), jnp.zeros(kernel.shape[1])) for kernel in kernels]
    size = min(options.pool_size, 256)
    inputs, holdout = (
        jnp.float32(rng.normal(size=(n, WIDTHS[0])))
        for n in (size, options.holdout_size)
    )
    labels = jnp.arange(len(holdout)) % WIDTHS[-1]

    def of(score_fn):
        def score(chunk, *others):
            return score_fn(autodiff.dense, others[0], chunk, *others[1:], **LOOK_AHEAD)

        return Program(chunked(score, 8), (inputs, layers, holdout, labels), size)

    return {
        NOW: of(iwps_jax.iwps),
        BEFORE: of(plain_forms.iwps),
        AUTODIFF: of(autodiff.iwps),
    }


def products(options: Options) -> dict:
    """A layer's product with the change of the holdout, whole and of active units."""
    rng = np.random.default_rng(0)
    size, width, matmul = 16, 256, partial(jnp.matmul, precision=numerics.PRECISION)
    is_on = rng.random((size, width)) < 0.5
    change = rng.normal(size=(size, options.holdout_size, width)) * is_on[:, None]

    def of_active(change, is_on, kernel):
        def one(pair):
            change, is_on = pair
            (units,) = jnp.nonzero(is_on, size=ROOM, fill_value=0)
            is_unit = jnp.arange(ROOM) < is_on.sum()
            return matmul(jnp.where(is_unit[None], change[:, units], 0), kernel[units])

        return jax.lax.map(one, (change, is_on))

    arrays = jnp.float32(change), jnp.array(is_on), jnp.ones((width, width))
    return {
        NOW: Program(
            jax.jit(lambda change, _, kernel: matmul(change, kernel)), arrays, size
        ),
        "active units": Program(jax.jit(of_active), arrays, size),
    }


def differences(programs: dict) -> dict[str, float]:
    """Of the two forms, in relation to the largest score."""
    now, before = (
        np.asarray(_run(programs[name]), np.float64) for name in (NOW, BEFORE)
    )
    now = now[: len(before)]
    return {"difference": float(np.abs(now - before).max() / np.abs(before).max())}


def against_float64(programs: dict, judged: int) -> dict[str, float]:
    """Error of the error reduction, in relation to the largest and the spread."""
    features, *others = programs[NOW].arguments
    some = (features[:judged], *others)
    with jax.enable_x64(True):
        exact = jax.jit(partial(plain_forms.expected_entropy_reduction, **LOOK_AHEAD))
        rows = [
            np.asarray(exact(*(jnp.float64(a) for a in (row[None], *others))))
            for row in some[0]
        ]
    exact = np.concatenate(rows)
    now = np.asarray(_run(programs[NOW]), np.float64)[: len(exact)]
    error = np.abs(now - exact).max()
    ranks = [values.argsort().argsort() for values in (now, exact)]
    return {
        "error / largest": float(error / np.abs(exact).max()),
        "error / spread": float(error / exact.std()),
        "rank correlation": float(np.corrcoef(*ranks)[0, 1]),
    }


def _run(program: Program) -> jax.Array:
    return jax.jit(program.run)(*program.arguments)


def cases(options: Options) -> dict[str, dict]:
    """Programs by case."""
    sizes, many = (options.holdout_size, 10 * options.holdout_size), options.classes
    d, few = options.dimension, 10
    made = {}
    for m in sizes:
        at = dataclasses.replace(options, holdout_size=m)
        place = f"{many:,} classes, d {d:,}, M {m:,}"
        some = min(options.pool_size, 4 * options.chunk_size)
        made[f"expected_entropy_reduction, {place}"] = error_reductions(
            at, many, some, max(1, 400 // m)
        )
        made[f"iwps_last_layer, {place}"] = last_layers(at, many)
    place = f"{few} classes, d {d:,}, M {sizes[0]:,}"
    size = options.pool_size
    made[f"expected_entropy_reduction, {place}"] = error_reductions(
        dataclasses.replace(options, chunk_size=min(1024, size)), few, size, size
    )
    made[f"iwps_last_layer, {place}"] = last_layers(options, few)
    made["iwps, unsure"] = networks(options, 1.0)
    made["iwps, sure"] = networks(options, 20.0)
    made["iwps_mlp, the widest product"] = products(options)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "many_classes", __doc__, arguments)
    results: dict[str, dict[str, Any]] = {"timings": {}, "ratios": {}, "errors": {}}
    for case, programs in cases(options).items():
        found = measure.in_turns(programs, options.repeats, time.process_time)
        others = [name for name in programs if name != NOW]
        ratios = command.compared(found, [Comparison(NOW, name) for name in others])
        command.show_timings(f"{case}: process time", found)
        command.show_ratios(case, ratios)
        errors = differences(programs) if BEFORE in programs else {}
        # In float64 a row takes seconds with the larger reference set.
        is_judged = len(programs[NOW].arguments[-1]) == options.holdout_size
        if case.startswith("expected") and is_judged:
            errors |= against_float64(programs, options.judged)
        for name, value in errors.items():
            print(f"{name}: {value:.3g}")
        results["timings"][case] = command.as_json(found)
        results["ratios"][case] = ratios
        results["errors"][case] = errors
    command.finish("many_classes", options, results)


if __name__ == "__main__":
    main()
