"""The best rows seen so far: a selection that holds k rows of a pool of any size."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class TopK(NamedTuple):
    """Rows to label next, best first, ties to the lower row.

    Attributes:
        rows: positions in the whole pool.
        scores: theirs.
    """

    rows: Int[np.ndarray, " k"]
    scores: Float[np.ndarray, " k"]


def empty() -> TopK:
    """No rows."""
    return TopK(np.zeros(0, np.int64), np.zeros(0, np.float32))


def better(
    top: TopK,
    rows: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    k: int,
) -> TopK:
    """The k best of those so far and more rows, all distinct; fewer while there are.

    Whatever the order in which rows come, the result is the same.
    """
    if len(top.rows) == k:
        # Most rows of a long scan end here. Equal scores stay: their row may be lower.
        good = scores >= top.scores[-1]
        rows, scores = rows[good], scores[good]
    if len(scores) > k:
        good = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        rows, scores = rows[good], scores[good]
    rows = np.concatenate([top.rows, rows.astype(np.int64)])
    scores = np.concatenate([top.scores, scores])
    best = np.lexsort((rows, -scores))[:k]
    return TopK(rows[best], scores[best])


def merged(tops: Iterable[TopK], k: int) -> TopK:
    """The k best of several; a row in more than one of them counts once."""
    rows, scores = (np.concatenate(parts) for parts in zip(*tops, strict=True))
    rows, first = np.unique(rows, return_index=True)
    return better(empty(), rows, scores[first], k)
