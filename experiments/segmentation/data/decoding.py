"""Images and masks from the bytes of their files.

What a decoder complains about, in whatever way, becomes a `DecodeError` with a
sentence that does not name the file: only the caller knows it.
"""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MASK_FORM = (
    "a mask is a PNG with the class's number in every pixel, gray (8 or 16 bits) or "
    "palette"
)
MOST_PIXELS = 2**26  # a file of 300 kB can hold an image of gigabytes
# In a PNG file: width and height at 16, bits a sample at 24, kind of color at 25.
BIT_DEPTH, COLOR_TYPE = 24, 25
GRAY, PALETTE = 0, 3


class DecodeError(ValueError):
    """Bytes that are not what they should be, with a sentence."""


class Classes(NamedTuple):
    """What the values of a mask mean."""

    table: np.ndarray  # uint8 [65536] class index or IGNORE of each value
    known: np.ndarray  # bool [65536] whether a value means anything


def _open(data: bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """An image whose pixels are not decoded yet; refuses one with too many."""
    too_large = DecodeError(
        f"it has more than {MOST_PIXELS:,} pixels: scale it down or cut it into tiles."
    )
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_large from None
    if image.width * image.height > MOST_PIXELS:
        raise too_large
    return image


def read_image(data: bytes) -> np.ndarray:
    """The pixels of a picture the right way up, uint8 [height, width, 3].

    EXIF orientation is honored, transparency is dropped, gray becomes RGB, 16-bit
    gray is divided by 256.
    """
    try:
        with _open(data) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):
                gray = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(gray[..., None], 3, axis=2)
            if image.mode in ("I", "F"):
                raise DecodeError(
                    "an image has at most 16 bits a color and whole numbers, got "
                    f"Pillow's mode {image.mode}."
                )
            if "transparency" in image.info:
                image = image.convert("RGBA")
            return np.asarray(image.convert("RGB"))
    except DecodeError:
        raise
    except Exception as error:  # decoders raise almost anything on damaged bytes
        raise DecodeError(f"it cannot be read ({_reason(error)}).") from None


def check_image(data: bytes) -> tuple[int, int]:
    """Height and width of a picture as `read_image` gives it; proves it is whole.

    The checksums of a PNG prove that without decompressing it, in a tenth of the
    time; all else is decoded.
    """
    # EXIF in its own chunk, in a text as other programs write it, or in XMP.
    turned = any(word in data for word in (b"eXIf", b"type exif", b"Orientation"))
    if data[:4] != b"\x89PNG" or turned:
        height, width, _ = read_image(data).shape
        return height, width
    try:
        with _open(data, formats=("PNG",)) as image:
            width, height = image.size
            image.verify()
    except DecodeError:
        raise
    except Exception as error:  # as above
        raise DecodeError(f"it cannot be read ({_reason(error)}).") from None
    return height, width


def read_values(data: bytes) -> np.ndarray:
    """The numbers in a mask the right way up, uint8 or uint16 [h, w].

    As for images, EXIF orientation is honored: a file that says nothing is upright.
    """
    try:
        with _open(data) as image:
            if image.format != "PNG":
                raise DecodeError(f"{MASK_FORM}; got a {image.format} file.")
            if data[COLOR_TYPE] not in (GRAY, PALETTE):
                raise DecodeError(f"{MASK_FORM}; got {image.mode}.")
            values = np.asarray(ImageOps.exif_transpose(image))
    except DecodeError:
        raise
    except Exception as error:  # as above
        raise DecodeError(f"it cannot be read ({_reason(error)}).") from None
    if values.dtype == bool:
        return values.astype(np.uint8)
    if data[COLOR_TYPE] == GRAY and data[BIT_DEPTH] < 8:
        # Pillow stretches two and four bits to the whole range of eight.
        return values // np.uint8(255 // (2 ** data[BIT_DEPTH] - 1))
    return values if values.dtype == np.uint8 else values.astype(np.uint16)


def to_classes(values: np.ndarray, classes: Classes) -> np.ndarray:
    """The uint8 mask of a file's numbers; refuses numbers without a meaning."""
    known = classes.known[values]
    if not known.all():
        unknown = np.unique(values[~known]).tolist()
        shown = ", ".join(map(str, unknown[:5])) + (", ..." if unknown[5:] else "")
        raise DecodeError(f"unknown class ids {shown}")
    return classes.table[values]


def class_table(meaning: dict[int, int]) -> Classes:
    """The table of a mapping from a file's numbers to class indices or IGNORE."""
    table, known = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, bool)
    for value, index in meaning.items():
        table[value], known[value] = index, True
    return Classes(table, known)


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0].rstrip(".")
    # Pillow names the buffer in memory, which tells nobody anything.
    if isinstance(error, Image.UnidentifiedImageError) or not text:
        return "not an image in any known format"
    return text
