"""Parts of labeled samples that judge each other's heads."""

import numpy as np
from jaxtyping import Int, Integer

from iwps_jax.types import AnyArray


def dealt(labels: Integer[AnyArray, " n"], number: int) -> Int[np.ndarray, " n"]:
    """Deals samples out to so many parts in turn, one class after the other.

    The parts differ in size by at most one sample, and a class with two samples or more
    is in more than one part.

    Example:
        >>> print(dealt(np.array([1, 0, 1, 1]), 2))
        [1 0 0 1]
    """
    parts = np.empty(len(labels), int)
    parts[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % number
    return parts


def have_others(labels: Integer[AnyArray, " n"]) -> np.ndarray:
    """Mask [n] of the samples that are not alone in their class.

    Example:
        >>> print(have_others(np.array([1, 0, 1])))
        [ True False  True]
    """
    return np.bincount(labels)[labels] > 1
