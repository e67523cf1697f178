"""Stretches of rows: what is done, what is left, who takes what."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Int

Spans: TypeAlias = Int[np.ndarray, "_ 2"]
"""Rows from the first, inclusive, to the second, exclusive; sorted and disjoint."""

NOTHING: Spans = np.zeros((0, 2), np.int64)


def num_rows(spans: Spans) -> int:
    """How many there are."""
    return int((spans[:, 1] - spans[:, 0]).sum())


def union(spans: Int[np.ndarray, "_ 2"]) -> Spans:
    """The same rows in sorted, disjoint spans that do not touch."""
    merged: list[list[int]] = []
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
