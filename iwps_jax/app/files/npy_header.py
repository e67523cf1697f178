"""Headers of .npy files: where the numbers of an array begin, and how they lie."""

import io
import math
import struct
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from iwps_jax.app.files.unreadable import FileError
from iwps_jax.wording import plural

MOST_HEADER = 10_000
"""Bytes of a header; one of plain numbers has about a hundred, and reading a large one
as Python text takes long and much memory."""
MOST_AXES = 32
"""Axes of an array; NumPy itself allows 32, or 64 since version 2."""
HEADERS = {
    (1, 0): ("<H", np.lib.format.read_array_header_1_0),
    (2, 0): ("<I", np.lib.format.read_array_header_2_0),
}


class Place(NamedTuple):
    """Where the numbers of an array begin in its file, and how they lie there."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    order: Literal["C", "F"] = "C"

    @property
    def nbytes(self) -> int:
        """Bytes of all its numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_place(path, file: Any) -> Place:
    """What the header says that `file` stands at; leaves it at the numbers.

    Raises:
        FileError: if the array cannot be read; names the file `path`.
        ValueError: if it is no header.
    """
    start = file.read(8)
    version = (start[6], start[7]) if len(start) == 8 else (0, 0)
    if start[:6] != b"\x93NUMPY":
        raise ValueError("it does not begin like an array that NumPy saved")
    if version == (3, 0):
        raise FileError(f"{path} must hold plain numbers, got a record array.")
    if version not in HEADERS:
        raise ValueError(f"its version {version[0]}.{version[1]} is unknown")
    size_format, read = HEADERS[version]
    size_bytes = file.read(struct.calcsize(size_format))
    (size,) = struct.unpack(size_format, size_bytes)
    if size > MOST_HEADER:
        raise ValueError(f"its header has {size:,} bytes, more than {MOST_HEADER:,}")
    header = file.read(size)
    if len(header) < size:
        raise ValueError("its header is cut short")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd Python in it
            shape, is_fortran, dtype = read(io.BytesIO(size_bytes + header))
    except Exception as error:  # whatever Python's parser makes of it
        raise ValueError(str(error) or type(error).__name__) from error
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError("its shape has a length that is negative or no integer")
    require_few_axes(shape)
    require_plain(path, dtype)
    return Place(8 + len(size_bytes) + size, shape, dtype, "F" if is_fortran else "C")


def require_few_axes(shape: Sequence[int]) -> None:
    """Refuses a shape that NumPy has no arrays of.

    Raises:
        ValueError: if it has too many axes.
    """
    if len(shape) > MOST_AXES:
        raise ValueError(f"it has {len(shape):,} axes, more than {MOST_AXES}")


def require_plain(path, dtype: np.dtype) -> None:
    """Refuses what is no number or text of this machine.

    Raises:
        FileError: if it is not; says how to save it.
    """
    if dtype.hasobject:
        raise FileError(
            f"{path} must hold plain numbers, got pickled objects, which are not "
            "loaded: save numbers or strings with their own dtype."
        )
    if dtype.kind == "V" and dtype.names is None and dtype.subdtype is None:
        raise FileError(
            f"{path} must hold numbers, got values of "
            f"{plural(dtype.itemsize, 'byte')} without a type, which is how np.save "
            "stores bfloat16: save float16 or float32, or a .safetensors file."
        )
    if dtype.kind in "VMm":
        raise FileError(f"{path} must hold plain numbers, got {str(dtype)[:80]}.")
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise FileError(f"{path} must hold numbers of at most 64 bits, got {dtype}.")
    if dtype.itemsize == 0:
        raise FileError(f"{path} must hold numbers, got text without a letter.")
    if not dtype.isnative:
        raise FileError(
            f"{path} must hold numbers in this machine's byte order, got {dtype.str}: "
            "save array.astype(array.dtype.newbyteorder('='))."
        )
