"""Batches of scenes, decoded and augmented by threads while the device computes.

    position in the stream -> (epoch, row) -> scene -> scaled, cut, flipped, padded

Each row is a function of the position alone, so that a stream is the same with any
number of threads and whatever the machine does meanwhile. Threads suffice, as Pillow
decodes without Python's lock.

Scenes may also hold feature maps of a frozen network, computed once: then `image` is a
float array whose sides are f times smaller than those of the mask. They are padded,
never scaled, cut or flipped.

Axes: b scenes of a batch, h and w sides of images, H and W sides of labels (the same
but for feature maps, where H = f h and W = f w), c channels.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np

from experiments.segmentation.data.scenes import IGNORE, Scene, Source


class Batch(NamedTuple):
    """Scenes of one shape, side by side."""

    rows: np.ndarray  # int32 [b] positions in `ids`, -1: filler
    images: np.ndarray  # uint8 [b, h, w, 3] or features, float [b, h, w, c]
    labels: np.ndarray  # uint8 [b, H, W], IGNORE where padded or filler
    where: np.ndarray  # bool [b, H, W], true on pixels of the scene, labeled or not


def training_batches(
    source: Source,
    ids: Sequence[int],
    *,
    seed: int,
    minibatch_size: int,
    crop_size: int | None,
    max_side: int | None,
    flip: bool,
    side_multiple: int,
    num_threads: int,
    feature_stride: int | None = None,
) -> Iterator[Batch]:
    """An endless, shuffled and augmented stream of the scenes `ids`.

    Every epoch is another permutation; a batch may hold the end of one epoch and the
    beginning of the next. How a scene is cut and flipped depends on seed, epoch and
    its id alone. All batches have one shape: [crop_size, crop_size], or else the
    largest sides among `ids` rounded up to `side_multiple`.

    Args:
        source: all scenes.
        ids: positions of those to use, at least one.
        seed: of the order and the augmentation, not negative.
        minibatch_size: scenes of a batch.
        crop_size: side of the window that is cut out at random, the same of image and
            mask; smaller scenes are padded at the bottom and on the right, images
            with their mean color. None: scenes stay whole.
        max_side: scenes with a longer side are scaled down to it (image bilinear,
            mask nearest) before they are cut; None: never.
        flip: whether to mirror every other scene, left to right, at random.
        side_multiple: sides of a batch are whole multiples of it.
        num_threads: threads that decode; 0: the caller's own, when it asks.
        feature_stride: f of feature maps whose masks are less than f times as large,
            because the network had padded the image; None: the ratio of the sides.

    Returns:
        The stream. Dropping it stops its threads.

    Raises:
        ValueError: an argument makes no sense; by the stream, if feature maps were to
            be cut, flipped or scaled, or do not fit their masks.
        SceneError: by the stream, if a file has become unreadable.
    """
    ids = _checked_ids(source, ids, side_multiple, feature_stride)
    if not len(ids):
        raise ValueError("ids must name at least one scene, got none.")
    if minibatch_size < 1:
        raise ValueError(f"minibatch_size must be at least 1, got {minibatch_size}.")
    if crop_size is not None and (crop_size < 1 or crop_size % side_multiple):
        raise ValueError(
            f"crop_size must be a multiple of {side_multiple}, got {crop_size}."
        )
    if crop_size is None:
        sizes = scene_sizes(source, ids, max_side, num_threads)
        shape = tuple(_rounded_up(sizes, side_multiple).max(0).tolist())
    else:
        shape = (crop_size, crop_size)

    def read(position: int, row: int) -> Batch:
        scene = source[int(ids[row])]
        key = np.random.SeedSequence((seed, position // len(ids), int(ids[row])))
        draws = key.generate_state(3, np.uint64)
        if _is_feature_map(scene) and (crop_size is not None or flip):
            raise ValueError("feature maps are neither cut nor flipped.")
        scene = scaled_down(scene, max_side)
        if crop_size is not None:
            scene = _window(scene, crop_size, draws[:2])
        if flip and draws[2] >> np.uint64(63):
            scene = Scene(scene.image[:, ::-1], scene.mask[:, ::-1])
        return _padded(scene, row, shape, feature_stride)

    # Its own hash of the seed, because Grain shuffles epoch e with the seed plus e.
    order_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
    stream = grain.MapDataset.range(len(ids)).shuffle(order_seed).repeat()
    return _batches(stream.map_with_index(read), minibatch_size, num_threads)


def padded_batches(
    source: Source,
    ids: Sequence[int],
    *,
    max_side: int | None,
    side_multiple: int,
    batch_size: int,
    num_threads: int,
    feature_stride: int | None = None,
) -> Iterator[Batch]:
    """Every scene once and whole, next to scenes of the same padded shape.

    A scene is padded at the bottom and on the right to the next multiples of
    `side_multiple`, images with their mean color: its shape depends on it alone. The
    last batch of a shape is filled up, so that there is one program a shape. Shapes
    come in the order of their first scene.

    Args:
        source: all scenes.
        ids: positions of those to read; rows are positions in it.
        max_side: as in `training_batches`.
        side_multiple: as in `training_batches`.
        batch_size: scenes of a batch, fillers included.
        num_threads: as in `training_batches`.
        feature_stride: as in `training_batches`.

    Returns:
        The batches. Dropping the iterator stops its threads.

    Raises:
        ValueError: an argument makes no sense.
        SceneError: by the iterator, if a file has become unreadable.
    """
    ids = _checked_ids(source, ids, side_multiple, feature_stride)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if not len(ids):
        return iter(())
    sizes = _rounded_up(scene_sizes(source, ids, max_side, num_threads), side_multiple)
    rows_of: dict[tuple[int, int], list[int]] = {}
    for row, size in enumerate(sizes.tolist()):
        rows_of.setdefault(tuple(size), []).append(row)
    places = []  # the row in each place of each batch, and the shape of that batch
    for shape, rows in rows_of.items():
        fillers = [-1] * (-len(rows) % batch_size)
        places += [(row, shape) for row in rows + fillers]

    def read(index: int) -> Batch:
        row, shape = places[index]
        if row < 0:
            # The first scene of the batch is never a filler: like it, but empty.
            first = index - index % batch_size
            scene = source[int(ids[places[first][0]])]
            return _filler(scene, shape, feature_stride)
        scene = scaled_down(source[int(ids[row])], max_side)
        return _padded(scene, row, shape, feature_stride)

    return _batches(
        grain.MapDataset.range(len(places)).map(read), batch_size, num_threads
    )


def scene_sizes(
    source: Source, ids: np.ndarray, max_side: int | None, num_threads: int
) -> np.ndarray:
    """Heights and widths of the masks after scaling, [ids, 2].

    From the source's own list `sizes` if it has one; otherwise every scene is read.
    """
    known = getattr(source, "sizes", None)
    if known is None:
        shapes = grain.MapDataset.source(ids).map(lambda i: source[int(i)].mask.shape)
        sizes = list(_ahead(shapes, 1, num_threads))
    else:
        sizes = [known[i] for i in ids]
    return np.array([scaled_size(*size, max_side) for size in sizes]).reshape(-1, 2)


def scaled_size(height: int, width: int, max_side: int | None) -> tuple[int, int]:
    """Height and width of a scene after scaling, rounded to whole pixels.

    Example:
        >>> scaled_size(1024, 2048, 1000)
        (500, 1000)
        >>> scaled_size(60, 100, 1000)
        (60, 100)
    """
    longest = max(height, width)
    if max_side is None or longest <= max_side:
        return int(height), int(width)
    height, width = (
        max(1, (2 * int(side) * max_side + longest) // (2 * longest))
        for side in (height, width)
    )
    return height, width


def scaled_down(scene: Scene, max_side: int | None) -> Scene:
    """The scene with no side above `max_side`: image bilinear, mask nearest."""
    size = scaled_size(*scene.mask.shape, max_side)
    if size == scene.mask.shape:
        return scene
    if _is_feature_map(scene):
        raise ValueError(
            f"feature maps are not scaled: their masks must have no side above "
            f"{max_side}, got {scene.mask.shape}."
        )
    from PIL import Image

    image = Image.fromarray(scene.image).resize(size[::-1], Image.Resampling.BILINEAR)
    mask = Image.fromarray(scene.mask).resize(size[::-1], Image.Resampling.NEAREST)
    return Scene(np.asarray(image), np.asarray(mask))


def _checked_ids(
    source: Source, ids: Sequence[int], side_multiple: int, stride: int | None
) -> np.ndarray:
    ids = np.asarray(ids, np.int64).reshape(-1)
    if len(ids) and not 0 <= ids.min() <= ids.max() < len(source):
        wrong = ids[(ids < 0) | (ids >= len(source))][0]
        raise ValueError(f"ids must be in [0, {len(source)}), got {wrong}.")
    if side_multiple < 1 or side_multiple % (stride or 1):
        raise ValueError(
            f"side_multiple must be a positive multiple of {stride or 1}, got "
            f"{side_multiple}."
        )
    return ids


def _rounded_up(sizes: np.ndarray, multiple: int) -> np.ndarray:
    return -(-sizes // multiple) * multiple


def _is_feature_map(scene: Scene) -> bool:
    return scene.image.dtype != np.uint8


def _window(scene: Scene, side: int, draws: np.ndarray) -> Scene:
    """The same window of image and mask; all of a scene that is no larger."""
    free = [max(length - side, 0) + 1 for length in scene.mask.shape]
    # From 64-bit draws to [0, free), by multiplication.
    top, left = (
        int(draw >> np.uint64(32)) * number >> 32
        for draw, number in zip(draws, free, strict=True)
    )
    window = np.s_[top : top + side, left : left + side]
    return Scene(scene.image[window], scene.mask[window])


def _padded(
    scene: Scene, row: int, shape: tuple[int, int], stride: int | None
) -> Batch:
    """One row of a batch of that shape."""
    height, width = scene.mask.shape
    batch = _filler(scene, shape, stride)
    batch.labels[:height, :width] = scene.mask
    batch.where[:height, :width] = True
    rows, columns = batch.images.shape[:2]
    image = scene.image[:rows, :columns]
    if not _is_feature_map(scene) and (height, width) != shape:
        batch.images[:] = np.rint(image.mean((0, 1)))
    batch.images[: image.shape[0], : image.shape[1]] = image
    return batch._replace(rows=np.int32(row))


def _filler(scene: Scene, shape: tuple[int, int], stride: int | None) -> Batch:
    """A row without a scene, with the type and channels of `scene`."""
    f = _side_ratio(scene, stride)
    if shape[0] % f or shape[1] % f:
        raise ValueError(f"side_multiple must be a multiple of {f}, got sides {shape}.")
    image_shape = (shape[0] // f, shape[1] // f, scene.image.shape[2])
    return Batch(
        rows=np.int32(-1),
        images=np.zeros(image_shape, scene.image.dtype),
        labels=np.full(shape, IGNORE, np.uint8),
        where=np.zeros(shape, bool),
    )


def _side_ratio(scene: Scene, stride: int | None) -> int:
    """F, how many times longer the sides of the mask are."""
    image, mask = scene.image.shape[:2], scene.mask.shape
    if stride is None:
        f = mask[0] // image[0]
        if f < 1 or (image[0] * f, image[1] * f) != mask:
            raise ValueError(
                "the sides of a mask must be a whole number of times those of its "
                f"image, got {mask} and {image}."
            )
        return f
    if image[0] * stride < mask[0] or image[1] * stride < mask[1]:
        raise ValueError(
            f"features of stride {stride} must cover their mask of {mask}, got {image}."
        )
    return stride


def _batches(
    stream: grain.MapDataset, batch_size: int, num_threads: int
) -> Iterator[Batch]:
    """Stacks rows; the threads run two batches ahead of whoever asks."""
    return _ahead(stream, batch_size, num_threads, _stacked)


def _stacked(rows: Sequence[Batch]) -> Batch:
    return Batch(*(np.stack(arrays) for arrays in zip(*rows, strict=True)))


def _ahead(
    stream: grain.MapDataset,
    batch_size: int,
    num_threads: int,
    batch_fn: Callable | None = None,
) -> Iterator:
    buffer = 2 * batch_size + num_threads
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=buffer)
    elements = stream.to_iter_dataset(options)
    if batch_fn is not None:
        elements = elements.batch(batch_size, batch_fn=batch_fn)
    iterator = iter(elements)
    try:
        yield from iterator
    finally:
        iterator.close()  # else its threads first read all that is still asked for
