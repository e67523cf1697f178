"""A stretch of the pool, sharded over the devices of this process."""

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from iwps_jax import checks
from iwps_jax.pool.chunks import score_in_chunks
from iwps_jax.pool.footprint import Footprint, footprint
from iwps_jax.pool.sources import check_like, check_numbers
from iwps_jax.types import AnyArray

FLOAT32_BYTES = 4
EVERYWHERE, BY_ROW = PartitionSpec(), PartitionSpec("pool")


class Program(NamedTuple):
    """A score over the devices of this process.

    Attributes:
        run: `run(rows)`, jitted, of rows as `place` returns them.
        settle: `settle(rows, what run returned) -> scores`, once these are needed.
        working_bytes: `working_bytes() -> int`, by XLA's account of the program, which
            is compiled now if it was not; on each device, beside its arguments.
        place: pads rows to `size` with copies of the last one and puts a share on
            every device.
        size: rows of one call.
        scores: shapes and types of what `settle` returns.
    """

    run: Callable[[PyTree], PyTree]
    settle: Callable[[PyTree, PyTree], PyTree]
    working_bytes: Callable[[], int]
    place: Callable[[PyTree], PyTree]
    size: int
    scores: PyTree


class _Call(NamedTuple):
    """What is compiled into a program: a function and the arguments it is bound to.

    Attributes:
        function: the score.
        static: its bound arguments, None in the place of every array.
        types: of those, since 1, 1.0 and True are equal.
        structure: of the bound arguments as a pytree.
    """

    function: Callable
    static: tuple
    types: tuple
    structure: Any


def sharded(
    score_fn: Callable[[PyTree], PyTree],
    row: PyTree,
    devices: Sequence[jax.Device],
    *,
    chunk_size: int,
    chunks: int,
) -> Program:
    """The score of `chunks` chunks of rows like `row` on every device at once.

    Each device scores its own rows, a chunk after another, without a word to the
    others. Arrays bound to a plain function by `functools.partial` are arguments of
    the program, copied to every device once: another model of the same shapes is no
    new program. Any other callable may hold anything and is compiled anew.

    Raises:
        ValueError: if the score does not return one row for each row.
    """
    call, arrays = _split(score_fn)
    mesh = _mesh(tuple(devices))
    arrays = jax.device_put(arrays, NamedSharding(mesh, EVERYWHERE))
    score_rows = _score_rows(call, mesh, chunk_size)
    size = chunk_size * chunks * len(devices)
    shapes = _with_rows(row, size)

    def run(rows):
        with jax.set_mesh(mesh):  # whatever mesh the caller works in
            return score_rows(arrays, rows)

    def working_bytes():
        by_row = NamedSharding(mesh, BY_ROW)
        rows = jax.tree.map(partial(_like, sharding=by_row), shapes)
        with jax.set_mesh(mesh):  # JAX keeps it for `run`
            memory = score_rows.lower(arrays, rows).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    def place(rows):
        check_like(rows, shapes)
        check_numbers(rows)
        rows = jax.tree.map(partial(_pad, size=size), rows)
        return jax.device_put(rows, NamedSharding(mesh, BY_ROW))

    with jax.set_mesh(mesh):
        scores = jax.eval_shape(score_rows, arrays, shapes)
    return Program(run, _as_it_is, working_bytes, place, size, scores)


def _as_it_is(rows, scores):
    del rows
    return scores


def traced(
    score_fn: Callable[[PyTree], PyTree], row: PyTree, size: int, device: jax.Device
) -> Footprint:
    """Memory and work of scoring `size` rows on a device; nothing is compiled.

    The rows count once more, in float32, in which most scores compute.
    """
    call, arrays = _split(score_fn)
    mesh, shapes = _mesh((device,)), _with_rows(row, size)
    with jax.set_mesh(mesh):
        trace = _score_rows(call, mesh, size).trace(arrays, shapes)
    found = footprint(trace.jaxpr.jaxpr)
    copies = FLOAT32_BYTES * sum(leaf.size for leaf in jax.tree.leaves(shapes))
    return found._replace(working_bytes=found.working_bytes + copies)


def _with_rows(row, size):
    """Shapes and types of `size` rows like this one."""
    return jax.tree.map(lambda leaf: _shape_of(leaf, (size, *leaf.shape[1:])), row)


def _shape_of(array, shape=None):
    """An array's shape, or another one, and its type as JAX would have it."""
    dtype = jax.dtypes.canonicalize_dtype(array.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(array.shape if shape is None else shape, dtype)


def _like(shape, sharding):
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)


def _split(score_fn) -> tuple[_Call, list[AnyArray]]:
    """What of a score is compiled, and the arrays it is called with."""
    checks.require_callable("score_fn", score_fn)
    if not isinstance(score_fn, partial):
        return _Call(score_fn, (), (), None), []
    leaves, structure = jax.tree.flatten((score_fn.args, score_fn.keywords))
    is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
    arrays = [leaf for leaf, yes in zip(leaves, is_array, strict=True) if yes]
    checks.require_same_numbers("arrays bound to score_fn", arrays)
    static = [None if yes else x for x, yes in zip(leaves, is_array, strict=True)]
    types = tuple(map(type, static))
    return _Call(score_fn.func, tuple(static), types, structure), arrays


@lru_cache
def _mesh(devices):
    return Mesh(np.array(devices), ("pool",), axis_types=(AxisType.Auto,))


def _score_rows(call: _Call, mesh: Mesh, chunk_size: int) -> Any:
    """`(bound arrays, rows) -> scores`, jitted, each device on its own rows."""
    make = _kept_score_rows if _is_kept(call) else _new_score_rows
    return make(call, mesh, chunk_size)


def _is_kept(call):
    """Whether nothing of the score can change unseen, between one call and the next."""
    is_plain = inspect.isfunction(call.function) or hasattr(call.function, "lower")
    return call.structure is not None and is_plain


def _new_score_rows(call, mesh, chunk_size):
    def score_rows(arrays, rows):
        if call.structure is None:
            score_fn = call.function
        else:
            arrays = iter(arrays)
            bound = [next(arrays) if leaf is None else leaf for leaf in call.static]
            args, keywords = jax.tree.unflatten(call.structure, bound)
            score_fn = partial(call.function, *args, **keywords)
        return score_in_chunks(score_fn, rows, chunk_size=chunk_size)

    return jax.jit(
        jax.shard_map(
            score_rows,
            mesh=mesh,
            in_specs=(EVERYWHERE, BY_ROW),
            out_specs=BY_ROW,
            # A score is any function: nothing is known of what varies inside it.
            check_vma=False,
        )
    )


_kept_score_rows = lru_cache(maxsize=16)(_new_score_rows)


def _pad(leaf, *, size):
    missing = size - len(leaf)
    if missing == 0:
        return leaf
    # Copies of a real row: whatever is true of all rows stays true.
    xp = jnp if isinstance(leaf, jax.Array) else np
    return xp.concatenate([leaf, xp.repeat(leaf[-1:], missing, axis=0)])
