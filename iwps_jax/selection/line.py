"""The pool on a line for each class: from its surest rows to the least likely ones.

    δ_c(x) = p_c - max_c' p_c'        descending, ties by p_c descending

Rows that the head takes for c have δ_c = 0 and come first, the surest before the
others; behind them come the rows that it takes for another class, those that are
nearest to c first. On the line are the rows that may be picked and the labeled
samples. A *place* is a position on it. P = pool + m places; behind the last one that
is taken stand rows that are not on the line.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Int

from iwps_jax import checks, numerics
from iwps_jax.selection import gradients
from iwps_jax.selection.highest import check_where
from iwps_jax.types import AnyArray

FAR = 2**30
"""Above all places."""


class Points(NamedTuple):
    """Rows of the pool and, behind them, labeled samples.

    Attributes:
        logits: of the rows, and of the samples.
        softmax: what the probabilities of both are made of.
        labels: the class of each point; negative where it is not known.
        is_on_line: rows that may be picked, and samples with a class.
    """

    logits: tuple[AnyArray, AnyArray]
    softmax: tuple[gradients.Softmax, gradients.Softmax]
    labels: Int[jax.Array, " points"]
    is_on_line: Bool[jax.Array, " points"]

    @property
    def number(self) -> Int[jax.Array, ""]:
        """How many places are taken, on each line."""
        return self.is_on_line.sum(dtype=jnp.int32)


def check(logits, labeled_logits, labels, k, where):
    """The mask; refuses arguments that do not fit together, and an impossible k."""
    checks.require_logits("logits", logits, "pool classes")
    checks.require_floating("labeled_logits", labeled_logits, "m classes")
    checks.require_size("labeled_logits", labeled_logits, 1, logits.shape[1], "logits")
    check_labels(labels, len(labeled_logits), logits.shape[1])
    # What stands in an empty place does not count, whatever it is.
    known = jnp.where((labels >= 0)[:, None], labeled_logits, 0)
    checks.require_logits("labeled_logits", known, "m classes")
    return check_where(logits, k, where)


def with_a_place(labels, *parts):
    """Labels of samples and their parts; an empty place where there is no sample.

    Example:
        >>> with_a_place(jnp.zeros(0, jnp.int32), jnp.zeros((0, 2)))[0].tolist()
        [-1]
        >>> with_a_place(jnp.array([3]), jnp.zeros((1, 2)))[0].tolist()
        [3]
    """
    samples = labels, *parts
    if any(getattr(part, "shape", (1,))[:1] != (0,) for part in samples):
        return samples
    if jnp.issubdtype(labels.dtype, jnp.integer):  # unsigned ones have no empty place
        labels = jnp.full((1, *labels.shape[1:]), -1, jnp.int32)
    return labels, *(jnp.zeros((1, *part.shape[1:]), part.dtype) for part in parts)


def check_labels(labels, size, num_classes):
    """Refuses labels of samples that are not classes, or negative in empty places."""
    checks.require_integers("labels", labels)
    checks.require_size("labels", labels, 0, size, "labeled_logits")
    checks.require_labels("labels", jnp.maximum(labels, 0), num_classes)


def check_answers(answers, size, num_classes):
    """Refuses answers that are not a class a row; negative: of a row without one."""
    checks.require_integers("answers", answers)
    checks.require_size("answers", answers, 0, size, "logits")
    checks.require_labels("answers", jnp.maximum(answers, 0), num_classes)


def points_of(logits, labeled_logits, labels, where) -> Points:
    """The points of all lines."""
    both = jnp.asarray(logits), jnp.asarray(labeled_logits)
    unknown = jnp.full(len(logits), -1, jnp.int32)
    labels = jnp.concatenate([unknown, jnp.asarray(labels).astype(jnp.int32)])
    is_on_line = jnp.concatenate([jnp.asarray(where), labels[len(logits) :] >= 0])
    softmax = gradients.softmax_of(both[0]), gradients.softmax_of(both[1])
    return Points(both, softmax, labels, is_on_line)


def order_of(points: Points, c: Int[jax.Array, ""]) -> Int[jax.Array, " points"]:
    """The points in the order of the line of class c, ties to the lower row."""
    parts = (
        _distances(logits, softmax, c)
        for logits, softmax in zip(points.logits, points.softmax, strict=True)
    )
    distances = jnp.concatenate(numerics.upcast(tuple(parts)))
    distances = jnp.minimum(distances, jnp.finfo(distances.dtype).max)
    distances = jnp.where(points.is_on_line, distances, jnp.inf)
    numbers = jnp.arange(len(distances), dtype=jnp.int32)
    return jax.lax.sort((distances, numbers), num_keys=1, is_stable=True)[1]


def _distances(logits, softmax, c):
    """What ascends as δ_c falls, with its digits at both ends of the line.

    1 - p_c where c is predicted; elsewhere 1 / (1 + δ_c), which is not below one.
    """
    logit = jnp.take(logits, c, axis=1).astype(softmax.largest.dtype)
    prob = jnp.exp(logit - softmax.largest) / softmax.total
    is_predicted = logit >= softmax.largest
    return jnp.where(is_predicted, softmax.others, 1 / (softmax.others + prob))


def random_draws(key, size):
    """Numbers whose largest among some rows is one of them at random."""
    return numerics.uniform(key, (size,))
