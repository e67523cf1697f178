"""Scaling of the features for heads and scores: centered, with unit mean square."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.files.file_array import AnyRows
from iwps_jax.refusal import Refusal

ROWS = 10_000


class Scaling(NamedTuple):
    """h -> (h - mean) · factor, with one factor for all features, which keeps angles.

    Attributes:
        mean: [d].
        factor: one over the root of the mean square of the centered features.
    """

    mean: np.ndarray
    factor: float

    def of(self, features: np.ndarray) -> np.ndarray:
        """Scaled features [n, d], float32."""
        return (features.astype(np.float32) - self.mean[None]) * self.factor

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
    """A pool whose rows are scaled as they are read."""

    def __init__(self, pool: Any, scaling: Scaling):
        """Reads nothing yet."""
        self._pool, self._scaling = pool, scaling
        self.shape, self.dtype = pool.shape, np.dtype(np.float32)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._pool)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Some rows, scaled."""
        return self._scaling.of(np.asarray(self._pool[rows]))


def scaling_of(pool: Any) -> Scaling:
    """The scaling of a pool, from up to `ROWS` rows spread over it.

    Raises:
        Refusal: if the features are not finite numbers, or all rows are equal.
    """
    spread = np.unique(np.linspace(0, len(pool) - 1, ROWS).astype(np.int64))
    some = rows_of(pool, spread.tolist())
    if not np.issubdtype(some.dtype, np.number) and some.dtype.kind != "V":
        raise Refusal(f"features of the pool must be numbers, got {some.dtype}.")
    some = some.astype(np.float64)
    is_bad = ~np.isfinite(some).all(axis=1)
    if is_bad.any():
        raise Refusal(
            "features of the pool must be finite, but those of row "
            f"{spread[is_bad][0]} are not."
        )
    mean = some.mean(axis=0)
    size = np.sqrt(np.mean((some - mean) ** 2))
    if size == 0 or not np.isfinite(size):
        raise Refusal("features of the pool must differ from row to row.")
    return Scaling(mean.astype(np.float32), float(1 / size))


def rows_of(pool: Any, rows: Sequence[int]) -> np.ndarray:
    """Some rows of a pool; one at a time if the pool supports only slices."""
    if isinstance(pool, AnyRows):
        return np.asarray(pool[np.asarray(rows, int)])
    return np.concatenate([np.asarray(pool[row : row + 1]) for row in rows])
