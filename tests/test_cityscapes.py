"""Cityscapes in its official layout, as folders and as zip files."""

import shutil
import threading
import zipfile

import numpy as np
import pytest
from scene_files import CITIES, save, some_image, write_cityscapes, zip_cityscapes

from experiments.segmentation.data.datasets import load
from experiments.segmentation.data.scenes import IGNORE, SceneError

# The table of the data set's authors: label id to train id; all others are ignored.
TRAIN_IDS = dict(
    zip(
        [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33],
        range(19),
        strict=True,
    )
)


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("CITYSCAPES_DATASET", raising=False)


def assert_scenes(scenes, expected):
    assert len(scenes.train) == len(expected["train"])
    assert scenes.train_names == tuple(expected["train"])
    for source, split in ((scenes.train, "train"), (scenes.test, "val")):
        for position, ids in enumerate(expected[split].values()):
            image, mask = source[position]
            assert image.shape == (*mask.shape, 3)
            train_ids = [TRAIN_IDS.get(int(i), IGNORE) for i in ids.ravel()]
            np.testing.assert_array_equal(mask.ravel(), train_ids)


def test_official_folders(tmp_path):
    expected = write_cityscapes(tmp_path / "city")
    scenes = load("cityscapes", data_dir=tmp_path / "city")
    assert_scenes(scenes, expected)
    np.testing.assert_array_equal(scenes.train[1].image, some_image(1, (16, 32)))
    assert len(scenes.class_names) == len(scenes.colors) == 19
    assert scenes.class_names[0] == "road" and scenes.class_names[18] == "bicycle"
    assert scenes.background is None
    assert "6 training and 3 test scenes, which is not the official" in scenes.source


def test_official_counts_are_said_so(tmp_path, monkeypatch):
    from experiments.segmentation.data import cityscapes

    monkeypatch.setattr(cityscapes, "OFFICIAL_COUNTS", (6, 3))
    write_cityscapes(tmp_path)
    source = load("cityscapes", data_dir=tmp_path).source
    assert source == f"Cityscapes in {tmp_path}: 6 training and 3 test scenes."


def test_zip_files_wherever_the_user_points(tmp_path, monkeypatch):
    expected = write_cityscapes(tmp_path / "city")
    digest = load("cityscapes", data_dir=tmp_path / "city").sha256
    manual = tmp_path / "tfds" / "downloads" / "manual"
    zip_cityscapes(tmp_path / "city", manual)
    before = sorted(tmp_path.rglob("*"))
    for data_dir in (manual, tmp_path / "tfds", None):
        scenes = load("cityscapes", data_dir=data_dir)
        assert_scenes(scenes, expected)
        assert scenes.sha256 == digest
    assert sorted(tmp_path.rglob("*")) == before
    # One part unpacked, the other not.
    unpacked = manual / "gtFine_trainvaltest" / "gtFine"
    shutil.copytree(tmp_path / "city" / "gtFine", unpacked)
    (manual / "gtFine_trainvaltest.zip").unlink()
    assert load("cityscapes").sha256 == digest
    monkeypatch.setenv("CITYSCAPES_DATASET", str(tmp_path / "city"))
    assert str(tmp_path / "city") in load("cityscapes").source
    assert load("cityscapes", data_dir=tmp_path / "city" / "gtFine").sha256 == digest


def test_threads_share_a_zip_file(tmp_path):
    expected = write_cityscapes(tmp_path / "city")
    zip_cityscapes(tmp_path / "city", tmp_path)
    scenes, failures = load("cityscapes", data_dir=tmp_path), []

    def read():
        try:
            for _ in range(20):
                assert_scenes(scenes, expected)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_train_ids_only_where_there_are_no_label_ids(tmp_path):
    expected = write_cityscapes(tmp_path, ending="labelTrainIds")
    scenes = load("cityscapes", data_dir=tmp_path)
    for position, ids in enumerate(expected["train"].values()):
        np.testing.assert_array_equal(scenes.train[position].mask, ids)
    expected = write_cityscapes(tmp_path)  # beside the others
    assert_scenes(load("cityscapes", data_dir=tmp_path), expected)


def test_without_data_the_user_learns_what_to_do(tmp_path):
    with pytest.raises(SceneError) as caught:
        load("cityscapes")
    for words in (
        "leftImg8bit_trainvaltest.zip",
        "gtFine_trainvaltest.zip",
        "https://www.cityscapes-dataset.com",
        str(tmp_path / "tfds" / "downloads" / "manual"),
    ):
        assert words in str(caught.value)
    with pytest.raises(SceneError, match="does not exist"):
        load("cityscapes", data_dir=tmp_path / "nowhere")
    write_cityscapes(tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / "gtFine")
    with pytest.raises(SceneError, match="has leftImg8bit but neither gtFine nor"):
        load("cityscapes", data_dir=tmp_path / "half")
    (tmp_path / "half" / "gtFine_trainvaltest.zip").write_bytes(b"half a download")
    with pytest.raises(SceneError, match="is a damaged zip file"):
        load("cityscapes", data_dir=tmp_path / "half")


def test_no_split_may_be_empty(tmp_path):
    write_cityscapes(tmp_path)
    for part in ("leftImg8bit", "gtFine"):
        shutil.rmtree(tmp_path / part / "val")
    with pytest.raises(SceneError, match="there are no images of leftImg8bit/val"):
        load("cityscapes", data_dir=tmp_path)


def test_all_problems_are_named_at_once(tmp_path):
    write_cityscapes(tmp_path)
    city = CITIES["train"][0]
    images, masks = (
        tmp_path / part / "train" / city for part in ("leftImg8bit", "gtFine")
    )

    def mask(frame):
        return masks / f"{city}_{frame:06d}_000019_gtFine_labelIds.png"

    mask(0).unlink()
    save(mask(1), np.full((16, 32), 34, np.uint8))
    save(mask(2), np.zeros((16, 16), np.uint8))
    other = tmp_path / "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png"
    other.write_bytes(other.read_bytes()[:-30])
    with pytest.raises(SceneError) as caught:
        load("cityscapes", data_dir=tmp_path)
    message = str(caught.value)
    assert f"images without a mask (1): {images}/{city}_000000" in message
    assert f"{mask(1)}: unknown class ids 34" in message
    assert f"{mask(2)} has 16x16 pixels" in message
    assert f"damaged images (1): {other}" in message


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_a_zip_file_is_named(tmp_path, compression):
    write_cityscapes(tmp_path / "city")
    zip_cityscapes(tmp_path / "city", tmp_path, compression)
    path = tmp_path / "gtFine_trainvaltest.zip"
    data = bytearray(path.read_bytes())
    name = b"bochum_000001_000019_gtFine_labelIds.png"
    place = data.index(name) + len(name)
    data[place + 100] ^= 255
    path.write_bytes(data)
    with pytest.raises(SceneError, match=r"unusable masks \(1\).*bochum_000001"):
        load("cityscapes", data_dir=tmp_path)


def test_official_colors_paint_the_official_pictures(tmp_path):
    """As in the `_color.png` files: road is purple, cars are blue, riders red."""
    write_cityscapes(tmp_path)
    scenes = load("cityscapes", data_dir=tmp_path)
    colors = dict(zip(scenes.class_names, scenes.colors.tolist(), strict=True))
    assert colors["road"] == [128, 64, 128]
    assert colors["car"] == [0, 0, 142]
    assert colors["rider"] == [255, 0, 0]
    assert len(np.unique(scenes.colors, axis=0)) == 19
