"""Thumbnails as data URLs: small, upright, in eight bits."""

import base64
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from iwps_jax.app.gallery.page import Picture
from iwps_jax.refusal import printable

FORMATS = {
    *("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"),
}
"""The formats that are read. Pillow knows more: for PostScript it starts a program."""
MOST_PIXELS = 1 << 26
"""The most pixels of an image that is decoded: 67 million, which take a gigabyte."""
AT_ONCE = 4  # files that are decoded at the same time; each may take a gigabyte
FEW_PIXELS = 64  # up to this side, every pixel counts: no lossy compression
DEEP = ("I", "F")  # modes of more than eight bits; others begin with I;16


def suffixes() -> set[str]:
    """How the names of files in these formats end, in lower case."""
    known = Image.registered_extensions().items()
    return {suffix for suffix, name in known if name in FORMATS}


def of_file(path: Path, side: int) -> Picture:
    """The thumbnail of an image file; of the first frame, if it has several.

    Args:
        path: a file in one of `FORMATS`; its EXIF rotation is applied.
        side: the largest side in pixels; a smaller image keeps its size.

    Returns:
        The thumbnail. If the file cannot be read, or has too many pixels, a picture
        without an image, whose flaw names the file.
    """
    try:
        with opened(path, 2 * side) as image:
            return thumbnail(image, side)
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        reason = reason_of(error)
    flaw = printable(f"{path} cannot be read as an image: {reason}")
    return Picture("", 0, 0, flaw)


def of_files(paths: Sequence[Path], side: int) -> list[Picture]:
    """The thumbnails of image files, some at a time, as `of_file` makes each."""
    # Decoders leave Python's lock alone. Threads share the filters of warnings, which
    # each changes: they are as before at the end.
    with warnings.catch_warnings(), ThreadPoolExecutor(AT_ONCE) as threads:
        return [*threads.map(lambda path: of_file(path, side), paths)]


@contextmanager
def opened(path: Path, side: int | None) -> Iterator[Image.Image]:
    """An image file in one of `FORMATS`, with at most `MOST_PIXELS` pixels.

    Args:
        path: the file.
        side: a JPEG is decoded with about so many pixels a side; None for all of them.
    """
    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large images are judged here
        with Image.open(path, formats=[*FORMATS & Image.OPEN.keys()]) as image:
            if side is not None:
                image.draft(None, (side, side))
            size = image.width * image.height
            if size > MOST_PIXELS:
                raise ValueError(
                    f"it has {size:,} pixels, and {MOST_PIXELS:,} are the limit"
                )
            yield image


def reason_of(error: Exception) -> str:
    """Why an image cannot be read, in a clause."""
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(sorted(FORMATS))}, or damaged"
    reason = getattr(error, "strerror", None) or str(error)
    return reason.rstrip(".") or type(error).__name__


def thumbnail(image: Image.Image, side: int) -> Picture:
    """The thumbnail of an image.

    Values of more than eight bits are stretched from the darkest to the brightest.

    Args:
        image: an image of any mode.
        side: the largest side in pixels; a smaller image keeps its size.
    """
    if image.mode == "RGB":
        image.thumbnail((side, side))  # first, because the other steps copy it
    small = eight_bits(ImageOps.exif_transpose(image))
    small.thumbnail((side, side))
    is_photo = max(image.size) > FEW_PIXELS and small.mode in ("L", "RGB")
    kind, options = ("JPEG", {"quality": 85}) if is_photo else ("PNG", {})
    file = io.BytesIO()
    small.save(file, kind, optimize=True, **options)
    text = base64.b64encode(file.getvalue()).decode()
    return Picture(f"data:image/{kind.lower()};base64,{text}", *small.size)


def _stretched(pixels):
    values = pixels.astype(np.float32)  # and in place from here: it may be a gigabyte
    is_finite = np.isfinite(values)
    low = values.min(where=is_finite, initial=np.inf)
    high = values.max(where=is_finite, initial=-np.inf)
    if low > high:  # no pixel is finite
        low, high = 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        values -= low
        values /= max(high - low, np.finfo(np.float32).tiny)
    np.clip(values, 0, 1, out=values)
    values *= 255
    values[np.isnan(values)] = 0
    return np.rint(values, out=values).astype(np.uint8)


def eight_bits(
    image: Image.Image, scaled: Callable[[np.ndarray], np.ndarray] = _stretched
) -> Image.Image:
    """An image in L, RGB or RGBA.

    Args:
        image: of any mode.
        scaled: brings values of more than eight bits to uint8; by default, each image
            is stretched from its darkest to its brightest value.
    """
    if image.mode in DEEP or image.mode.startswith("I;"):
        return Image.fromarray(scaled(np.asarray(image)))
    if image.mode in ("L", "RGB"):
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")
