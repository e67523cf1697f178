"""Scenes: images with a class for every pixel, read one at a time.

A scene's id is its position in `Scenes.train`, or in `Scenes.test`.
"""

from typing import NamedTuple, Protocol

import numpy as np

from iwps_jax.refusal import Refusal

IGNORE = 255  # in masks: no class, never in a loss, a metric or a score

# Ten colors that differ in lightness too, so that they stay apart for color-blind
# eyes. Petroff 2021, "Accessible color sequences". https://arxiv.org/abs/2107.02270
TEN_COLORS = (
    (63, 144, 218),
    (255, 169, 14),
    (189, 31, 1),
    (148, 164, 162),
    (131, 45, 182),
    (169, 107, 89),
    (231, 99, 0),
    (185, 172, 112),
    (113, 117, 129),
    (146, 218, 221),
)


class SceneError(Refusal, RuntimeError):
    """Scenes that cannot be used; one or more sentences say why and what to do."""


class Scene(NamedTuple):
    """An image and the class of each of its pixels."""

    image: np.ndarray  # uint8 [height, width, 3], or features, float [h/f, w/f, d]
    mask: np.ndarray  # uint8 [height, width], class index or IGNORE


class Source(Protocol):
    """Scenes by position; several threads may ask at once.

    One that knows the sides of its masks without reading them has a list of them too:
    `sizes`, [scenes] of (height, width).
    """

    def __len__(self) -> int:
        """Number of scenes."""
        ...

    def __getitem__(self, index: int) -> Scene:
        """One scene, in arrays that the caller must not write to."""
        ...


class Scenes(NamedTuple):
    """A data set for segmentation."""

    name: str  # "digit_scenes", "cityscapes" or the folder's name
    train: Source
    test: Source
    train_names: tuple[str, ...]  # one a scene, for reports
    class_names: tuple[str, ...]
    colors: np.ndarray  # uint8 [classes, 3], for pictures
    background: int | None  # the class that "mIoU without background" leaves out
    source: str  # where the data came from, as a sentence
    sha256: str  # identity of all scenes, as `source`'s module defines it


class MemorySource:
    """Scenes of equal size that are all in memory."""

    def __init__(self, images: np.ndarray, masks: np.ndarray):
        """Take [scenes, height, width, channels] and [scenes, height, width]."""
        if len(images) != len(masks):
            raise ValueError(
                f"there must be as many masks as images, got {len(masks)} and "
                f"{len(images)}."
            )
        self.images, self.masks = images, masks
        self.sizes = [masks.shape[1:]] * len(masks)

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.images)

    def __getitem__(self, index: int) -> Scene:
        """One scene; a view, not a copy."""
        return Scene(self.images[index], self.masks[index])


def distinct_colors(num_classes: int, background: int | None = None) -> np.ndarray:
    """A color for each class, black for the background.

    The first ten come from `TEN_COLORS`; further ones repeat their hues darker and
    lighter in turn, as no eye tells so many hues apart.

    Returns:
        uint8 [num_classes, 3], all different while there are at most 70 classes.

    Example:
        >>> distinct_colors(3, background=0).tolist()
        [[0, 0, 0], [63, 144, 218], [255, 169, 14]]
    """
    shades = (100, 60, 145, 40, 170, 80, 120)  # percent of the lightness
    colors, place = np.zeros((num_classes, 3), np.uint8), 0
    for index in range(num_classes):
        if index == background:
            continue
        color = np.array(TEN_COLORS[place % len(TEN_COLORS)])
        percent = shades[place // len(TEN_COLORS) % len(shades)]
        if percent <= 100:
            shaded = color * percent // 100
        else:  # toward white
            shaded = 255 - (255 - color) * (200 - percent) // 100
        colors[index], place = shaded, place + 1
    return colors
