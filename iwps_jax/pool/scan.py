"""Scores of a whole pool, whatever it is kept in, over the devices at hand."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, PyTree

from iwps_jax import checks
from iwps_jax.pool import (
    fingerprint,
    processes,
    ranking,
    resume,
    row_ranges,
    sources,
)
from iwps_jax.pool.pipeline import probe, scored_chunks
from iwps_jax.pool.planning import plan_program
from iwps_jax.pool.progress import progress_bar
from iwps_jax.pool.ranking import TopK
from iwps_jax.pool.resume import END_OF_STREAM, NOTHING_FINISHED, Finished, Identity
from iwps_jax.pool.row_ranges import Spans
from iwps_jax.pool.sources import PoolError
from iwps_jax.refusal import Refusal
from iwps_jax.types import AnyArray

PROBES = 16


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
            arrays bound to a plain function are arguments of the program, compiled
            once for all models of the same shapes; anything else is compiled anew.
        pool: arrays, memory maps, `Records`, datasets with a length, a pytree of these,
            or one iterator of chunks. A part that is `range(size)` gives a score its
            global rows, for `sample_keys`. All of it, on every process.
        k: how many rows to pick. Of an iterator with fewer, all.
        where: rows that may be picked; all by default. All are scored.
        chunk_size: rows scored at once on each device, of 8 and more whole eights; by
            default as many as suit its memory, see `plan_chunk_size`.
        devices: of this process; all by default.
        folder: where to keep what is finished, once a second. A scan that was killed
            goes on there when called again with the same arguments, with any chunk
            size, devices and number of processes that see the folder.
        show_progress: whether to show rows done, rows a second and time left.

    Returns:
        Rows and scores, best first.

    Raises:
        PoolError: if rows cannot be read or scores are NaN; names the rows, and
            nothing is picked.
        ValueError: if k is not in [1, rows that may be picked], if shapes disagree, if
            the folder holds another scan, or if processes differ in their arguments.
        TypeError: if rows are not numbers or scores are not floating point.
        MemoryError: if one row does not fit a device.

    Example:
        >>> def distance_from_two(rows):
        ...     return abs(rows - 2.0)
        >>> top_k_of_pool(distance_from_two, np.arange(6, dtype=np.float32), 2)
        TopK(rows=array([5, 0]), scores=array([3., 2.], dtype=float32))
    """
    k = checks.require_integer("k", k)
    saver = resume.Saver(folder, k)

    def prepare():
        source = sources.open_source(pool)
        mask = _check_picks(k, where, source.size)
        program = plan_program(score_fn, source, chunk_size, devices)
        _check_vector(program)
        return source, mask, program

    source, mask, program = processes.together(prepare)

    def identify(rows):
        return _identity(program, source, rows, (k, mask, score_fn))

    _require_same_everywhere(identify, has_folder=folder is not None)
    before = _of_all_processes([processes.together(lambda: saver.open(identify))], k)
    todo = _my_share(before.spans, source)
    mine = NOTHING_FINISHED

    def scan():
        nonlocal mine
        with _progress(show_progress, source, before.spans, todo) as advance:
            for chunk in scored_chunks(program, source, todo):
                mine = _with_chunk(mine, chunk, source, mask, k)
                saver.save_if_due(mine)
                advance(chunk.stop - chunk.start)

    try:
        processes.together(scan)
    finally:
        saver.save(mine)
    return ranking.ranked(_of_all_processes([before, mine], k).candidates, k)


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

    def prepare():
        source = sources.open_source(pool)
        return source, plan_program(score_fn, source, chunk_size, devices)

    source, program = processes.together(prepare)
    todo = _my_share(row_ranges.NOTHING, source)
    parts = []

    def scan():
        with _progress(show_progress, source, row_ranges.NOTHING, todo) as advance:
            for chunk in scored_chunks(program, source, todo):
                parts.append(chunk.scores)
                advance(chunk.stop - chunk.start)

    processes.together(scan)
    return _in_order_of_processes(parts, program, source)


# Before the scan


def _check_picks(k, where, size):
    """The mask as NumPy, if k rows can be picked."""
    if where is not None:
        checks.require_mask("where", where, len(where) if size is None else size)
        where = np.asarray(where)
        size = int(where.sum())
    if k < 1 or (size is not None and k > size):
        most = "" if size is None else f" and at most the {size} that may be picked"
        raise ValueError(f"k must be at least 1{most}, got {k}.")
    return where


def _check_vector(program):
    shape = getattr(program.scores, "shape", None)
    if shape != (program.size,):
        raise ValueError(
            f"score_fn must return one number for each of its {program.size} samples, "
            f"got {shape or program.scores}."
        )
    if not jax.numpy.issubdtype(program.scores.dtype, jax.numpy.floating):
        raise TypeError(f"scores must be floating point, got {program.scores.dtype}.")


def _identity(program, source, rows, asked) -> Identity:
    """What tells this scan from others, probed at `rows`, or at some if None."""
    k, where, score_fn = asked
    if rows is None and source.size is None:
        rows = range(PROBES)
    elif rows is None:
        spread = np.linspace(0, source.size - 1, min(PROBES, source.size))
        rows = sorted({int(row) for row in spread})
    elif source.size is not None:
        rows = [row for row in rows if row < source.size]
    probes = probe(program, source, rows)
    return Identity(
        size=source.size,
        k=k,
        where=resume.digest(where),
        score=fingerprint.of_score(score_fn),
        probe_rows=list(probes),
        probe_contents=[each.content for each in probes.values()],
        probe_scores=[each.score for each in probes.values()],
    )


def _require_same_everywhere(identify, *, has_folder):
    """Refuses a scan whose processes were called with different arguments."""
    if jax.process_count() == 1:
        return
    told = processes.gathered(
        {
            "identity": np.array(json.dumps(identify(None))),
            "has_folder": np.array(has_folder),
        }
    )
    first = Identity(*json.loads(str(told[0]["identity"])))
    for process, each in enumerate(told):
        other = Identity(*json.loads(str(each["identity"])))
        names = resume.differences(first, other)
        if each["has_folder"] != told[0]["has_folder"]:
            names.append("folder")
        if names:
            raise Refusal(
                "all processes must scan the same pool with the same arguments: "
                f"process {process} has another {' and '.join(names)} than process 0."
            )


def _my_share(done, source) -> Spans:
    """The rows that this process is to score."""
    if source.size is None:
        if jax.process_count() > 1:
            raise ValueError(
                "pool must have a length to be divided among "
                f"{jax.process_count()} processes, got an iterator."
            )
        return row_ranges.remaining(done, END_OF_STREAM)
    todo = row_ranges.remaining(done, source.size)
    return row_ranges.share(todo, jax.process_index(), jax.process_count())


def _progress(is_shown, source, done, todo):
    """A bar over the whole pool; of several processes, over this one's rows."""
    if source.size is None:
        return progress_bar(is_shown, None, 0)
    if jax.process_count() > 1:
        return progress_bar(is_shown, row_ranges.num_rows(todo), 0)
    return progress_bar(is_shown, source.size, row_ranges.num_rows(done))


# During the scan


def _with_chunk(finished, chunk, source, where, k) -> Finished:
    """What is finished, this chunk included."""
    rows, scores = np.arange(chunk.start, chunk.stop), chunk.scores
    ends_here = source.size is None and chunk.is_last
    if where is not None:
        if chunk.stop > len(where) or (ends_here and chunk.stop < len(where)):
            raise PoolError(
                f"where must have a row for each of the pool, has {len(where)}; the "
                f"pool {'ends at' if ends_here else 'has more than'} {chunk.stop - 1}."
            )
        may_be_picked = where[chunk.start : chunk.stop]
        rows, scores = rows[may_be_picked], scores[may_be_picked]
    stop = END_OF_STREAM if ends_here else chunk.stop
    return Finished(
        row_ranges.union(np.concatenate([finished.spans, [[chunk.start, stop]]])),
        ranking.add(finished.candidates, rows, scores.astype(_wide(scores)), k),
    )


def _wide(scores):
    """A type in which NumPy can rank them."""
    return np.promote_types(scores.dtype, np.float32)


# After the scan


def _of_all_processes(parts: list[Finished], k) -> Finished:
    """What these, and those of the other processes, have finished together."""
    done = np.concatenate([part.spans for part in parts])
    tops = [ranking.ranked(part.candidates, k) for part in parts]
    rows, scores = ranking.merged(tops, k)
    told = processes.gathered({"spans": done, "rows": rows, "scores": scores})
    rows, scores = ranking.merged(
        [TopK(each["rows"], each["scores"]) for each in told], k
    )
    return Finished(
        row_ranges.union(np.concatenate([each["spans"] for each in told])),
        ranking.Candidates(rows, scores, -np.inf),
    )


def _in_order_of_processes(parts: list[PyTree], program, source) -> PyTree:
    """The chunks of all processes, one after another, as one pytree."""
    structure = jax.tree.structure(program.scores)
    leaves = [
        np.concatenate([np.zeros((0, *like.shape[1:]), like.dtype), *chunks])
        for like, *chunks in zip(
            jax.tree.leaves(program.scores), *map(jax.tree.leaves, parts), strict=True
        )
    ]
    told = processes.gathered(
        {
            "size": np.array(source.size or 0),
            **{str(i): leaf for i, leaf in enumerate(leaves)},
        }
    )
    sizes = {int(each["size"]) for each in told}
    if len(sizes) > 1:
        raise Refusal(f"all processes must score one pool, got sizes {sizes}.")
    return jax.tree.unflatten(
        structure,
        [np.concatenate([each[str(i)] for each in told]) for i in range(len(leaves))],
    )
