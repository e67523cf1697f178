"""Average linkage: clusters that are merged, the two closest first.

Axes: s rows that are merged, c clusters.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from iwps_jax import blocks, checks, numerics
from iwps_jax.selection.k_means import nearest_center
from iwps_jax.types import AnyArray

MOST_ROWS = 2048


def average_linkage(
    features: Float[AnyArray, "pool d"],
    num_clusters: int,
    *,
    most_rows: int = MOST_ROWS,
) -> Int[jax.Array, " pool"]:
    """Hierarchical clusters: always merges the two of the least mean distance.

        d(A, B) = mean of ‖a - b‖² over a in A, b in B
                = ‖μ_A - μ_B‖² + v_A + v_B

    with μ the mean of a cluster and v the mean squared distance to it, so that a
    cluster is d + 1 numbers and no matrix of distances is kept. The order of merges is
    found along chains of nearest neighbors. Of pools above `most_rows`, so many rows
    at even distances in the pool are merged, and each other row goes to the cluster of
    the least mean distance. There is no randomness: the same features have the same
    clusters in every round. O(s² d + pool · c · d) time; memory beside the arguments:
    [s, d], a few numbers a row and blocks of rows.

    Args:
        features: one embedding per row.
        num_clusters: how many clusters to leave.
        most_rows: rows that are merged, at most.

    Returns:
        The cluster of every row, from 0, in the order of their first rows. If
        num_clusters is above most_rows, there are only so many.

    Raises:
        ValueError: if num_clusters is not in [1, pool] or most_rows is below 1; outside
            `jax.jit` also if a feature is not finite.
        TypeError: if features are not floating point.

    Where paper and code differ: Citovsky et al. 2021 stop at a distance, chosen such
    that clusters have ten rows on average, and merge all rows; there is no public code.

    References:
        Müllner 2011, "Modern hierarchical, agglomerative clustering algorithms",
        Figure 3. https://arxiv.org/abs/1109.2378

    Example:
        >>> line = jnp.array([[0.0], [7.0], [0.1], [7.2], [9.0]])
        >>> print(average_linkage(line, 3), average_linkage(line, 2))
        [0 1 0 1 2] [0 1 0 1 1]
    """
    checks.require_finite("features", features, "pool d")
    checks.require_at_most("num_clusters", num_clusters, len(features), "rows")
    if checks.require_integer("most_rows", most_rows) < 1:
        raise ValueError(f"most_rows must be at least 1, got {most_rows}.")
    return _average_linkage(
        features, num_clusters=int(num_clusters), most_rows=int(most_rows)
    )


class _Merges(NamedTuple):
    """Clusters so far, each in the place of its first row, and the chain.

    Attributes:
        means: μ of each cluster.
        squares: ‖μ‖² of each.
        spreads: v of each.
        sizes: rows of each; zero for those that were merged into others.
        parents: what each was merged into; itself at first.
        heights: at which distance; infinite at first.
        order: after how many merges.
        below: the largest height within each.
        chain: clusters, each but the first the nearest of the one before.
        gaps: the distance of each to the one before.
        length: how many of the chain count.
        left: clusters.
    """

    means: Float[jax.Array, "s d"]
    squares: Float[jax.Array, " s"]
    spreads: Float[jax.Array, " s"]
    sizes: Float[jax.Array, " s"]
    parents: Int[jax.Array, " s"]
    heights: Float[jax.Array, " s"]
    order: Int[jax.Array, " s"]
    below: Float[jax.Array, " s"]
    chain: Int[jax.Array, " s"]
    gaps: Float[jax.Array, " s"]
    length: Int[jax.Array, ""]
    left: Int[jax.Array, ""]


@partial(jax.jit, static_argnames=("num_clusters", "most_rows"))
def _average_linkage(features, *, num_clusters, most_rows):
    """`average_linkage` without its checks."""
    features = jnp.asarray(features)
    pool, size = len(features), min(most_rows, len(features))
    everything = jnp.ones(pool, bool)
    scale = blocks.to_unit_range(blocks.largest_entries(features), everything)
    # As integers of Python: pool · size may be too large for 32 bits.
    drawn = jnp.array([i * pool // size for i in range(size)], jnp.int32)
    points = blocks.take_rows(features, drawn) * scale
    number = min(num_clusters, size)
    parents = _cut(_merge(points), number)
    is_root = parents == jnp.arange(size, dtype=jnp.int32)
    labels = (jnp.cumsum(is_root, dtype=jnp.int32) - 1)[parents]
    if pool == size:
        return labels
    is_member = labels[None] == jnp.arange(number, dtype=jnp.int32)[:, None]
    is_member = is_member.astype(points.dtype)
    is_member = is_member / is_member.sum(1, keepdims=True)
    means = jnp.matmul(is_member, points, precision=numerics.PRECISION)
    squares = blocks.sum_rows((points - means[labels]) ** 2)
    spreads = jnp.matmul(is_member, squares, precision=numerics.PRECISION)
    others = nearest_center(
        features, everything, means / scale, jnp.int32(number), spreads
    )
    return others.at[drawn].set(labels)


def _merge(points: Float[jax.Array, "s d"]) -> _Merges:
    """All merges, by chains of nearest neighbors.

    Each cluster of a chain is nearer to the next than to the one before, until two are
    each other's nearest: these are merged, and the rest of the chain remains one.
    """
    size = len(points)
    numbers = jnp.arange(size, dtype=jnp.int32)
    zeros = jnp.zeros(size, points.dtype)
    points -= points.mean(0, keepdims=True)
    start = _Merges(
        means=points,
        squares=blocks.sum_rows(points**2),
        spreads=zeros,
        sizes=zeros + 1,
        parents=numbers,
        heights=zeros + jnp.inf,
        order=numbers,
        below=zeros,
        chain=jnp.zeros(size, jnp.int32),
        gaps=zeros,
        length=jnp.int32(0),
        left=jnp.int32(size),
    )

    def turn(state):
        state = _begun(state)
        tip = state.chain[state.length - 1]
        before = state.chain[jnp.maximum(state.length - 2, 0)]
        has_before = state.length > 1
        distances = _distances(state, tip)
        nearest = blocks.argmax(-distances).astype(jnp.int32)
        gap = distances[nearest]
        # A tie goes to the one before, else chains might not end.
        is_mutual = has_before & (state.gaps[state.length - 1] <= gap)
        merged = _merged(state, before, tip, state.gaps[state.length - 1])
        longer = state._replace(
            chain=state.chain.at[state.length].set(nearest, mode="drop"),
            gaps=state.gaps.at[state.length].set(gap, mode="drop"),
            length=state.length + 1,
        )
        return jax.tree.map(lambda a, b: jnp.where(is_mutual, a, b), merged, longer)

    def goes_on(state):
        # No chain is longer than all clusters, unless a trace hid that rows are NaN.
        return (state.left > 1) & (state.length <= size)

    return jax.lax.while_loop(goes_on, turn, start)


def _begun(state):
    """A chain of the first cluster left, if there is none."""
    is_none = state.length == 0
    first = blocks.argmax(state.sizes > 0).astype(jnp.int32)
    chain = state.chain.at[0].set(jnp.where(is_none, first, state.chain[0]))
    return state._replace(chain=chain, length=jnp.maximum(state.length, 1))


def _distances(state, tip):
    """Distances of all clusters to one; infinite to itself and to those of the chain.

    Without rounding none of the chain is the nearest, but for the one before.
    """
    mean = state.means[tip]
    products = jnp.matmul(state.means, mean, precision=numerics.PRECISION)
    distances = state.squares + state.squares[tip] - 2 * products
    distances = jnp.maximum(distances, 0) + (state.spreads + state.spreads[tip])
    places = jnp.arange(len(state.chain), dtype=jnp.int32)
    in_chain = jnp.where(places < state.length, state.chain, len(places))
    distances = jnp.where(state.sizes > 0, distances, jnp.inf)
    return distances.at[in_chain].set(jnp.inf, mode="drop")


def _merged(state, one, other, height):
    """The state with two clusters as one, in the place of the first of them."""
    keep, lose = jnp.minimum(one, other), jnp.maximum(one, other)
    sizes, means, spreads = state.sizes, state.means, state.spreads
    total = sizes[keep] + sizes[lose]
    share = sizes[lose] / total
    step = means[lose] - means[keep]
    mean = means[keep] + share * step
    spread = (1 - share) * spreads[keep] + share * spreads[lose]
    spread = spread + share * (1 - share) * (step**2).sum()
    # Rounding must not put a merge below those that it is made of.
    height = jnp.maximum(height, jnp.maximum(state.below[keep], state.below[lose]))
    return state._replace(
        means=means.at[keep].set(mean),
        squares=state.squares.at[keep].set((mean**2).sum()),
        spreads=spreads.at[keep].set(spread),
        sizes=sizes.at[keep].set(total).at[lose].set(0),
        parents=state.parents.at[lose].set(keep),
        heights=state.heights.at[lose].set(height),
        order=state.order.at[lose].set(len(sizes) - state.left),
        below=state.below.at[keep].set(height),
        length=state.length - 2,
        left=state.left - 1,
    )


def _cut(merges: _Merges, number: int) -> Int[jax.Array, " s"]:
    """The first row of each row's cluster, where so many are left."""
    size = len(merges.parents)
    numbers = jnp.arange(size, dtype=jnp.int32)
    # Of equal heights, a cluster's merges come before those that it takes part in.
    keys = merges.heights, merges.order, numbers
    order = jax.lax.sort(keys, num_keys=2)[-1]
    is_made = jnp.zeros(size, bool).at[order].set(numbers < size - number)
    parents = jnp.where(is_made, merges.parents, numbers)

    def jump(i, parents):
        return parents[parents]

    return jax.lax.fori_loop(0, size.bit_length(), jump, parents)
