"""Reading ahead of the devices: chunk after chunk, read, placed, scored, checked."""

import math
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from iwps_jax.pool import fingerprint, sources
from iwps_jax.pool.devices import Program
from iwps_jax.pool.row_ranges import Spans
from iwps_jax.pool.sources import PoolError, Source

READ_AHEAD = 2
RUNNING = 2  # of which a CPU, whose programs use one core at times, runs two at once
ROWS_NAMED = 10


class Chunk(NamedTuple):
    """Scored rows of the pool.

    Attributes:
        start: first row.
        stop: one beyond the last.
        scores: what the score returns, as NumPy.
        is_last: whether the pool has turned out to end here.
    """

    start: int
    stop: int
    scores: PyTree
    is_last: bool


class _Placed(NamedTuple):
    start: int
    stop: int
    rows: PyTree
    is_last: bool


def scored_chunks(program: Program, source: Source, spans: Spans) -> Iterator[Chunk]:
    """The chunks of these rows, in order.

    While the devices score some, the next are waiting there and a thread reads those
    after them.

    Raises:
        PoolError: if rows cannot be read, or a score is NaN; the chunks before have
            been returned by then.
        MemoryError: if a chunk is more than the devices hold.
    """
    running: deque[tuple[_Placed, PyTree]] = deque()
    placed = None
    try:
        for placed in _read_ahead(program, source, spans):
            if isinstance(placed, PoolError):
                break
            running.append((placed, program.run(placed.rows)))
            if len(running) > RUNNING:
                yield _finished(program, *running.popleft())
        while running:
            yield _finished(program, *running.popleft())
        if isinstance(placed, PoolError):
            raise placed
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise MemoryError(
            f"{program.size} rows at once are too many for the devices: pass a "
            "smaller chunk_size."
        ) from error


class Probe(NamedTuple):
    """A row of the pool, by which a scan is known again.

    Attributes:
        content: its fingerprint; None if it cannot be read.
        score: what the score says of it; None also if that is NaN.
    """

    content: str | None
    score: float | None


def probe(program: Program, source: Source, rows: Sequence[int]) -> dict[int, Probe]:
    """Single rows and their scores.

    Of a stream these must be its first rows; those it does not have are left out.
    """
    read = {}
    if source.size is None:
        block, _ = sources.read_chunk(source, 0, len(rows))
        for row in range(sources.num_rows(block)):
            read[row] = jax.tree.map(lambda leaf, r=row: leaf[r : r + 1], block)
    else:
        for row in rows:
            try:
                read[row], _ = sources.read_chunk(source, row, row + 1)
            except PoolError:
                read[row] = None
    scores: dict[int, float | None] = {row: None for row in read}
    known = [row for row in read if read[row] is not None]
    for first in range(0, len(known), program.size):
        some = known[first : first + program.size]
        placed = program.place(jax.tree.map(_concatenate, *(read[row] for row in some)))
        found = (
            np.asarray(program.settle(placed, program.run(placed)))[: len(some)]
            .astype(float)
            .tolist()
        )
        told = (None if math.isnan(score) else score for score in found)
        scores.update(zip(some, told, strict=True))
    return {
        row: Probe(None if row not in known else fingerprint.of_rows(read[row]), score)
        for row, score in scores.items()
    }


def _concatenate(*parts):
    xp = jnp if isinstance(parts[0], jax.Array) else np
    return xp.concatenate(parts)


def _read_ahead(program, source, spans) -> Iterator[_Placed | PoolError]:
    """What a thread has read and put on the devices, up to where the pool ends.

    An error comes in its place, for the chunks before it to be finished first. The
    thread is a daemon: a source that blocks does not keep an interrupted program.
    """
    ready: queue.Queue[_Placed | PoolError | None] = queue.Queue(READ_AHEAD)
    is_over = threading.Event()

    def hand_over(placed):
        while not is_over.is_set():
            with suppress(queue.Full):
                return ready.put(placed, timeout=0.1)

    def read():
        for start, stop in _steps(spans, program.size):
            placed = _read_and_place(program, source, start, stop)
            hand_over(placed)
            if is_over.is_set() or isinstance(placed, PoolError) or placed.is_last:
                break
        hand_over(None)

    reader = threading.Thread(target=read, name="pool reader", daemon=True)
    reader.start()
    try:
        while (placed := ready.get()) is not None:
            yield placed
    finally:
        is_over.set()
        reader.join(timeout=1)


def _steps(spans, size):
    for first, last in spans.tolist():
        for start in range(first, last, size):
            yield start, min(start + size, last)


def _read_and_place(program, source, start, stop):
    try:
        rows, is_last = sources.read_chunk(source, start, stop)
        with sources.naming_rows(start, stop):
            stop = start + sources.num_rows(rows)
            return _Placed(start, stop, program.place(rows), is_last)
    except PoolError as error:
        return error


def _finished(program, placed, scores):
    """The scores on the host, without those of copies that filled the chunk."""
    count = placed.stop - placed.start
    scores = program.settle(placed.rows, scores)
    scores = jax.tree.map(lambda part: np.asarray(part)[:count], scores)
    for part in jax.tree.leaves(scores):
        if jnp.issubdtype(part.dtype, jnp.inexact) and np.isnan(part).any():
            rows = np.flatnonzero(np.isnan(part.reshape(count, -1)).any(1))
            raise PoolError(_nan_sentence(placed, rows + placed.start))
    return Chunk(placed.start, placed.stop, scores, placed.is_last)


def _nan_sentence(placed, rows):
    named = ", ".join(map(str, rows[:ROWS_NAMED])) + ", ..." * (len(rows) > ROWS_NAMED)
    return (
        f"scores must not be NaN, got {len(rows)} among rows {placed.start} to "
        f"{placed.stop - 1} of the pool: {named}."
    )
