"""Finds holdout samples that are also training samples, by equal features.

A holdout set that the model was trained on cannot show which predictions are wrong: its
losses are low, and every further step of the head raises them alike.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Num

from iwps_jax.refusal import Refusal
from iwps_jax.types import AnyArray

ROWS_AT_ONCE = 2**16
NO_COPY = -1


def copies_of(
    samples: Num[AnyArray, "m d"], features: Any, *, rows_at_once: int = ROWS_AT_ONCE
) -> Int[np.ndarray, " m"]:
    """For each sample, the first row of `features` that equals it exactly.

    Numbers are compared in the narrower of the two types, so that float32 samples are
    found in features that were stored as float16. The samples are sorted once, then the
    features are read once, one block at a time: O((m + n) log m).

    Args:
        samples: for example the features of a holdout set.
        features: [n, d], for example those of the labeled samples, or a memory map of a
            pool of any size. The object needs a shape, a dtype and slices.
        rows_at_once: rows of `features` per block, which bounds the memory.

    Returns:
        A row of `features` for each sample; `NO_COPY` if no row equals it.

    Raises:
        Refusal: if samples and features differ in their number of columns.

    Example:
        >>> pool = np.array([[0.0, 1.0], [2.0, 3.0], [2.0, 3.0]])
        >>> copies_of(np.array([[2.0, 3.0], [4.0, 5.0]]), pool).tolist()
        [1, -1]
    """
    samples = np.asarray(samples)
    if samples.ndim != 2 or samples.shape[1:] != tuple(features.shape[1:]):
        raise Refusal(
            "samples and features must have 2 axes and the same columns, got shapes "
            f"{samples.shape} and {tuple(features.shape)}."
        )
    dtypes = samples.dtype, features.dtype
    if all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes):
        dtype = min(dtypes, key=lambda dtype: dtype.itemsize)
    else:
        dtype = np.result_type(*dtypes)
    known, place = np.unique(_whole_rows(samples, dtype), return_inverse=True)
    first = np.full(len(known), NO_COPY, np.int64)
    for start in range(0, len(features), rows_at_once):
        rows = _whole_rows(features[start : start + rows_at_once], dtype)
        at = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        found = np.flatnonzero((known[at] == rows) & (first[at] == NO_COPY))
        # Backwards, so that of several copies the first is written last.
        first[at[found[::-1]]] = start + found[::-1]
    return first[place]


def _whole_rows(features, dtype) -> np.ndarray:
    """Each row as one sortable value: its bytes, with -0.0 replaced by 0.0."""
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(np.asarray(features).astype(dtype) + dtype.type(0))
    return rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0]
