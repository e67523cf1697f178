"""Picks that become centers, applied to the whole pool many at a time.

Centers only lower a distance to the nearest one, so that the last known distances are
upper bounds. A selector picks among few rows whose distances it keeps up to date, as
long as the bounds of all others allow, and only then are all its picks applied, in one
reading of the pool: a handful of readings where one a pick would take thousands.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from iwps_jax import blocks
from iwps_jax.selection import spaces
from iwps_jax.selection.spaces import Geometry

CENTERS_PER_BLOCK = 128
# So many rows of a block at a time have their distance summed.
ROWS_AT_ONCE = 512
# A product with a block of centers costs about as much as this many centers one by one.
FEW_CENTERS = 8
# Below this many columns the product saves nothing, and a CPU sums pairs of rows in
# another order than the differences to one row.
FEW_COLUMNS = 16


class Picks(NamedTuple):
    """All centers so far, and what they leave.

    Attributes:
        centers: rows in order of choice, those that are centers from the start first;
            room for more behind them.
        number: how many there are.
        nearest: an upper bound of each row's squared distance to the nearest center;
            -inf where a row may not be picked.
    """

    centers: Int[jax.Array, " room"]
    number: Int[jax.Array, ""]
    nearest: Float[jax.Array, " pool"]

    def add(self, row: Int[jax.Array, ""]) -> "Picks":
        """One center more; the bounds of other rows stay."""
        centers = self.centers.at[self.number].set(row)
        return Picks(centers, self.number + 1, self.nearest.at[row].set(-jnp.inf))


def grow(
    points: Geometry,
    start: Picks,
    last: Int[jax.Array, ""] | int,
    pick: Callable[[Int[jax.Array, ""], Picks], Picks],
) -> tuple[Int[jax.Array, " room"], Int[jax.Array, ""]]:
    """Adds centers until there are `last` of them.

    Args:
        points: where the rows lie.
        start: the first centers, not applied yet.
        last: how many centers there shall be.
        pick: (turn, picks) -> the picks with at least one center more, at most `last`
            in all. It is given bounds that are distances.

    Returns:
        The centers, and how often the pool was read to apply them.
    """

    def turn(state):
        turns, passes, applied, picks = state
        nearest, read = nearer_of_many(
            points, picks.centers, applied, picks.number, picks.nearest
        )
        # Rows beside the mask may be too large to square.
        nearest = jnp.where(jnp.isneginf(picks.nearest), picks.nearest, nearest)
        applied, picks = picks.number, pick(turns, picks._replace(nearest=nearest))
        return turns + 1, passes + read, applied, picks

    zero = jnp.int32(0)
    state = jax.lax.while_loop(
        lambda state: state[-1].number < last, turn, (zero, zero, zero, start)
    )
    return state[-1].centers, state[1]


def room_for(rows: Int[jax.Array, " centers"]) -> Int[jax.Array, " room"]:
    """Centers with the room behind that `Picks` needs."""
    return jnp.pad(rows, (0, CENTERS_PER_BLOCK)).astype(jnp.int32)


def nearer_of_many(
    points: Geometry,
    centers: Int[jax.Array, " room"],
    first: Int[jax.Array, ""],
    last: Int[jax.Array, ""],
    nearest: Float[jax.Array, " pool"],
) -> tuple[Float[jax.Array, " pool"], Int[jax.Array, ""]]:
    """`spaces.nearer` for `centers[first:last]`, and how often the pool was read.

    Bit for bit the distances of one center after the other: a matrix product only finds
    the centers that may be nearer than the nearest so far, see `_by_product`.
    """

    def one_by_one(nearest):
        def add(i, nearest):
            return spaces.nearer(points, centers[i], nearest)

        return jax.lax.fori_loop(first, last, add, nearest)

    if points.space.features.shape[1] < FEW_COLUMNS:
        return one_by_one(nearest), last - first
    are_few = last - first <= FEW_CENTERS
    nearest = jax.lax.cond(
        are_few,
        one_by_one,
        lambda nearest: _by_product(points, centers, first, last, nearest),
        nearest,
    )
    return nearest, jnp.where(are_few, last - first, 1)


def _by_product(points, centers, first, last, nearest):
    """One matrix product for a block of rows and a block of centers.

        ‖x - c‖² >= (1 - 2 ε) (‖x‖² + ‖c‖²) - 2 x·c

    in floats, where ε bounds the rounding of both sides in units of (‖x‖ + ‖c‖)², at
    most 2 (‖x‖² + ‖c‖²). Where this is less than the distance so far, the distance
    itself is summed.
    """
    place = spaces.middle(points)
    width = sum(array.shape[1] for array in points.space if array is not None)
    # Sums of `width` products on both sides, and what centering and scaling add.
    shrunk = 1 - 2 * (width + 16) * jnp.finfo(nearest.dtype).eps
    num_blocks = (last - first + CENTERS_PER_BLOCK - 1) // CENTERS_PER_BLOCK

    def of_block(start, size, nearest):
        block = spaces.rows_of(points, blocks.take_slice, start, size)
        around, squares = spaces.seen_from(place, block)

        def add(i, nearest):
            begin = first + i * CENTERS_PER_BLOCK
            rows = jax.lax.dynamic_slice(centers, (begin,), (CENTERS_PER_BLOCK,))
            chosen = spaces.rows_of(points, blocks.take_rows, rows)
            opposite, lengths = spaces.seen_from(place, chosen)
            is_center = begin + jnp.arange(CENTERS_PER_BLOCK, dtype=jnp.int32) < last
            lengths = jnp.where(is_center, shrunk * lengths, jnp.inf)
            product = spaces.products(points, opposite, around)
            bounds = lengths[:, None] - 2 * product
            return _resolve(block, chosen, bounds, shrunk * squares, nearest)

        return jax.lax.fori_loop(0, num_blocks, add, nearest)

    return blocks.in_blocks(of_block, nearest)


def _resolve(block, chosen, bounds, squares, nearest):
    """The distances to the nearest of the chosen, summed where they may be nearer.

    Args:
        block: rows of the pool.
        chosen: centers.
        bounds: [centers, rows], what `squares` raises to lower bounds of the distances.
        squares: one per row.
        nearest: distances so far.
    """
    number = min(ROWS_AT_ONCE, len(nearest))
    numbers = jax.lax.broadcasted_iota(jnp.int32, (len(bounds), number), 0)

    def some_rows(state):
        open_, nearest = state
        _, some = jax.lax.top_k(open_, number)
        rows = jax.tree.map(lambda part: part[some], block)
        limits = squares[some]

        def is_open(state):
            bounds, nearest = state
            return jnp.any((bounds.min(0) + limits < nearest) & (nearest > 0))

        def sum_up(state):
            bounds, nearest = state
            best = blocks.argmax(-bounds)
            centers = jax.tree.map(lambda part: part[best], chosen)
            nearest = jnp.minimum(nearest, spaces.squared_distances(rows, centers))
            return jnp.where(numbers == best[None], jnp.inf, bounds), nearest

        state = bounds[:, some], nearest[some]
        _, resolved = jax.lax.while_loop(is_open, sum_up, state)
        return open_.at[some].set(0), nearest.at[some].set(resolved)

    # As numbers, for `top_k`, which takes the open rows first.
    is_open = (bounds.min(0) + squares < nearest) & (nearest > 0)
    state = is_open.astype(jnp.float32), nearest
    return jax.lax.while_loop(lambda state: state[0].max() > 0, some_rows, state)[1]
