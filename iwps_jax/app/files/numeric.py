"""What readers demand of arrays of numbers: shape, type, finite values."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from iwps_jax.app.files.arrays import first_bad_row
from iwps_jax.app.files.file_array import AnyRows
from iwps_jax.app.files.unreadable import FileError


def require_matrix(path: str | Path, name: str, array: AnyRows) -> None:
    """Refuses what is no matrix of real numbers, or is empty.

    Raises:
        FileError: with the file, the name of the array and its shape or type.
    """
    if array.ndim != 2:
        raise FileError(
            f"{path}: {name} must have 2 axes, got shape {tuple(array.shape)}."
        )
    if 0 in array.shape:
        raise FileError(
            f"{path}: {name} must not be empty, got shape {tuple(array.shape)}."
        )
    require_real(path, name, array)


def require_real(path: str | Path, name: str, array: AnyRows) -> None:
    """Refuses what is neither floating point nor integers.

    Raises:
        FileError: with the file, the name of the array and its type.
    """
    is_real = jnp.issubdtype(array.dtype, jnp.floating) or array.dtype.kind in "iu"
    if not is_real:
        raise FileError(
            f"{path}: {name} must be floating point or integers, got {array.dtype}."
        )


def finite(path: str | Path, name: str, array: AnyRows | np.ndarray) -> np.ndarray:
    """The array in float32, in which all its numbers must be finite.

    Raises:
        FileError: with the file, the name of the array and the first such row.
    """
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, and refused
        array = np.array(array, np.float32)
    row = first_bad_row(array, lambda x: ~np.isfinite(x))
    if row is not None:
        where = "entry" if array.ndim == 1 else "row"
        raise FileError(
            f"{path}: {name} must be finite in float32, got NaN or infinity in {where} "
            f"{row}."
        )
    return array
