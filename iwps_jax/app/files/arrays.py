"""Arrays in .npy, .npz and .safetensors files.

The rows of an array are read when they are asked for, so a file may have any size. The
one exception is a compressed .npz, which must be read completely.
"""

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import safe_open

from iwps_jax.app.files.file_array import AnyRows, FileArray
from iwps_jax.app.files.npy_header import Place, read_place, require_few_axes
from iwps_jax.app.files.unreadable import FileError, readable, require_file, short

SUFFIXES = (".npy", ".npz", ".safetensors")
MOST_EXPANDED = 2**28
"""Bytes to which any compressed array may expand: labels and small pools do, and no
machine that runs JAX lacks them."""
MOST_RATIO = 16
"""How many times its size a larger compressed array may expand to: features, even those
that are mostly zeros, compress less, and a file made to fill the memory much more."""
MOST_CHECKED = 2**26
"""Bytes of an array in an uncompressed .npz whose checksum is computed before it is
used; reading a larger one twice would take long."""
MOST_LISTED = 2**23
"""Bytes of the list of contents of an .npz file, that is some 100,000 arrays; in memory
it takes many times as much."""
MOST_DESCRIBED = 10_000_000
"""Bytes of the header of a .safetensors file, that is some 100,000 arrays; in memory it
takes many times as much."""
READ_AT_ONCE = 2**20
"""Bytes that are decompressed at once."""
SAFETENSORS_TYPES = {
    **{"F16": np.float16, "F32": np.float32, "F64": np.float64, "BF16": jnp.bfloat16},
    **{"I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64},
    **{"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64},
    "BOOL": np.bool_,
}


def open_array(path: str | Path, name: str = "features") -> AnyRows:
    """An array of numbers in a file, whose rows are read when they are asked for.

    Args:
        path: .npy, .npz or .safetensors.
        name: the array of an .npz or .safetensors file; not needed if the file holds
            only one array.

    Returns:
        A `FileArray`; or a plain array that cannot be written to, if it is in an .npz
        file and small or compressed, or has no rows.

    Raises:
        FileError: if the file is missing, a folder, empty or truncated, if it has
            another format than these three or than its suffix says, if it has no such
            array, or if the array does not hold plain numbers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "pool.npy"
        ...     np.save(path, np.eye(2))
        ...     print(open_array(path)[:])
        [[1. 0.]
         [0. 1.]]
    """
    path = Path(path)
    require_file(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with readable(path, "an .npy file"), path.open("rb") as file:
            return _array(path, read_place(path, file))
    if suffix == ".npz":
        return _of_npz(path, name, ())
    if suffix == ".safetensors":
        return _of_safetensors(path, name, ())
    raise FileError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")


def open_arrays(path: str | Path, names: Sequence[str]) -> list[AnyRows]:
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


def names_in(path: str | Path) -> list[str]:
    """The names of the arrays in a file; none in an .npy file.

    Args:
        path: .npz or .safetensors.

    Raises:
        FileError: if it cannot be read; whether it can hold names, `open_arrays` says.
    """
    path = Path(path)
    require_file(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        with _opened_npz(path) as archive:
            return [*_members(archive)]
    return [*_described(path)[0]] if suffix == ".safetensors" else []


def _array(path: Path, place: Place) -> AnyRows:
    """The array of which `place` tells, if the file is long enough."""
    end, actual = place.offset + place.nbytes, path.stat().st_size
    if end > actual:
        raise FileError(
            f"{path} is truncated: an array of shape {place.shape} and {place.dtype} "
            f"ends at byte {end:,}, but the file ends at {actual:,}."
        )
    if place.nbytes == 0:
        return np.zeros(place.shape, place.dtype)
    found = FileArray(path, *place._replace(shape=place.shape or (1,)))
    return found if place.shape else found[:].reshape(())


def _key(path: Path, name: str, beside: Sequence[str], keys: list[str]) -> str:
    """The key to read; if one array is wanted and there is one, its name is free."""
    if name in keys:
        return name
    if len(keys) == 1 and not beside:
        return keys[0]
    wanted = f"an array called {name}, or only one array"
    if beside:
        wanted = f"arrays called {' and '.join(beside)}"
    held = short(", ".join(sorted(keys)) or "none")
    raise FileError(f"{path} must hold {wanted}, got {held}.")


def _of_npz(path, name, beside) -> AnyRows:
    with _opened_npz(path) as archive:
        members = _members(archive)
        member = members[_key(path, name, beside, list(members))]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("it is compressed in another way than NumPy does")
        with archive.open(member) as file:
            place = read_place(path, file)
            if place.offset + place.nbytes != member.file_size:
                raise ValueError(
                    f"an array of shape {place.shape} and {place.dtype} takes "
                    f"{place.offset + place.nbytes:,} bytes, but it has "
                    f"{member.file_size:,}"
                )
            if member.compress_type == zipfile.ZIP_DEFLATED:
                packed = min(member.compress_size, path.stat().st_size)
                most = max(MOST_EXPANDED, MOST_RATIO * packed)
                if place.nbytes > most:
                    raise FileError(
                        f"{path} expands to {place.nbytes:,} bytes, but a compressed "
                        f"file may expand to {most:,} at most: save it with np.save or "
                        "np.savez, which are read a part at a time."
                    )
                return _unpacked(file, place)
            if place.nbytes <= MOST_CHECKED:
                return _unpacked(file, place)
            if member.compress_size != member.file_size:
                raise ValueError("its sizes differ")
        return _array(path, place._replace(offset=_start(path, member) + place.offset))


@contextmanager
def _opened_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    with (
        readable(path, "an .npz file"),
        _Archive(path) as content,
        zipfile.ZipFile(content) as archive,
    ):
        content.seek(0)
        if content.read(2) != b"PK":
            raise ValueError("something stands before the archive")
        yield archive


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        key = member.filename.removesuffix(".npy")
        if key in members:
            raise ValueError(f"it holds {short(key)} twice")
        members[key] = member
    return members


class _Archive(io.FileIO):
    """A zip archive whose list of contents is not read if it is huge."""

    def read(self, size=-1, /):
        if size is None or size < 0:
            size = os.fstat(self.fileno()).st_size - self.tell()
        if size > MOST_LISTED:
            raise ValueError("its list of contents is too long")
        return super().read(max(size, 0))


def _unpacked(file, place) -> np.ndarray:
    """The rest of a member; reading it to its end checks its checksum."""
    content = np.empty(place.nbytes, np.uint8)
    view, done = content.data, 0
    while done < len(view):
        count = file.readinto(view[done : done + READ_AT_ONCE])
        if not count:
            raise ValueError("an array is cut short")
        done += count
    if not len(view):
        file.read(1)
    array = content.view(place.dtype)
    array.flags.writeable = False
    return array.reshape(place.shape, order=place.order)


def _start(path, member) -> int:
    """Where the content of an uncompressed member begins, by its local header."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        header = file.read(30)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return member.header_offset + 30 + name_length + extra_length


def _of_safetensors(path, name, beside) -> AnyRows:
    with readable(path, "a .safetensors file"):
        all_described, length = _described(path)
        described = all_described[_key(path, name, beside, list(all_described))]
        if described["dtype"] not in SAFETENSORS_TYPES:
            raise FileError(
                f"{path} must hold numbers of a NumPy type, got {described['dtype']} "
                f"in {name}."
            )
        require_few_axes(described["shape"])
        dtype = np.dtype(SAFETENSORS_TYPES[described["dtype"]])
        start = 8 + length + described["data_offsets"][0]
        return _array(path, Place(start, tuple(described["shape"]), dtype))


def _described(path: Path) -> tuple[dict[str, dict], int]:
    """The tensors of a .safetensors file as its header says, and its length."""
    with readable(path, "a .safetensors file"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MOST_DESCRIBED:
                raise ValueError(
                    f"its header has {length:,} bytes, more than {MOST_DESCRIBED:,}"
                )
            header = file.read(length)
        with safe_open(os.fspath(path), framework="numpy") as tensors:  # checks it
            names = list(tensors.keys())
        described = json.loads(header)
        return {name: described[name] for name in names}, length


def first_bad_row(
    array: np.ndarray, is_bad: Callable[[np.ndarray], np.ndarray]
) -> int | None:
    """The first row with an entry for which `is_bad` is true, or None.

    Example:
        >>> first_bad_row(np.array([[0.0], [np.nan]]), np.isnan)
        1
    """
    bad = is_bad(array).any(axis=tuple(range(1, array.ndim)))
    return int(bad.argmax()) if bad.any() else None
