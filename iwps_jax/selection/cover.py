"""Greedy cover: always the row that adds most to how well the targets are covered.

    gain_i = Σ_u w_u max(K(x_i, u) - cover_u, 0),    cover_u ← max(cover_u, K(x_i, u))

for a kernel K that falls with the distance between rows of unit norm. A cover only
grows, so gains only fall (the sum is submodular): the last known gains are upper
bounds. The rows with the highest bounds are taken at hand, with their kernel; picks are
made among them, each by gains that are up to date, while the best beats the bounds of
all others. The picks are those of the plain form, which computes all gains before every
pick.

Axes: t targets, b rows at hand.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from iwps_jax import blocks, numerics
from iwps_jax.dialect import LANES
from iwps_jax.selection.highest import top_rows
from iwps_jax.types import AnyArray

# Of the kernel at hand: its rows are as many as fit.
ENTRIES_AT_HAND = 2**22
# A squared distance of rows of unit norm is a difference of numbers near one: below
# this it is rounding, and the rows count as copies.
SAME = 2.0**-19

Kernel = Callable[[jax.Array], jax.Array]
"""From squared distances to a number in [0, 1], not larger for larger distances."""


class Targets(NamedTuple):
    """The rows that are to be covered.

    Attributes:
        rows: their numbers.
        points: with unit norm, less `place`.
        squares: squared norms of the points.
        counts: whether they are eligible: there may be too few such rows.
        weights: zero where a target does not count.
        place: about their mean, so that products cancel less.
    """

    rows: Int[jax.Array, " t"]
    points: Float[jax.Array, "t d"]
    squares: Float[jax.Array, " t"]
    counts: Bool[jax.Array, " t"]
    weights: Float[jax.Array, " t"]
    place: Float[jax.Array, " d"]


def unit_rows(rows: Float[jax.Array, "n d"]) -> Float[jax.Array, "n d"]:
    """Rows of norm one, however large or small they are; zeros stay zeros."""
    largest = jnp.abs(rows).max(-1, keepdims=True)
    rows = rows / jnp.where(largest > 0, largest, 1)
    square = (rows**2).sum(-1, keepdims=True)
    return rows / jnp.sqrt(jnp.where(square > 0, square, 1))


def draw_targets(
    key: jax.Array,
    features: Float[AnyArray, "pool d"],
    weights: Float[jax.Array, " pool"],
    eligible: Bool[jax.Array, " pool"],
    num_targets: int,
) -> Targets:
    """The eligible rows, or `num_targets` of them where the pool has more rows.

    Rows are drawn by noise of their own, so that their order in the pool decides
    nothing; the first drawn come first.
    """
    noise = _noise(key, len(features))
    rows = top_rows(noise, eligible, k=min(num_targets, len(features)))
    return _targets_of(features, rows, eligible[rows], weights[rows])


def draw_by_priority(
    key: jax.Array,
    features: Float[AnyArray, "pool d"],
    weights: Float[jax.Array, " pool"],
    eligible: Bool[jax.Array, " pool"],
    num_targets: int,
) -> Targets:
    """The rows with the highest weight / uniform noise, which stand for all others.

    With τ the highest such priority of a row that is not drawn, the weight of a target
    becomes max(w, τ). So the expected sum over the targets, of anything times these
    weights, is the sum over all eligible rows times w; the heaviest rows are always
    drawn. All eligible rows are targets, with their weights, where there are no more.

    References:
        Duffield, Lund, Thorup 2007, "Priority sampling for estimation of arbitrary
        subset sums", §1.1.
    """
    weights = jnp.where(eligible, weights, 0)
    noise = _noise(key, len(features)).astype(weights.dtype)
    priorities = weights / jnp.maximum(noise, jnp.finfo(weights.dtype).tiny)
    # Rows of weight zero come last, those that do not count at the very end.
    priorities = jnp.where(eligible, priorities, -1)
    highest, rows = jax.lax.top_k(priorities, min(num_targets + 1, len(features)))
    least = jnp.maximum(highest[num_targets:], 0).sum()  # of one or none
    rows = rows[:num_targets].astype(jnp.int32)
    weights = jnp.maximum(weights[rows], least)
    return _targets_of(features, rows, eligible[rows], weights)


def _targets_of(features, rows, counts, weights) -> Targets:
    """These rows as targets; those that do not count weigh nothing."""
    points = unit_rows(blocks.take_rows(features, rows))
    weights = jnp.where(counts, weights, 0)
    return targets_at(rows, points, counts, weights, points.mean(0))


def _noise(key, number):
    """Uniform noise of each row, of its own number."""
    numbers = jnp.arange(number, dtype=jnp.int32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    return jax.vmap(numerics.uniform)(keys)


def all_targets(
    features: Float[AnyArray, "pool d"], eligible: Bool[jax.Array, " pool"]
) -> Targets:
    """All rows, in their order; those that are not eligible do not count."""
    rows = jnp.arange(len(features), dtype=jnp.int32)
    points = unit_rows(blocks.take_rows(features, rows))
    return targets_at(rows, points, eligible, eligible, points.mean(0))


def targets_at(rows, points, counts, weights, place) -> Targets:
    """Targets of rows with these points, as they are seen from a place."""
    points = points - place[None]
    squares = (points**2).sum(-1)
    return Targets(rows, points, squares, counts, weights.astype(points.dtype), place)


def first_of(targets: Targets, number: int) -> Targets:
    """The first of the targets: so many drawn at random."""
    first = jax.tree.map(lambda array: array[:number], targets)
    return first._replace(place=targets.place)


def squared_distances(
    targets: Targets, features: Float[AnyArray, "pool d"], rows: Int[jax.Array, " b"]
) -> Float[jax.Array, "b t"]:
    """Squared distances of rows with unit norm to the targets; zero for copies."""
    points = unit_rows(blocks.take_rows(features, rows)) - targets.place[None]
    product = jnp.matmul(points, targets.points.T, precision=numerics.PRECISION)
    found = (points**2).sum(-1)[:, None] + targets.squares[None] - 2 * product
    return jnp.where(found < SAME, 0, found)


def numbers_held(rows: int, d: int, classes: int, *, num_targets: int) -> int:
    """How many numbers a cover keeps beside the features: targets, and rows at hand.

    Example:
        >>> numbers_held(1_000_000, 384, 10, num_targets=35_000) == 35_000 * 384 + 2**23
        True
        >>> numbers_held(100, 8, 10, num_targets=35_000)
        20800
    """
    targets = min(rows, num_targets)
    return targets * d + 2 * min(ENTRIES_AT_HAND, rows * targets)


class Used(NamedTuple):
    """Some rows of the pool, their number a matter of values.

    Attributes:
        order: all rows, these first.
        number: how many they are.
    """

    order: Int[jax.Array, " pool"]
    number: Int[jax.Array, ""]


def used(mask: Bool[jax.Array, " pool"]) -> Used:
    """The rows of a mask."""
    order = jnp.argsort(~mask, stable=True).astype(jnp.int32)
    return Used(order, mask.sum(dtype=jnp.int32))


def over_rows(
    add: Callable[..., jax.Array], total: jax.Array, some: Used, size: int
) -> jax.Array:
    """`add(total, rows, counts)` of the rows that are used, `size` of them at a time.

    Rows that do not count fill the last of these blocks.
    """
    size = min(size, len(some.order))
    order = jnp.pad(some.order, (0, -len(some.order) % size))
    places = jnp.arange(size, dtype=jnp.int32)

    def of_block(i, total):
        rows = jax.lax.dynamic_slice(order, (i * size,), (size,))
        return add(total, rows, i * size + places < some.number)

    return jax.lax.fori_loop(0, (some.number + size - 1) // size, of_block, total)


def nearest_of(
    features: Float[AnyArray, "pool d"],
    some: Used,
    targets: Targets,
    *,
    least: float = 0.0,
    may_meet: Callable[..., jax.Array] | None = None,
) -> Float[jax.Array, " t"]:
    """Squared distance of each target to the nearest of some rows; inf without any.

    Args:
        features: one embedding per row.
        some: the rows.
        targets: to which distances are measured.
        least: smaller squared distances do not count.
        may_meet: `may_meet(rows) -> [b, t]`, which pairs count; all by default.
    """

    def add(nearest, rows, counts):
        found = squared_distances(targets, features, rows)
        meets = counts[:, None] & (found >= least)
        if may_meet is not None:
            meets = meets & may_meet(rows)
        return jnp.minimum(nearest, jnp.where(meets, found, jnp.inf).min(0))

    infinite = jnp.full_like(targets.squares, jnp.inf)
    return over_rows(add, infinite, some, rows_at_hand(len(infinite)))


def rows_at_hand(num_targets: int) -> int:
    """How many rows the kernel at hand has, in whole lanes."""
    return max(ENTRIES_AT_HAND // num_targets // LANES, 1) * LANES


class _State(NamedTuple):
    """The batch so far.

    Attributes:
        bounds: at least the gain of each row; -inf where it may not be picked.
        cover: of the targets.
        picks: rows in order of choice.
        number: how many there are.
        turns: how often rows were taken at hand.
    """

    bounds: Float[jax.Array, " pool"]
    cover: Float[jax.Array, " t"]
    picks: Int[jax.Array, " k"]
    number: Int[jax.Array, ""]
    turns: Int[jax.Array, ""]


def greedy_cover(
    features: Float[AnyArray, "pool d"],
    eligible: Bool[jax.Array, " pool"],
    targets: Targets,
    kernel: Kernel,
    *,
    k: int,
) -> tuple[Int[jax.Array, " k"], Int[jax.Array, ""]]:
    """The rows that cover the targets best, one after another; ties to the lower row.

    Rows that are not eligible cover from the start. Memory beside the arguments:
    the targets, the kernel at hand and its distances (2 · 4 · 2^22 bytes in float32),
    and a few numbers a row.

    Args:
        features: one embedding per row.
        eligible: rows that may be picked.
        targets: of `draw_targets`.
        kernel: from squared distances.
        k: how many rows to pick.

    Returns:
        The picks, and how often rows were taken at hand: the work in units of
        `rows_at_hand` of the pool's rows.
    """
    size = min(rows_at_hand(len(targets.rows)), len(features))

    def turn(state):
        rows, outside = _highest(state.bounds, size)
        # A sum in a last, half-filled vector has another order: copies would not tie.
        padded = jnp.pad(rows, (0, -size % LANES))
        is_there = jnp.arange(len(padded), dtype=jnp.int32) < size
        at_hand = kernel(squared_distances(targets, features, padded))
        may = is_there & (state.bounds[padded] > -jnp.inf)
        gains_of = partial(_gains, at_hand, targets.weights)

        def add(loop):
            state, gains, may = loop
            best = blocks.argmax(gains)
            cover = jnp.maximum(state.cover, at_hand[best])
            may = may.at[best].set(False)
            state = state._replace(
                cover=cover,
                picks=state.picks.at[state.number].set(padded[best]),
                number=state.number + 1,
            )
            return state, gains_of(cover, may), may

        def goes_on(loop):
            state, gains, _ = loop
            return (state.number < k) & _beats(outside, padded, gains)

        state, gains, _ = jax.lax.while_loop(
            goes_on, add, (state, gains_of(state.cover, may), may)
        )
        # Computed in another place of a block, a gain may differ in its last digit:
        # bounds that only fall come to an end.
        bounds = jnp.minimum(state.bounds[rows], gains[:size])
        return state._replace(
            bounds=state.bounds.at[rows].set(bounds), turns=state.turns + 1
        )

    dtype = targets.points.dtype
    start = _State(
        bounds=jnp.where(eligible, jnp.asarray(jnp.inf, dtype), -jnp.inf),
        cover=kernel(nearest_of(features, used(~eligible), targets)),
        picks=jnp.zeros(k, jnp.int32),
        number=jnp.int32(0),
        turns=jnp.int32(0),
    )
    end = jax.lax.while_loop(lambda state: state.number < k, turn, start)
    return end.picks, end.turns


def _highest(bounds, size):
    """The rows of the highest bounds, in the order of the pool, and the next of them.

    Returns:
        The rows, and (bound, row) of the highest of the others; None if there are none.
    """
    highest, rows = jax.lax.top_k(bounds, min(size + 1, len(bounds)))
    rows = rows.astype(jnp.int32)
    outside = None if size == len(bounds) else (highest[size], rows[size])
    return jnp.sort(rows[:size]), outside


def _gains(kernel, weights, cover, may):
    added = jnp.maximum(kernel - cover[None], 0)
    gains = jnp.matmul(added, weights, precision=numerics.PRECISION)
    # A gain that is not a number, only inside `jax.jit`, would have no end.
    return jnp.where(may, jnp.where(gains > 0, gains, 0), -jnp.inf)


def _beats(outside, rows, gains):
    """Whether the best at hand is picked before all others."""
    if outside is None:
        return True
    bound, row = outside
    best = blocks.argmax(gains)
    is_first = (gains[best] > bound) | ((gains[best] == bound) & (rows[best] < row))
    # With nothing left either, any row: only inside `jax.jit` is k not checked.
    return is_first | jnp.isneginf(bound)
