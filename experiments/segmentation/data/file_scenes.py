"""Scenes in files: pairs of an image and its mask, checked before they are used."""

import contextlib
import hashlib
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import prepare
from experiments.segmentation.data.decoding import (
    Classes,
    DecodeError,
    check_image,
    read_image,
    read_values,
    to_classes,
)
from experiments.segmentation.data.scenes import Scene, SceneError

SHOWN = 5  # files of each kind of problem that are named
# All that `zipfile` says of damaged, encrypted or exotic members.
UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
)
MANY = 200  # scenes from which on the check says that it is running


class File(NamedTuple):
    """Bytes somewhere; `read` may be called by several threads at once."""

    name: str  # for people
    read: Callable[[], bytes]


class Pair(NamedTuple):
    """The two files of a scene."""

    name: str
    image: File
    mask: File


class Checked(NamedTuple):
    """What the check of a scene found."""

    size: tuple[int, int]  # height, width
    digest: bytes  # of what `identity` covers
    values: frozenset[int]  # in the mask's file
    problems: tuple[tuple[str, str], ...]  # kind and sentence part


class FileSource:
    """Scenes that are decoded whenever they are asked for."""

    def __init__(
        self,
        pairs: Sequence[Pair],
        sizes: Sequence[tuple[int, int]],
        classes: Classes,
    ):
        """Take pairs that `check` has found good, and their heights and widths."""
        self.pairs, self.sizes, self.classes = tuple(pairs), tuple(sizes), classes

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> Scene:
        """One scene, read and decoded; `SceneError` if its files have changed."""
        pair = self.pairs[index]
        file = pair.image
        try:
            image = read_image(file.read())
            file = pair.mask
            mask = to_classes(read_values(file.read()), self.classes)
        except (DecodeError, OSError) as error:
            raise SceneError(
                f"{file.name} was good when the run began but is not any more: {error}"
            ) from None
        if image.shape[:2] != mask.shape or mask.shape != tuple(self.sizes[index]):
            raise SceneError(
                f"the files of {pair.name} were of {_sides(self.sizes[index])} when "
                f"the run began; now the image has {_sides(image.shape)} and the mask "
                f"{_sides(mask.shape)}."
            )
        return Scene(image, mask)


class Archive:
    """A zip file from which several threads read at once.

    Each takes a handle of its own, as those of `zipfile` count their readers without
    a lock.
    """

    def __init__(self, path: Path):
        """Open a zip file and read its directory."""
        self.path = path
        self._free: deque[zipfile.ZipFile] = deque()
        with self._handle() as handle:
            self.names = tuple(handle.namelist())

    def read(self, name: str) -> bytes:
        """One member, unpacked and its checksum compared."""
        with self._handle() as handle:
            try:
                return handle.read(name)
            except UNPACKING_ERRORS as error:
                raise DecodeError(f"it cannot be unpacked ({error}).") from None

    @contextlib.contextmanager
    def _handle(self):
        try:
            handle = self._free.pop()
        except IndexError:
            handle = zipfile.ZipFile(self.path)
        try:
            yield handle
        finally:
            self._free.append(handle)


def folder_files(folder: Path) -> dict[str, File]:
    """All files below a folder by relative path, hidden ones left out; sorted."""
    files = {
        path.relative_to(folder).as_posix(): File(str(path), path.read_bytes)
        for path in folder.rglob("*")
        if not path.name.startswith(".") and path.is_file()
    }
    return dict(sorted(files.items()))


def zip_files(path: Path, folder: str) -> dict[str, File]:
    """The same for the members of a zip file below `folder`."""
    try:
        archive = Archive(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise SceneError(f"{path} is a damaged zip file: {error}.") from None
    return {
        name.removeprefix(f"{folder}/"): File(
            f"{path}: {name}", partial(archive.read, name)
        )
        for name in sorted(archive.names)
        if name.startswith(f"{folder}/") and not name.endswith("/")
    }


def check(
    what: str,
    pairs: Sequence[Pair],
    classes: Classes,
    problems: dict[str, list[str]],
) -> list[Checked]:
    """Reads every file of all scenes once, in threads, and refuses what is wrong.

    Args:
        what: the data, for the message.
        pairs: all scenes.
        classes: what the numbers in the masks mean.
        problems: what has been found already, by kind.

    Returns:
        Size and digest of every scene.

    Raises:
        SceneError: names the first few files of each kind of problem, and the number
            of the others.
    """
    task = f"Checking {len(pairs):,} images and masks of {what}"
    progress = contextlib.nullcontext(lambda steps: None)
    if len(pairs) >= MANY:
        progress = prepare.progress(task, len(pairs))
    checked = []
    with progress as advance, ThreadPoolExecutor(os.cpu_count()) as threads:
        for found in threads.map(partial(_check_pair, classes), pairs):
            checked.append(found)
            advance(1)
    problems = {kind: list(items) for kind, items in problems.items() if items}
    for found in checked:
        for kind, text in found.problems:
            problems.setdefault(kind, []).append(text)
    refuse(what, problems)
    return checked


def refuse(what: str, problems: dict[str, list[str]]) -> None:
    """Raise `SceneError` if there is any problem.

    Example:
        >>> refuse("photos", {"images without a mask": list("abcdefg")})
        Traceback (most recent call last):
            ...
        experiments.segmentation.data.scenes.SceneError: photos cannot be used:
          - images without a mask (7): a; b; c; d; e; and 2 others.
    """
    lines = []
    for kind, items in problems.items():
        if not items:
            continue
        others = len(items) - SHOWN
        shown = [*items[:SHOWN], *([f"and {others:,} others"] if others > 0 else [])]
        lines.append(f"  - {kind} ({len(items):,}): {'; '.join(shown)}.")
    if lines:
        raise SceneError(f"{what} cannot be used:\n" + "\n".join(lines))


def identity(parts: Sequence[tuple[Sequence[Pair], Sequence[Checked]]]) -> str:
    """sha256 of names, image files and masks, part after part.

    A scene counts with its name, the bytes of its image file, and the height, width
    and class indices of its mask: neither where files lie nor how a mask is stored.
    """
    digest = hashlib.sha256()
    for pairs, checked in parts:
        digest.update(f"{len(pairs)}\n".encode())
        for pair, found in zip(pairs, checked, strict=True):
            digest.update(hashlib.sha256(pair.name.encode()).digest())
            digest.update(found.digest)
    return digest.hexdigest()


def _check_pair(classes: Classes, pair: Pair) -> Checked:
    """Everything about one scene that can be wrong with its files."""
    digest, problems, sizes = hashlib.sha256(), [], []
    values = np.zeros((0, 0), np.uint8)
    for file, kind in ((pair.image, "damaged images"), (pair.mask, "unusable masks")):
        try:
            data = file.read()
            if kind == "damaged images":
                digest.update(hashlib.sha256(data).digest())
                sizes.append(check_image(data))
                continue
            values = read_values(data)
            sizes.append(values.shape)
        except (DecodeError, OSError) as error:
            problems.append((kind, f"{file.name}: {str(error).rstrip('.')}"))
            continue
        try:
            mask = to_classes(values, classes)
        except DecodeError as error:
            problems.append(("masks with unknown class ids", f"{file.name}: {error}"))
            continue
        digest.update(f"{mask.shape}".encode() + mask.tobytes())
    if len(sizes) == 2 and sizes[0] != sizes[1]:
        problems.append(
            (
                "masks of another size than their image",
                f"{pair.mask.name} has {_sides(sizes[1])}, {pair.image.name} has "
                f"{_sides(sizes[0])}",
            )
        )
    size = sizes[0] if sizes else (0, 0)
    found = frozenset(np.flatnonzero(np.bincount(values.ravel())).tolist())
    return Checked(size, digest.digest(), found, tuple(problems))


def _sides(shape: Sequence[int]) -> str:
    """Sides as people write them.

    Example:
        >>> _sides((1024, 2048, 3))
        '2048x1024 pixels'
    """
    return f"{shape[1]}x{shape[0]} pixels"
