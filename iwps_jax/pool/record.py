"""What a scan of the pool has finished, on disk, so that a killed one goes on.

A folder holds `scan.json`, which tells the scan from others, and a file of finished
rows and their best for every process of every attempt. Files of earlier attempts are
only read, so that any number of processes can go on where any other number stopped.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Int

from iwps_jax.pool import ranking
from iwps_jax.pool.ranking import TopK

FORMAT = 1
END_OF_STREAM = 2**62  # the rows of a pool whose size only its end will tell
# Devices differ in rounding, models in much more.
ROUNDING = 1e-4

Spans: TypeAlias = Int[np.ndarray, "_ 2"]
"""Rows from the first, inclusive, to the second, exclusive; sorted and disjoint."""

NOTHING: Spans = np.zeros((0, 2), np.int64)


class Finished(NamedTuple):
    """Rows that have been scored, and the best of them.

    Attributes:
        spans: the rows.
        top: the best of those that may be picked.
    """

    spans: Spans
    top: TopK


NOTHING_FINISHED = Finished(NOTHING, ranking.empty())


class Identity(NamedTuple):
    """What tells one scan from another.

    Attributes:
        size: rows of the pool, or None for a stream.
        k: rows to pick.
        where: sha256 of the mask of rows that may be picked, or None.
        probe_rows: a few rows of the pool.
        probe_scores: what the score says of them, which no other model or pool would.
    """

    size: int | None
    k: int
    where: str | None
    probe_rows: list[int]
    probe_scores: list[float]


def digest(where: Bool[np.ndarray, " pool"] | None) -> str | None:
    """A mask in a word."""
    return None if where is None else hashlib.sha256(np.packbits(where)).hexdigest()


def open_record(
    folder: Path, identify: Callable[[list[int] | None], Identity]
) -> Finished:
    """What the attempts so far have finished; starts a record where there is none.

    Args:
        folder: of the record.
        identify: the present scan, probed at the given rows, or at some if None.

    Raises:
        ValueError: if the folder holds something else, or the scan of another pool,
            model, mask or k.
    """
    path = folder / "scan.json"
    if path.exists():
        stored = json.loads(path.read_text())
        if stored.pop("format", None) != FORMAT:
            raise ValueError(f"{path} is of another version: choose a new folder.")
        stored = Identity(**stored)
        _require_same(folder, stored, identify(stored.probe_rows))
        return _load(folder)
    if folder.exists() and any(folder.glob("[!.]*")):
        raise ValueError(
            f"{folder} must be empty or hold a scan, got other files: choose a new "
            "folder."
        )
    content = {"format": FORMAT, **identify(None)._asdict()}
    _replace(path, (json.dumps(content, indent=1) + "\n").encode())
    return NOTHING_FINISHED


def _require_same(folder, stored, present):
    for name in ("size", "k", "where"):
        if getattr(stored, name) != getattr(present, name):
            raise ValueError(
                f"{folder} holds a scan with another {name} "
                f"({getattr(stored, name)}, now {getattr(present, name)}): "
                "choose a new folder or delete it."
            )
    before, now = np.array(stored.probe_scores), np.array(present.probe_scores)
    largest = np.abs(before[np.isfinite(before)]).max(initial=0)
    if not np.allclose(before, now, rtol=ROUNDING, atol=ROUNDING * largest):
        raise ValueError(
            f"{folder} holds a scan of another model or pool, by the scores of "
            f"{len(now)} rows: choose a new folder or delete it."
        )


def _load(folder):
    spans, tops = [NOTHING], [ranking.empty()]
    for path in sorted(folder.glob("rows_from_*.npz")):
        with np.load(path) as stored:
            spans.append(stored["spans"])
            tops.append(TopK(stored["rows"], stored["scores"]))
    rows, scores = (np.concatenate(parts) for parts in zip(*tops, strict=True))
    return Finished(union(np.concatenate(spans)), TopK(rows, scores))


def save(folder: Path, finished: Finished) -> None:
    """Keeps what one process of one attempt has finished, in place of its last save.

    The first row names the file: no two attempts finish the same one.
    """
    content = io.BytesIO()
    np.savez(
        content,
        spans=finished.spans,
        rows=finished.top.rows,
        scores=finished.top.scores,
    )
    path = folder / f"rows_from_{finished.spans[0, 0]}.npz"
    _replace(path, content.getvalue())


def _replace(path, content):
    """Writes a file that is whole or not there, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_bytes(content)
    half.replace(path)


# Spans


def union(spans: Int[np.ndarray, "_ 2"]) -> Spans:
    """The same rows in sorted, disjoint spans that do not touch."""
    merged = []
    for start, stop in spans[np.argsort(spans[:, 0], kind="stable")].tolist():
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        elif start < stop:
            merged.append([start, stop])
    return np.array(merged, np.int64).reshape(-1, 2)


def remaining(done: Spans, size: int) -> Spans:
    """The rows of the pool that are in no span."""
    edges = np.concatenate([[0], done.ravel(), [size]]).reshape(-1, 2)
    return edges[edges[:, 0] < edges[:, 1]]


def share(spans: Spans, part: int, parts: int) -> Spans:
    """The rows that one of several processes takes: one stretch, sizes alike."""
    lengths = spans[:, 1] - spans[:, 0]
    offsets = np.cumsum(lengths) - lengths
    total = int(lengths.sum())
    first, last = total * part // parts, total * (part + 1) // parts
    starts = spans[:, 0] + np.clip(first - offsets, 0, lengths)
    stops = spans[:, 0] + np.clip(last - offsets, 0, lengths)
    mine = np.stack([starts, stops], axis=1)
    return mine[starts < stops]
