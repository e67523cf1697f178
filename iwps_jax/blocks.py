"""A large array a block of rows at a time: what selectors know of memory.

XLA would widen, scale or square all rows ahead of a loop over them; read through these
functions, no more than a block is held beside vectors of [pool]. How long a block is,
and the form of its sums and maxima, suits the platform: see `iwps_jax.dialect`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from iwps_jax import dialect, numerics
from iwps_jax.dialect import CPU_ROWS as ROWS_PER_BLOCK
from iwps_jax.dialect import LANES
from iwps_jax.dialect import argmax as argmax
from iwps_jax.dialect import fold as fold
from iwps_jax.dialect import sum_rows as sum_rows
from iwps_jax.types import AnyArray


def largest_entries(vectors: AnyArray) -> AnyArray:
    """The largest absolute value of each row."""

    def of_block(start, size, _):
        return jnp.abs(take_slice(vectors, start, size)).max(-1)

    zeros = jnp.zeros(len(vectors), numerics.upcast(vectors[:1]).dtype)
    return in_blocks(of_block, zeros)


def middle(features: AnyArray, scale: AnyArray) -> AnyArray:
    """About the mean of the scaled rows: those at the end may count twice."""

    def over(num_blocks, size, mean):
        def add(i, mean):
            block = take_slice(features, i * size, size) * scale
            return mean + block.mean(0) / num_blocks

        return jax.lax.fori_loop(0, num_blocks, add, mean)

    zeros = jnp.zeros(features.shape[1], scale.dtype)
    return _by_blocks(over, len(features), zeros)


def to_unit_range(entries: AnyArray, where: AnyArray) -> jax.Array:
    """The normal power of two that brings the largest eligible entry close to one."""
    largest = jnp.max(entries, where=where, initial=0)
    _, exponent = jnp.frexp(largest)
    return jnp.ldexp(jnp.ones_like(largest), -jnp.clip(exponent, -126, 126))


def _partition(num_rows, most=ROWS_PER_BLOCK):
    """The number of blocks and their size: whole lanes, unless a pool has too few rows.

    Example:
        >>> _partition(8195), _partition(203), _partition(200), _partition(5)
        ((2, 4104), (2, 104), (1, 200), (1, 5))
    """
    num_blocks = -(-num_rows // most)
    if num_blocks == 1 and num_rows % LANES and num_rows > LANES:
        num_blocks = 2
    size = -(-num_rows // num_blocks)
    return num_blocks, min(-(-size // LANES) * LANES, num_rows)


def _by_blocks(over, num_rows, vectors):
    """`over(num_blocks, size, vectors)` with the blocks that suit the platform."""
    on_cpu, elsewhere = (
        partial(over, *_partition(num_rows, most))
        for most in (ROWS_PER_BLOCK, dialect.OTHER_ROWS)
    )
    if on_cpu.args == elsewhere.args:  # few rows: nothing is traced twice
        return on_cpu(vectors)
    return dialect.by_platform(on_cpu, elsewhere)(vectors)


def in_blocks(of_block: Callable[..., PyTree], vectors: PyTree) -> PyTree:
    """Replaces vectors of [pool] by `of_block(start, size, old)` of their blocks.

    The last block starts early enough to be whole: some rows may be computed twice, the
    second time from their new values.
    """
    num_rows = len(jax.tree.leaves(vectors)[0])

    def over(num_blocks, size, vectors):
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

    return _by_blocks(over, num_rows, vectors)


def add_up(
    add: Callable[[PyTree, AnyArray, int, AnyArray], PyTree],
    total: PyTree,
    num_rows: int,
) -> PyTree:
    """Adds blocks of rows to a total: `add(total, start, size, is_new) -> total`.

    The last block starts early enough to be whole: `is_new` is false for its rows that
    the block before had.
    """

    def over(num_blocks, size, total):
        def step(i, total):
            start = jnp.minimum(i * size, num_rows - size)
            rows = start + jnp.arange(size, dtype=jnp.int32)
            return add(total, start, size, rows >= i * size)

        return jax.lax.fori_loop(0, num_blocks, step, total)

    return _by_blocks(over, num_rows, total)


def take_slice(array: AnyArray, start: AnyArray, size: int) -> jax.Array:
    """Consecutive rows, in float32 at least."""
    # Without the barrier the compiler widens the whole array ahead of the loop.
    array, start = jax.lax.optimization_barrier((jnp.asarray(array), start))
    return numerics.upcast(jax.lax.dynamic_slice_in_dim(array, start, size))


def take_rows(array: AnyArray, rows: AnyArray) -> jax.Array:
    """These rows, in float32 at least."""
    array, rows = jax.lax.optimization_barrier((jnp.asarray(array), rows))
    return numerics.upcast(array[rows])
