"""Batches of scenes: what is in them, in which order, with any number of threads."""

import gc
import itertools
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.segmentation.data import loading
from experiments.segmentation.data.loading import padded_batches, training_batches
from experiments.segmentation.data.scenes import (
    IGNORE,
    MemorySource,
    Scene,
    SceneError,
)

SIZES = [(100, 60), (60, 100), (37, 41), (64, 64), (100, 60)]


def coded_scene(index, height, width):
    """A scene whose pixels say where they are; every label follows from its image."""
    y, x = np.mgrid[:height, :width]
    image = np.dstack([np.full_like(y, index), y, x]).astype(np.uint8)
    return Scene(image, label_of(image))


def label_of(image):
    """Classes 0 to 6 and some IGNORE, different from pixel to pixel."""
    index, y, x = np.moveaxis(image.astype(int), -1, 0)
    code = (3 * y + 5 * x + index) % 8
    return np.where(code == 7, IGNORE, code).astype(np.uint8)


class Listed(list):
    """A source that does not know its sizes; counts what is read."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return super().__getitem__(index)


@pytest.fixture
def uneven():
    return Listed(coded_scene(i, *size) for i, size in enumerate(SIZES))


def train(source, ids=range(5), *, number=5, **options):
    options = {
        "seed": 0,
        "minibatch_size": 3,
        "crop_size": 48,
        "max_side": None,
        "flip": True,
        "side_multiple": 8,
        "num_threads": 0,
    } | options
    stream = training_batches(source, ids, **options)
    return list(itertools.islice(stream, number))


def pad(source, ids=range(5), **options):
    options = {
        "max_side": None,
        "side_multiple": 32,
        "batch_size": 2,
        "num_threads": 0,
    } | options
    return list(padded_batches(source, ids, **options))


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for one, two in zip(batch, other, strict=True):
            np.testing.assert_array_equal(one, two)


# Training


def test_image_and_mask_are_cut_and_flipped_together(uneven):
    flipped, corners = 0, set()
    batches = train(uneven, number=20)
    for batch in batches:
        assert batch.images.shape == (3, 48, 48, 3) and batch.images.dtype == np.uint8
        assert batch.labels.shape == batch.where.shape == (3, 48, 48)
        assert batch.rows.dtype == np.int32 and batch.labels.dtype == np.uint8
        expected = np.stack([label_of(image) for image in batch.images])
        np.testing.assert_array_equal(batch.labels[batch.where], expected[batch.where])
        assert (batch.labels[~batch.where] == IGNORE).all()
        for row, image, where in zip(
            batch.rows, batch.images, batch.where, strict=True
        ):
            assert (image[where][:, 0] == row).all()
            inside = image[where.any(1)][:, where.any(0)]
            side = [min(length, 48) for length in SIZES[row]]
            assert inside.shape[:2] == tuple(side)
            steps = np.diff(inside[..., 2].astype(int), axis=1)
            assert abs(steps[0, 0]) == 1 and (steps == steps[0, 0]).all()
            assert (np.diff(inside[..., 1].astype(int), axis=0) == 1).all()
            flipped += steps[0, 0] == -1
            corners.add((int(row), int(inside[0, 0, 1]), int(inside[..., 2].min())))
    assert 15 < flipped < 45  # of 60
    assert len(corners) > 30
    # The tightest window possible: the first and the last row are both reached.
    assert any(corner[1] == 0 for corner in corners if corner[0] in (0, 4))


def test_small_scenes_are_padded_with_their_mean_color(uneven):
    batch = train(uneven, [2], minibatch_size=1, flip=False, number=1)[0]
    where = batch.where[0]
    assert where[:37, :41].all() and where.sum() == 37 * 41
    assert (batch.images[0][~where] == (2, 18, 20)).all()


def test_every_epoch_has_each_scene_once_in_another_order(uneven):
    ids = [4, 1, 2, 3]
    rows = np.concatenate([batch.rows for batch in train(uneven, ids, number=12)])
    epochs = rows.reshape(9, 4)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(4), (9, 1)))
    assert len(np.unique(epochs, axis=0)) > 5
    for batch in train(uneven, ids, number=12):  # rows are positions in `ids`
        seen = [int(image[0, 0, 0]) for image in batch.images]
        assert seen == [ids[row] for row in batch.rows]


@pytest.mark.parametrize("num_threads", [1, 2, 7])
def test_threads_change_nothing(uneven, num_threads):
    assert_same(
        train(uneven, number=12), train(uneven, number=12, num_threads=num_threads)
    )
    assert_same(pad(uneven), pad(uneven, num_threads=num_threads))


def test_the_seed_is_the_only_randomness(uneven):
    first, other = train(uneven), train(uneven, seed=1)
    assert_same(first, train(uneven))
    assert any(
        not np.array_equal(a.images, b.images)
        for a, b in zip(first, other, strict=True)
    )


def test_augmentation_depends_on_seed_epoch_and_id_alone(uneven):
    def epoch_by_id(ids, **options):
        batches = train(uneven, ids, **options)
        size = len(ids)
        images = np.concatenate([batch.images for batch in batches])
        rows = np.concatenate([batch.rows for batch in batches])
        return [
            {ids[row]: image for row, image in zip(r, i, strict=True)}
            for r, i in zip(
                rows.reshape(-1, size),
                images.reshape(-1, size, *images.shape[1:]),
                strict=True,
            )
        ]

    few = epoch_by_id([0, 1, 3], number=3)
    many = epoch_by_id([4, 3, 2, 1, 0], number=3, minibatch_size=5)
    for epoch in range(3):
        for i in (0, 1, 3):
            np.testing.assert_array_equal(few[epoch][i], many[epoch][i])
    assert not np.array_equal(few[0][0], few[1][0])


def test_without_crops_all_scenes_have_one_shape(uneven):
    for batch in train(uneven, [1, 2], crop_size=None, side_multiple=16):
        assert batch.images.shape == (3, 64, 112, 3)
    sized = MemorySource(np.zeros((4, 20, 30, 3), np.uint8), np.zeros((4, 20, 30)))
    assert train(sized, range(4), crop_size=None)[0].images.shape == (3, 24, 32, 3)


def test_scenes_are_scaled_down_never_up(uneven):
    batch = train(
        uneven, [0, 2], crop_size=None, max_side=50, flip=False, minibatch_size=2
    )[0]
    large, small = np.argsort(batch.rows)
    assert batch.where[large].sum() == 50 * 30  # 100x60 before
    assert batch.where[small].sum() == 37 * 41
    # Twice as far from pixel to pixel; masks keep their classes.
    steps = np.diff(batch.images[large, 5:45, 10, 1].astype(int))
    assert set(steps) <= {1, 2, 3} and 1.9 < steps.mean() < 2.1
    assert set(np.unique(batch.labels[large])) <= {*range(7), IGNORE}


@given(
    height=st.integers(1, 5000), width=st.integers(1, 5000), side=st.integers(1, 3000)
)
def test_scaled_sizes(height, width, side):
    found = loading.scaled_size(height, width, side)
    longest = max(height, width)
    if longest <= side:
        assert found == (height, width)
    else:
        assert max(found) == side
        for new, old in zip(found, (height, width), strict=True):
            assert new == 1 or abs(new - old * side / longest) <= 0.5


# Whole scenes


def test_every_scene_is_there_once_and_whole(uneven):
    ids = [4, 1, 2, 3, 0]
    batches = pad(uneven, ids)
    assert [batch.rows.tolist() for batch in batches] == [[0, 4], [1, -1], [2, 3]]
    shapes = [batch.images.shape[1:3] for batch in batches]
    assert shapes == [(128, 64), (64, 128), (64, 64)]
    for batch in batches:
        for row, image, labels, where in zip(*batch, strict=True):
            if row < 0:
                assert (labels == IGNORE).all() and not where.any()
                continue
            scene = list.__getitem__(uneven, ids[row])
            height, width = scene.mask.shape
            np.testing.assert_array_equal(image[:height, :width], scene.image)
            np.testing.assert_array_equal(labels[:height, :width], scene.mask)
            assert where[:height, :width].all() and where.sum() == height * width
            assert (labels[~where] == IGNORE).all()


def test_shapes_depend_on_the_scene_alone(uneven):
    for i, size in enumerate(SIZES):
        (batch,) = pad(uneven, [i], batch_size=3, side_multiple=8)
        assert batch.labels.shape == (3, *(-(-side // 8) * 8 for side in size))
        assert batch.rows.tolist() == [0, -1, -1]
    assert pad(uneven, []) == []


def test_known_sizes_spare_a_reading(uneven):
    pad(uneven)
    assert uneven.reads == 2 * 5 + 1  # sizes, scenes, and one like which a filler is
    uneven.sizes, uneven.reads = SIZES, 0
    pad(uneven)
    assert uneven.reads == 5 + 1


# Feature maps


def feature_source(sizes, stride, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Scene(
            rng.normal(size=(-(-h // stride), -(-w // stride), 5)).astype(np.float32),
            rng.integers(0, 3, (h, w), dtype=np.uint8),
        )
        for h, w in sizes
    ]


def test_feature_maps_pass_through():
    source = feature_source([(64, 32), (32, 64)], 8)
    for batch in train(source, [0, 1], crop_size=None, flip=False, side_multiple=16):
        assert batch.images.shape == (3, 8, 8, 5) and batch.images.dtype == np.float32
        assert batch.labels.shape == (3, 64, 64)
        for row, image, labels in zip(
            batch.rows, batch.images, batch.labels, strict=True
        ):
            height, width, _ = source[row].image.shape
            np.testing.assert_array_equal(image[:height, :width], source[row].image)
            assert not image[height:].any() and not image[:, width:].any()
            height, width = source[row].mask.shape
            np.testing.assert_array_equal(labels[:height, :width], source[row].mask)
    assert [batch.images.shape for batch in pad(source, [0, 1], batch_size=1)] == [
        (1, 8, 4, 5),
        (1, 4, 8, 5),
    ]


def test_features_of_padded_images_keep_the_sides_of_their_masks():
    source = feature_source([(37, 41), (40, 48)], 8)
    (batch,) = pad(source, [0, 1], side_multiple=8, feature_stride=8)
    assert batch.images.shape == (2, 5, 6, 5)
    assert batch.where.sum((1, 2)).tolist() == [37 * 41, 40 * 48]
    # Features of more padding than is needed now.
    wide = np.pad(source[0].image, ((0, 3), (0, 2), (0, 0)))
    (again,) = pad([Scene(wide, source[0].mask)], [0], side_multiple=8, batch_size=1,
                   feature_stride=8)  # fmt: skip
    np.testing.assert_array_equal(again.images[0], source[0].image)


def test_feature_maps_are_not_augmented():
    source = feature_source([(64, 32)], 8)
    for options, match in (
        ({"flip": True}, "neither cut nor flipped"),
        ({"crop_size": 16, "flip": False}, "neither cut nor flipped"),
        ({"max_side": 32, "flip": False}, "not scaled"),
    ):
        with pytest.raises(ValueError, match=match):
            train(source, [0], **{"crop_size": None} | options)
    with pytest.raises(ValueError, match="a whole number of times"):
        pad([source[0]._replace(mask=source[0].mask[:60])], [0])
    with pytest.raises(ValueError, match="must cover their mask"):
        pad(source, [0], feature_stride=4)


# Errors and threads


def test_arguments_that_make_no_sense_are_refused_at_once(uneven):
    options = dict(max_side=None, side_multiple=8, num_threads=1)
    more = dict(seed=0, minibatch_size=2, crop_size=None, flip=True)
    for ids, change, match in (
        ([], {}, "at least one scene"),
        ([5], {}, r"\[0, 5\), got 5"),
        ([-1], {}, r"\[0, 5\), got -1"),
        ([0], {"minibatch_size": 0}, "at least 1, got 0"),
        ([0], {"crop_size": 12}, "multiple of 8, got 12"),
        ([0], {"feature_stride": 3}, "multiple of 3, got 8"),
    ):
        with pytest.raises(ValueError, match=match):
            training_batches(uneven, ids, **options | more | change)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        padded_batches(uneven, [0], batch_size=0, **options)


class Broken(Listed):
    """A source one of whose files is unreadable."""

    sizes = SIZES

    def __getitem__(self, index):
        if index == 3:
            raise SceneError("3.png was good when the run began.")
        return super().__getitem__(index)


@pytest.mark.parametrize("num_threads", [0, 2])
def test_errors_of_a_source_reach_whoever_asks(uneven, num_threads):
    broken = Broken(uneven)
    with pytest.raises(SceneError, match="3.png"):
        pad(broken, num_threads=num_threads)
    with pytest.raises(SceneError, match="3.png"):
        train(broken, num_threads=num_threads)
    assert_no_threads()


def test_dropped_streams_leave_no_threads(uneven):
    options = dict(max_side=None, side_multiple=8, num_threads=3)
    more = dict(seed=0, minibatch_size=2, crop_size=None, flip=True)
    used = training_batches(uneven, range(5), **options, **more)
    next(used)
    never_used = training_batches(uneven, range(5), **options, **more)
    closed = padded_batches(uneven, range(5), batch_size=1, **options)
    next(closed)
    closed.close()
    assert list(closed) == []
    del used, never_used
    assert_no_threads()


def assert_no_threads():
    gc.collect()
    deadline = time.monotonic() + 5
    while True:
        alive = [t.name for t in threading.enumerate() if "grain" in t.name]
        if not alive:
            return
        assert time.monotonic() < deadline, alive
        time.sleep(0.01)


def test_threads_read_ahead():
    """While a batch is being used, the scenes of the next are read."""

    class Slow(Listed):
        sizes = [(8, 8)] * 8

    source = Slow(coded_scene(i, 8, 8) for i in range(8))
    batches = padded_batches(
        source, range(8), max_side=None, side_multiple=8, batch_size=2, num_threads=2
    )
    next(batches)
    deadline = time.monotonic() + 5
    while source.reads < 6:
        assert time.monotonic() < deadline, source.reads
        time.sleep(0.01)
    batches.close()
