"""State dicts from PyTorch's `.pth` files, without PyTorch.

A file in the older format is a row of five pickles (a magic number, a protocol version,
facts of the machine, the object, the storages' keys) followed by the storages
themselves, each as its number of elements and its bytes. In the newer one it is a zip
archive with the object as `data.pkl` and every storage's bytes as `data/KEY`. A tensor
is a *view* of a storage, with an offset, a size and strides; a reader that ignores the
strides gets permuted weights without an error.

A pickle may name any function to be called. This reader knows the few names that a
state dict needs, gives them harmless meanings, and refuses every other one. It is the
unpickler that is written in Python: the one in C lets a few bytes ask for gigabytes.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
MOST_PICKLED = 2**21
"""Bytes of the pickles, that is some 10,000 tensors; in memory they take many times as
much."""
MOST_STORAGES = 100_000
"""Storages of an archive; the list of them takes many times its size in memory."""
MOST_REPEATED = 2**28
"""Bytes that tensors may take beyond twice the size of the file. A view may show one
number many times; tied weights are shown twice, and a state dict has little else."""
MOST_SAID = 200
"""Characters of a refusal."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of these two Python's unpacker takes no more memory than what a member claims."""
DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


class TorchFileError(ValueError):
    """The file is not a state dict that can be read; says why, as a sentence."""


class _Storage(NamedTuple):
    dtype: str
    key: str
    num_elements: int


class _View(NamedTuple):
    """A tensor before its storage has been read; counted in elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    strides: tuple[int, ...]


def load_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict by name, each a contiguous array of its own.

    Args:
        path: A file as `torch.save` writes it, a zip archive since version 1.6.

    Returns:
        The arrays in the file's order, in the file's types.

    Raises:
        TorchFileError: it is no such file, is damaged, or asks for a function that no
            state dict needs.
        OSError: the file cannot be read.
    """
    path = Path(path)
    data = path.read_bytes()
    read = _read_archive if data[:4] == b"PK\x03\x04" else _read_row
    try:
        state_dict, storages = read(data)
        _require_room(map(_num_bytes, state_dict.values()), data)
        return {name: _array(view, storages) for name, view in state_dict.items()}
    except TorchFileError as error:
        raise TorchFileError(f"{path} {_short(error)}") from None
    except Exception as error:  # whatever a damaged pickle leads to
        raise TorchFileError(
            f"{path} must be a whole state dict as PyTorch saves it; reading it broke "
            f"off ({type(error).__name__}: {_short(error)})."
        ) from None


def _short(error: Exception) -> str:
    """What it says, of which a damaged file may be a part, in one short line."""
    said = " ".join(str(error).split())
    return said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]}..."


def _require_room(sizes: Iterable[int], data: bytes):
    """Refuses a file that takes many times its size."""
    total, most = sum(sizes), 2 * len(data) + MOST_REPEATED
    if total > most:
        raise TorchFileError(
            f"must hold tensors of at most {most:,} bytes, twice its size and "
            f"{MOST_REPEATED:,}, got {total:,}."
        )


def _num_bytes(view: _View) -> int:
    """What a tensor takes as an array of its own; refuses one outside its storage.

    NumPy, which adds in 64 bits, does not notice all of them.
    """
    (_, _, num_elements), offset, size, strides = view
    if not all(type(n) is int for n in (num_elements, offset, *size, *strides)):
        raise TorchFileError("must count elements in integers.")
    if min(size, default=0) < 0 or len(size) != len(strides):
        raise TorchFileError(f"must hold no tensor of size {size}, strides {strides}.")
    steps = [n * (length - 1) for n, length in zip(strides, size, strict=True)]
    first = offset + sum(min(step, 0) for step in steps)
    last = offset + sum(max(step, 0) for step in steps)
    if 0 not in size and not 0 <= first <= last < num_elements:
        raise TorchFileError(
            f"must hold tensors within their storages, got elements {first} to {last} "
            f"of {num_elements}."
        )
    return math.prod(view.size) * np.dtype(view.storage.dtype).itemsize


def _read_row(data: bytes) -> tuple[dict[str, _View], dict[str, Any]]:
    """The older format."""
    file = io.BytesIO(data[:MOST_PICKLED])
    header = [_Unpickler(file).load() for _ in range(3)]
    if header[:2] != [MAGIC_NUMBER, PROTOCOL_VERSION]:
        raise TorchFileError("must begin with PyTorch's magic number and version 1001.")
    if header[2]["little_endian"] is not True:
        raise TorchFileError("must hold little-endian numbers.")
    unpickler = _Unpickler(file)
    state_dict = _views(unpickler)
    storages: dict[str, Any] = {}
    keys = _Unpickler(file).load()
    left = memoryview(data)[file.tell() :]
    for key in keys:
        dtype, _, num_elements = unpickler.storages[key]
        (stored,) = struct.unpack("<q", left[:8])
        num_bytes = num_elements * np.dtype(dtype).itemsize
        storages[key], left = left[8 : 8 + num_bytes], left[8 + num_bytes :]
        if stored != num_elements or len(storages[key]) != num_bytes:
            raise TorchFileError(f"must hold all of storage {key}; it is cut short.")
    return state_dict, storages


def _read_archive(data: bytes) -> tuple[dict[str, _View], dict[str, Any]]:
    """The newer format."""
    if data.count(b"PK\x01\x02") > MOST_STORAGES:  # each begins so in the list of them
        raise TorchFileError(f"must hold at most {MOST_STORAGES:,} storages.")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(member.compress_type not in METHODS for member in archive.infolist()):
            raise TorchFileError(
                "must be compressed by zip's deflation, or not at all."
            )
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = name.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise TorchFileError("must hold little-endian numbers.")
        _require_room((member.file_size for member in archive.infolist()), data)
        if archive.getinfo(name).file_size > MOST_PICKLED:
            raise TorchFileError(
                f"must describe its tensors in {MOST_PICKLED:,} bytes, got "
                f"{archive.getinfo(name).file_size:,}."
            )
        unpickler = _Unpickler(io.BytesIO(archive.read(name)))
        state_dict = _views(unpickler)
        storages = {}
        for key, (dtype, _, num_elements) in unpickler.storages.items():
            stored = archive.getinfo(f"{folder}data/{key}")
            if stored.file_size != num_elements * np.dtype(dtype).itemsize:
                raise TorchFileError(f"must hold all of storage {key}, and no more.")
            storages[key] = archive.read(stored)
    return state_dict, storages


def _views(unpickler: "_Unpickler") -> dict[str, _View]:
    """The object, which must be a state dict."""
    state_dict = unpickler.load()
    if not isinstance(state_dict, dict):
        raise TorchFileError(
            f"must hold a state dict, got {type(state_dict).__name__}."
        )
    for name, value in state_dict.items():
        if not (isinstance(name, str) and isinstance(value, _View)):
            raise TorchFileError(
                f"must hold tensors by name, got {type(value).__name__} as {name!r}."
            )
    return state_dict


def _array(view: _View, storages: dict[str, Any]) -> np.ndarray:
    """A copy of what the view shows."""
    dtype = np.dtype(view.storage.dtype)
    if 0 in view.size:
        return np.zeros(view.size, dtype)
    shown = np.ndarray(
        view.size,
        dtype,
        buffer=storages[view.storage.key],
        offset=view.offset * dtype.itemsize,
        strides=[stride * dtype.itemsize for stride in view.strides],
    )
    return shown.copy(order="C")


class _Unpickler(pickle._Unpickler):
    """Knows ordered dicts, storages and tensors, and nothing else."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}
        # Made anew for every file, because a pickle may set attributes of what it gets.
        self._known: dict[tuple[str, str], Callable | str] = {
            ("collections", "OrderedDict"): OrderedDict,
            (
                "torch._utils",
                "_rebuild_tensor_v2",
            ): lambda storage, offset, size, *rest: _View(
                storage, offset, size, rest[0]
            ),
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
            **{("torch", name): dtype for name, dtype in DTYPES.items()},
        }

    def find_class(self, module: str, name: str) -> Any:
        """The harmless meaning of a name."""
        if (module, name) not in self._known:
            raise TorchFileError(
                "must name only what a state dict is made of; refused to load "
                f"{module}.{name}."
            )
        return self._known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that a tensor is a view of."""
        _, dtype, key, _, num_elements, *view = pid  # the newer format has no view
        if view not in ([], [None]):
            raise TorchFileError("must hold no views of storages.")
        if dtype not in DTYPES.values():  # `find_class` gives them, but so may a text
            raise TorchFileError(f"must hold storages of numbers, got {dtype!r}.")
        self.storages[key] = _Storage(dtype, key, num_elements)
        return self.storages[key]
