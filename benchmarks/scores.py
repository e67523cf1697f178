"""Every score on arrays as a program to time: features, logits, or draws go in.

Values change no time but one: the exact look-aheads of the last layer have a faster
branch while every |k δ| is small. Features are scaled so that k = 1 + h·g has the
same spread at every dimension, and each branch has a row of its own.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

import iwps_jax
from benchmarks.measure import Program, chunked
from iwps_jax import methods
from iwps_jax.method import Method, Model, Rows

NUM_DRAWS = 10
STEPS = 3
LARGE_RATE = 1.0
"""A look-ahead rate that sends random features to the branch for any |k δ|."""


class Arrays(NamedTuple):
    """What a trained network leaves a score to look at.

    Attributes:
        features: [pool, d] inputs of the last layer.
        kernel: [d, classes] its weights.
        bias: [classes] its bias.
        holdout_features: [m, d] its inputs for the holdout samples.
        holdout_labels: [m] their classes.
        logits: [pool, classes].
        draws: [draws, pool, classes] log-probabilities under dropout.
    """

    features: jax.Array | None
    kernel: jax.Array
    bias: jax.Array
    holdout_features: jax.Array
    holdout_labels: jax.Array
    logits: jax.Array | None
    draws: jax.Array | None


class Row(NamedTuple):
    """A score on arrays.

    Attributes:
        name: in tables.
        reads: which array it is mapped over.
        score_fn: `score_fn(features, kernel, bias, holdout_features, holdout_labels)`
            where it reads features, else `score_fn(array)`.
        exponentials: `exponentials(classes, m)` that a candidate costs, where those
            bound how many can be timed; else None.
    """

    name: str
    reads: Literal["features", "logits", "draws"]
    score_fn: Callable
    exponentials: Callable[[int, int], int] | None = None


UNIT = "logits of the head"


def rows(learning_rate: float) -> list[Row]:
    """All scores on arrays, the head's own forward pass before them."""

    def of_all_classes(classes, m):
        return classes**2 * m

    def by_holdout(score_fn, rate):
        return partial(score_fn, steps=STEPS, learning_rate=rate)

    def by_reference(score_fn):
        def score(features, kernel, bias, reference_features, labels):
            del labels  # of a reference set nobody knows them
            return score_fn(
                features,
                kernel,
                bias,
                reference_features,
                steps=STEPS,
                learning_rate=learning_rate,
            )

        return score

    exact = iwps_jax.iwps_last_layer
    return [
        Row(UNIT, "features", lambda h, kernel, bias, *_: h @ kernel + bias[None]),
        Row("iwps_last_layer", "features", by_holdout(exact, learning_rate)),
        Row(
            "iwps_last_layer, large |k δ|",
            "features",
            by_holdout(exact, LARGE_RATE),
            lambda classes, m: classes * m,
        ),
        Row("iwps_app_last_layer", "features", iwps_jax.iwps_app_last_layer),
        *(
            Row(score_fn.__name__, "features", by_reference(score_fn), of_all_classes)
            for score_fn in (
                iwps_jax.error_reduction,
                iwps_jax.expected_entropy_reduction,
            )
        ),
        *(_of_table(row) for row in methods.ROWS.values() if row.needs == ("logits",)),
        *(_of_table(row) for row in methods.ROWS.values() if row.needs == ("draws",)),
    ]


def _of_table(row: Method) -> Row:
    """The score of a method that reads logits or draws alone."""
    (read,) = row.needs

    def score(array):
        numbers = jnp.arange(array.shape[-2])
        rows = Rows(**{"numbers": numbers, read: array})
        return row.score(rows, Model(key=jax.random.key(5)))

    return Row(row.name, read, score)


def as_program(
    row: Row, arrays: Arrays, *, chunk_size: int, max_exponentials: int
) -> Program:
    """The program of a row, on as many candidates as `max_exponentials` allows."""
    if row.reads == "logits":
        return Program(jax.jit(row.score_fn), (arrays.logits,), len(arrays.logits))
    if row.reads == "draws":
        return Program(jax.jit(row.score_fn), (arrays.draws,), arrays.draws.shape[1])
    features, head = arrays.features, arrays[1:5]
    classes, m = len(arrays.bias), len(arrays.holdout_labels)
    if row.exponentials:
        most = max_exponentials // row.exponentials(classes, m)
        features = features[: max(1, most)]
        # What a candidate holds: a number for each class and holdout sample.
        chunk_size = min(chunk_size, max(1, 2**24 // (classes * m)))
    return Program(chunked(row.score_fn, chunk_size), (features, *head), len(features))


def random_arrays(
    pool_size: int,
    num_classes: int,
    dimension: int,
    holdout_size: int,
    *,
    without: tuple[str, ...] = (),
) -> Arrays:
    """Arrays of these sizes; the large ones named in `without` are not made."""
    # At d = 256 a standard normal distribution, whose h·g deviates by 16.
    scale = (256 / dimension) ** 0.25

    def normal(seed, *shape):
        return jax.random.normal(jax.random.key(seed), shape)

    def unless_left_out(name, make):
        return None if name in without else jax.jit(make)()

    return Arrays(
        features=unless_left_out(
            "features", lambda: scale * normal(0, pool_size, dimension)
        ),
        kernel=normal(1, dimension, num_classes) / dimension**0.5,
        bias=jnp.zeros(num_classes),
        holdout_features=scale * normal(2, holdout_size, dimension),
        holdout_labels=jnp.arange(holdout_size) % num_classes,
        logits=unless_left_out("logits", lambda: normal(3, pool_size, num_classes)),
        draws=unless_left_out(
            "draws",
            lambda: jax.nn.log_softmax(normal(4, NUM_DRAWS, pool_size, num_classes)),
        ),
    )
