"""A large array a block of rows at a time: what selectors know of memory.

XLA would widen, scale or square all rows ahead of a loop over them; read through these
functions, no more than a block is held beside vectors of [pool]. Sums and maxima are
written in the forms that it vectorizes on a CPU.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from iwps_jax import numerics
from iwps_jax.types import AnyArray

ROWS_PER_BLOCK = 8192
# A CPU sums the rows of a last, half-filled vector in another order than full ones, and
# copies of a row would not tie.
LANES = 8


def largest_entries(vectors: AnyArray) -> AnyArray:
    """The largest absolute value of each row."""

    def of_block(start, size, _):
        return jnp.abs(take_slice(vectors, start, size)).max(-1)

    zeros = jnp.zeros(len(vectors), numerics.upcast(vectors[:1]).dtype)
    return in_blocks(of_block, zeros)


def middle(features: AnyArray, scale: AnyArray) -> AnyArray:
    """About the mean of the scaled rows: those at the end may count twice."""
    num_blocks, size = _partition(len(features))

    def add(i, mean):
        block = take_slice(features, i * size, size) * scale
        return mean + block.mean(0) / num_blocks

    zeros = jnp.zeros(features.shape[1], scale.dtype)
    return jax.lax.fori_loop(0, num_blocks, add, zeros)


def to_unit_range(entries: AnyArray, where: AnyArray) -> jax.Array:
    """The normal power of two that brings the largest eligible entry close to one."""
    largest = jnp.max(entries, where=where, initial=0)
    _, exponent = jnp.frexp(largest)
    return jnp.ldexp(jnp.ones_like(largest), -jnp.clip(exponent, -126, 126))


def _partition(num_rows):
    """The number of blocks and their size: whole lanes, unless a pool has too few rows.

    Example:
        >>> _partition(8195), _partition(203), _partition(200), _partition(5)
        ((2, 4104), (2, 104), (1, 200), (1, 5))
    """
    num_blocks = -(-num_rows // ROWS_PER_BLOCK)
    if num_blocks == 1 and num_rows % LANES and num_rows > LANES:
        num_blocks = 2
    size = -(-num_rows // num_blocks)
    return num_blocks, min(-(-size // LANES) * LANES, num_rows)


def in_blocks(of_block: Callable[..., PyTree], vectors: PyTree) -> PyTree:
    """Replaces vectors of [pool] by `of_block(start, size, old)` of their blocks.

    The last block starts early enough to be whole: some rows may be computed twice, the
    second time from their new values.
    """
    num_rows = len(jax.tree.leaves(vectors)[0])
    num_blocks, size = _partition(num_rows)

    def replace(i, vectors):
        start = jnp.minimum(i * size, num_rows - size)
        old = jax.tree.map(
            lambda v: jax.lax.dynamic_slice(v, (start,), (size,)), vectors
        )
        new = of_block(start, size, old)
        return jax.tree.map(
            lambda v, part: jax.lax.dynamic_update_slice(v, part, (start,)),
            vectors,
            new,
        )

    return jax.lax.fori_loop(0, num_blocks, replace, vectors)


def take_slice(array: AnyArray, start: AnyArray, size: int) -> jax.Array:
    """Consecutive rows, in float32 at least."""
    # Without the barrier the compiler widens the whole array ahead of the loop.
    array, start = jax.lax.optimization_barrier((jnp.asarray(array), start))
    return numerics.upcast(jax.lax.dynamic_slice_in_dim(array, start, size))


def take_rows(array: AnyArray, rows: AnyArray) -> jax.Array:
    """These rows, in float32 at least."""
    array, rows = jax.lax.optimization_barrier((jnp.asarray(array), rows))
    return numerics.upcast(array[rows])


def argmax(values: AnyArray) -> AnyArray:
    """The first row of the largest value; `jnp.argmax` is not vectorized on CPU."""
    is_largest = values == values.max(0, keepdims=True)
    numbers = jax.lax.broadcasted_iota(jnp.int32, values.shape, 0)
    return jnp.where(is_largest, numbers, len(values) - 1).min(0)


def sum_rows(entries: AnyArray) -> AnyArray:
    """Sums over the last axis, as a product with ones: that needs no temporary copy."""
    ones = jnp.ones(entries.shape[-1], entries.dtype)
    return jnp.matmul(entries, ones, precision=numerics.PRECISION)


def fold(
    add: Callable[[PyTree, PyTree], PyTree], total: PyTree, items: PyTree
) -> PyTree:
    """Adds items of a leading axis one after the other: `add(total, item) -> total`.

    As `jax.lax.scan`, but an item is read a turn ahead. Read in the same turn, the
    slice becomes part of the loops that use it, which XLA then does not vectorize on a
    CPU: up to eight times slower.
    """
    last = len(jax.tree.leaves(items)[0]) - 1

    def read(i):
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), items
        )

    def turn(i, state):
        total, item = state
        return add(total, item), read(jnp.minimum(i + 1, last))

    return jax.lax.fori_loop(0, last + 1, turn, (total, read(0)))[0]
