"""Core-set: cover the pool, by features alone."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from iwps_jax import blocks, checks
from iwps_jax.selection import lazy, spaces
from iwps_jax.selection.spaces import Space
from iwps_jax.types import AnyArray

ROWS_AT_HAND = 4096


def k_center_greedy(
    features: Float[AnyArray, "pool d"], k: int, labeled: Bool[AnyArray, " pool"]
) -> Int[jax.Array, " k"]:
    """Core-set: cover the pool with k more centers, farthest point first.

        next = argmax_i min_(j in centers) ‖h_i - h_j‖²

    starting from all labeled rows as centers; ties, an empty labeled set among
    them, go to the lower row. With 16 features or more, the pool is read a few times,
    not once a pick: see `iwps_jax.selection.lazy`; the picks are the same. Memory
    beside the arguments: a few numbers a row and blocks of 8,192 rows, or of 262,144
    where no CPU computes, whatever the number of centers.

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
    return picks_and_passes(features, labeled, k=int(k))[0]


@partial(jax.jit, static_argnames="k")
def picks_and_passes(features, labeled, *, k):
    """`k_center_greedy` without its checks, and how often it read the features."""
    labeled = jnp.asarray(labeled)
    points = spaces.geometry(Space(features, None), jnp.ones_like(labeled))
    infinite = jnp.full(len(features), jnp.inf, points.right_scale.dtype)
    number = labeled.sum(dtype=jnp.int32)
    start = lazy.Picks(
        lazy.room_for(jnp.argsort(~labeled, stable=True)),
        number,
        jnp.where(labeled, -infinite, infinite),
    )
    last = number + k
    centers, passes = lazy.grow(points, start, last, partial(_farthest, points, last))
    return jax.lax.dynamic_slice(centers, (number,), (k,)), passes


def _farthest(points, last, turn, picks):
    """Always the farthest of a few rows, while it beats the bounds of all others."""
    num_rows = len(picks.nearest)
    size = min(ROWS_AT_HAND, num_rows)
    bounds, farthest = jax.lax.top_k(picks.nearest, min(size + 1, num_rows))
    # In the order of the pool: the first of the largest is the lower row.
    rows = jnp.sort(farthest[:size])
    at_hand = spaces.rows_of(points, blocks.take_rows, rows)

    def add(state):
        picks, nearest, _ = state
        best = blocks.argmax(nearest)
        chosen = jax.tree.map(lambda part: part[best][None], at_hand)
        nearest = jnp.minimum(nearest, spaces.squared_distances(at_hand, chosen))
        nearest = nearest.at[best].set(-jnp.inf)
        return picks.add(rows[best]), nearest, beats(nearest)

    def beats(nearest):
        if size == num_rows:
            return True
        best = blocks.argmax(nearest)
        ties = (nearest[best] == bounds[size]) & (rows[best] < farthest[size])
        return (nearest[best] > bounds[size]) | ties

    # Of distances that are all up to date, the largest is at hand.
    state = add((picks, picks.nearest[rows], True))
    return jax.lax.while_loop(
        lambda state: state[-1] & (state[0].number < last), add, state
    )[0]
