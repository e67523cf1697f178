"""The official batches of CIFAR-10, in each published layout.

There are five batches of training images and one of test images, with red, green and
blue one after another. The binary version is downloaded; its digests are known. The
version for Python holds the same bytes in pickles. The sheets of a registry's package
hold the same pixels in PNG files, one image per row.
"""

import io
import json
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data.official import Arrays, Format, SourceError

ROW = 3 * 32 * 32  # bytes of an image
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")

# Rows of planes uint8 [n, ROW] and labels [n].
Batch = tuple[np.ndarray, np.ndarray]


class Layout(NamedTuple):
    """One way in which the batches are stored."""

    files: tuple[str, ...]
    folder: str  # that the archive unpacks to
    archive: str
    read: Callable[[dict[str, bytes], Path], Arrays]


def read_cifar(folder: Path) -> Arrays:
    """The batches of a folder, in any of `LAYOUTS`, unpacked or not.

    Raises:
        SourceError: a file is missing or damaged.
    """
    found = _find(folder)
    if found is None:
        raise SourceError(f"{folder} has no batches of CIFAR-10.")
    layout, place = found
    contents = _contents(place, layout.files)
    missing = [name for name in layout.files if name not in contents]
    if missing:
        raise SourceError(f"{place} lacks {', '.join(missing)}.")
    return layout.read(contents, place)


def _find(folder: Path) -> tuple[Layout, Path] | None:
    """The layout there, and the folder or archive that has its files."""
    for layout in LAYOUTS:
        for place in (folder, folder / layout.folder):
            if any((place / name).is_file() for name in layout.files):
                return layout, place
        if (folder / layout.archive).is_file():
            return layout, folder / layout.archive
    return None


def _contents(place: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """What the files of these names hold, read from a folder or an archive."""
    if place.is_dir():
        paths = [place / name for name in names]
        return {path.name: path.read_bytes() for path in paths if path.is_file()}
    try:
        with tarfile.open(place) as archive:
            return {
                Path(member.name).name: archive.extractfile(member).read()
                for member in archive
                if member.isfile() and Path(member.name).name in names
            }
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{place} is a damaged archive: {error}.") from None


def _arrays(batches: list[Batch]) -> Arrays:
    """Training batches one after another, and the last batch as test split."""

    def split(parts: list[Batch]) -> Batch:
        planes = np.concatenate([planes for planes, _ in parts])
        images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = np.concatenate([labels for _, labels in parts])
        return np.ascontiguousarray(images), labels.astype(np.int32)

    return Arrays(*split(batches[:-1]), *split(batches[-1:]))


# The binary version


def _read_binary(contents: dict[str, bytes], place: Path) -> Arrays:
    """Rows of one byte of label and `ROW` bytes of image."""
    batches = []
    for name in BINARY.files:
        data = contents[name]
        if not data or len(data) % (1 + ROW):
            raise SourceError(
                f"{place / name} is cut off: {len(data)} bytes are not a multiple of "
                f"{1 + ROW}, the bytes of a row."
            )
        rows = np.frombuffer(data, np.uint8).reshape(-1, 1 + ROW)
        batches.append((rows[:, 1:], rows[:, 0]))
    return _arrays(batches)


def encode_cifar(arrays: Arrays) -> Iterator[tuple[str, bytes]]:
    """The six files of the binary version that hold `arrays`."""
    images = np.array_split(arrays.train_images, 5) + [arrays.test_images]
    labels = np.array_split(arrays.train_labels, 5) + [arrays.test_labels]
    for name, image, label in zip(BINARY.files, images, labels, strict=True):
        planes = image.transpose(0, 3, 1, 2).reshape(len(image), -1)
        rows = np.concatenate([label.astype(np.uint8)[:, None], planes], axis=1)
        yield name, rows.tobytes()


# The version for Python


class _Type:
    """Stands for a pickled `numpy.dtype`; only its code is looked at."""

    def __init__(self, code, *rest):
        self.code = code

    def __setstate__(self, state):
        pass


class _Array:
    """Stands for a pickled `numpy.ndarray`; holds what its state says."""

    state = None

    def __setstate__(self, state):
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Reads arrays and plain values; runs no code, not even NumPy's, for a file."""

    def find_class(self, module, name):
        stand_ins = {
            **{(home, "_reconstruct"): lambda *args: _Array() for home in NUMPY},
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Type,
        }
        if (module, name) not in stand_ins:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which no batch of CIFAR-10 needs"
            )
        return stand_ins[module, name]


def _read_python(contents: dict[str, bytes], place: Path) -> Arrays:
    """Pickled dicts of Python 2: `data`, an array uint8 [n, ROW], and `labels`."""
    batches = []
    for name in PYTHON.files:
        try:
            # Python 2's strings become bytes.
            batch = _Unpickler(io.BytesIO(contents[name]), encoding="bytes").load()
            batches.append(_unpickled(batch))
        except Exception as error:  # a damaged pickle can fail in every way
            fault = f"{type(error).__name__}: {error}"
            raise SourceError(
                f"{place / name} is not a pickled batch ({fault})."
            ) from None
    return _arrays(batches)


def _unpickled(batch: dict) -> Batch:
    _, shape, kind, by_column, data = batch[b"data"].state
    if kind.code not in (b"u1", b"|u1", "u1", "|u1"):
        raise ValueError(f"its data are of type {kind.code!r}, not uint8")
    if len(shape) != 2 or shape[1] != ROW:
        raise ValueError(f"its data are {shape}, not rows of {ROW}")
    planes = np.frombuffer(data, np.uint8).reshape(
        shape, order="F" if by_column else "C"
    )
    labels = np.array(batch[b"labels"])
    if labels.shape != shape[:1] or labels.dtype.kind != "i":
        raise ValueError(f"its labels are not {shape[0]} integers")
    return planes, labels


# The sheets of a registry's package


def _read_sheets(contents: dict[str, bytes], place: Path) -> Arrays:
    """PNG files with an image a row, and the labels of each split as a JSON list."""
    from PIL import Image

    batches = []
    try:
        train, test = (json.loads(contents[name]) for name in SHEETS.files[-2:])
        labels = np.array(train + test)
        if labels.dtype.kind != "i":
            raise ValueError("not all labels are integers")
        sizes = []
        for name in SHEETS.files[:-2]:
            with Image.open(io.BytesIO(contents[name]), formats=["PNG"]) as sheet:
                pixels = np.asarray(sheet).reshape(-1, 32 * 32, 3)
            batches.append(pixels.transpose(0, 2, 1).reshape(-1, ROW))
            sizes.append(len(pixels))
        parts = np.split(labels, np.cumsum(sizes)[:-1])
    except Exception as error:  # Pillow and JSON each have their own errors
        fault = f"{type(error).__name__}: {error}"
        raise SourceError(f"{place} has a damaged sheet or list: {fault}.") from None
    return _arrays(list(zip(batches, parts, strict=True)))


BINARY = Layout(
    files=tuple(f"{name}.bin" for name in BATCHES),
    folder="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    read=_read_binary,
)
PYTHON = Layout(
    files=BATCHES,
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    read=_read_python,
)
SHEETS = Layout(
    files=(
        *(f"{name}.png" for name in BATCHES),
        "train_lables.json",  # the package spells it so
        "test_lables.json",
    ),
    folder="",
    archive="",
    read=_read_sheets,
)
LAYOUTS = (BINARY, PYTHON, SHEETS)

CIFAR = Format(
    files=(
        f"the six official batches ({BINARY.files[0]} to {BINARY.files[4]} and "
        f"{BINARY.files[5]}, or the pickled {BATCHES[0]} to {BATCHES[4]} and "
        f"{BATCHES[5]}), or {BINARY.folder}, {PYTHON.folder}, {BINARY.archive} or "
        f"{PYTHON.archive}"
    ),
    published=(BINARY.archive,),
    found_in=lambda folder: _find(folder) is not None,
    read=read_cifar,
    encode=encode_cifar,
)
