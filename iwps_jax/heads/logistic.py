"""Multinomial logistic regression: the solver behind all heads of this package.

Axis names:

    n        samples; a row of weight zero is no sample
    d        features; a bias is the weight of a feature that is always one
    classes  classes of the problem, with or without samples
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from iwps_jax import checks, numerics

MAX_GRADIENTS = 1000
# Kernels are no farther than this from that of the minimum: the distance is at most
# ‖gradient‖ / penalty, since the penalty makes the loss strongly convex.
TOLERANCE = 1e-3
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
        num_gradients: computed so far, but for the first.
    """

    at: jax.Array
    gradient: jax.Array
    direction: jax.Array
    scale: jax.Array
    memory: optax.ScaleByLBFGSState
    num_gradients: jax.Array | int


def minimum(
    features: Float[Array, "n d"],
    labels: Int[Array, " n"],
    weights: Float[Array, " n"],
    *,
    penalty: float | Float[Array, ""] | Float[Array, "d 1"],
    num_classes: int,
    tolerance: float | Float[Array, ""],
) -> Float[Array, "d classes"]:
    """The parameters A at which the penalized cross-entropy is lowest.

        argmin over A of  Σ_i w_i [-log softmax(h_i A)_(y_i)]
                          + Σ_j penalty_j / 2 · ‖A_j‖²

    L-BFGS starts at zero and ends where the gradient is shorter than `tolerance`. If
    every penalty is positive, the minimum is unique and at most
    tolerance / min_j penalty_j away. A feature that is always one may have penalty 0;
    its weights, the biases, then sum to zero over the classes. Without a penalty, the
    bias of a class without samples has no minimum: it falls until the mean probability
    of the class is below `tolerance`. Deterministic.

    The search halves a step that leads too far beyond the lowest point of its line,
    which it tells by the slope there: in float32, slopes keep their digits where losses
    do not.

    Args:
        features: h, finite even in rows of weight zero. If they are not centered or not
            of about unit scale, the search may end early, after `MAX_GRADIENTS`.
        labels: y, in [0, num_classes).
        weights: w, at least 0; their sum is one where the loss is a mean.
        penalty: at least 0; one number, or one for every feature.
        num_classes: of the problem.
        tolerance: on the length of the gradient, positive.

    Returns:
        A, in the dtype of the features.

    Raises:
        ValueError: if shapes disagree; values are not checked.
        TypeError: if features are not floating point or labels not integers.

    References:
        Nocedal & Wright 2006, "Numerical Optimization", Algorithms 7.4 and 7.5.

    Example:
        >>> features = jnp.array([[-1.0, 1.0], [1.0, 1.0]])  # the second is always one
        >>> labels, weights = jnp.array([0, 1]), jnp.array([0.5, 0.5])
        >>> found = minimum(
        ...     features, labels, weights, penalty=0.1, num_classes=2, tolerance=1e-4
        ... )
        >>> print((features @ found).argmax(1))
        [0 1]
    """
    checks.require_floating("features", features, "n d")
    checks.require_integers("labels", labels)
    checks.require_floating("weights", weights, "n")
    for name, its in (("labels", labels), ("weights", weights)):
        checks.require_size(name, its, 0, len(features), "features")
    with jax.numpy_dtype_promotion("standard"):  # Optax knows no other
        return _minimum(features, labels, weights, penalty, num_classes, tolerance)


def minimum_with_bias(
    features: Float[Array, "n d"],
    labels: Int[Array, " n"],
    weights: Float[Array, " n"],
    penalty: Float[Array, ""],
    *,
    num_classes: int,
) -> Float[Array, "d classes"]:
    """`minimum` where the last feature is always one, and its weights are the biases.

    All other weights have the same penalty.
    """
    return minimum(
        *(features, labels, weights),
        penalty=penalty * jnp.ones((features.shape[1], 1)).at[-1].set(0),
        num_classes=num_classes,
        # Large penalties would let the bias, which has none, stop early.
        tolerance=TOLERANCE * jnp.minimum(penalty, 1e-2),
    )


def _minimum(features, labels, weights, penalty, num_classes, tolerance):
    weighted = features * weights[:, None]

    def gradient_of(at):
        residual = numerics.label_residual(_matmul(features, at), labels)
        return penalty * at - _matmul(weighted.T, residual)

    def goes_on(search):
        is_far = _dot(search.gradient, search.gradient) >= tolerance**2
        is_new = search.num_gradients < 0
        return is_new | (search.num_gradients < MAX_GRADIENTS) & is_far

    # Every turn of the one loop computes one gradient, and takes a step or halves it.
    # In `optax.lbfgs`, the line search is a loop within the loop, in which a batch of
    # problems under `jax.vmap` would wait for the slowest at every step.
    def step(search):
        at = search.at + search.scale * search.direction
        gradient = gradient_of(at)
        slope, ahead = (_dot(g, search.direction) for g in (search.gradient, gradient))
        is_good = ahead <= jnp.abs(slope) / 2
        uphill, memory = solver.update(gradient, search.memory, at)
        count = search.num_gradients + 1
        # Rounding can make a curvature in the memory negative, mostly that of a bias
        # without a minimum. Then the direction may lead uphill, where no halving helps.
        descent = -jnp.where(_dot(uphill, gradient) > 0, uphill, gradient)
        taken = _Search(at, gradient, descent, one, memory, count)
        halved = search._replace(scale=search.scale / 2, num_gradients=count)
        return jax.tree.map(partial(jnp.where, is_good), taken, halved)

    zeros = jnp.zeros((features.shape[1], num_classes), features.dtype)
    one = jnp.ones((), features.dtype)
    solver = optax.scale_by_lbfgs(MEMORY, scale_init_precond=True)
    # A first move of length zero finds the gradient at the start. Code of its own for
    # that would double the program, which takes longer to compile than to run.
    start = _Search(zeros, zeros, zeros, one, solver.init(zeros), -1)
    return jax.lax.while_loop(goes_on, step, start).at


def _dot(a, b):
    return (a * b).sum()
