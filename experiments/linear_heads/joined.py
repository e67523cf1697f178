"""Balanced herding joined with the gain of a Gaussian process, of small pools alone.

The process has the kernel ½ RBF + ½ linear; a label of row i has the noise 1/v_i, v_i
its variance under the head. The gain of a row is how much its label would lower the
variance at the targets, C²(i, u) / (C(i, i) + noise), summed with weights v_u r_u; the
labeled rows and the picks condition C. Both herding and gain know all pairs of rows:
a variant takes minutes, and stands in no group; name it in --methods.

    select(join, key, logits, features, model, k, where) -> rows [k]
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from iwps_jax import numerics
from iwps_jax.selection import cover, herding
from iwps_jax.selection.balanced_herding import class_shares, mean_distance
from iwps_jax.selection.iwps_batch import LEAST_VARIANCE

RBF_WIDTH = 0.5
"""Of the process, in medians of the distance."""
LINEAR_STRENGTH = 10.0
"""Prior variance of the linear kernel where it is alone."""


class Pair(NamedTuple):
    """What is known of all rows before a pick.

    Attributes:
        covered: what a row would add to the cover of a target, [row, target].
        weights: of the targets for herding.
        covariance: C.
        noise: of each row's label.
        variance_weights: of the targets for the gain.
        may: rows that may be picked.
    """

    covered: jax.Array
    weights: jax.Array
    covariance: jax.Array
    noise: jax.Array
    variance_weights: jax.Array
    may: jax.Array

    def herding(self) -> jax.Array:
        """The gain of balanced herding."""
        return _matmul(self.covered, self.weights)

    def gain(self) -> jax.Array:
        """The gain of the process."""
        told = jnp.diagonal(self.covariance) + self.noise
        return _matmul(self.covariance**2, self.variance_weights) / told


def gain_alone(pair: Pair) -> jax.Array:
    """The gain of the process."""
    return pair.gain()


def added(pair: Pair) -> jax.Array:
    """Both gains, each divided by its largest."""
    gains = [jnp.where(pair.may, g, 0) for g in (pair.herding(), pair.gain())]
    return gains[0] / gains[0].max() + gains[1] / gains[1].max()


def multiplied(pair: Pair) -> jax.Array:
    """The product of both gains, by its logarithm."""
    gains = jnp.stack([pair.herding(), pair.gain()])
    return jnp.log(jnp.maximum(gains, jnp.finfo(gains.dtype).tiny)).sum(0)


def by_variance(pair: Pair) -> jax.Array:
    """Herding with weights times the variance that is left at the targets."""
    left = jnp.maximum(jnp.diagonal(pair.covariance), 0)
    return _matmul(pair.covered, pair.weights * left)


class Join(NamedTuple):
    """A way to join the two.

    Attributes:
        gains: `gains(pair) -> [row]`.
        is_linear: whether the process has a linear kernel alone, of features of norm
            one.
    """

    gains: Callable[[Pair], jax.Array]
    is_linear: bool = False


def select(join: Join, key, logits, features, model, k, where):
    """Always the row with the largest gain of the join."""
    logits, features = numerics.upcast((jnp.asarray(logits), jnp.asarray(features)))
    probs = jax.nn.softmax(logits)
    shares = class_shares(logits, where, 1.0)
    unsure = herding.uncertainty(logits, jnp.float32(1)) * shares
    variance = 1 - (probs**2).sum(-1)
    targets = cover.all_targets(features, where)
    median = herding.median_bandwidth(
        features, cover.draw_targets(key, features, shares, where, len(features))
    )
    mean = mean_distance(features, ~where, targets.place)
    squares = cover.squared_distances(targets, features, targets.rows)
    kernel = jnp.exp(-squares / jnp.where(mean > 0, mean, median) ** 2)
    covered = jnp.where(where[:, None], 0, kernel).max(0)
    noise = 1 / jnp.maximum(variance, LEAST_VARIANCE)
    covariance = _conditioned(_prior(join, features, squares, median), noise, ~where)

    def pick(carry, _):
        covered, covariance, may = carry
        pair = Pair(
            jnp.maximum(kernel - covered[None], 0),
            jnp.where(where, unsure, 0),
            covariance,
            noise,
            jnp.where(where, variance * shares, 0),
            may,
        )
        row = jnp.where(may, join.gains(pair), -jnp.inf).argmax().astype(jnp.int32)
        column = covariance[:, row]
        told = column[row] + noise[row]
        covariance = covariance - column[:, None] * column[None] / told
        carry = jnp.maximum(covered, kernel[row]), covariance, may.at[row].set(False)
        return carry, row

    return jax.lax.scan(pick, (covered, covariance, where), length=k)[1]


def _prior(join, features, squares, median):
    if join.is_linear:
        rows = cover.unit_rows(features)
        return LINEAR_STRENGTH * _matmul(rows, rows.T)
    width = RBF_WIDTH * median / herding.OF_MEDIAN
    mean_square = (features**2).sum(-1).mean()
    linear = _matmul(features, features.T) / mean_square
    return 0.5 * (jnp.exp(-squares / width**2) + linear)


def _conditioned(covariance, noise, labeled):
    """The covariance once the labeled rows are known."""
    known = jnp.where(labeled[None], covariance, 0)
    among = jnp.where(labeled[:, None], known, 0)
    among = among + jnp.diag(jnp.where(labeled, noise, 1))
    solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(among), known.T)
    return covariance - _matmul(known, solved)


def _matmul(a, b):
    return jnp.matmul(a, b, precision=numerics.PRECISION)


JOINS = {
    "gain": Join(gain_alone),
    "sum": Join(added),
    "product": Join(multiplied),
    "variance": Join(by_variance),
    "linear_variance": Join(by_variance, is_linear=True),
}
"""By name; the last is the cheapest, d² numbers in place of one for each pair."""
