"""IDX, the format of MNIST and of the datasets made to replace it."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.data.official import Arrays, Format, SourceError

IDX_FILES = (  # in the order of `Arrays`
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX file that holds `array`, as the official files are written.

    Images are stored without their channel axis, labels as bytes.
    """
    array = array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def parse_idx(data: bytes, path: Path, num_axes: int) -> np.ndarray:
    """The uint8 array in an IDX file, unpacked first if it is gzipped.

    Raises:
        SourceError: it is not such a file, or not all of it.
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{path} is a damaged gzip file: {error}.") from None
    header = 4 + 4 * num_axes
    magic = bytes([0, 0, 8, num_axes])
    if data[:4] != magic:
        raise SourceError(
            f"{path} is not an IDX file of bytes with {num_axes} axes: it begins with "
            f"0x{data[:4].hex()}, not 0x{magic.hex()}."
        )
    if len(data) < header:
        raise SourceError(f"{path} is cut off inside its header.")
    shape = struct.unpack(f">{num_axes}I", data[4:header])
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        fault = "is cut off" if len(data) < expected else "is too long"
        raise SourceError(
            f"{path} {fault}: {len(data)} bytes, its header promises {expected}."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()


def find_idx(folder: Path) -> dict[str, Path]:
    """Official name -> path of the IDX files there, packed or not, either spelling."""
    found = {}
    for name in IDX_FILES:
        for spelling in (name, name.replace("-idx", ".idx")):
            for path in (folder / spelling, folder / f"{spelling}.gz"):
                if path.is_file():
                    found.setdefault(name, path)
    return found


def read_idx(folder: Path) -> Arrays:
    """The four IDX files of a folder.

    Raises:
        SourceError: a file is missing or damaged.
    """
    found = find_idx(folder)
    missing = [name for name in IDX_FILES if name not in found]
    if missing:
        raise SourceError(f"{folder} lacks {', '.join(missing)} (.gz works, too).")
    parts = []
    for name in IDX_FILES:
        path = found[name]
        part = parse_idx(path.read_bytes(), path, 3 if "images" in name else 1)
        parts.append(part[..., None] if part.ndim == 3 else part.astype(np.int32))
    return Arrays(*parts)


def encode_idx(arrays: Arrays) -> Iterator[tuple[str, bytes]]:
    """The four IDX files that hold `arrays`."""
    for name, array in zip(IDX_FILES, arrays, strict=True):
        yield name, idx_bytes(array)


IDX = Format(
    files=f"the four official IDX files ({', '.join(IDX_FILES)}; .gz works, too)",
    published=tuple(f"{name}.gz" for name in IDX_FILES),
    found_in=lambda folder: bool(find_idx(folder)),
    read=read_idx,
    encode=encode_idx,
)
