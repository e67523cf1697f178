"""A folder of images of any depth and size, as a source."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from iwps_jax.app.embedding.source import (
    IMAGES,
    Sample,
    Source,
    digest_of,
    flaw_of_id,
)
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.gallery import thumbnails
from iwps_jax.app.naming import form

AT_ONCE = 8
"""Images that are decoded before they are asked for."""


def open_photos(folder: Path, side: int | None) -> Source:
    """The images in a folder and the folders in it.

    The id of an image is the path of its file within the folder. Nothing outside is
    read: links to folders are not followed, and links to files only if they stay
    inside.

    Args:
        folder: of images in the formats of `thumbnails.FORMATS`.
        side: images are cut to their middle square and scaled to so many pixels; None
            to keep all pixels.

    Raises:
        FileError: if there is no image in it.
    """
    paths, flaws = _listed(folder)
    if not paths:
        raise FileError(f"{folder} must hold an image, got none.")
    return Source(
        IMAGES,
        {"folder": str(folder.absolute())},
        digest_of(_state_of(folder, path) for path in paths),
        len(paths),
        partial(_samples, folder, paths, flaws, side),
    )


def _listed(folder: Path) -> tuple[list[Path], dict[Path, str]]:
    """Paths of images within the folder, in order, and flaws known before reading."""
    suffixes, paths = thumbnails.suffixes(), list[Path]()
    flaws: dict[Path, str] = {}

    def unread(error):
        path = Path(error.filename).relative_to(folder)
        if path == Path("."):
            raise FileError(f"{folder} cannot be read: {error.strerror}.")
        paths.append(path)
        flaws[path] = f"the folder cannot be read: {error.strerror}"

    for root, _, names in os.walk(folder, onerror=unread):
        paths += [
            Path(root, name).relative_to(folder)
            for name in names
            if Path(name).suffix.lower() in suffixes
        ]
    paths.sort(key=lambda path: path.as_posix())
    known = {*paths}
    forms = Counter(form(path.as_posix()) for path in paths)
    for path in paths:
        if forms[form(path.as_posix())] > 1:
            flaws[path] = "another name is the same text to Unicode"
        elif (folder / path).is_symlink():
            flaws.setdefault(path, _flaw_of_link(folder, path, known))
    return paths, {path: flaw for path, flaw in flaws.items() if flaw}


def _flaw_of_link(folder: Path, path: Path, known: set[Path]) -> str:
    target = Path(os.path.realpath(folder / path))
    inside = Path(os.path.realpath(folder))
    if not target.is_relative_to(inside):
        return "it is a link that leads out of the folder"
    if target.relative_to(inside) in known:
        return f"it is a link to {target.relative_to(inside).as_posix()}"
    return ""


def _state_of(folder: Path, path: Path) -> str:
    """What changes with a file; that of a link with the file it points to."""
    try:
        stat = (folder / path).stat()
    except OSError:
        return path.as_posix()
    return f"{path.as_posix()} {stat.st_size} {stat.st_mtime_ns}"


def _samples(
    folder: Path, paths: list[Path], flaws: Mapping[Path, str], side, start: int
) -> Iterator[Sample]:
    def read(path):
        if path in flaws:
            return Sample(path.as_posix(), flaw=flaws[path])
        return read_photo(folder, path, side=side)

    with ThreadPoolExecutor() as threads:  # decoders leave Python's lock alone
        for first in range(start, len(paths), AT_ONCE):
            yield from threads.map(read, paths[first : first + AT_ONCE])


def read_photo(folder: Path, path: Path, *, side: int | None) -> Sample:
    """An image file as a sample: upright, in RGB, transparent places white.

    Args:
        folder: in which all images are.
        path: within the folder.
        side: as for `open_photos`.
    """
    id_ = path.as_posix()
    if flaw := flaw_of_id(id_):
        return Sample(id_, flaw=f"its name {flaw}")
    if not (folder / path).is_file():  # a pipe may never end
        return Sample(id_, flaw="it is no file")
    try:
        return Sample(id_, _decoded(folder / path, side))
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        return Sample(id_, flaw=thumbnails.reason_of(error))


def _scaled(pixels):
    """Values of more than eight bits by one scale, so that dark images stay dark.

    Whole numbers have 16 bits: 65,535 is white. Floating-point numbers go to 1.
    """
    most = 1 if pixels.dtype.kind == "f" else 2**16 - 1
    if not (pixels.min() >= 0 and pixels.max() <= most):  # nor if there is a NaN
        raise ValueError(f"its values must be from 0 to {most:,}")
    scaled = np.rint(pixels * 255) if most == 1 else pixels // 2**8
    return scaled.astype(np.uint8)


def _decoded(path, side):
    with thumbnails.opened(path, side) as image:
        upright = thumbnails.eight_bits(ImageOps.exif_transpose(image), _scaled)
    if side is not None:
        upright = ImageOps.fit(upright, (side, side), Image.Resampling.BICUBIC)
    if upright.mode != "RGBA":
        return upright.convert("RGB")
    white = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(white, upright).convert("RGB")
