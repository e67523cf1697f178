"""Multinomial logistic regression: the one solver of all heads.

n        samples, masked by a weight of zero
d        features; a bias is the weight of a feature that is always one
classes  of the problem, also those without a label
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from iwps_jax import numerics

MAX_GRADIENTS = 1000
MEMORY = 10  # moves that L-BFGS remembers

_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


class _Search(NamedTuple):
    """L-BFGS under way.

    Attributes:
        at: where it is.
        gradient: there.
        direction: to search next.
        scale: how far along it, in its lengths.
        memory: of the last moves and of the gradient's changes along them.
        count: gradients taken.
    """

    at: jax.Array
    gradient: jax.Array
    direction: jax.Array
    scale: jax.Array
    memory: optax.ScaleByLBFGSState
    count: jax.Array | int


def minimum(
    features: Float[Array, "n d"],
    labels: Int[Array, " n"],
    weights: Float[Array, " n"],
    *,
    penalty: Float[Array, ""] | Float[Array, "d 1"],
    tolerance: Float[Array, ""],
    num_classes: int,
) -> Float[Array, "d classes"]:
    weighted = features * weights[:, None]

    def gradient_of(at):
        residual = numerics.label_residual(_matmul(features, at), labels)
        return penalty * at - _matmul(weighted.T, residual)

    def goes_on(search):
        is_far = _dot(search.gradient, search.gradient) >= tolerance**2
        return (search.count < MAX_GRADIENTS) & is_far

    # One loop of one gradient each, whether a step is taken or halved, so that a batch
    # of problems under `jax.vmap` computes nothing twice, as it does in the line search
    # of `optax.lbfgs`, a loop within the loop.
    def step(search):
        at = search.at + search.scale * search.direction
        gradient = gradient_of(at)
        slope, ahead = (_dot(g, search.direction) for g in (search.gradient, gradient))
        is_good = ahead <= jnp.abs(slope) / 2
        uphill, memory = solver.update(gradient, search.memory, at)
        count = search.count + 1
        # Rounding may have made the memory's curvature negative.
        descent = -jnp.where(_dot(uphill, gradient) > 0, uphill, gradient)
        taken = _Search(at, gradient, descent, one, memory, count)
        halved = search._replace(scale=search.scale / 2, count=count)
        return jax.tree.map(partial(jnp.where, is_good), taken, halved)

    zeros = jnp.zeros((features.shape[1], num_classes), features.dtype)
    one = jnp.ones((), features.dtype)
    solver = optax.scale_by_lbfgs(MEMORY, scale_init_precond=True)
    slopes = gradient_of(zeros)
    uphill, memory = solver.update(slopes, solver.init(zeros), zeros)
    start = _Search(zeros, slopes, -uphill, one, memory, 0)
    return jax.lax.while_loop(goes_on, step, start).at


def _dot(a, b):
    return (a * b).sum()
