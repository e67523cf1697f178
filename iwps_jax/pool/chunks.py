"""Inside one program: chunks that bound a score's memory, one key per sample."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Int, Key, PyTree

from iwps_jax import checks
from iwps_jax.types import AnyArray


def score_in_chunks(
    score_fn: Callable[[PyTree], PyTree], inputs: PyTree, *, chunk_size: int
) -> PyTree:
    """Applies a score to the pool a chunk at a time; equal up to rounding.

    The last chunk starts early enough to be a full one and overlaps the one before,
    so `score_fn` is compiled once, nothing is padded and no row meets a dummy. Rows
    must be scored independently of each other. Call it inside `jax.jit`.

    Args:
        score_fn: maps a pytree with a leading chunk axis to arrays with one.
        inputs: one array or a pytree with a leading pool axis; for a score with
            random draws, put `sample_keys` into it.
        chunk_size: rows scored at once; memory grows with it.

    Returns:
        What `score_fn` returns, with a leading pool axis.

    Raises:
        ValueError: if chunk_size is below 1 or the leading axes differ.

    Example:
        >>> print(score_in_chunks(lambda x: x * x, jnp.arange(5), chunk_size=2))
        [ 0  1  4  9 16]
    """
    pool_size = checks.batch_size("inputs", inputs)
    if checks.require_integer("chunk_size", chunk_size) < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}.")
    chunk_size = min(int(chunk_size), pool_size)
    inputs = jax.tree.map(jnp.asarray, inputs)

    def score_chunk(start):
        return score_fn(
            jax.tree.map(lambda leaf: take_rows(leaf, start, chunk_size), inputs)
        )

    def write_chunk(i, scores):
        start = jnp.minimum(i * chunk_size, pool_size - chunk_size)
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice_in_dim(
                whole, part, start, axis=0
            ),
            scores,
            score_chunk(start),
        )

    shapes = jax.eval_shape(score_chunk, jnp.zeros((), jnp.int32))
    for part in jax.tree.leaves(shapes):
        if part.shape[:1] != (chunk_size,):
            raise ValueError(
                f"score_fn must return one row for each of its {chunk_size} samples, "
                f"got shape {part.shape}."
            )
    scores = jax.tree.map(
        lambda part: jnp.zeros((pool_size, *part.shape[1:]), part.dtype), shapes
    )
    num_chunks = -(-pool_size // chunk_size)
    return jax.lax.fori_loop(0, num_chunks, write_chunk, scores)


def take_rows(leaf: jax.Array, start: AnyArray | int, size: int) -> jax.Array:
    """`size` rows of an array, keys too, from a `start` that may be traced."""
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.lax.dynamic_slice_in_dim(leaf, start, size)
    # Sliced as keys, all of them would count as used by `jax_debug_key_reuse`.
    bits = jax.lax.dynamic_slice_in_dim(jax.random.key_data(leaf), start, size)
    return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(leaf))


def sample_keys(
    key: Key[jax.Array, ""], rows: Int[AnyArray, " n"]
) -> Key[jax.Array, " n"]:
    """One key per sample, folded from its global row.

    Chunk size, sharding and order therefore change no random draw.

    Args:
        key: the key of the whole pool.
        rows: global rows, or ids, of the samples.

    Returns:
        The samples' keys.

    Raises:
        TypeError: if `key` is not one key or rows are not integers.

    Example:
        >>> keys = sample_keys(jax.random.key(0), jnp.arange(8))
        >>> again = sample_keys(jax.random.key(0), jnp.arange(4, 8))
        >>> bool((keys[4:] == again).all())
        True
    """
    checks.require_key("key", key)
    checks.require_same_numbers("rows", rows)
    rows = jnp.asarray(rows)
    if rows.ndim != 1 or not jnp.issubdtype(rows.dtype, jnp.integer):
        raise TypeError(
            f"rows must be a vector of integers, got {rows.dtype}{list(rows.shape)}."
        )
    return jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
