"""Scenes by name, and from their files to batches."""

import itertools

import numpy as np
import pytest
from scene_files import (
    save,
    some_ids,
    some_image,
    write_cityscapes,
    write_folder,
    zip_cityscapes,
)

from experiments.segmentation.data.datasets import load
from experiments.segmentation.data.loading import padded_batches, training_batches
from experiments.segmentation.data.scenes import (
    MemorySource,
    SceneError,
    distinct_colors,
)


def test_names_and_options(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'cityscapes'"):
        load("cityscape")
    with pytest.raises(SceneError, match="got no masks and no classes"):
        load("folder", images=tmp_path)
    with pytest.raises(SceneError, match="data_dir is not for a folder of your own"):
        load("folder", images="a", masks="b", classes=2, data_dir=tmp_path)
    for name in ("digit_scenes", "cityscapes"):
        with pytest.raises(SceneError, match="background is for a folder of your own"):
            load(name, background="sky")


def test_colors_differ():
    for background in (None, 3):
        colors = distinct_colors(70 if background is None else 71, background)
        assert len(np.unique(colors, axis=0)) == len(colors)
        assert (colors[3] == 0).all() == (background == 3)


def test_scenes_in_memory():
    with pytest.raises(ValueError, match="got 1 and 2"):
        MemorySource(np.zeros((2, 4, 4, 3)), np.zeros((1, 4, 4)))


def test_a_folder_of_uneven_photos_becomes_batches(tmp_path):
    sizes = [(100, 60), (60, 100), (37, 41), (64, 64), (9, 9), (100, 60)]
    for i, size in enumerate(sizes):
        save(tmp_path / "images" / f"{i}.png", some_image(i, size))
        save(tmp_path / "masks" / f"{i}.png", some_ids(i, size))
    scenes = load(
        "folder", images=tmp_path / "images", masks=tmp_path / "masks", classes=3
    )
    kept = [0, 1, 2, 3, 5]  # the fifth is the test scene
    batches = padded_batches(
        scenes.train,
        range(5),
        max_side=None,
        side_multiple=8,
        batch_size=2,
        num_threads=2,
    )
    seen = []
    for batch in batches:
        for row, image, labels in zip(
            batch.rows, batch.images, batch.labels, strict=True
        ):
            if row < 0:
                continue
            height, width = sizes[kept[row]]
            expected = some_image(kept[row], (height, width))
            np.testing.assert_array_equal(image[:height, :width], expected)
            expected = some_ids(kept[row], (height, width))
            np.testing.assert_array_equal(labels[:height, :width], expected)
            seen.append(int(row))
    assert sorted(seen) == [0, 1, 2, 3, 4]


def test_cityscapes_zip_files_become_batches(tmp_path):
    write_cityscapes(tmp_path / "city")
    zip_cityscapes(tmp_path / "city", tmp_path / "zip")

    def batches(folder, num_threads):
        stream = training_batches(
            load("cityscapes", data_dir=folder).train,
            [0, 2, 3, 5],
            seed=3,
            minibatch_size=3,
            crop_size=8,
            max_side=24,
            flip=True,
            side_multiple=8,
            num_threads=num_threads,
        )
        return list(itertools.islice(stream, 6))

    for zipped, plain in zip(
        batches(tmp_path / "zip", 3), batches(tmp_path / "city", 0), strict=True
    ):
        assert zipped.images.shape == (3, 8, 8, 3)
        for one, other in zip(zipped, plain, strict=True):
            np.testing.assert_array_equal(one, other)


def test_many_files_are_checked_with_a_word_about_it(tmp_path, capfd, monkeypatch):
    from experiments.segmentation.data import file_scenes

    write_folder(tmp_path, "abcde")
    options = {"masks": tmp_path / "masks", "classes": 3}
    load("folder", images=tmp_path / "images", **options)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(file_scenes, "MANY", 5)
    load("folder", images=tmp_path / "images", **options)
    out, err = capfd.readouterr()
    assert not out and "Checking 5 images and masks of" in err
