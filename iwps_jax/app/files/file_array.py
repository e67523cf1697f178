"""Arrays that stay in their files; rows are read when they are asked for.

A memory map would end the process without a word (SIGBUS) where its file shrinks or its
disk fails. Here the system is asked for every range of rows, and what it cannot read is
a sentence that names the file.
"""

import math
import mmap
import operator
import os
import threading
import weakref
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from iwps_jax.app.files.unreadable import FileError, naming
from iwps_jax.wording import plural

GAP = 2**15
"""Bytes between two rows that are read and dropped, which is faster than two reads."""
BLOCK = 2**24
"""Bytes in memory at once while single rows are picked out."""
LARGE = 2**22
"""Bytes from which on a block is pages of its own."""
MOST_KEPT = 4
"""Blocks that nobody needs any more and that wait for the next."""
LARGEST_KEPT = 2**26
"""Bytes up to which a block is kept: all together are 256 MB at most."""
# Else a forked process would write into the blocks of the other.
PRIVATE: dict[str, Any] = (
    {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
    if hasattr(mmap, "MAP_PRIVATE")
    else {}
)
MOST_AT_ONCE = 2**30
"""Bytes of one read; some systems refuse 2 GB."""


class FileArray:
    """A read-only array in a file, of which rows are taken as of a NumPy array.

    An integer, a slice, integers or a mask take rows; each time they are read anew,
    into memory of their own. `np.asarray` reads all. Several threads may read.

    Attributes:
        path: the file.
        shape: as of an array, with at least one axis.
        dtype: as of an array.
    """

    def __init__(
        self,
        path: str | Path,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        order: Literal["C", "F"] = "C",
    ):
        """Opens the file, and reads nothing yet.

        Args:
            path: the file.
            offset: byte at which the numbers begin.
            shape: of the array; no axis is empty.
            dtype: of its numbers.
            order: how they lie, by rows (C) or by columns (F).

        Raises:
            FileError: if the file cannot be opened.
        """
        self.path, self.shape, self.dtype = Path(path), shape, np.dtype(dtype)
        self._offset, self._order = offset, order
        with naming(path):
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close).atexit = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Where it lies, and its shape and type."""
        return f"FileArray({str(self.path)!r}, {self.shape}, {self.dtype})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it."""
        if copy is False:
            raise ValueError(f"{self.path} cannot become an array without a copy.")
        array = self._range(0, len(self))
        return array if dtype is None else array.astype(dtype, copy=False)

    def __getitem__(self, rows: Any) -> Any:
        """The rows that an integer, a slice, integers or a mask name.

        Raises:
            FileError: if they cannot be read, because the file is shorter by now, or by
                an error of the system.
            IndexError: if there are no such rows, or they are named in another way.
        """
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._range(start, max(start, stop))
            return self._rows(np.arange(start, stop, step))
        try:
            row = operator.index(rows)
        except TypeError:
            return self._rows(self._numbers(np.asarray(rows)))
        return self._range(*self._numbers(np.array([row, row])) + [0, 1])[0]

    def _numbers(self, rows) -> np.ndarray:
        """Rows as numbers from 0."""
        if rows.dtype == bool and rows.shape == (len(self),):
            return np.flatnonzero(rows)
        if rows.size == 0 and rows.ndim == 1:
            return np.zeros(0, np.int64)
        if rows.dtype.kind not in "iu":
            raise IndexError(
                "rows must be an integer, a slice, integers or a mask of "
                f"{len(self)}, got {rows.dtype} of shape {rows.shape}."
            )
        outside = (rows < -len(self)) | (rows >= len(self))
        if outside.any():
            raise IndexError(
                f"rows must be less than {len(self)}, got {rows[outside][0]}."
            )
        rows = rows.astype(np.int64)
        return np.where(rows < 0, rows + len(self), rows)

    def _rows(self, rows) -> np.ndarray:
        """Rows in any order: sorted, and those that lie close together in one read."""
        found = np.empty((rows.size, *self.shape[1:]), self.dtype)
        row_bytes = max(1, self.nbytes // len(self))
        apart = row_bytes if self._order == "C" else self.dtype.itemsize
        order = np.argsort(rows, axis=None, kind="stable")
        ordered = rows.ravel()[order]
        breaks = np.flatnonzero(np.diff(ordered) > 1 + GAP // apart) + 1
        start = 0
        for end in [*breaks.tolist(), len(ordered)]:
            while start < end:
                first = ordered[start]
                beyond = first + max(1, BLOCK // row_bytes)
                stop = start + int(np.searchsorted(ordered[start:end], beyond))
                block = self._range(int(first), int(ordered[stop - 1]) + 1)
                found[order[start:stop]] = block[ordered[start:stop] - first]
                start = stop
        return found.reshape((*rows.shape, *self.shape[1:]))

    def _range(self, start, stop) -> np.ndarray:
        """The rows from `start` to `stop`."""
        count, itemsize = stop - start, self.dtype.itemsize
        entries = self.size // len(self)  # of a row
        try:
            content = _block(count * entries * itemsize)
        except MemoryError as error:
            raise FileError(
                f"{self.path}: {plural(count, 'row needs', 'rows need')} "
                f"{count * entries * itemsize:,} bytes of memory, which are not free."
            ) from error
        if self._order == "C":
            self._fill(content, self._offset + start * entries * itemsize)
            return content.view(self.dtype).reshape(count, *self.shape[1:])
        for column in range(entries):
            part = content[column * count * itemsize : (column + 1) * count * itemsize]
            before = column * len(self) + start
            self._fill(part, self._offset + before * itemsize)
        columns = content.view(self.dtype).reshape(*self.shape[:0:-1], count)
        return columns.transpose()

    def _fill(self, content, offset):
        """Reads as many bytes as `content` has."""
        view, done = content.data, 0
        while done < len(view):
            with naming(self.path):
                count = self._read(view[done : done + MOST_AT_ONCE], offset + done)
            if count == 0:
                raise FileError(
                    f"{self.path} is truncated, or has changed while it was read: it "
                    f"ends at byte {offset + done:,}, but its rows go on to byte "
                    f"{self._offset + self.nbytes:,}."
                )
            done += count

    def _read(self, view, offset) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], offset)
        with self._lock:  # one position for all threads
            self._file.seek(offset)
            return self._file.readinto(view) or 0


def _block(size) -> np.ndarray:
    """Bytes of memory; many of them are pages, which a later block may have again.

    The system takes as long to give new pages to a process as to fill them from a file.
    Pages are also what JAX takes as they are; other arrays it copies.
    """
    if not LARGE <= size <= LARGEST_KEPT:
        return np.empty(size, np.uint8)
    try:
        pages = _kept.pop()
    except IndexError:
        pages = None
    if pages is None or len(pages) != size:
        pages = _new_pages(size)
    block = np.frombuffer(pages, np.uint8)
    weakref.finalize(block, _kept.append, pages).atexit = False
    return block


def _new_pages(size) -> mmap.mmap:
    try:
        pages = mmap.mmap(-1, size, **PRIVATE)
    except OSError as error:
        raise MemoryError from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system without large pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


_kept: deque[mmap.mmap] = deque(maxlen=MOST_KEPT)


AnyRows: TypeAlias = np.ndarray | FileArray
"""An array, or one that stays in its file."""
