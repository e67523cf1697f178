"""Where the image of an id is: a file in a folder, or a row of an array."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from iwps_jax.app.files.arrays import open_array
from iwps_jax.app.gallery import thumbnails
from iwps_jax.app.gallery.contents import Content, Contents, Place
from iwps_jax.app.naming import form
from iwps_jax.refusal import Refusal
from iwps_jax.wording import plural

CHANNELS = (1, 3, 4)


def open_images(path: Path) -> Contents:
    """The images in a folder or an array.

    Args:
        path: a folder of image files; or an array file of [pool, height, width] or
            [pool, height, width, 1 | 3 | 4], in uint8 or floating point from 0 to 1.

    Raises:
        Refusal: if it is neither.
    """
    if path.is_dir():
        return Contents(None, partial(_of_files, _finder(path)))
    images = open_array(path, "images")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise Refusal(
            f"{path} must be [pool, height, width] or [pool, height, width, 1 | 3 | 4],"
            f" got shape {images.shape}."
        )
    if images.ndim == 4 and images.shape[3] not in CHANNELS:
        hint = ""
        if images.shape[1] in CHANNELS:
            hint = "; move the channels last: images.transpose(0, 2, 3, 1)"
        raise Refusal(
            f"{path} must have 1, 3 or 4 channels in its last axis, got shape "
            f"{images.shape}{hint}."
        )
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise Refusal(
            f"{path} must be uint8 or floating point from 0 to 1, got {images.dtype}."
        )
    return Contents(len(images), partial(_of_rows, images, path))


def _of_rows(images, path, places: Sequence[Place], side: int) -> Sequence[Content]:
    return [_of_row(images, path, id_, row, side) for id_, row in places]


def _of_row(images, path, id_, row, side):
    if row is None:
        raise Refusal(
            f"the row of {id_!r} in {path} must be known: add a column row to the "
            "picks, or give --ids."
        )
    if row >= len(images):
        raise Refusal(
            f"{path} must have an image for {id_!r}, row {row}, got "
            f"{plural(len(images), 'image')}."
        )
    image = np.asarray(images[row])
    if image.dtype != np.uint8:
        if not (image.min() >= 0 and image.max() <= 1):  # nor if there is a NaN
            raise Refusal(
                f"{path}: floating-point images must be in [0, 1], but row {row} is "
                "not."
            )
        image = np.round(image.astype(np.float32) * 255).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    return thumbnails.thumbnail(Image.fromarray(image), side)


def _of_files(find, places: Sequence[Place], side: int) -> Sequence[Content]:
    return thumbnails.of_files([find(id_) for id_, _ in places], side)


def _finder(folder: Path) -> Callable[[str], Path]:
    """A function from an id to the path of its image; lists the folder once at most."""
    listed: list[dict] = []

    def find(id_: str) -> Path:
        if Path(id_).is_absolute() or ".." in re.split(r"[/\\]", id_) or "\0" in id_:
            raise Refusal(f"ids must name files inside {folder}, got {id_!r}.")
        if (folder / id_).is_file():
            return folder / id_
        if not listed:
            listed.extend(_listing(folder))
        by_name, by_stem, by_number = listed
        paths = by_name.get(form(id_)) or by_stem.get(form(id_), [])
        if not paths and re.fullmatch(r"[0-9]+", id_):
            paths = by_number.get(int(id_), [])
        if not paths:
            raise Refusal(f"{folder} must hold an image for {id_!r}, got none.")
        if len(paths) > 1:
            names = " and ".join(str(path.relative_to(folder)) for path in paths[:2])
            raise Refusal(f"{id_!r} must name one image of {folder}, got {names}.")
        return paths[0]

    return find


def _listing(folder):
    """Image files by relative path, with and without suffix, and by number.

    The number of 0007.png is 7. The paths are in Unicode's composed form: some systems
    decompose the names of files.
    """
    suffixes = thumbnails.suffixes()
    by_name, by_stem, by_number = (defaultdict(list) for _ in range(3))
    visited = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(root) in visited:  # a link to a folder above, or again
            folders.clear()
            continue
        visited.add(os.path.realpath(root))
        folders.sort()
        for name in sorted(names):
            path = Path(root, name)
            if path.suffix.lower() in suffixes:
                relative = path.relative_to(folder)
                stem = form(relative.with_suffix("").as_posix())
                by_name[form(relative.as_posix())].append(path)
                by_stem[stem].append(path)
                if re.fullmatch(r"[0-9]+", stem):
                    by_number[int(stem)].append(path)
    return by_name, by_stem, by_number
