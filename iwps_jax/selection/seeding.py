"""BADGE: k-means++ over the last layer's gradients."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks, numerics
from iwps_jax.selection import lazy, spaces
from iwps_jax.selection.highest import check_where
from iwps_jax.types import AnyArray

# Rows that are drawn before the pool is read again; the same for all k, so that fewer
# picks are the first of more.
NUM_DRAWS = 512
ROWS_PER_GROUP = 1024


def badge(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    logits: Float[AnyArray, "pool classes"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """BADGE: k-means++ over the last layer's gradients under the predictions.

        embedding_i = (p_i - onehot(ŷ_i)) ⊗ h_i

    First the largest embedding, then rows at random in proportion to the squared
    distance to the nearest row chosen, uniformly once all of those are zero. The
    distances come from the two factors: neither the [pool, classes · d] matrix nor
    the [pool, classes] residuals are formed, and memory is as for `k_center_greedy`.
    So is time: rows are drawn by weights that may be too large by now, and taken with
    probability weight / that weight, which leaves the law as it is.

    Args:
        key: randomness of the D² sampling.
        features: inputs h of the last layer.
        logits: its outputs.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows.

    Raises:
        ValueError: if k is not in [1, rows left] or shapes disagree; outside
            `jax.jit` also if a number is not finite.
        TypeError: if features or logits are not floating point or `where` is not
            boolean.

    References:
        Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient
        Lower Bounds", Algorithm 1. https://arxiv.org/abs/1906.03671

    Example:
        >>> features = jnp.array([[1.0], [3.0], [2.0]])
        >>> print(badge(jax.random.key(0), features, jnp.zeros((3, 2)), 1))
        [1]
    """
    checks.require_key("key", key)
    checks.require_finite("features", features, "pool d")
    checks.require_logits("logits", logits, "pool classes")
    checks.require_size("logits", logits, 0, len(features), "features")
    where = check_where(features, k, where)
    return picks_and_passes(key, features, logits, where, k=int(k))[0]


@partial(jax.jit, static_argnames="k")
def picks_and_passes(key, features, logits, where, *, k):
    """`badge` without its checks, and how often it read the pool after the first."""
    where = jnp.asarray(where)
    points = spaces.geometry(spaces.Space(features, logits), where, bias=0.0)
    largest = blocks.argmax(jnp.where(where, spaces.squared_norms(points), -1))
    infinite = jnp.full_like(points.right_squares, jnp.inf)
    nothing = lazy.Picks(
        lazy.room_for(jnp.zeros(k, jnp.int32)),
        jnp.int32(0),
        jnp.where(where, infinite, -infinite),
    )
    draw = partial(_draw, key, points, NUM_DRAWS, k)
    centers, passes = lazy.grow(points, nothing.add(largest), k, draw)
    return centers[:k], passes


def _draw(key, points, number, last, turn, picks):
    """k-means++ by rejection: rows by the weights before these picks, thinned.

        P(row i is drawn and taken) = W_i / ΣW · w_i / W_i = w_i / ΣW

    for the weights w_i <= W_i that the picks so far leave: of the rows that are taken,
    each has the law of a draw by w, whatever W is.
    """
    row_key, height_key = jax.random.split(jax.random.fold_in(key, turn))
    weights = jnp.maximum(picks.nearest, 0)
    is_left = picks.nearest >= 0
    are_zero = ~jnp.any(weights > 0)
    # With nothing left either, any row: only inside `jax.jit` is k not checked.
    weights = jnp.where(
        are_zero, (is_left | ~is_left.any()).astype(weights.dtype), weights
    )
    rows = _rows_by(weights, row_key, number)
    drawn = spaces.rows_of(points, blocks.take_rows, rows)
    heights = numerics.uniform(height_key, (number,)).astype(weights.dtype)
    # The first is drawn by the weights as they are, so it is taken.
    heights = (heights * weights[rows]).at[0].set(-1)
    places = jnp.arange(number)

    def is_taken(place, left):
        return (places >= place) & ~(heights >= left)

    def take(state):
        place, left, picks = state
        place = jnp.argmax(is_taken(place, left))
        chosen = jax.tree.map(lambda part: part[place][None], drawn)
        nearest = spaces.squared_distances(drawn, chosen)
        left = jnp.where(are_zero, left, jnp.minimum(left, nearest))
        left = jnp.where(rows == rows[place], 0, left)
        return place + 1, left, picks.add(rows[place])

    def goes_on(state):
        place, left, picks = state
        return (picks.number < last) & jnp.any(is_taken(place, left))

    return jax.lax.while_loop(goes_on, take, (0, weights[rows], picks))[-1]


def _rows_by(weights, key, number):
    """Rows drawn in proportion to weights, each independent of the others.

    First a group of rows, then one of its rows: numbers of either are few enough for
    the digits of the noise, and for memory.
    """
    group_key, row_key = jax.random.split(key)
    size = min(max(ROWS_PER_GROUP, math.isqrt(len(weights))), len(weights))
    table = jnp.pad(weights, (0, -len(weights) % size)).reshape(-1, size)

    def draw(key, weights):  # in columns: more rows do not change the noise of others
        noise = numerics.gumbel(key, (len(weights), number)).astype(weights.dtype)
        return blocks.argmax(jnp.log(weights) + noise)

    groups = draw(group_key, table.sum(1)[:, None])
    return (groups * size + draw(row_key, table[groups].T)).astype(jnp.int32)
