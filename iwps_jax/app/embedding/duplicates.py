"""Rows that nearly repeat an earlier one: photos taken twice, texts sent twice."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

COSINE = 0.995
ROWS_AT_ONCE = 1024
KEPT_AT_ONCE = 8192


class Duplicates(NamedTuple):
    """Rows that nearly repeat an earlier row, which itself repeats none.

    Attributes:
        rows: in order.
        originals: the most similar of the earlier rows, for each.
        cosines: of the two.
    """

    rows: np.ndarray
    originals: np.ndarray
    cosines: np.ndarray


NONE = Duplicates(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def find(
    features: np.ndarray, advance: Callable[[int], None] = lambda rows: None
) -> Duplicates:
    """Each row whose cosine with an earlier row that is kept is above `COSINE`.

    O(rows² · d), in blocks: memory does not grow with the rows but by their numbers.

    Args:
        features: [rows, d].
        advance: is told how many rows were compared with all before them.

    Example:
        >>> print(find(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.01]])).originals)
        [0]
    """
    kept = np.zeros(0, np.int64)
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(features), ROWS_AT_ONCE):
        block = _unit(features[start : start + ROWS_AT_ONCE])
        cosines, originals = _nearest(block, features, kept)
        among = np.tril(block @ block.T, -1)
        is_kept = np.ones(len(block), bool)
        for at in range(len(block)):
            earlier = np.where(is_kept[:at], among[at, :at], -1)
            best = int(earlier.argmax()) if at else 0
            if at and earlier[best] > cosines[at]:
                cosines[at], originals[at] = earlier[best], start + best
            if cosines[at] > COSINE:
                is_kept[at] = False
                found.append((start + at, int(originals[at]), float(cosines[at])))
        kept = np.concatenate([kept, start + np.flatnonzero(is_kept)])
        advance(len(block))
    return Duplicates(
        np.array([row for row, _, _ in found], np.int64),
        np.array([original for _, original, _ in found], np.int64),
        np.array([cosine for _, _, cosine in found]),
    )


def _nearest(block, features, kept):
    """The largest cosine of each row of the block with a kept row, and that row."""
    cosines = np.full(len(block), -np.inf)
    originals = np.zeros(len(block), np.int64)
    for first in range(0, len(kept), KEPT_AT_ONCE):
        numbers = kept[first : first + KEPT_AT_ONCE]
        found = block @ _unit(features[numbers]).T
        best = found.argmax(1)
        largest = found[np.arange(len(block)), best]
        is_nearer = largest > cosines
        cosines = np.where(is_nearer, largest, cosines)
        originals = np.where(is_nearer, numbers[best], originals)
    return cosines, originals


def _unit(rows):
    rows = np.asarray(rows, np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)
