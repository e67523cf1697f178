"""Which labeled example is nearest to a pick, in the features of the pool."""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from iwps_jax.app.files.file_array import AnyRows
from iwps_jax.refusal import Refusal

BLOCK = 1 << 22  # numbers of the pool in memory at once, besides those of the picks


def nearest_rows(
    features: Shaped[AnyRows, "pool d"],
    rows: Int[np.ndarray, " picks"],
    labeled: Int[np.ndarray, " labeled"],
) -> Int[np.ndarray, " picks"]:
    """The labeled row at the smallest Euclidean distance from each pick.

    Ties go to the lower row. A labeled pick is not its own neighbor. The function reads
    only `rows` and `labeled`.

    Args:
        features: features of the pool; they may stay in their file.
        rows: rows of the picks.
        labeled: rows with a label, distinct.

    Returns:
        For each pick a row of `labeled`; -1 if there is no other labeled row.

    Raises:
        Refusal: if a feature of these rows is not finite.

    Example:
        >>> features = np.array([[0.0], [1.0], [5.0], [7.0]])
        >>> nearest_rows(features, np.array([1, 2]), np.array([3, 0]))
        array([0, 3])
    """
    picks = _finite(features, rows)
    # Far from the origin, |x|² + |y|² - 2xy would be a difference of huge numbers.
    center = picks.mean(axis=0) if len(picks) else 0.0
    nearest = np.full(len(rows), -1)
    smallest = np.full(len(rows), np.inf)
    labeled = np.sort(labeled)
    step = max(1, BLOCK // max(1, features.shape[1], len(rows)))
    for start in range(0, len(labeled), step):
        others = labeled[start : start + step]
        block = _finite(features, others)
        near = _maybe_nearest(picks - center, block - center, smallest)
        near &= rows[:, None] != others
        for pick in np.flatnonzero(near.any(axis=1)):
            columns = np.flatnonzero(near[pick])
            distances = np.square(block[columns] - picks[pick]).sum(axis=1)
            best = distances.argmin()
            if distances[best] < smallest[pick]:
                nearest[pick] = others[columns[best]]
                smallest[pick] = distances[best]
    return nearest


def _maybe_nearest(
    picks: Float[np.ndarray, "picks d"],
    block: Float[np.ndarray, "block d"],
    smallest: Float[np.ndarray, " picks"],
) -> Bool[np.ndarray, "picks block"]:
    """All rows that may be the nearest despite rounding; exact distances decide."""
    norms = np.square(picks).sum(axis=1)[:, None], np.square(block).sum(axis=1)
    distances = norms[0] + norms[1] - 2 * picks @ block.T
    # A pick may be the first of its own neighbors: the second must stay as well.
    rank = min(1, len(block) - 1)
    bound = np.partition(distances, rank, axis=1)[:, rank]
    doubt = 1e-12 * (norms[0][:, 0] + norms[1].max()) * (1 + picks.shape[1] ** 0.5)
    return distances <= np.minimum(bound, smallest)[:, None] + doubt[:, None]


def _finite(features, rows) -> Float[np.ndarray, "rows d"]:
    # Reading in order of the file, whatever the order of the rows.
    order = np.argsort(rows, kind="stable")
    values = np.empty((len(rows), features.shape[1]))
    values[order] = features[rows[order]]
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise Refusal(
            f"features must be finite, but those of row {rows[bad][0]} are not."
        )
    return values
