"""Arrays in .npy, .npz and .safetensors files, as memory maps.

A memory map reads only the pages that are used, so a file may have any size. The one
exception is a compressed .npz, which must be read completely.
"""

import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from iwps_jax.refusal import Refusal

SUFFIXES = (".npy", ".npz", ".safetensors")
NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
SAFETENSORS_TYPES = {
    **{"F16": np.float16, "F32": np.float32, "F64": np.float64, "BF16": jnp.bfloat16},
    **{"I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64},
    **{"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64},
    "BOOL": np.bool_,
}


class FileError(Refusal):
    """A file cannot be used; the message is one sentence that names it."""


class _Place(NamedTuple):
    """Where the numbers of an array begin in its file, and how they lie there."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    order: Literal["C", "F"] = "C"


def open_array(path: str | Path, name: str = "features") -> np.ndarray:
    """An array of numbers in a file, as a memory map.

    Args:
        path: .npy, .npz or .safetensors.
        name: the array of an .npz or .safetensors file; not needed if the file holds
            only one array.

    Returns:
        A read-only `np.memmap`, or a plain array if the .npz is compressed or the
        array is empty.

    Raises:
        FileError: if the file is missing, a folder, empty or truncated, if it has
            another format than these three or than its suffix says, if it has no such
            array, or if the array does not hold plain numbers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "pool.npy"
        ...     np.save(path, np.eye(2))
        ...     print(open_array(path))
        [[1. 0.]
         [0. 1.]]
    """
    path = Path(path)
    require_file(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with _readable(path, "an .npy file"), path.open("rb") as file:
            place = _npy_place(path, file)
        return _mapped(path, place)
    if suffix == ".npz":
        return _of_npz(path, name, ())
    if suffix == ".safetensors":
        return _of_safetensors(path, name, ())
    raise FileError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")


def open_arrays(path: str | Path, names: Sequence[str]) -> list[np.ndarray]:
    """Opens several named arrays of one file, each as `open_array` does.

    Args:
        path: .npz or .safetensors.
        names: names of the arrays.

    Raises:
        FileError: as `open_array`, and if the file cannot hold more than one array.
    """
    path = Path(path)
    require_file(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES[1:]:
        raise FileError(
            f"{path} must be an .npz or .safetensors file with {' and '.join(names)}."
        )
    open_member = _of_npz if suffix == ".npz" else _of_safetensors
    return [open_member(path, name, names) for name in names]


def require_file(path: Path) -> None:
    """Refuses a path that is not a readable file with content.

    Raises:
        FileError: if it is missing, a folder, empty or not readable.
    """
    try:
        if path.is_dir():
            raise FileError(f"{path} must be a file, got a folder.")
        size = path.stat().st_size
        path.open("rb").close()
    except FileNotFoundError:
        raise FileError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        if isinstance(error, FileError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise FileError(f"{path} cannot be read: {reason}.") from error
    if size == 0:
        raise FileError(f"{path} must not be empty.")


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    """Turns an error while reading a format into a sentence about the file."""
    try:
        yield
    except FileError:
        raise
    except (
        *(ValueError, EOFError, KeyError, SafetensorError, struct.error),
        *(zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError),
    ) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise FileError(
            f"{path} must be {what}, but it is damaged or has another format: {reason}."
        ) from error


def _npy_place(path, file) -> _Place:
    """What the header says that `file` stands at; leaves it at the numbers."""
    version = np.lib.format.read_magic(file)
    if version not in NPY_HEADERS:
        raise FileError(f"{path} must hold plain numbers, got a record array.")
    shape, is_fortran, dtype = NPY_HEADERS[version](file)
    _require_plain(path, dtype)
    return _Place(file.tell(), shape, dtype, "F" if is_fortran else "C")


def _require_plain(path, dtype):
    if dtype.hasobject:
        raise FileError(
            f"{path} must hold plain numbers, got pickled objects, which are not "
            "loaded: save numbers or strings with their own dtype."
        )
    if dtype.kind == "V" and dtype.names is None:
        raise FileError(
            f"{path} must hold numbers, got values of {dtype.itemsize} bytes without a "
            "type, which is how np.save stores bfloat16: save float16 or float32, or a "
            ".safetensors file."
        )
    if dtype.kind in "VMm":
        raise FileError(f"{path} must hold plain numbers, got {dtype}.")
    if dtype.kind == "f" and dtype.itemsize > 8:
        raise FileError(f"{path} must hold numbers of at most 64 bits, got {dtype}.")
    if not dtype.isnative:
        raise FileError(
            f"{path} must hold numbers in this machine's byte order, got {dtype.str}: "
            "save array.astype(array.dtype.newbyteorder('='))."
        )


def _mapped(path: Path, place: _Place) -> np.ndarray:
    """The memory map of an array, if the file is long enough."""
    size = math.prod(place.shape)
    end, actual = place.offset + size * place.dtype.itemsize, path.stat().st_size
    if end > actual:
        raise FileError(
            f"{path} is truncated: an array of shape {place.shape} and {place.dtype} "
            f"ends at byte {end:,}, but the file ends at {actual:,}."
        )
    if size == 0 or place.dtype.itemsize == 0:
        return np.zeros(place.shape, place.dtype)
    offset, shape, dtype, order = place
    return np.memmap(path, dtype, "r", offset, shape, order)


def _key(path: Path, name: str, beside: Sequence[str], keys: list[str]) -> str:
    """The key to read; if one array is wanted and there is one, its name is free."""
    if name in keys:
        return name
    if len(keys) == 1 and not beside:
        return keys[0]
    wanted = f"an array called {name}, or only one array"
    if beside:
        wanted = f"arrays called {' and '.join(beside)}"
    held = ", ".join(sorted(keys)) or "none"
    raise FileError(f"{path} must hold {wanted}, got {held}.")


def _of_npz(path, name, beside) -> np.ndarray:
    with _readable(path, "an .npz file"), zipfile.ZipFile(path) as archive:
        members = {
            member.filename.removesuffix(".npy"): member
            for member in archive.infolist()
        }
        member = members[_key(path, name, beside, list(members))]
        with archive.open(member) as file:
            place = _npy_place(path, file)
            if member.compress_type != zipfile.ZIP_STORED:
                return _read_whole(path, place, file.read())
        return _mapped(path, place._replace(offset=_start(path, member) + place.offset))


def _read_whole(path, place, content) -> np.ndarray:
    size = math.prod(place.shape)
    if len(content) < size * place.dtype.itemsize:
        raise FileError(
            f"{path} is truncated: an array of shape {place.shape} and {place.dtype} "
            f"has only {len(content):,} bytes."
        )
    return np.frombuffer(content, place.dtype, size).reshape(
        place.shape, order=place.order
    )


def _start(path, member) -> int:
    """Where the content of an uncompressed member begins, by its local header."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(30)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return member.header_offset + 30 + name_length + extra_length


def _of_safetensors(path, name, beside) -> np.ndarray:
    with (
        _readable(path, "a .safetensors file"),
        safe_open(os.fspath(path), framework="numpy") as tensors,
    ):
        name = _key(path, name, beside, list(tensors.keys()))
    with _readable(path, "a .safetensors file"), path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        described = json.loads(file.read(length))[name]
    if described["dtype"] not in SAFETENSORS_TYPES:
        raise FileError(
            f"{path} must hold numbers of a NumPy type, got {described['dtype']} "
            f"in {name}."
        )
    dtype = np.dtype(SAFETENSORS_TYPES[described["dtype"]])
    start = 8 + length + described["data_offsets"][0]
    return _mapped(path, _Place(start, tuple(described["shape"]), dtype))


def first_bad_row(
    array: np.ndarray, is_bad: Callable[[np.ndarray], np.ndarray]
) -> int | None:
    """The first row with an entry for which `is_bad` is true, or None.

    Example:
        >>> first_bad_row(np.array([[0.0], [np.nan]]), np.isnan)
        1
    """
    bad = is_bad(array).reshape(len(array), -1).any(axis=1)
    return int(bad.argmax()) if bad.any() else None
