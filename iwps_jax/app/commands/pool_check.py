"""Looks at every number of a pool of any size, a block at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from iwps_jax.app.campaign import scaling
from iwps_jax.pool import sources
from iwps_jax.refusal import Refusal

Test = Callable[[np.ndarray], np.ndarray]
"""Turns an array of rows into a mask of them."""
BLOCK_BYTES = 2**25
ROWS_NAMED = 10


class Rows(NamedTuple):
    """Rows of a pool that have something in common.

    Attributes:
        total: how many.
        first: the first of them.
    """

    total: int
    first: list[int]


def find_rows(pool: Any, *tests: Test) -> list[Rows]:
    """For each test the rows that it finds, all in one pass.

    Args:
        pool: anything with a length that `top_k_of_pool` takes.
        tests: each turns an array of rows into a mask of them.
    """
    source = sources.open_source(pool)
    first_row, _ = sources.read_chunk(source, 0, 1)
    row_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(first_row))
    step = max(1, BLOCK_BYTES // max(row_bytes, 1))
    size = cast(int, source.size)  # an iterator, which has none, is no pool here
    totals: list[int] = [0] * len(tests)
    firsts: list[list[int]] = [[] for _ in tests]
    for start in range(0, size, step):
        rows, _ = sources.read_chunk(source, start, min(start + step, size))
        leaves = [*map(np.asarray, jax.tree.leaves(rows))]
        for number, test in enumerate(tests):
            found = np.flatnonzero(np.any([test(leaf) for leaf in leaves], axis=0))
            totals[number] += len(found)
            room = ROWS_NAMED - len(firsts[number])
            firsts[number] += (start + found[:room]).tolist()
    return [Rows(*found) for found in zip(totals, firsts, strict=True)]


def are_bad(rows: np.ndarray) -> np.ndarray:
    """Mask of the rows with a number that is not finite in 32 bits."""
    return np.asarray(~fits(rows).reshape(len(rows), -1).all(axis=1))


def have_no_softmax(logits: np.ndarray) -> np.ndarray:
    """Mask of the rows without a finite largest number; -inf is legal beside one."""
    return are_bad(logits.max(axis=-1, keepdims=True))


def fits(numbers: np.ndarray) -> np.ndarray:
    """Which of them are finite in the 32 bits that JAX makes of them."""
    if jnp.issubdtype(numbers.dtype, jnp.floating):
        if numbers.dtype.itemsize <= 4:
            return np.isfinite(numbers)
        return np.abs(numbers) <= np.finfo(np.float32).max
    if numbers.dtype.itemsize <= 4:
        return np.ones(numbers.shape, bool)
    kept = np.iinfo(np.int32 if numbers.dtype.kind == "i" else np.uint32)
    return (numbers >= kept.min) & (numbers <= kept.max)


def outlying_test(pool: Any) -> Test:
    """A test that finds rows far from all others; none where no scale is known."""
    rows = scaling.rows_of(pool, scaling.spread_rows(len(pool)))
    try:
        scale = scaling.scaling_of_rows(rows[~are_bad(rows)])
    except Refusal:  # all rows are equal, or bad
        return lambda rows: np.zeros(len(rows), bool)
    return scale.are_outlying
