"""Maps of scenes by a frozen backbone: kept, found again, mended, told apart."""

import dataset_files
import numpy as np
import pytest
from some_segmenters import ListSource, colored_scenes
from test_backbone import state_dict_file

from experiments.segmentation import maps
from experiments.segmentation.data import loading
from experiments.segmentation.data.scenes import SceneError, Scenes

SIZES = ((24, 30), (30, 20))
CHANNELS = 4


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two files with different random weights."""
    folder = tmp_path_factory.mktemp("weights")
    return [state_dict_file(folder / f"{seed}.pth", seed) for seed in (0, 1)]


@pytest.fixture(autouse=True)
def computed(tmp_path, monkeypatch):
    """No real network: mean colors of every position. Sides of what was computed."""
    dataset_files.isolate(tmp_path, monkeypatch)
    shapes = []

    def compiled(path, enlargement):
        side = maps.PIXELS_A_POSITION // enlargement

        def compute(images):
            n, height, width, _ = images.shape
            shapes.append((n, height, width))
            blocks = images.reshape(n, height // side, side, width // side, side, 3)
            means = blocks.mean((2, 4))
            return np.concatenate([means, means[..., :1] ** 2], -1).astype(np.float32)

        return compute

    monkeypatch.setattr(maps, "_compiled", compiled)
    return shapes


def some_scenes(seed=0, sizes=SIZES, num_train=10, num_test=3):
    return Scenes(
        name="stripes",
        train=colored_scenes(num_train, sizes, seed),
        test=colored_scenes(num_test, sizes, seed + 100),
        train_names=tuple(map(str, range(num_train))),
        class_names=("red", "green", "blue"),
        colors=np.zeros((3, 3), np.uint8),
        background=None,
        source="made up.",
        sha256=f"{seed}" * 64,
    )


def files(tmp_path):
    return sorted((tmp_path / "cache").rglob("*.npz"))


def assert_same(found, expected):
    for one, other in ((found.train, expected.train), (found.test, expected.test)):
        assert len(one) == len(other) and one.sizes == other.sizes
        for index in range(len(one)):
            np.testing.assert_array_equal(one[index].image, other[index].image)
            np.testing.assert_array_equal(one[index].mask, other[index].mask)


def test_maps_are_computed_once(tmp_path, weights, computed):
    scenes = some_scenes()
    first = maps.embed(scenes, max_side=None, weights=weights[0])
    assert len(files(tmp_path)) == 13 and computed
    computed.clear()
    again = maps.embed(scenes, max_side=None, weights=weights[0])
    assert computed == []
    assert_same(again, first)
    assert again.identity == first.identity
    assert not [p for p in (tmp_path / "cache").rglob("tmp*")]


def test_maps_fit_masks_of_uneven_scenes(weights):
    scenes = some_scenes()
    found = maps.embed(scenes, max_side=None, weights=weights[0])
    assert (found.stride, found.side_multiple) == (4, 8)
    for index, scene in enumerate(scenes.train.scenes):
        image, mask = found.train[index]
        np.testing.assert_array_equal(mask, scene.mask)
        assert found.train.sizes[index] == scene.mask.shape
        height, width = (-(-side // 8) * 2 for side in scene.mask.shape)
        assert image.shape == (height, width, CHANNELS)
        whole = scene.image[: 4 * (scene.mask.shape[0] // 4)]
        np.testing.assert_allclose(
            image[: len(whole) // 4, 0, 0],
            whole[:, :4, 0].reshape(-1, 16).mean(1),
            rtol=1e-5,
        )
    batches = loading.padded_batches(
        found.train,
        range(10),
        max_side=None,
        side_multiple=found.side_multiple,
        batch_size=4,
        num_threads=2,
        feature_stride=found.stride,
    )
    rows = [row for batch in batches for row in batch.rows if row >= 0]
    assert sorted(rows) == list(range(10))


def test_small_scenes_are_enlarged(weights, computed):
    for side, enlargement in ((256, 2), (257, 1)):
        scenes = some_scenes(1, sizes=((16, side), (16, 16)), num_train=2, num_test=2)
        found = maps.embed(scenes, max_side=None, weights=weights[0])
        assert found.identity["enlargement"] == enlargement
        assert (found.stride, found.side_multiple) == (
            8 // enlargement,
            16 // enlargement,
        )
        assert all(h % (16 // enlargement) == 0 for _, h, _ in computed)


def test_longer_scenes_are_scaled_down(weights):
    found = maps.embed(some_scenes(), max_side=15, weights=weights[0])
    assert found.train.sizes[:2] == [(12, 15), (15, 10)]
    assert found.train[1].mask.shape == (15, 10)


def test_an_interrupted_computation_continues(tmp_path, weights, monkeypatch, computed):
    scenes = some_scenes()
    expected = maps.embed(scenes, max_side=None, weights=weights[0])
    monkeypatch.setenv("IWPS_JAX_CACHE", str(tmp_path / "cache" / "another"))
    save, saved = maps._save, []

    def interrupted(file, scene):
        if len(saved) == 4:
            raise KeyboardInterrupt
        saved.append(file)
        save(file, scene)

    monkeypatch.setattr(maps, "_save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        maps.embed(scenes, max_side=None, weights=weights[0])
    before = {file: file.stat().st_mtime_ns for file in saved}
    saved.clear()
    monkeypatch.setattr(maps, "_save", save)
    assert_same(maps.embed(scenes, max_side=None, weights=weights[0]), expected)
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_damaged_files_are_computed_again(tmp_path, weights, computed, damage):
    scenes = some_scenes()
    expected = maps.embed(scenes, max_side=None, weights=weights[0])
    for file in files(tmp_path)[1:8:3]:
        data = bytearray(file.read_bytes())
        data[200] ^= 255  # in the maps; the directory at the end is whole
        cut = {"cut": len(data) // 2, "empty": 0, "flipped": len(data)}[damage]
        file.write_bytes(data[:cut])
    computed.clear()
    found = maps.embed(scenes, max_side=None, weights=weights[0])
    assert_same(found, expected)
    assert 1 <= len(computed) <= 3
    computed.clear()
    maps.embed(scenes, max_side=None, weights=weights[0])
    assert computed == []


def test_memory_and_files_give_the_same(tmp_path, weights, monkeypatch):
    scenes = some_scenes()
    in_memory = maps.embed(scenes, max_side=None, weights=weights[0])
    monkeypatch.setattr(maps, "IN_MEMORY", 0)
    on_disk = maps.embed(scenes, max_side=None, weights=weights[0])
    assert on_disk.are_on_disk and not in_memory.are_on_disk
    assert_same(on_disk, in_memory)
    for one, other in zip(
        maps.channel_statistics(on_disk.train),
        maps.channel_statistics(in_memory.train),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    # A file that breaks during a run is named, and made again by the next one.
    file = next(f for f in files(tmp_path) if f.name == "train-000003.npz")
    data = bytearray(file.read_bytes())
    data[200] ^= 255
    file.write_bytes(data)
    with pytest.raises(SceneError, match="train-000003.npz was damaged"):
        on_disk.train[3]
    again = maps.embed(scenes, max_side=None, weights=weights[0])
    assert_same(again, in_memory)


def test_maps_are_kept_under_what_they_depend_on(tmp_path, weights, computed):
    def folders():
        return {file.parent for file in files(tmp_path)}

    maps.embed(some_scenes(), max_side=None, weights=weights[0])
    for number, (scenes, max_side, of_weights) in enumerate(
        (
            (some_scenes(2), None, weights[0]),
            (some_scenes(), 15, weights[0]),
            (some_scenes(), None, weights[1]),
        ),
        start=2,
    ):
        computed.clear()
        maps.embed(scenes, max_side=max_side, weights=of_weights)
        assert computed and len(folders()) == number


def test_statistics_of_channels(weights):
    found = maps.embed(some_scenes(), max_side=None, weights=weights[0])
    positions = np.concatenate(
        [found.train[i].image.reshape(-1, CHANNELS) for i in range(10)]
    ).astype(np.float64)
    mean, std = maps.channel_statistics(found.train)
    np.testing.assert_allclose(mean, positions.mean(0), rtol=1e-6)
    np.testing.assert_allclose(std, positions.std(0), rtol=1e-6)
    same = ListSource([found.train[0]._replace(image=np.full((2, 2, 3), 0.1, "f4"))])
    assert not maps.channel_statistics(same)[1].round(6).any()


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path, weights):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SceneError, match="cache folder must be writable"):
        maps.embed(some_scenes(), max_side=None, weights=weights[0])
