"""What do the forms of `iwps_jax.dialect` gain, each against the native one?

    python -m benchmarks.dialect                     # half a minute, 2 CPU cores
    python -m benchmarks.dialect --out FILE.json     # keeps the numbers

Both forms of each function take turns on the same arrays, on whatever device JAX finds:
on a CPU a ratio above one is the reason for the form that is taken there. Seconds are
those of all cores together, which other work on the machine disturbs least; for another
device, `--clock wall`. Loops show what they are for only around the arithmetic that
they were written for: `fold` stands in `iwps_pixel_head` with 40 classes, and the
classes of a turn in `numerics.cross_entropy_change`.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal
from unittest import mock

import jax
import jax.numpy as jnp

import iwps_jax
from benchmarks import command
from benchmarks.command import Comparison, Positive
from benchmarks.measure import Timing
from iwps_jax import blocks, dialect, numerics

CLOCKS = {"process": time.process_time, "wall": time.perf_counter}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 9
    calls: Positive = 5
    """of a program in each turn"""
    rows: Positive = 8192
    columns: Positive = 256
    classes: Positive = 40
    clock: Literal["process", "wall"] = "process"


def pairs(options: Options) -> dict[str, tuple[Callable, Callable]]:
    """By name, compiled programs without arguments: for a CPU, and native."""
    noise = jax.random.normal(jax.random.key(0), (options.rows, options.columns))
    small = jnp.clip(noise, -0.8, 4)

    def both(cpu, native, *arrays):
        return tuple(ready(form, *arrays) for form in (cpu, native))

    def distances(sum_rows):
        return lambda entries: sum_rows((entries - entries[:1]) ** 2)

    log1p, exponentials, argmax = (
        (dialect._log1p_by_artanh, jnp.log1p),
        (dialect._exp_and_expm1_by_doubling, dialect._exp_and_expm1),
        (dialect._argmax_by_comparing, dialect._argmax),
    )
    sums = distances(dialect._sum_by_product), distances(dialect._sum)
    return {
        "log1p": both(*log1p, small),
        "exp and expm1": both(*exponentials, noise),
        "argmax": both(*argmax, noise),
        "argmax of a vector": both(*argmax, noise.ravel()),
        "sums of rows": both(*sums, noise),
        "fold": of_folds(options),
        "classes a turn": of_turns(options),
    }


def ready(function: Callable, *arrays: jax.Array) -> Callable:
    """The program, compiled, with its arguments."""
    return partial(jax.jit(function).lower(*arrays).compile(), *arrays)


def of_folds(options: Options) -> tuple[Callable, Callable]:
    """`iwps_pixel_head` with either fold; images have a hundredth of the rows."""
    side, width = max(2, int(options.rows**0.5) // 5), 16
    keys = iter(jax.random.split(jax.random.key(2), 4))
    images, holdout = (
        jax.random.normal(next(keys), (number, side, side, width)) for number in (8, 6)
    )
    kernel = jax.random.normal(next(keys), (width, options.classes))
    fine = 6, 2 * side, 2 * side
    labels = jax.random.randint(next(keys), fine, 0, options.classes)
    arrays = (
        *(images, jnp.ones((8, *fine[1:]), bool), kernel, jnp.zeros(options.classes)),
        *(holdout, labels, jnp.ones(fine, bool)),
    )

    def with_fold(fold):
        jax.clear_caches()  # inner programs were traced with the other
        with mock.patch.object(blocks, "fold", fold):
            return ready(iwps_jax.iwps_pixel_head, *arrays)

    return with_fold(dialect._fold_ahead), with_fold(partial(dialect._scan, unroll=1))


def of_turns(options: Options) -> tuple[Callable, Callable]:
    """The change of a loss, its classes a few at a time or those of a fusion."""
    shape = options.classes, options.rows // 8
    log_probs = jax.nn.log_softmax(jax.random.normal(jax.random.key(3), shape), 0)
    deltas = jax.random.normal(jax.random.key(4), (options.columns // 8, shape[0]))

    def with_turns(at_once):
        def changes(log_probs, deltas):
            return jax.vmap(
                lambda delta: numerics.cross_entropy_change(
                    log_probs, lambda c: log_probs[c] * (delta[c] - delta[0])
                )
            )(deltas)

        with mock.patch.object(numerics, "CLASSES_AT_ONCE", at_once):
            return ready(changes, log_probs, deltas)

    turns = numerics.CLASSES_AT_ONCE, dialect.CLASSES_OF_A_FUSION
    return with_turns(turns[0]), with_turns(turns[1])


def timed(programs: dict[str, Callable], options: Options) -> dict[str, Timing]:
    """Seconds of every turn; a call is a sample."""
    clock = CLOCKS[options.clock]
    timings = {n: Timing(options.calls, [], None, None, None) for n in programs}
    for program in programs.values():
        jax.block_until_ready(program())
    for _ in range(options.repeats):
        for name, program in programs.items():
            start = clock()
            for _ in range(options.calls):
                found = program()
            jax.block_until_ready(found)
            timings[name].seconds.append(clock() - start)
    return timings


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "dialect", __doc__, arguments)
    programs, comparisons = {}, []
    for name, forms in pairs(options).items():
        names = f"{name}, for a CPU", f"{name}, native"
        programs |= dict(zip(names, forms, strict=True))
        comparisons.append(Comparison(*names))
    timings = timed(programs, options)
    ratios = command.compared(timings, comparisons)
    command.show_timings(f"calls, by {options.clock} time", timings)
    command.show_ratios("speed ratios within this run", ratios)
    results = {"timings": command.as_json(timings), "ratios": ratios}
    command.finish("dialect", options, results)


if __name__ == "__main__":
    main()
