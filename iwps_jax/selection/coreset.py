"""Core-set: cover the pool, by features alone."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from iwps_jax import blocks, checks, numerics
from iwps_jax.selection import spaces
from iwps_jax.selection.greedy import greedy
from iwps_jax.selection.spaces import Space
from iwps_jax.types import AnyArray

CENTERS_PER_BLOCK = 128


def k_center_greedy(
    features: Float[AnyArray, "pool d"], k: int, labeled: Bool[AnyArray, " pool"]
) -> Int[jax.Array, " k"]:
    """Core-set: cover the pool with k more centers, farthest point first.

        next = argmax_i min_(j in centers) ‖h_i - h_j‖²

    starting from all labeled rows as centers; ties, an empty labeled set among
    them, go to the lower row. Memory beside the arguments: a few numbers a row and
    blocks of 8,192 rows, whatever the number of centers.

    Args:
        features: one embedding per row, labeled rows included.
        k: how many rows to choose.
        labeled: rows that are centers already.

    Returns:
        k distinct unlabeled rows; duplicates of centers come last.

    Raises:
        ValueError: if k is not in [1, unlabeled rows] or shapes disagree; outside
            `jax.jit` also if a feature is not finite.
        TypeError: if features are not floating point or `labeled` is not boolean.

    References:
        Sener, Savarese 2018, "Active Learning for Convolutional Neural Networks: A
        Core-Set Approach", Algorithm 1. https://arxiv.org/abs/1708.00489

    Example:
        >>> line = jnp.array([[0.0], [1.0], [5.0], [9.0]])
        >>> print(k_center_greedy(line, 2, jnp.array([True, False, False, False])))
        [3 2]
    """
    checks.require_finite("features", features, "pool d")
    checks.require_mask("labeled", labeled, len(features))
    checks.require_at_most("k", k, len(features))
    checks.require_at_most("k", k, (~jnp.asarray(labeled)).sum())
    return _k_center_greedy(features, labeled, k=int(k))


@partial(jax.jit, static_argnames="k")
def _k_center_greedy(features, labeled, *, k):
    labeled = jnp.asarray(labeled)
    points = spaces.geometry(Space(features, None), jnp.ones_like(labeled))
    return greedy(
        k,
        _distance_to_labeled(features, points.right_scale, labeled),
        ~labeled,
        gain=lambda i, distance, eligible: distance,
        update=lambda i, distance, row: spaces.nearer(points, row, distance),
        best=blocks.argmax,
    )


def _distance_to_labeled(features, scale, labeled):
    """Squared distance to the nearest labeled row, by blocks of rows and of centers.

    One matrix product a block finds the nearest center, from ‖c‖² - 2 h·c of centered
    features; that form cancels, so the distance itself is a sum of squared
    differences, exactly zero for a copy of a center.
    """
    num_centers = min(CENTERS_PER_BLOCK, len(features))
    labeled_first = jnp.pad(jnp.argsort(~labeled, stable=True), (0, num_centers))
    num_labeled = labeled.sum()
    num_blocks = (num_labeled + num_centers - 1) // num_centers
    middle = blocks.middle(features, scale)

    def to_nearest(start, size, distance):
        block = blocks.take_slice(features, start, size) * scale
        centered = block - middle[None]

        def nearer(i, distance):
            first = i * num_centers
            rows = jax.lax.dynamic_slice(labeled_first, (first,), (num_centers,))
            centers = blocks.take_rows(features, rows) * scale
            is_center = first + jnp.arange(num_centers) < num_labeled
            opposite = centers - middle[None]
            square = jnp.where(is_center, (opposite**2).sum(-1), jnp.inf)
            product = jnp.matmul(opposite, centered.T, precision=numerics.PRECISION)
            nearest = centers[blocks.argmax(2 * product - square[:, None])]
            return jnp.minimum(distance, blocks.sum_rows((block - nearest) ** 2))

        return jax.lax.fori_loop(0, num_blocks, nearer, distance)

    farthest = jnp.full(len(features), jnp.inf, scale.dtype)
    return blocks.in_blocks(to_nearest, farthest)
