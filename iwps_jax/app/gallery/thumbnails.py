"""Thumbnails as data URLs: small, upright, in eight bits."""

import base64
import io
import warnings
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageOps

from iwps_jax.app.gallery.page import Picture
from iwps_jax.refusal import Refusal

FEW_PIXELS = 64  # up to this side, every pixel counts: no lossy compression
DEEP = ("I", "F")  # modes of more than eight bits; others begin with I;16


def of_file(path: Path, side: int) -> Picture:
    """The thumbnail of an image file; of the first frame, if it has several.

    Args:
        path: a file in any format that Pillow reads; its EXIF rotation is applied.
        side: the largest side in pixels; a smaller image keeps its size.

    Raises:
        Refusal: if it cannot be read; the message names the file.
    """
    try:
        with warnings.catch_warnings():
            # Up to twice its limit Pillow only warns of a large image, which here is no
            # attack: the user chose the folder.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return thumbnail(image, side)
    except Image.DecompressionBombError as error:
        most = 2 * cast(int, Image.MAX_IMAGE_PIXELS)  # the limit that was broken
        raise Refusal(
            f"{path} must have at most {most:,} pixels, but it has more."
        ) from error
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        raise Refusal(f"{path} cannot be read as an image: {error}") from error


def thumbnail(image: Image.Image, side: int) -> Picture:
    """The thumbnail of an image.

    Values of more than eight bits are stretched from the darkest to the brightest.

    Args:
        image: an image of any mode.
        side: the largest side in pixels; a smaller image keeps its size.
    """
    if image.mode == "RGB":
        # Before the pixels are read, so that a JPEG is decoded at a fraction of them.
        image.thumbnail((side, side))
    small = _eight_bits(ImageOps.exif_transpose(image))
    small.thumbnail((side, side))
    is_photo = max(image.size) > FEW_PIXELS and small.mode in ("L", "RGB")
    kind, options = ("JPEG", {"quality": 85}) if is_photo else ("PNG", {})
    file = io.BytesIO()
    small.save(file, kind, optimize=True, **options)
    text = base64.b64encode(file.getvalue()).decode()
    return Picture(f"data:image/{kind.lower()};base64,{text}", *small.size)


def _eight_bits(image):
    if image.mode in DEEP or image.mode.startswith("I;"):
        return Image.fromarray(_stretched(np.asarray(image)))
    if image.mode in ("L", "RGB"):
        return image
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")


def _stretched(pixels):
    values = pixels.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    scaled = np.clip((values - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    return np.round(255 * np.nan_to_num(scaled)).astype(np.uint8)
