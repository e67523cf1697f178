"""Scenes: images with a class for every pixel, read one at a time.

`load("digit_scenes")` draws small scenes from real MNIST digits and needs no files of
its own; `load("cityscapes")` finds the official files; `load("folder", images=...,
masks=..., classes=...)` takes any folder of images with PNG masks. Everything that is
wrong with the data is found and named by `load`, before anything is computed.

A scene's id is its position in `Scenes.train`, or in `Scenes.test`.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from experiments.names import nearest

DATASETS: tuple[str, ...] = ("digit_scenes", "cityscapes", "folder")
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


class SceneError(RuntimeError):
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


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    classes: str | int | None = None,
    ignore: int | tuple[int, ...] | None = None,
    test_images: str | Path | None = None,
    test_masks: str | Path | None = None,
    background: str | None = None,
    num_train: int = 1200,
    num_test: int = 400,
    data_seed: int = 0,
) -> Scenes:
    """Scenes by name.

    Args:
        name: One of `DATASETS`.
        data_dir: For digit_scenes where MNIST is, as in `experiments.data.datasets`;
            for cityscapes the official folders, their zip files, or a TFDS folder.
        images: folder only: a folder of images, searched recursively.
        masks: folder only: a folder with the PNG mask of each image.
        classes: folder only: how many classes there are, their names with commas
            between, or a text file with one name a line.
        ignore: folder only: the mask value(s) that mean no class; default 255.
        test_images: folder only: images of the test part; without them every fifth
            scene by name is a test scene.
        test_masks: folder only: their masks.
        background: folder only: the name of the class, if any, that "mIoU without
            background" leaves out.
        num_train: digit_scenes only: scenes to draw for training.
        num_test: digit_scenes only: scenes to draw for the test.
        data_seed: digit_scenes only: another seed is another data set.

    Returns:
        The scenes. No folder that is named here is written to.

    Raises:
        ValueError: there is no such data set.
        SceneError: it cannot be had, or something is wrong with it.
    """
    # Here, because these modules build on the types above.
    from experiments.segmentation.data import cityscapes, digit_scenes, mask_folder

    if name not in DATASETS:
        raise ValueError(nearest(name, "data set", DATASETS))
    given = {"images": images, "masks": masks, "classes": classes, "ignore": ignore}
    given |= {"test_images": test_images, "test_masks": test_masks}
    given |= {"background": background}
    if name != "folder":
        for option, value in given.items():
            if value is not None:
                raise SceneError(
                    f"{option} is for a folder of your own; {name} does not take it, "
                    f"got {value}."
                )
    if name == "cityscapes":
        return cityscapes.load(data_dir)
    if name == "folder":
        missing = [key for key in ("images", "masks", "classes") if given[key] is None]
        if missing:
            raise SceneError(
                "a folder of your own needs images, masks and classes, got no "
                f"{' and no '.join(missing)}."
            )
        if data_dir is not None:
            raise SceneError(
                f"data_dir is not for a folder of your own, got {data_dir}."
            )
        return mask_folder.load(**given)
    return digit_scenes.load(
        data_dir, num_train=num_train, num_test=num_test, seed=data_seed
    )


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
