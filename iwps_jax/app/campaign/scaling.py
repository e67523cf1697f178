"""Scaling of the features for heads and scores: centered, with unit mean square.

Rows far from all others decide nothing: neither center nor size is computed from them,
and a scaled feature is cut off at a cap.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.files.file_array import AnyRows
from iwps_jax.refusal import Refusal

ROWS = 10_000
FAR = 30.0
"""Rows that lie this many times farther from the median than the median row take no
part in center and size."""
CAP = 100.0
"""Where a scaled feature is cut off: far above what features have, and low enough for a
head to be fitted."""
OUTLYING = 1000.0
"""The scaled feature from which on a row is named to the user."""


class Scaling(NamedTuple):
    """h -> clip((h - mean) · factor, ±cap), with one factor, which keeps angles.

    Attributes:
        mean: [d].
        factor: one over the root of the mean square of the centered features.
        cap: largest size of a scaled feature; infinite in campaigns of format 1.
    """

    mean: np.ndarray
    factor: float
    cap: float = CAP

    def of(self, features: np.ndarray) -> np.ndarray:
        """Scaled features [n, d], float32; NaN stays NaN, infinity becomes NaN."""
        wide = features.astype(np.float32)
        scaled = (wide - self.mean[None]) * self.factor
        if not np.isfinite(self.cap):
            return scaled
        np.clip(scaled, -self.cap, self.cap, out=scaled)
        scaled[np.isinf(wide)] = np.nan  # is refused, and not cut off
        return scaled

    def are_outlying(self, features: np.ndarray) -> np.ndarray:
        """Mask [n] of the rows that lie `OUTLYING` scales or more from the center."""
        with np.errstate(over="ignore", invalid="ignore"):
            distance = np.abs(features.astype(np.float64) - self.mean[None])
            return (distance * self.factor >= OUTLYING).any(axis=1)

    def rows(self, pool: Any, rows: Sequence[int]) -> np.ndarray:
        """Scaled features of some rows of a pool."""
        return self.of(rows_of(pool, rows))

    def unscaled(
        self, kernel: np.ndarray, bias: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The head that gives the same logits for unscaled features."""
        wide = kernel.astype(np.float64) * self.factor
        moved = bias - self.mean.astype(np.float64) @ wide
        return wide.astype(np.float32), moved.astype(np.float32)


class ScaledRows:
    """A pool, or some rows of it, scaled as they are read."""

    def __init__(self, pool: Any, scaling: Scaling, rows: np.ndarray | None = None):
        """Reads nothing yet."""
        self._pool, self._scaling, self._rows = pool, scaling, rows
        size = len(pool) if rows is None else len(rows)
        self.shape, self.dtype = (size, pool.shape[1]), np.dtype(np.float32)

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some rows, scaled."""
        if self._rows is None:
            return self._scaling.of(np.asarray(self._pool[rows]))
        return self._scaling.rows(self._pool, self._rows[rows].tolist())


def spread_rows(size: int) -> list[int]:
    """Up to `ROWS` rows, spread over a pool of this size."""
    return np.unique(np.linspace(0, size - 1, ROWS).astype(np.int64)).tolist()


def scaling_of(pool: Any) -> Scaling:
    """The scaling of a pool, from up to `ROWS` rows spread over it.

    Center and size are the mean and the root mean square of the rows that lie at most
    `FAR` times as far from the median of each feature as the median row does.

    Raises:
        Refusal: if the features are not finite numbers, or all rows are equal.
    """
    spread = spread_rows(len(pool))
    some = rows_of(pool, spread)
    if not np.issubdtype(some.dtype, np.number) and some.dtype.kind != "V":
        raise Refusal(f"features of the pool must be numbers, got {some.dtype}.")
    is_bad = ~np.isfinite(some.astype(np.float64)).all(axis=1)
    if is_bad.any():
        raise Refusal(
            "features of the pool must be finite, but those of row "
            f"{spread[int(is_bad.argmax())]} are not."
        )
    return scaling_of_rows(some)


def scaling_of_rows(rows: np.ndarray) -> Scaling:
    """The same from rows that are given, all finite.

    Raises:
        Refusal: if they are all equal, or there is none.
    """
    rows = rows.astype(np.float64)
    mean, size = np.zeros(rows.shape[1:]), 0.0
    if len(rows):
        with np.errstate(over="ignore", invalid="ignore"):
            distance = np.linalg.norm(rows - np.median(rows, axis=0), axis=1)
            # Where most rows are equal, of those that are not.
            usual = np.median(distance) or _median_of_positive(distance)
            rows = rows[distance <= FAR * usual]
            mean = rows.mean(axis=0)
            size = float(np.sqrt(np.mean((rows - mean) ** 2)))
    if size == 0 or not np.isfinite(size):
        raise Refusal("features of the pool must differ from row to row.")
    return Scaling(mean.astype(np.float32), 1 / size)


def _median_of_positive(numbers) -> float:
    is_positive = numbers > 0
    return float(np.median(numbers[is_positive])) if is_positive.any() else 0.0


def rows_of(pool: Any, rows: Sequence[int]) -> np.ndarray:
    """Some rows of a pool; one at a time if the pool supports only slices."""
    if isinstance(pool, AnyRows):
        return np.asarray(pool[np.asarray(rows, int)])
    return np.concatenate([np.asarray(pool[row : row + 1]) for row in rows])
