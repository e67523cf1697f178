"""Scenes of MNIST digits: bit-exact, without shared digits, rare classes rare."""

import functools

import numpy as np
import pytest
from dataset_files import REAL_DIRS

from experiments.data import datasets, tfds_format
from experiments.segmentation.data import digit_scenes
from experiments.segmentation.data.datasets import load
from experiments.segmentation.data.scenes import SceneError

GOLDEN = "99386a2a7afd6e533afc083d17e54176d4822da7a2488364a02cacc3f70788f7"


@functools.cache
def real():
    """The scenes and the digits that they were made of, read once."""
    prepared = [path for path in REAL_DIRS if tfds_format.find_prepared(path, "mnist")]
    if not prepared:
        pytest.skip("mnist is not prepared on this machine")
    read, load_digits = [], datasets.load

    def kept(*arguments):
        read.append(load_digits(*arguments))
        return read[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", kept)
        scenes = load("digit_scenes", data_dir=prepared[0])
    (digits,) = read
    return scenes, digits


def real_scenes():
    return real()[0]


@pytest.fixture
def made_up(monkeypatch):
    """MNIST with few digits, each a square of 20x20 pixels, half of it ink."""

    def arrays(number):
        images = np.zeros((number, 28, 28, 1), np.uint8)
        images[:, 4:24, 4:24] = 128
        return images, np.arange(number, dtype=np.int32) % 10

    made = datasets.Dataset(
        "mnist", *arrays(600), *arrays(200), tuple("0123456789"), "here.", ""
    )
    monkeypatch.setattr(datasets, "load", lambda name, data_dir: made)
    return made


def test_the_digits_are_the_official_ones():
    """As `test_real_data` in test_datasets.py, which would read them once more."""
    _, digits = real()
    assert "not the official" not in digits.source
    assert digits.train_labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(digits.test_labels).tolist() == counts


def test_every_bit_of_all_scenes():
    assert real_scenes().sha256 == GOLDEN


def test_fields():
    found = real_scenes()
    assert (len(found.train), len(found.test)) == (1200, 400)
    assert found.class_names == ("background", *"0123456789")
    assert found.background == 0
    assert found.train_names[12] == "train_00012"
    image, mask = found.train[12]
    assert image.shape == (64, 64, 3) and mask.shape == (64, 64)
    assert image.dtype == mask.dtype == np.uint8
    assert len(np.unique(found.colors, axis=0)) == 11


def test_minority_classes_are_rare_in_training_only():
    found = real_scenes()
    rare = digit_scenes.minority_classes(0)
    assert len(rare) == 5
    names = ", ".join(map(str, rare))
    assert f"digits {names} are rare in training" in found.source

    def scenes_with(source):
        return np.array([(source.masks == c).any((1, 2)).sum() for c in range(1, 11)])

    common = np.setdiff1d(np.arange(10), rare)
    train, test = scenes_with(found.train), scenes_with(found.test)
    ratio = train[common].mean() / train[rare].mean()
    assert 7 < ratio < 11  # 10 digits; two of a class may share a scene
    assert test.min() > 0.8 * test.max()
    # Nearly all of a scene is background, and something is in every scene.
    assert (found.train.masks > 0).any((1, 2)).all()
    assert 0.9 < (found.train.masks == 0).mean() < 0.97


def test_digits_stand_out_from_textures_that_are_not_flat():
    found = real_scenes()
    luma = found.train.images @ np.array([0.299, 0.587, 0.114])
    for index in range(0, 1200, 40):
        mask, values = found.train.masks[index], luma[index]
        assert values[mask == 0].std() > 2
        # Of the scenes with one digit: its ink against a belt around it.
        classes = np.unique(mask[mask > 0])
        if len(classes) == 1 and (mask > 0).sum() < 150:
            near = np.zeros_like(mask, bool)
            for y, x in np.argwhere(mask > 0):
                near[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] = True
            belt = values[near & (mask == 0)].mean()
            assert abs(values[mask > 0].mean() - belt) > 20


def test_a_scene_depends_on_its_index_alone(made_up):
    few = load("digit_scenes", num_train=5, num_test=2)
    many = load("digit_scenes", num_train=50, num_test=40)
    for one, other in ((few.train, many.train), (few.test, many.test)):
        np.testing.assert_array_equal(one.images, other.images[: len(one)])
        np.testing.assert_array_equal(one.masks, other.masks[: len(one)])
    again = load("digit_scenes", num_train=5, num_test=2)
    assert again.sha256 == few.sha256
    other_seed = load("digit_scenes", num_train=5, num_test=2, data_seed=1)
    assert other_seed.sha256 != few.sha256


@pytest.mark.parametrize("shares", [[1] * 10, [10, 1] * 5])
def test_no_digit_is_used_twice(shares):
    labels = np.random.default_rng(0).integers(0, 10, 9000)
    shares = np.array(shares)
    slots = digit_scenes.digit_slots(labels, shares, 1200, seed=3, split=0)
    assert len(np.unique(slots)) == 1200
    blocks = labels[slots[: 1200 // shares.sum() * shares.sum()]]
    for block in blocks.reshape(-1, shares.sum()):
        np.testing.assert_array_equal(np.bincount(block, minlength=10), shares)


def test_masks_show_the_digits_that_were_drawn(made_up):
    test = load("digit_scenes", num_train=60, num_test=60).test
    slots = digit_scenes.digit_slots(
        made_up.test_labels, np.ones(10, int), 180, seed=0, split=digit_scenes.TEST
    )
    alone = 0
    for mask, drawn in zip(test.masks, slots.reshape(60, 3), strict=True):
        visible = np.setdiff1d(mask, [0])
        assert set(visible - 1) <= set(made_up.test_labels[drawn])
        if (mask > 0).sum() == 400:
            rows, columns = (np.flatnonzero((mask > 0).any(axis)) for axis in (1, 0))
            assert len(rows) == len(columns) == 20
            assert mask[rows[0], columns[0]] == visible[0]
            alone += 1
    assert 10 < alone < 35  # a third of the scenes have one digit


def test_later_digits_lie_over_earlier_ones(made_up):
    """The last digit's square is whole; of others some are covered in part."""
    masks = load("digit_scenes", num_train=60, num_test=20).train.masks
    counts = [np.bincount(mask.ravel(), minlength=11)[1:] for mask in masks]
    assert all(count.max() >= 400 for count in counts)
    assert any(0 < count[count > 0].min() < 400 for count in counts)


def test_too_many_scenes_and_other_refusals(made_up, monkeypatch):
    with pytest.raises(SceneError, match=r"at most 110 scenes .*got 111"):
        load("digit_scenes", num_train=111)
    load("digit_scenes", num_train=110, num_test=66)
    with pytest.raises(SceneError, match="num_test must be at least 1, got 0"):
        load("digit_scenes", num_test=0)
    with pytest.raises(SceneError, match="data_seed must be"):
        load("digit_scenes", data_seed=-1)

    def missing(name, data_dir):
        raise datasets.DatasetError("mnist", ["nothing was found."])

    monkeypatch.setattr(datasets, "load", missing)
    with pytest.raises(SceneError, match="nothing was found"):
        load("digit_scenes")
