"""Metrics of segmentation, all from one confusion matrix that is counted exactly.

    matrix[t, p] = pixels of true class t predicted as p, those labeled IGNORE left out
    IoU_c = matrix[c, c] / (Σ_p matrix[c, p] + Σ_t matrix[t, c] - matrix[c, c])

A class that occurs neither in the truth nor in the predictions has no IoU and does not
enter a mean.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Metrics(NamedTuple):
    """Shares in [0, 1]; NaN where nothing is defined.

    Attributes:
        class_iou: [classes] intersection over union.
        miou: its mean over the classes that occur.
        foreground_miou: the same without the background; NaN if there is none.
        pixel_accuracy: share of the labeled pixels that are right.
    """

    class_iou: np.ndarray
    miou: float
    foreground_miou: float
    pixel_accuracy: float


def count(predicted: jax.Array, labels: jax.Array, *, num_classes: int) -> jax.Array:
    """The confusion matrix of some pixels, as int32, inside `jax.jit`.

    Args:
        predicted: classes, of any shape.
        labels: true classes of the same shape; what is not in [0, num_classes) does
            not count.
        num_classes: classes of the problem.

    Returns:
        int32 [true, predicted], of fewer than 2³¹ pixels.
    """
    labels = labels.astype(jnp.int32)
    counts = (labels >= 0) & (labels < num_classes)
    cell = jnp.where(counts, labels * num_classes + predicted, num_classes**2)
    matrix = jnp.bincount(cell.ravel(), length=num_classes**2 + 1)[:-1]
    return matrix.reshape(num_classes, num_classes).astype(jnp.int32)


def total(matrices: Iterable[jax.Array], num_classes: int) -> np.ndarray:
    """The sum of confusion matrices, in 64 bits on the host."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for part in matrices:
        matrix += np.asarray(part)
    return matrix


def metrics(matrix: np.ndarray, background: int | None = None) -> Metrics:
    """All numbers of a confusion matrix.

    Args:
        matrix: [true, predicted] pixels.
        background: the class that `foreground_miou` leaves out; None if there is none.

    Example:
        >>> found = metrics(np.array([[3, 1], [0, 4]]), background=0)
        >>> print(found.class_iou, found.foreground_miou, found.pixel_accuracy)
        [0.75 0.8 ] 0.8 0.875
    """
    right = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - right
    iou = np.where(union > 0, right / np.maximum(union, 1), np.nan)
    foreground = np.array([]) if background is None else np.delete(iou, background)
    pixels = matrix.sum()
    return Metrics(
        class_iou=iou,
        miou=_mean_of_known(iou),
        foreground_miou=_mean_of_known(foreground),
        pixel_accuracy=float(right.sum() / pixels) if pixels else float("nan"),
    )


def _mean_of_known(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
