"""Scores of a whole pool, whatever it is kept in, over the devices at hand."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, PyTree

from iwps_jax import checks
from iwps_jax.pool import processes, ranking, record, sources
from iwps_jax.pool.devices import Program, sharded
from iwps_jax.pool.pipeline import scored_chunks, scores_at
from iwps_jax.pool.planning import (
    LANES,
    free_memory,
    plan_chunk_size,
    plan_chunks_per_call,
    whole_lanes,
)
from iwps_jax.pool.progress import progress_bar
from iwps_jax.pool.ranking import TopK
from iwps_jax.pool.record import END_OF_STREAM, Finished, Identity, Spans
from iwps_jax.pool.sources import PoolError
from iwps_jax.types import AnyArray

PROBES = 16
SECONDS_BETWEEN_SAVES = 1.0


def top_k_of_pool(
    score_fn: Callable[[PyTree], jax.Array],
    pool: Any,
    k: int,
    *,
    where: Bool[AnyArray, " pool"] | None = None,
    chunk_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    folder: str | Path | None = None,
    show_progress: bool = False,
) -> TopK:
    """The rows to label next of a pool of any size, in memory that does not grow.

    Reads the pool once, in order, the next chunk while the devices are at work, and
    keeps the k best. Chunk size, devices and processes change no score by more than
    float32 rounding; equal scores go to the lower row.

    Under `jax.distributed` every process calls this with the same arguments, reads
    and scores its own stretch of the rows on its own devices, and returns the picks of
    all.

    Args:
        score_fn: `score_fn(rows) -> scores [rows]`, pure, each row by itself. Bind the
            model to it by `functools.partial(iwps_last_layer, kernel=kernel, ...)`:
            bound arrays are arguments of the program, which is then compiled once for
            all models of the same shapes, and those of a closure are constants.
        pool: arrays, memory maps, `Records`, datasets with a length, a pytree of these,
            or an iterator of chunks. A part that is `range(size)` gives a score its
            global rows, for `sample_keys`.
        k: how many rows to pick. Of an iterator with fewer, all.
        where: rows that may be picked; all by default. All are scored.
        chunk_size: rows scored at once on each device, of 8 and more whole eights; by
            default as many as suit its memory, see `plan_chunk_size`.
        devices: of this process; all by default.
        folder: where to keep what is finished, at least once a second. A scan that was
            killed goes on there when called again with the same arguments, with any
            chunk size, devices and number of processes that see the folder.
        show_progress: whether to show rows done, rows a second and time left.

    Returns:
        Rows and scores, best first.

    Raises:
        PoolError: if rows cannot be read or scores are NaN; names the rows, and
            nothing is picked.
        ValueError: if k is not in [1, rows that may be picked], if shapes disagree, or
            if the folder holds another scan.
        MemoryError: if one row does not fit a device.

    Example:
        >>> def distance_from_two(rows):
        ...     return abs(rows - 2.0)
        >>> top_k_of_pool(distance_from_two, np.arange(6, dtype=np.float32), 2)
        TopK(rows=array([5, 0]), scores=array([3., 2.], dtype=float32))
    """
    source = sources.open_source(pool)
    where = _check_picks(k, where, source.size)
    program = _program(score_fn, source, chunk_size, devices)
    _check_vector(program)
    before = _finished_before(program, source, k, where, folder)
    todo = _my_share(before.spans, source)
    mine, saver, error = record.NOTHING_FINISHED, _Saver(folder), None
    try:
        with progress_bar(show_progress, _num_rows(todo, source)) as advance:
            for chunk in scored_chunks(program, source, todo):
                mine = _with_chunk(mine, chunk, where, k)
                saver.save(mine)
                advance(chunk.stop - chunk.start)
    except PoolError as caught:
        error = caught
    finally:
        saver.close(mine)
    processes.require_no_error(error)
    return _of_all_processes([before, mine], k).top


def score_pool(
    score_fn: Callable[[PyTree], PyTree],
    pool: Any,
    *,
    chunk_size: int | None = None,
    devices: Sequence[jax.Device] | None = None,
    show_progress: bool = False,
) -> PyTree:
    """What a score, or a network's features, says of every row of a pool of any kind.

    Like `top_k_of_pool`, but keeps everything, on the host: for selectors that need
    all rows at once.

    Args:
        score_fn: `score_fn(rows)` -> arrays with a leading axis of rows, pure, each row
            by itself; see `top_k_of_pool` for how to bind a model to it.
        pool: as in `top_k_of_pool`.
        chunk_size: rows scored at once on each device; by default as many as suit it.
        devices: of this process; all by default.
        show_progress: whether to show rows done, rows a second and time left.

    Returns:
        NumPy arrays with a leading pool axis, the same on every process.

    Raises:
        PoolError: if rows cannot be read or a number is NaN; names the rows.
        ValueError: if shapes disagree.
        MemoryError: if one row does not fit a device.

    Example:
        >>> pool = (np.ones((5, 3), np.float32), range(5))
        >>> print(score_pool(lambda rows: rows[0].sum(-1) * rows[1], pool))
        [ 0.  3.  6.  9. 12.]
    """
    source = sources.open_source(pool)
    program = _program(score_fn, source, chunk_size, devices)
    todo = _my_share(record.NOTHING_FINISHED.spans, source)
    parts, error = [], None
    try:
        with progress_bar(show_progress, _num_rows(todo, source)) as advance:
            for chunk in scored_chunks(program, source, todo):
                parts.append(chunk.scores)
                advance(chunk.stop - chunk.start)
    except PoolError as caught:
        error = caught
    processes.require_no_error(error)
    return _in_order_of_processes(parts, program)


# Before the scan


def _check_picks(k, where, size):
    """The mask as NumPy, if k rows can be picked."""
    if where is not None:
        checks.require_mask("where", where, len(where) if size is None else size)
        where = np.asarray(where)
        size = int(where.sum())
    if checks.require_integer("k", k) < 1 or (size is not None and k > size):
        most = "" if size is None else f" and at most the {size} that may be picked"
        raise ValueError(f"k must be at least 1{most}, got {k}.")
    return where


def _program(score_fn, source, chunk_size, devices) -> Program:
    """The score, for chunks of this source."""
    devices = tuple(jax.local_devices() if devices is None else devices)
    if not devices:
        raise ValueError("devices must name at least one device, got none.")
    row, _ = sources.read_chunk(source, 0, 1)
    if chunk_size is None:
        free = min(free_memory(device) for device in devices)
        chunk_size = plan_chunk_size(score_fn, row, devices[0], free)
    elif checks.require_integer("chunk_size", chunk_size) < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}.")
    most = _per_device(source.size, len(devices))
    chunk_size = whole_lanes(min(int(chunk_size), most))
    chunks = plan_chunks_per_call(score_fn, row, chunk_size, devices[0])
    chunks = min(chunks, -(-most // chunk_size))
    return sharded(score_fn, row, devices, chunk_size=chunk_size, chunks=chunks)


def _per_device(size, num_devices):
    """Rows of the pool for each device, of which no call needs more."""
    if size is None:
        return END_OF_STREAM
    return LANES * -(-size // (LANES * num_devices))


def _check_vector(program):
    parts = jax.tree.leaves(program.scores)
    if len(parts) != 1 or parts[0].shape != (program.size,):
        raise ValueError(
            f"score_fn must return one number for each of its {program.size} samples, "
            f"got shapes {[part.shape for part in parts]}."
        )
    if not np.issubdtype(parts[0].dtype, np.floating):
        raise TypeError(f"scores must be floating point, got {parts[0].dtype}.")


def _finished_before(program, source, k, where, folder) -> Finished:
    """What earlier attempts have finished, by what any process knows of them."""
    before, error = record.NOTHING_FINISHED, None
    if folder is not None:
        try:
            before = record.open_record(
                Path(folder), lambda rows: _identity(program, source, k, where, rows)
            )
        except (PoolError, ValueError) as caught:
            error = caught
    processes.require_no_error(error)
    return _of_all_processes([before], k)


def _identity(program, source, k, where, rows) -> Identity:
    """What tells this scan from others, probed at `rows`, or at some if None."""
    if rows is None and source.size is None:
        rows = [0]
    elif rows is None:
        spread = np.linspace(0, source.size - 1, min(PROBES, source.size))
        rows = sorted({int(row) for row in spread})
    scores = scores_at(program, source, rows)
    return Identity(source.size, k, record.digest(where), rows, scores.tolist())


def _my_share(done, source) -> Spans:
    """The rows that this process is to score."""
    if source.size is None:
        if jax.process_count() > 1:
            raise ValueError(
                "pool must have a length to be divided among "
                f"{jax.process_count()} processes, got an iterator."
            )
        return record.remaining(done, END_OF_STREAM)
    todo = record.remaining(done, source.size)
    return record.share(todo, jax.process_index(), jax.process_count())


def _num_rows(spans, source):
    return None if source.size is None else int((spans[:, 1] - spans[:, 0]).sum())


# During the scan


def _with_chunk(finished, chunk, where, k) -> Finished:
    """What is finished, this chunk included."""
    rows, scores = np.arange(chunk.start, chunk.stop), chunk.scores
    (scores,) = jax.tree.leaves(scores)
    if where is not None:
        if chunk.stop > len(where):
            raise PoolError(f"where has {len(where)} rows, the pool has more.")
        may_be_picked = where[chunk.start : chunk.stop]
        rows, scores = rows[may_be_picked], scores[may_be_picked]
    stop = END_OF_STREAM if chunk.is_last else chunk.stop
    spans = np.concatenate([finished.spans, [[chunk.start, stop]]])
    return Finished(record.union(spans), ranking.better(finished.top, rows, scores, k))


class _Saver:
    """Keeps what is finished in the folder, if there is one, once a second."""

    def __init__(self, folder):
        self._folder = None if folder is None else Path(folder)
        self._saved_at = time.monotonic()

    def save(self, finished):
        if time.monotonic() - self._saved_at >= SECONDS_BETWEEN_SAVES:
            self.close(finished)

    def close(self, finished):
        if self._folder is not None and len(finished.spans):
            record.save(self._folder, finished)
        self._saved_at = time.monotonic()


# After the scan


def _of_all_processes(parts: list[Finished], k) -> Finished:
    """What these, and those of the other processes, have finished together."""
    spans = np.concatenate([part.spans for part in parts])
    rows, scores = ranking.merged([part.top for part in parts], k)
    told = processes.gathered({"spans": spans, "rows": rows, "scores": scores})
    return Finished(
        record.union(np.concatenate([each["spans"] for each in told])),
        ranking.merged([TopK(each["rows"], each["scores"]) for each in told], k),
    )


def _in_order_of_processes(parts: list[PyTree], program) -> PyTree:
    """The chunks of all processes, one after another, as one pytree."""
    structure = jax.tree.structure(program.scores)
    leaves = [
        np.concatenate([np.zeros((0, *like.shape[1:]), like.dtype), *chunks])
        for like, *chunks in zip(
            jax.tree.leaves(program.scores), *map(jax.tree.leaves, parts), strict=True
        )
    ]
    told = processes.gathered({str(i): leaf for i, leaf in enumerate(leaves)})
    return jax.tree.unflatten(
        structure,
        [
            np.concatenate([each[str(i)] for each in told])
            for i in range(structure.num_leaves)
        ],
    )
