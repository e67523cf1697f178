"""Where the rows of a pool come from: arrays, memory maps, records, iterators."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from iwps_jax import checks
from iwps_jax.pool.chunks import take_rows


class PoolError(RuntimeError):
    """Rows of the pool that cannot be read, or whose scores are not numbers."""


class Records:
    """A map-style dataset whose records are decoded on the way.

    Args:
        dataset: has a length, and `__getitems__` (TFDS, ArrayRecord) or one record an
            index.
        decode: turns one record into an array or a pytree of arrays, as the score
            takes them but without the leading axis.

    Example:
        >>> texts = ["1 2", "3 4"]
        >>> pool = Records(texts, lambda text: np.array(text.split(), np.float32))
        >>> print(pool.__getitems__([1]))
        [array([3., 4.], dtype=float32)]
    """

    def __init__(self, dataset: Any, decode: Callable[[Any], PyTree]):
        """Reads nothing yet."""
        self._dataset, self._decode = dataset, decode

    def __len__(self) -> int:
        """Number of records."""
        return len(self._dataset)

    def __getitem__(self, row: int) -> PyTree:
        """One record, decoded."""
        with naming_rows(row, row + 1):
            return self._decode(self._dataset[row])

    def __getitems__(self, rows: list[int]) -> list[PyTree]:
        """Several, decoded."""
        read_many = getattr(self._dataset, "__getitems__", None)
        if read_many is None:
            return [self[row] for row in rows]
        decoded = []
        for row, record in zip(rows, read_many(rows), strict=True):
            with naming_rows(row, row + 1):
                decoded.append(self._decode(record))
        return decoded


class Source(NamedTuple):
    """A pool to be read a chunk at a time.

    Attributes:
        size: rows, or None for a stream, which shows its size by ending.
        read: `read(start, stop)` -> these rows as a pytree of arrays; fewer, or None
            for none, where a stream ends. A stream is read forward only.
    """

    size: int | None
    read: Callable[[int, int], PyTree]


def open_source(pool: Any) -> Source:
    """The pool as rows to read; nothing is read but the length.

    Args:
        pool: an array (one sharded over devices is read through the host), a memory
            map or anything else with a length that can be sliced
            into arrays; a map-style dataset of records (TFDS, ArrayRecord), whose
            records are stacked; a `range`, which stands for row numbers; a pytree of
            these, with one length; or an iterator of chunks, of any lengths.

    Raises:
        ValueError: if the pool is empty or its parts differ in length.
        TypeError: if a part has no length.
    """
    if hasattr(pool, "__next__"):
        return Source(None, _Stream(pool).read)
    leaves, structure = jax.tree.flatten(pool)
    for leaf in leaves:
        if not (hasattr(leaf, "__len__") and hasattr(leaf, "__getitem__")):
            raise TypeError(
                "pool must be made of arrays, sliceable files, datasets of records or "
                "ranges, or be one iterator of chunks (of dicts or tuples, if of more "
                f"than one array); got a {type(leaf).__name__}."
            )
    sizes = {len(leaf) for leaf in leaves}
    if len(sizes) != 1:
        raise ValueError(f"pool must have one length, got {sorted(sizes)}.")
    (size,) = sizes
    if size == 0:
        raise ValueError("pool must hold at least one sample, got none.")
    readers = [_reader(leaf) for leaf in leaves]

    def read(start, stop):
        stop = min(stop, size)
        parts = [_checked(read(start, stop), stop - start) for read in readers]
        return jax.tree.unflatten(structure, parts)

    return Source(size, read)


def read_chunk(source: Source, start: int, stop: int) -> tuple[PyTree, bool]:
    """Rows from `start` to `stop`, or to the end, and whether the pool ends with them.

    Raises:
        PoolError: if reading raises anything or there are no such rows.
    """
    with naming_rows(start, stop):
        if source.size is not None:
            return source.read(start, stop), stop >= source.size
        # One row more tells whether the stream goes on.
        rows = source.read(start, stop + 1)
        if rows is None:
            raise EOFError("the stream has ended before, or was read before")
        is_last = num_rows(rows) <= stop - start
        return jax.tree.map(lambda leaf: leaf[: stop - start], rows), is_last


@contextmanager
def naming_rows(start: int, stop: int) -> Iterator[None]:
    """Turns any error into one that names the rows it came with.

    Raises:
        PoolError: if the block raises.
    """
    try:
        yield
    except PoolError:
        raise
    except Exception as error:
        rows = f"row {start}" if stop == start + 1 else f"rows {start} to {stop - 1}"
        raise PoolError(
            f"{rows} of the pool cannot be read: {type(error).__name__}: {error}"
        ) from error


def check_like(rows: PyTree, first: PyTree) -> None:
    """Refuses rows that another program would have to be compiled for.

    Raises:
        ValueError: if structure, shapes or types are not those of the first rows.
    """
    of_rows: Any = jax.tree.structure(rows)
    of_first: Any = jax.tree.structure(first)
    if of_rows != of_first:
        raise ValueError(
            f"all rows must have the structure {of_first} of the first, got {of_rows}."
        )
    pairs = zip(jax.tree.leaves(rows), jax.tree.leaves(first), strict=True)
    for leaf, like in pairs:
        here, there = (
            f"{jax.dtypes.canonicalize_dtype(x.dtype)}{list(x.shape[1:])}"
            for x in (leaf, like)
        )
        if here != there:
            raise ValueError(f"all rows must be {there} like the first, got {here}.")


def check_numbers(rows: PyTree) -> None:
    """Refuses what JAX would not take, or would take for other numbers.

    Raises:
        TypeError: if an array is not of numbers or booleans.
        ValueError: if a number needs 64 bits and JAX keeps 32.
    """
    for leaf in jax.tree.leaves(rows):
        if isinstance(leaf, jax.Array):
            continue
        if not (leaf.dtype == bool or jnp.issubdtype(leaf.dtype, jnp.number)):
            raise TypeError(f"rows must be of numbers, got {leaf.dtype}; see Records.")
        kept = jax.dtypes.canonicalize_dtype(leaf.dtype)
        if kept != leaf.dtype and not checks.fits(leaf, kept):
            raise ValueError(
                f"numbers of {leaf.dtype} do not fit {kept}, which JAX makes of them "
                "unless jax_enable_x64 is set."
            )


def in_byte_order(tree: PyTree) -> PyTree:
    """Arrays in the byte order of this machine, the only one that JAX reads."""
    return jax.tree.map(_in_byte_order, tree)


def _in_byte_order(leaf):
    dtype = getattr(leaf, "dtype", None)
    if getattr(dtype, "isnative", True):
        return leaf
    return np.asarray(leaf).astype(dtype.newbyteorder("="))


def take(pool: Any, rows: Sequence[int]) -> PyTree:
    """Some rows of a pool that has a length, in memory, as they would be scored.

    Args:
        pool: as for `open_source`, but no iterator.
        rows: their positions, in any order.

    Raises:
        PoolError: if one of them cannot be read.
    """
    source = open_source(pool)
    parts = [read_chunk(source, row, row + 1)[0] for row in rows]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def num_rows(rows: PyTree | None) -> int:
    """How many rows these are."""
    return 0 if rows is None else len(jax.tree.leaves(rows)[0])


def _reader(leaf):
    """`read(start, stop)` of one part of the pool."""
    if isinstance(leaf, range):
        kind = np.int32 if max(abs(leaf[0]), abs(leaf[-1])) < 2**31 else np.uint32
        return lambda start, stop: np.asarray(leaf[start:stop], kind)
    if isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1:
        if not leaf.is_fully_addressable:
            raise ValueError(
                "pool must not be a jax.Array over several processes: give each "
                "process a file or array of all rows, of which it reads its own."
            )
        leaf = np.asarray(leaf)
    if isinstance(leaf, jax.Array):
        return lambda start, stop: take_rows(leaf, start, stop - start)
    if hasattr(leaf, "__getitems__"):
        return lambda start, stop: _stack(leaf.__getitems__(list(range(start, stop))))
    if isinstance(leaf, np.memmap):
        # A copy: the disk is read here, not page by page while a device waits.
        return lambda start, stop: np.array(leaf[start:stop])
    if hasattr(leaf, "shape"):
        return lambda start, stop: np.asarray(leaf[start:stop])
    return lambda start, stop: _stack(
        [_record(leaf, row) for row in range(start, stop)]
    )


def _record(dataset, row):
    with naming_rows(row, row + 1):
        return dataset[row]


def _stack(records):
    return jax.tree.map(lambda *parts: np.stack(parts), *records)


def _checked(rows, expected):
    lengths = {len(leaf) for leaf in jax.tree.leaves(rows)}
    if lengths != {expected}:
        raise ValueError(f"{expected} rows were asked for, got {sorted(lengths)}.")
    return in_byte_order(rows)


class _Stream:
    """An iterator of chunks as rows; holds only what is still to be read again."""

    def __init__(self, chunks: Iterator[PyTree]):
        self._chunks = chunks
        self._held: deque[PyTree] = deque()
        self._first = self._end = 0  # rows that are held
        self._like = None

    def read(self, start, stop):
        if start < self._first:
            raise ValueError(f"the stream has moved on to row {self._first}.")
        self._drop(start)
        while self._end < stop and (chunk := self._next()) is not None:
            self._held.append(chunk)
            self._end += num_rows(chunk)
            self._drop(start)
        parts, first = [], self._first
        for chunk in self._held:
            wanted = slice(max(start - first, 0), max(stop - first, 0))
            parts.append(jax.tree.map(lambda leaf, rows=wanted: leaf[rows], chunk))
            first += num_rows(chunk)
            if first >= stop:
                break
        rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts or [None])
        return rows if num_rows(rows) else None

    def _drop(self, start):
        """Forgets the chunks that end before `start`."""
        while self._held and self._first + num_rows(self._held[0]) <= start:
            self._first += num_rows(self._held.popleft())

    def _next(self):
        try:
            chunk = in_byte_order(jax.tree.map(np.asarray, next(self._chunks)))
            if self._like is None:
                self._like = jax.tree.map(lambda leaf: leaf[:0], chunk)
            check_like(chunk, self._like)
            return _checked(chunk, num_rows(chunk))
        except StopIteration:
            return None
        except Exception as error:
            raise PoolError(
                f"row {self._end} of the pool and those after it cannot be read: "
                f"{type(error).__name__}: {error}"
            ) from error
