"""Reading ahead of the devices: chunk after chunk, read, placed, scored, checked."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from iwps_jax.pool import sources
from iwps_jax.pool.devices import Program
from iwps_jax.pool.record import Spans
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
    """
    with ThreadPoolExecutor(1, "pool reader") as reader:
        running, placed = deque(), None
        try:
            for placed in _placed_chunks(reader, program, source, spans):
                if isinstance(placed, PoolError):
                    break
                running.append((placed, program.run(placed.rows)))
                if len(running) > RUNNING:
                    yield _finished(*running.popleft())
            while running:
                yield _finished(*running.popleft())
            if isinstance(placed, PoolError):
                raise placed
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise MemoryError(
                f"{program.size} rows at once are too many for the devices: pass a "
                "smaller chunk_size."
            ) from error
        finally:
            reader.shutdown(cancel_futures=True)


def scores_at(program: Program, source: Source, rows: list[int]) -> np.ndarray:
    """The scores of single rows."""
    scores = []
    for first in range(0, len(rows), program.size):
        some = rows[first : first + program.size]
        parts = [sources.read_chunk(source, row, row + 1)[0] for row in some]
        placed = program.place(jax.tree.map(_concatenate, *parts))
        scores.append(np.asarray(program.run(placed))[: len(some)])
    return np.concatenate(scores)


def _concatenate(*parts):
    xp = jnp if isinstance(parts[0], jax.Array) else np
    return xp.concatenate(parts)


def _placed_chunks(reader, program, source, spans):
    """What has been read and put on the devices, up to where the pool ends.

    An error comes in its place, for the chunks before it to be finished first.
    """
    reading = deque()
    for start, stop in _steps(spans, program.size):
        reading.append(reader.submit(_read_and_place, program, source, start, stop))
        if len(reading) > READ_AHEAD:
            yield (placed := reading.popleft().result())
            if isinstance(placed, PoolError) or placed.is_last:
                return
    for future in reading:
        yield (placed := future.result())
        if isinstance(placed, PoolError) or placed.is_last:
            return


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


def _finished(placed, scores):
    """The scores on the host, without those of copies that filled the chunk."""
    count = placed.stop - placed.start
    scores = jax.tree.map(lambda part: np.asarray(part)[:count], scores)
    for part in jax.tree.leaves(scores):
        if np.issubdtype(part.dtype, np.floating) and np.isnan(part).any():
            rows = np.flatnonzero(np.isnan(part.reshape(count, -1)).any(1))
            raise PoolError(_nan_sentence(placed, rows + placed.start))
    return Chunk(placed.start, placed.stop, scores, placed.is_last)


def _nan_sentence(placed, rows):
    named = ", ".join(map(str, rows[:ROWS_NAMED])) + ", ..." * (len(rows) > ROWS_NAMED)
    return (
        f"scores must not be NaN, got {len(rows)} among rows {placed.start} to "
        f"{placed.stop - 1} of the pool: {named}."
    )
