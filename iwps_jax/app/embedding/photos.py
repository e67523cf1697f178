"""A folder of images of any depth and size, as a source."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

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

AT_ONCE = 32
"""Images that are decoded before they are asked for."""


def open_photos(folder: Path, side: int | None) -> Source:
    """The images in a folder and the folders in it.

    The id of an image is the path of its file within the folder. Links are followed
    as long as they stay inside it: nothing outside is read.

    Args:
        folder: of images in the formats of `thumbnails.FORMATS`.
        side: at least so many pixels of each side are kept; None for all of them.

    Raises:
        FileError: if there is no image in it.
    """
    paths = sorted(_listed(folder), key=lambda path: path.as_posix())
    if not paths:
        raise FileError(f"{folder} must hold an image, got none.")
    stats = [(folder / path).lstat() for path in paths]
    forms = Counter(form(path.as_posix()) for path in paths)
    twins = {path for path in paths if forms[form(path.as_posix())] > 1}
    return Source(
        IMAGES,
        {"folder": str(folder.absolute())},
        digest_of(
            f"{path.as_posix()} {stat.st_size} {stat.st_mtime_ns}"
            for path, stat in zip(paths, stats, strict=True)
        ),
        len(paths),
        partial(_samples, folder, paths, twins, side),
    )


def _listed(folder: Path) -> Iterator[Path]:
    """Paths of images within the folder."""
    suffixes, visited = thumbnails.suffixes(), set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited or not _is_inside(Path(root), folder):
            folders.clear()
            continue
        visited.add(real)
        for name in names:
            if Path(name).suffix.lower() in suffixes:
                yield Path(root, name).relative_to(folder)


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _samples(folder, paths, twins, side, start) -> Iterator[Sample]:
    def read(path):
        if path in twins:
            flaw = "another name is the same text to Unicode"
            return Sample(path.as_posix(), flaw=flaw)
        return read_photo(folder, path, side=side)

    with ThreadPoolExecutor() as threads:  # decoders leave Python's lock alone
        for first in range(start, len(paths), AT_ONCE):
            yield from threads.map(read, paths[first : first + AT_ONCE])


def read_photo(folder: Path, path: Path, *, side: int | None) -> Sample:
    """An image file as a sample: upright, in RGB, transparent places white.

    Args:
        folder: in which all images are.
        path: within the folder.
        side: at least so many pixels of each side are kept; None for all of them.
    """
    id_ = path.as_posix()
    if flaw := flaw_of_id(id_):
        return Sample(id_, flaw=f"its name {flaw}")
    if not _is_inside(folder / path, folder):
        return Sample(id_, flaw="it is a link that leads out of the folder")
    try:
        return Sample(id_, _decoded(folder / path, side))
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        return Sample(id_, flaw=str(error).rstrip(".") or type(error).__name__)


def _decoded(path, side):
    Image.init()
    formats = [*thumbnails.FORMATS & Image.OPEN.keys()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large images are judged here
        with Image.open(path, formats=formats) as image:
            if side is not None:
                image.draft(None, (side, side))  # a JPEG needs not all pixels
            size = image.width * image.height
            if size > thumbnails.MOST_PIXELS:
                raise ValueError(
                    f"it has {size:,} pixels, and {thumbnails.MOST_PIXELS:,} are the "
                    "limit"
                )
            upright = thumbnails.eight_bits(ImageOps.exif_transpose(image))
    if upright.mode != "RGBA":
        return upright.convert("RGB")
    white = Image.new("RGBA", upright.size, "white")
    return Image.alpha_composite(white, upright).convert("RGB")
