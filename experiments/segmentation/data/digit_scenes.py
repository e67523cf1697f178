"""Small scenes of real MNIST digits on textured canvases: data for every machine.

A scene has 64x64 pixels and shows one to three digits, the later ones over the
earlier ones. A pixel's class is the digit's value plus one where that digit covers at
least half of the pixel, 0 (background) elsewhere; nothing is ignored.

    texture = value noise on a coarse grid + stripes + noise of single pixels
    pixel   = (ink · color + (255 - ink) · below) / 255,   ink of the digit, 0 to 255

A digit's color differs from what lies under its ink by at least `CONTRAST` in luma.

*Classes.* Of every 55 digits of the training scenes, ten belong to each of the five
majority classes and one to each of the five minority classes, which the seed draws; of
every ten digits of the test scenes each class has one, so that the IoU of rare classes
is measured as well as that of the others.

*Identity.* Only integers are computed, from the counters of a Philox generator with
the key (seed, split, kind, index): scene i is the same on every machine and however
many scenes there are. Training scenes are made of MNIST's training images and test
scenes of its test images, and no digit is used twice: any division of the scenes is a
division of the digits too.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import datasets
from experiments.segmentation.data.scenes import (
    MemorySource,
    Scene,
    SceneError,
    Scenes,
    distinct_colors,
)

SIDE = 64
MOST_DIGITS = 3
IMBALANCE = 10  # a minority class is that many times rarer in the training scenes
CONTRAST = 60  # luma, 0 to 255
MARGIN = 4  # MNIST leaves that many pixels free around a digit
DIGIT_SIDE = 28
GRID = 5  # points a side of the coarse grid of a texture
CELL = SIDE // (GRID - 1)
LUMA = np.array([299, 587, 114])  # thousandths of red, green and blue
CLASS_NAMES = ("background", *"0123456789")

TRAIN, TEST = 0, 1
# What a stream of numbers is for.
ORDER, BLOCK, SCENE, RARE = 0, 1, 2, 3


class Digits(NamedTuple):
    """Where a split takes its digits from, one after another."""

    images: np.ndarray  # uint8 [slots, 28, 28]
    labels: np.ndarray  # int32 [slots]


def load(
    data_dir: str | Path | None = None,
    *,
    num_train: int = 1200,
    num_test: int = 400,
    seed: int = 0,
) -> Scenes:
    """Draws the scenes; takes seconds.

    Args:
        data_dir: where MNIST is, as in `experiments.data.datasets.load`.
        num_train: training scenes, at least 1.
        num_test: test scenes, at least 1.
        seed: another seed is another data set, with other minority classes.

    Returns:
        The scenes; `sha256` covers all images, then all masks, of train, then test.

    Raises:
        SceneError: a number is not positive, MNIST has too few digits for it, or
            could not be loaded.
    """
    for name, number in (("num_train", num_train), ("num_test", num_test)):
        if number < 1:
            raise SceneError(f"{name} must be at least 1, got {number}.")
    if not 0 <= seed < 2**32:
        raise SceneError(f"data_seed must be in [0, 2**32), got {seed}.")
    try:
        mnist = datasets.load("mnist", data_dir)
    except datasets.DatasetError as error:
        raise SceneError(f"digit_scenes is made of MNIST, but {error}") from None
    rare = minority_classes(seed)
    digest, sources = hashlib.sha256(), []
    for split, images, labels, number in (
        (TRAIN, mnist.train_images, mnist.train_labels, num_train),
        (TEST, mnist.test_images, mnist.test_labels, num_test),
    ):
        shares = np.ones(10, int)
        if split == TRAIN:
            shares[:] = IMBALANCE
            shares[rare] = 1
        slots = digit_slots(labels, shares, number * MOST_DIGITS, seed, split)
        digits = Digits(images[slots, ..., 0], labels[slots])
        scenes = [draw_scene(digits, index, seed, split) for index in range(number)]
        source = MemorySource(
            np.stack([scene.image for scene in scenes]),
            np.stack([scene.mask for scene in scenes]),
        )
        digest.update(source.images.tobytes())
        digest.update(source.masks.tobytes())
        sources.append(source)
    return Scenes(
        name="digit_scenes",
        train=sources[0],
        test=sources[1],
        train_names=tuple(f"train_{index:05d}" for index in range(num_train)),
        class_names=CLASS_NAMES,
        colors=distinct_colors(len(CLASS_NAMES), background=0),
        background=0,
        source=f"digit scenes (seed {seed}; digits {', '.join(map(str, rare))} are "
        f"rare in training) drawn from {mnist.source}",
        sha256=digest.hexdigest(),
    )


def minority_classes(seed: int) -> list[int]:
    """The five digits that are rare in the training scenes of a data set."""
    draws = _raw(10, seed, TRAIN, RARE, 0)
    return sorted(np.argsort(draws, kind="stable")[:5].tolist())


def digit_slots(
    labels: np.ndarray, shares: np.ndarray, number: int, seed: int, split: int
) -> np.ndarray:
    """Which digit stands in which slot; scene i owns the slots 3 i to 3 i + 2.

    Slots come in blocks of `shares.sum()`: `shares[c]` digits of class c each, in an
    order that the block draws. No digit stands in two slots.

    Args:
        labels: [digits] classes of all digits.
        shares: [classes] digits of each class in a block.
        number: slots.
        seed: of the data set.
        split: TRAIN or TEST.

    Returns:
        [number] positions in `labels`. A longer answer begins with the shorter one.

    Raises:
        SceneError: a class has too few digits.
    """
    size = int(shares.sum())
    blocks = -(-number // size)
    classes = np.repeat(np.arange(len(shares)), shares)
    for label, share in enumerate(shares):
        available = int((labels == label).sum())
        if available < blocks * share:
            most = available // share * size // MOST_DIGITS
            raise SceneError(
                f"there must be at most {most} scenes of a split, as MNIST has "
                f"{available} digits {label} for it, got {number // MOST_DIGITS}."
            )
    orders = []
    for label in range(len(shares)):
        ids = np.flatnonzero(labels == label)
        draws = _raw(len(ids), seed, split, ORDER, label)
        orders.append(ids[np.argsort(draws, kind="stable")])
    slots = np.zeros((blocks, size), int)
    for block in range(blocks):
        digits = np.concatenate(
            [
                order[block * share : (block + 1) * share]
                for order, share in zip(orders, shares, strict=True)
            ]
        )
        draws = _raw(len(classes), seed, split, BLOCK, block)
        slots[block] = digits[np.argsort(draws, kind="stable")]
    return slots.ravel()[:number]


def draw_scene(digits: Digits, index: int, seed: int, split: int) -> Scene:
    """Scene `index` of a split, from its own digits and its own numbers alone."""
    stream = _raw(64 + GRID * GRID * 3, seed, split, SCENE, index)
    few, corners = stream[:64], stream[64:]
    noise = _noise(seed, split, index)
    image = _texture(few[:16], corners, noise)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    # One, two or three digits, equally often.
    for place in range(1 + _below(few[16], MOST_DIGITS)):
        slot, draws = index * MOST_DIGITS + place, few[20 + 14 * place :][:14]
        free = SIDE - DIGIT_SIDE + 2 * MARGIN + 1
        top, left = (_below(draw, free) - MARGIN for draw in draws[:2])
        ink = np.zeros((SIDE, SIDE), np.int64)
        y, x = max(top, 0), max(left, 0)
        part = digits.images[slot][y - top : SIDE - top, x - left : SIDE - left]
        ink[y : y + part.shape[0], x : x + part.shape[1]] = part
        color = _contrasting_color(image, ink, draws[2:])
        ink = ink[..., None]
        image = (ink * color + (255 - ink) * image + 127) // 255
        mask[ink[..., 0] >= 128] = digits.labels[slot] + 1
    return Scene(image.astype(np.uint8), mask)


def _texture(few: np.ndarray, corners: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """An int64 canvas [64, 64, 3] of values 0 to 255."""
    base = 48 + _below(few[:3], 160)
    grid = base + _below(corners, 97).reshape(GRID, GRID, 3) - 48
    # Bilinear between the points of the grid, first along rows, then along columns.
    at = np.arange(SIDE)
    cell, part = at // CELL, (at % CELL)[:, None, None]
    rows = grid[cell] * (CELL - part) + grid[cell + 1] * part
    part = part.reshape(1, SIDE, 1)
    smooth = rows[:, cell] * (CELL - part) + rows[:, cell + 1] * part
    smooth //= CELL * CELL
    # Stripes: a triangle wave along a direction of whole numbers.
    along, across = (_below(few[3:5], 9) - 4).tolist()
    period = 24 + _below(few[5], 41)
    wave = (along * at[:, None] + across * at[None, :] + _below(few[6], period)) % (
        period
    )
    wave = np.abs(2 * wave - period)  # 0 to period
    height = _below(few[7:10], 65) - 32  # of each color, either way
    stripes = (wave[..., None] * height) // period - height // 2
    strength = 4 + _below(few[10], 21)
    speckles = noise * strength // 256 - strength // 2
    return np.clip(smooth + stripes + speckles, 0, 255)


def _noise(seed: int, split: int, index: int) -> np.ndarray:
    """int64 [64, 64, 3] values 0 to 255: the bytes of the scene's second stream."""
    draws = _raw(SIDE * SIDE * 3 // 8, seed, split, SCENE, index, stream=1)
    # Bytes from the low end up, whatever the byte order of this machine.
    data = draws.astype("<u8").view(np.uint8)
    return data.reshape(SIDE, SIDE, 3).astype(np.int64)


def _contrasting_color(
    image: np.ndarray, ink: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """The first of four drawn colors that stands out; else black or white."""
    luma = image @ LUMA
    below = int((luma * ink).sum()) // max(int(ink.sum()), 1)
    colors = _below(draws[:12], 256).reshape(4, 3)
    for color in colors:
        if abs(int(color @ LUMA) - below) >= CONTRAST * 1000:
            return color
    return np.full(3, 255 if below < 128_000 else 0)


def _raw(
    number: int, seed: int, split: int, kind: int, index: int, stream: int = 0
) -> np.ndarray:
    """The first `number` raw 64-bit draws of the stream with this key."""
    key = np.array([seed << 32 | index, split << 16 | kind << 8 | stream], np.uint64)
    return np.random.Philox(key=key).random_raw(number)


def _below(draws: np.ndarray, bound: int) -> np.ndarray | int:
    """Whole numbers in [0, bound) from 64-bit draws, by multiplication."""
    high = np.asarray(draws) >> np.uint64(32)
    scaled = (high * np.uint64(bound) >> np.uint64(32)).astype(np.int64)
    return scaled if scaled.ndim else int(scaled)
