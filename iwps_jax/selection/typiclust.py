"""TypiClust: the most typical row of every cluster without labels."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from iwps_jax import blocks, checks, dialect
from iwps_jax.selection import spaces
from iwps_jax.selection.spaces import Space
from iwps_jax.types import AnyArray

MOST_CLUSTERS = 500
NEIGHBORS = 20
LEAST_SIZE = 5
# Rows that are compared with as many others at once. More of them are of more clusters,
# and rows of different clusters are compared for nothing; elsewhere launches cost more.
CPU_ROWS, OTHER_ROWS = 256, 2048


def typiclust(
    features: Float[AnyArray, "pool d"],
    clusters: Int[AnyArray, " pool"],
    k: int,
    labeled: Bool[AnyArray, " pool"],
    *,
    neighbors: int = NEIGHBORS,
    least_size: int = LEAST_SIZE,
) -> Int[jax.Array, " k"]:
    """TypiClust: of the clusters with fewest labels, the row in the densest place.

        typicality(x) = 1 / (mean over the K nearest rows x' of x's cluster of ‖x - x'‖)

    with K = min(`neighbors`, size of the cluster - 1). The clusters give a row each by
    turns: first those with fewest labeled rows, of these first the largest. Clusters
    with fewer than `least_size` rows come when all others have no row left, and rows of
    no cluster last. Ties go to the lower cluster and to the lower row.

    The paper clusters anew in every round, into min(labeled + k, 500) clusters: see
    `k_means`. The typicality is computed once, in the first k clusters: O(Σ s² d) for
    clusters of s rows. Memory beside the arguments: some numbers a row, and a block of
    256 rows by 256, or 2,048 where no CPU computes.

    Args:
        features: one embedding per row, labeled rows included.
        clusters: the cluster of each row, a number below the size of the pool; negative
            for rows of none.
        k: how many rows to choose.
        labeled: rows that have a label.
        neighbors: how many of the nearest rows count.
        least_size: clusters below are left for last.

    Returns:
        k distinct unlabeled rows.

    Raises:
        ValueError: if k is not in [1, unlabeled rows], neighbors or least_size is below
            1 or shapes disagree; outside `jax.jit` also if a feature is not finite or
            a cluster's number too large.
        TypeError: if features are not floating point, clusters no integers or `labeled`
            is not boolean.

    Where paper and code differ: the public code takes squared distances, half of the
    cluster at most for K, and leaves labeled rows and picks out of the neighbors, which
    matters from the second row of a cluster on; it drops clusters of five rows, too.

    References:
        Hacohen et al. 2022, "Active Learning on a Budget: Opposite Strategies Suit High
        and Low Budgets", TypiClust with K-means. https://arxiv.org/abs/2202.02794

    Example:
        >>> line = jnp.array([[0.0], [1.0], [1.5], [7.0], [7.2], [9.0], [9.1]])
        >>> clusters, labeled = jnp.array([0, 0, 0, 1, 1, 2, 2]), jnp.arange(7) > 5
        >>> print(typiclust(line, clusters, 3, labeled, least_size=2))
        [1 3 5]
    """
    checks.require_finite("features", features, "pool d")
    checks.require_clusters("clusters", clusters, len(features))
    checks.require_mask("labeled", labeled, len(features))
    checks.require_at_most("k", k, len(features))
    checks.require_at_most("k", k, (~jnp.asarray(labeled)).sum())
    for name, value in (("neighbors", neighbors), ("least_size", least_size)):
        if checks.require_integer(name, value) < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    return _typiclust(
        features,
        clusters,
        labeled,
        k=int(k),
        neighbors=int(neighbors),
        least_size=int(least_size),
    )


@partial(jax.jit, static_argnames=("k", "neighbors", "least_size"))
def _typiclust(features, clusters, labeled, *, k, neighbors, least_size):
    """`typiclust` without its checks."""
    labeled, clusters = jnp.asarray(labeled), jnp.asarray(clusters)
    pool = len(labeled)
    # One number more, for the rows of no cluster.
    clusters = jnp.where(clusters < 0, pool, clusters).astype(jnp.int32)
    places, sizes, kinds = _order(clusters, labeled, least_size)
    place = places[clusters]
    rows = jnp.arange(pool, dtype=jnp.int32)
    sorted_place, sorted_rows = jax.lax.sort((place, rows), num_keys=2)
    ends = jnp.zeros(pool + 1, jnp.int32).at[places].set(sizes).cumsum(dtype=jnp.int32)
    sizes_by_place = jnp.diff(ends, prepend=jnp.zeros(1, jnp.int32))
    last = ends[min(k, pool) - 1]
    distances = _mean_distances(
        features,
        sorted_rows,
        sorted_place,
        (ends - sizes_by_place, ends),
        last,
        neighbors,
    )
    mean_distance = jnp.zeros_like(distances).at[sorted_rows].set(distances)
    # By cluster, and in it the most typical first: the place in that row is the turn.
    keys = place, labeled.astype(jnp.int32), mean_distance, rows
    place, is_labeled, _, rows = jax.lax.sort(keys, num_keys=4)
    turn = jnp.arange(pool, dtype=jnp.int32) - (ends - sizes_by_place)[place]
    kind = jnp.zeros_like(kinds).at[places].set(kinds)[place]
    keys = is_labeled, kind, turn, place, rows
    return jax.lax.sort(keys, num_keys=4)[-1][:k]


def _order(clusters, labeled, least_size):
    """The place of each cluster in a round, its size, and its kind.

    The kinds, first to last: clusters that give rows, clusters that are too small,
    those without a row to give, and the rows of no cluster.
    """
    number = len(labeled) + 1
    ones = jnp.ones(len(labeled), jnp.int32)
    sizes = jax.ops.segment_sum(ones, clusters, number)
    known = jax.ops.segment_sum(labeled.astype(jnp.int32), clusters, number)
    names = jnp.arange(number, dtype=jnp.int32)
    kinds = (sizes < least_size).astype(jnp.int32)
    kinds = jnp.where(known == sizes, 2, kinds).at[-1].set(3)
    order = jax.lax.sort((kinds, known, -sizes, names), num_keys=4)[-1]
    return jnp.zeros(number, jnp.int32).at[order].set(names), sizes, kinds


def _mean_distances(features, rows, place, borders, last, neighbors):
    """Mean distances to the nearest rows of the cluster, of the first `last` rows.

    Args:
        features: one embedding per row.
        rows: all rows, sorted by cluster.
        place: their clusters, in that order.
        borders: where the rows of each cluster start and end.
        last: so many rows have their distance computed; others keep zero.
        neighbors: how many of the nearest count.
    """
    points = spaces.geometry(Space(features, None), jnp.ones(len(rows), bool))

    def compute(most, distances):
        size = min(most, len(rows))
        pad = (0, -len(rows) % size)
        padded = jnp.pad(rows, pad), jnp.pad(place, pad, constant_values=-1)
        of_block = partial(_of_block, points, padded, borders, last, neighbors, size)

        def replace(i, distances):
            part = of_block(i * size)
            return jax.lax.dynamic_update_slice(distances, part, (i * size,))

        distances = jnp.pad(distances, pad)
        number = (last + size - 1) // size
        distances = jax.lax.fori_loop(0, number, replace, distances)[: len(rows)]
        return jnp.where(jnp.arange(len(rows), dtype=jnp.int32) < last, distances, 0)

    zeros = jnp.zeros(len(rows), points.right_scale.dtype)
    on_cpu, elsewhere = partial(compute, CPU_ROWS), partial(compute, OTHER_ROWS)
    if len(rows) <= CPU_ROWS:  # nothing is traced twice
        return on_cpu(zeros)
    return dialect.by_platform(on_cpu, elsewhere)(zeros)


def _of_block(points, order, borders, last, neighbors, size, start):
    """Mean distances of a block of sorted rows, which may be of several clusters.

    A matrix product finds the nearest rows; their distances are sums of squared
    differences, zero for copies.
    """
    rows, place = order
    starts, ends = borders
    middle = spaces.middle(points)

    def part(start):
        numbers = jax.lax.dynamic_slice(rows, (start,), (size,))
        of = spaces.rows_of(points, blocks.take_rows, numbers)
        return numbers, jax.lax.dynamic_slice(place, (start,), (size,)), of

    numbers, clusters, mine = part(start)
    around, squares = spaces.seen_from(middle, mine)

    def add(j, nearest):
        others, their_clusters, theirs = part(j * size)
        opposite, lengths = spaces.seen_from(middle, theirs)
        distance = squares[:, None] + lengths[None]
        distance = distance - 2 * spaces.products(points, around, opposite)
        is_near = clusters[:, None] == their_clusters[None]
        is_near &= numbers[:, None] != others[None]
        distance = jnp.where(is_near, distance, jnp.inf)
        distance = jnp.concatenate([nearest[0], distance], axis=1)
        others = jnp.broadcast_to(others[None], (size, size))
        others = jnp.concatenate([nearest[1], others], axis=1)
        highest, columns = jax.lax.top_k(-distance, neighbors)
        return -highest, jnp.take_along_axis(others, columns, axis=1)

    far = jnp.full((size, neighbors), jnp.inf, squares.dtype)
    nobody = jnp.zeros((size, neighbors), jnp.int32)
    # The padding at the end has the number -1, and no rows are its neighbors.
    first = starts[jnp.maximum(clusters[0], 0)] // size
    end = jnp.minimum(ends[clusters.max()], last)
    found = jax.lax.fori_loop(first, (end + size - 1) // size, add, (far, nobody))
    is_one = jnp.isfinite(found[0])

    def sum_up(i, total):
        other = spaces.rows_of(points, blocks.take_rows, found[1][:, i])
        distance = jnp.sqrt(spaces.squared_distances(mine, other))
        return total + jnp.where(is_one[:, i], distance, 0)

    total = jax.lax.fori_loop(0, neighbors, sum_up, jnp.zeros_like(squares))
    return total / jnp.maximum(is_one.sum(1), 1).astype(total.dtype)
