"""k-means: clusters of the pool, for methods that take rows from each of them.

Axes: s rows in the steps, c centers that there is room for.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks, numerics
from iwps_jax.selection import spaces
from iwps_jax.selection.spaces import Space
from iwps_jax.types import AnyArray

MOST_ROWS = 2**17
STEPS = 100
# A step that moves the centers by less, in units of the mean variance of a feature, is
# the last: the rule of scikit-learn.
TOLERANCE = 1e-4
# In whose multiples time depends on how many are in use.
CENTERS_PER_BLOCK = 128


class Clusters(NamedTuple):
    """What `k_means` finds.

    Attributes:
        centers: the centers in use, and zeros behind them.
        labels: the cluster of every row, from 0; -1 beside the mask.
    """

    centers: Float[jax.Array, "c d"]
    labels: Int[jax.Array, " pool"]


def k_means(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    num_clusters: int,
    where: Bool[AnyArray, " pool"] | None = None,
    *,
    number: Int[AnyArray, ""] | int | None = None,
    steps: int = STEPS,
    most_rows: int = MOST_ROWS,
) -> Clusters:
    """Clusters around centers, each the mean of the rows that it is nearest to.

        label_i = argmin_c ‖h_i - μ_c‖²,    μ_c = mean of the rows with label c

    k-means++ draws the first centers from the rows: one at random, the others in
    proportion to the squared distance to the nearest so far. Then labels and centers
    are made of each other by turns (Lloyd), until the squared moves of the centers sum
    to less than 1e-4 of the mean variance of a feature, or for `steps` turns. A center
    to which no row is nearest stays in its place: its cluster may end without rows, as
    some do for certain if fewer rows differ than there are centers. Equal rows have
    one label; of centers equally near, the first counts.

    `num_clusters` is static and bounds memory; `number` may be traced, and grow from
    round to round of one compiled program. Time follows `number`, in steps of 128. Of
    pools above `most_rows`, so many rows drawn at random make the centers, and all
    rows get labels. O((s · steps + pool) · number · d) time; memory beside the
    arguments: [c, d], a few numbers a row, blocks of rows, and for large pools a copy
    of the rows drawn.

    Args:
        key: randomness of the start, and of the rows drawn.
        features: one embedding per row.
        num_clusters: the largest number of clusters.
        where: rows that count; all by default. Others have the label -1.
        number: how many clusters to make, at most `num_clusters`; None for all.
        steps: most turns.
        most_rows: rows that make the centers, at most.

    Returns:
        Centers and labels. Numbers from `number` on label no row.

    Raises:
        ValueError: if num_clusters is not in [1, pool], number not in [1,
            num_clusters], steps or most_rows below 1, or shapes disagree; outside
            `jax.jit` also if a feature is not finite.
        TypeError: if features are not floating point or `where` is not boolean.

    References:
        Lloyd 1982, "Least Squares Quantization in PCM". Arthur, Vassilvitskii 2007,
        "k-means++: The Advantages of Careful Seeding", §2.2. The sample is the rule of
        the library FAISS, which takes 256 rows a center.

    Example:
        >>> line = jnp.array([[0.0], [0.1], [7.0], [7.1], [7.3]])
        >>> centers, labels = k_means(jax.random.key(0), line, 2)
        >>> print([f"{center:.2f}" for center in sorted(centers[:, 0].tolist())])
        ['0.05', '7.13']
        >>> print(labels == labels[0])
        [ True  True False False False]
    """
    checks.require_key("key", key)
    checks.require_finite("features", features, "pool d")
    checks.require_at_most("num_clusters", num_clusters, len(features), "rows")
    for name, value in (("steps", steps), ("most_rows", most_rows)):
        if checks.require_integer(name, value) < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if where is None:
        where = jnp.ones(len(features), bool)
    checks.require_mask("where", where, len(features))
    number = num_clusters if number is None else number
    checks.require_same_numbers("number", number)
    if isinstance(number, int):
        checks.require_at_most("number", number, num_clusters, "num_clusters")
    return _k_means(
        key,
        features,
        where,
        jnp.asarray(number, jnp.int32),
        num_clusters=int(num_clusters),
        steps=int(steps),
        most_rows=int(most_rows),
    )


@partial(jax.jit, static_argnames=("num_clusters", "steps", "most_rows"))
def _k_means(key, features, where, number, *, num_clusters, steps, most_rows):
    """`k_means` without its checks."""
    start_key, sample_key = jax.random.split(key)
    rows, counts = jnp.asarray(features), jnp.asarray(where)
    if len(rows) > most_rows:
        noise = jnp.where(counts, numerics.uniform(sample_key, counts.shape), -1)
        _, drawn = jax.lax.top_k(noise, most_rows)
        rows, counts = rows[jnp.sort(drawn)], counts[jnp.sort(drawn)]
    start = start_rows(start_key, rows, counts, number, num_clusters=num_clusters)
    centers = lloyd(rows, counts, blocks.take_rows(rows, start), number, steps=steps)
    return Clusters(centers, nearest_center(features, where, centers, number))


def start_rows(key, features, where, number, *, num_clusters):
    """The rows that k-means++ draws for the first centers; row 0 behind them.

    Where no row differs from the rows drawn, the next is drawn from all.
    """
    points = spaces.geometry(Space(features, None), where)
    infinite = jnp.full_like(points.right_squares, jnp.inf)

    def add(i, state):
        rows, nearest = state
        weights = jnp.where(where & (i > 0), nearest, 0)
        weights = jnp.where(jnp.any(weights > 0), weights, where.astype(weights.dtype))
        noise = numerics.gumbel(jax.random.fold_in(key, i), where.shape)
        row = blocks.argmax(jnp.log(weights) + noise.astype(weights.dtype))
        nearest = spaces.nearer(points, row, nearest)
        return rows.at[i].set(row.astype(jnp.int32)), nearest

    rows = jnp.zeros(num_clusters, jnp.int32)
    return jax.lax.fori_loop(0, number, add, (rows, infinite))[0]


class _Steps(NamedTuple):
    """Where the steps are: the centers, and whether they are to move again."""

    turn: Int[jax.Array, ""]
    centers: Float[jax.Array, "room d"]
    goes_on: Bool[jax.Array, ""]


@partial(jax.jit, static_argnames="steps")
def lloyd(
    features: Float[AnyArray, "pool d"],
    where: Bool[AnyArray, " pool"],
    centers: Float[AnyArray, "c d"],
    number: Int[AnyArray, ""],
    *,
    steps: int,
) -> Float[jax.Array, "c d"]:
    """The centers after the steps of Lloyd from given ones.

    Args:
        features: one embedding per row.
        where: rows that count.
        centers: [c, d], the first centers.
        number: how many of them are in use.
        steps: most turns.
    """
    view = _view(features, where, centers, number)
    start = _room_for(view, centers, number)
    most_move = TOLERANCE * _mean_variance(view)

    def move(steps):
        sums, counts = _sums(view, steps.centers, number)
        means = sums / jnp.maximum(counts, 1)[:, None]
        means = jnp.where((counts > 0)[:, None], means, steps.centers)
        moved = ((means - steps.centers) ** 2).sum()
        return _Steps(steps.turn + 1, means, moved > most_move)

    found = jax.lax.while_loop(
        lambda state: state.goes_on & (state.turn < steps),
        move,
        _Steps(jnp.int32(0), start, jnp.bool_(True)),
    )
    found = (found.centers[: len(centers)] + view.place[None]) / view.scale
    return jnp.where(_is_used(len(centers), number)[:, None], found, 0)


@jax.jit
def nearest_center(features, where, centers, number, spreads=0.0):
    """The number of the nearest center in use, of every row that counts; else -1.

    argmin_c ‖h - μ_c‖² + v_c, with v one number a center, in units of rows that are
    scaled to the unit range: zero, or the mean squared distance within a cluster.
    """
    view = _view(features, where, centers, number)
    seen = _room_for(view, centers, number)
    spreads = jnp.broadcast_to(jnp.asarray(spreads, seen.dtype), len(centers))
    spreads = jnp.pad(spreads, (0, len(seen) - len(centers)))

    def of_block(start, size, _):
        return _labels(view, seen, number, start, size, spreads)[1]

    return blocks.in_blocks(of_block, jnp.full(len(features), -1, jnp.int32))


class _View(NamedTuple):
    """Rows as they are measured: scaled, and less a place among the centers."""

    features: Float[jax.Array, "s d"]
    where: Bool[jax.Array, " s"]
    scale: Float[jax.Array, ""]
    place: Float[jax.Array, " d"]

    def block(self, start, size):
        """Consecutive rows, zeros where they do not count."""
        counts = jax.lax.dynamic_slice(self.where, (start,), (size,))
        rows = blocks.take_slice(self.features, start, size) * self.scale
        return jnp.where(counts[:, None], rows - self.place[None], 0), counts


def _view(features, where, centers, number):
    features, where = jnp.asarray(features), jnp.asarray(where)
    scale = blocks.to_unit_range(blocks.largest_entries(features), where)
    is_used = _is_used(len(centers), number)
    total = jnp.where(is_used[:, None], centers * scale, 0).sum(0)
    return _View(features, where, scale, total / _at_least_one(number, total))


def _is_used(size, number):
    return jnp.arange(size, dtype=jnp.int32) < number


def _room_for(view, centers, number):
    """The centers in the view, and zeros up to a whole block of centers."""
    seen = centers * view.scale - view.place[None]
    seen = jnp.where(_is_used(len(centers), number)[:, None], seen, 0)
    size = min(CENTERS_PER_BLOCK, len(centers))
    return jnp.pad(seen, ((0, -len(centers) % size), (0, 0)))


def _over_centers(add, total, centers, number):
    """`add(total, first, centers)` of all blocks of centers in use."""
    size = min(CENTERS_PER_BLOCK, len(centers))

    def of_block(i, total):
        part = jax.lax.dynamic_slice_in_dim(centers, i * size, size)
        return add(total, i * size, part)

    return jax.lax.fori_loop(0, (number + size - 1) // size, of_block, total)


def _labels(view, centers, number, start, size, spreads=None):
    """A block of rows, and the nearest center of each; -1 for rows that do not count.

    argmin_c ‖x - c‖² + v_c = argmax_c x·c - ½ (‖c‖² + v_c)
    """
    rows, counts = view.block(start, size)

    def add(best, first, part):
        is_used = first + jnp.arange(len(part), dtype=jnp.int32) < number
        squares = (part**2).sum(1)
        if spreads is not None:
            squares += jax.lax.dynamic_slice(spreads, (first,), (len(part),))
        offsets = jnp.where(is_used, squares / 2, jnp.inf)
        nearness = (
            jnp.matmul(part, rows.T, precision=numerics.PRECISION) - offsets[:, None]
        )
        place = blocks.argmax(nearness)
        highest = nearness.max(0)
        labels = first + place.astype(jnp.int32)
        highest_so_far, labels_so_far = best
        is_nearer = highest > highest_so_far
        return (
            jnp.maximum(highest, highest_so_far),
            jnp.where(is_nearer, labels, labels_so_far),
        )

    none = jnp.full(size, -jnp.inf, rows.dtype), jnp.zeros(size, jnp.int32)
    _, labels = _over_centers(add, none, centers, number)
    return rows, jnp.where(counts, labels, -1)


def _sums(view, centers, number):
    """The sum of the rows of each cluster, and their number."""

    def add(total, start, size, is_new):
        rows, labels = _labels(view, centers, number, start, size)
        labels = jnp.where(is_new, labels, -1)

        def of_centers(total, first, part):
            numbers = first + jnp.arange(len(part), dtype=jnp.int32)
            is_member = (numbers[:, None] == labels[None]).astype(rows.dtype)
            sums = jnp.matmul(is_member, rows, precision=numerics.PRECISION)
            new = sums, is_member.sum(1)
            return jax.tree.map(
                lambda old, new: jax.lax.dynamic_update_slice_in_dim(
                    old,
                    jax.lax.dynamic_slice_in_dim(old, first, len(part)) + new,
                    first,
                    0,
                ),
                total,
                new,
            )

        return _over_centers(of_centers, total, centers, number)

    zeros = jnp.zeros_like(centers), jnp.zeros(len(centers), centers.dtype)
    return blocks.add_up(add, zeros, len(view.features))


def _mean_variance(view):
    """The variance of a feature among the rows that count, on average."""

    def add(total, start, size, is_new):
        rows, counts = view.block(start, size)
        rows = jnp.where(is_new[:, None], rows, 0)
        sums, squares = total
        return sums + rows.sum(0), squares + (rows**2).sum(0)

    zeros = jnp.zeros_like(view.place)
    sums, squares = blocks.add_up(add, (zeros, zeros), len(view.features))
    number = _at_least_one(view.where.sum(dtype=jnp.int32), sums)
    return (squares / number - (sums / number) ** 2).mean()


def _at_least_one(number, like):
    return jnp.maximum(number, 1).astype(like.dtype)
