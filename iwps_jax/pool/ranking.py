"""The best rows seen so far: a selection that holds k rows of a pool of any size."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

LEAST_BUFFERED = 2**16


class TopK(NamedTuple):
    """Rows to label next, best first, ties to the lower row.

    Attributes:
        rows: positions in the whole pool.
        scores: theirs.
    """

    rows: Int[np.ndarray, " k"]
    scores: Float[np.ndarray, " k"]


class Candidates(NamedTuple):
    """Rows among which the k best so far are, in no order.

    Attributes:
        rows: positions in the whole pool.
        scores: theirs.
        least: a score that k of the rows reach.
    """

    rows: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    least: float


NONE = Candidates(np.zeros(0, np.int64), np.zeros(0, np.float32), -np.inf)


def add(
    candidates: Candidates,
    rows: Int[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    k: int,
) -> Candidates:
    """Takes more rows, distinct from those before, in any order.

    Most rows of a long scan are below `least` and end here; the others are gathered
    until they are worth a selection, so that the cost a row does not grow with k.
    """
    good = scores >= candidates.least  # equal ones too: their row may be lower
    rows = np.concatenate([candidates.rows, rows[good].astype(np.int64)])
    scores = np.concatenate([candidates.scores, scores[good]])
    gathered = Candidates(rows, scores, candidates.least)
    if len(rows) <= 2 * k + LEAST_BUFFERED:
        return gathered
    return _k_best(gathered, k)


def _k_best(candidates, k):
    """No more than k candidates."""
    rows, scores, least = candidates
    if len(rows) <= k:
        return candidates
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    better, equal = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
    equal = equal[np.argsort(rows[equal], kind="stable")][: k - len(better)]
    chosen = np.concatenate([better, equal])
    return Candidates(rows[chosen], scores[chosen], float(least))


def ranked(candidates: Candidates, k: int) -> TopK:
    """The k best, or all there are."""
    rows, scores, _ = _k_best(candidates, k)
    best = np.lexsort((rows, -scores))
    return TopK(rows[best], scores[best])


def merged(tops: Iterable[TopK], k: int) -> TopK:
    """The k best of several; a row in more than one of them counts once."""
    rows, scores = (np.concatenate(parts) for parts in zip(*tops, strict=True))
    rows, first = np.unique(rows, return_index=True)
    return ranked(Candidates(rows, scores[first], -np.inf), k)
