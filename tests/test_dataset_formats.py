"""KMNIST, SVHN and CIFAR-10: every form of their files, and its order in TFDS."""

import sys
from types import SimpleNamespace

import dataset_files
import numpy as np
import pytest
from dataset_files import (
    assert_refused,
    assert_same,
    binary_batches,
    make_official,
    png,
    python_batches,
    sheets,
    some_arrays,
    write_archive,
    write_files,
    write_idx,
    write_mat,
    write_stock_tfrecord,
)

from experiments import datasets, tfds_format
from experiments.datasets import DatasetError, load
from experiments.official import Arrays

COLOR = (32, 32, 3)


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    dataset_files.isolate(tmp_path, monkeypatch)


# Every form of the official files

FORMS = {
    "kmnist": ("kmnist", write_idx),
    "mat": ("svhn", write_mat),
    "binary": ("cifar10", lambda at, data: write_files(at, binary_batches(data))),
    "python": ("cifar10", lambda at, data: write_files(at, python_batches(data))),
    "by column": (
        "cifar10",
        lambda at, data: write_files(at, python_batches(data, by_column=True)),
    ),
    "sheets": ("cifar10", lambda at, data: write_files(at, sheets(data))),
    "binary folder": (
        "cifar10",
        lambda at, data: (
            write_files(at / "cifar-10-batches-bin", binary_batches(data)).parent
        ),
    ),
    "python folder": (
        "cifar10",
        lambda at, data: (
            write_files(at / "cifar-10-batches-py", python_batches(data)).parent
        ),
    ),
    "binary archive": (
        "cifar10",
        lambda at, data: write_archive(
            at / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", binary_batches(data)
        ),
    ),
    "python archive": (
        "cifar10",
        lambda at, data: write_archive(
            at / "cifar-10-python.tar.gz", "cifar-10-batches-py", python_batches(data)
        ),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_named_folder(tmp_path, monkeypatch, form):
    name, write = FORMS[form]
    arrays = make_official(monkeypatch, name)
    monkeypatch.setattr(datasets, "_keep", lambda *args: None)
    dataset = load(name, write(tmp_path / "raw", arrays))
    assert_same(dataset, arrays, name)
    assert "not the official" not in dataset.source
    assert_same(load(name, write(tmp_path / name, arrays).parent), arrays, name)


@pytest.mark.parametrize("form", ["kmnist", "mat", "binary"])
def test_kept_copy_has_the_official_order_for_us_and_opens_in_tfds(
    tmp_path, monkeypatch, form
):
    import tensorflow_datasets as tfds

    name, write = FORMS[form]
    arrays, facts = make_official(monkeypatch, name), datasets.FACTS[name]
    load(name, write(tmp_path / "raw", arrays))
    again = load(name)
    assert_same(again, arrays, name)
    assert str(tmp_path / "cache") in again.source

    source = tfds.data_source(facts.tfds_name, data_dir=datasets.cache_dir())
    assert len(source["train"]) == 40 and len(source["test"]) == 20
    assert tuple(source["test"].dataset_info.features["label"].names) == (
        facts.class_names
    )
    known = {
        image.tobytes(): (i, label)
        for i, (image, label) in enumerate(
            zip(arrays.test_images, arrays.test_labels, strict=True)
        )
    }
    positions = []
    for example in source["test"]:
        position, label = known[example["image"].tobytes()]
        assert example["label"] == label
        if facts.tfds_id is not None:
            assert int(example["id"].decode().removeprefix("test_")) == position
        positions.append(position)
    assert sorted(positions) == [*range(20)] != positions
    assert "tensorflow" not in sys.modules


# What stock TFDS prepared


@pytest.mark.parametrize(
    ("name", "stock", "version", "ids", "extra"),
    [
        ("kmnist", "kmnist", "3.0.1", None, False),
        ("svhn", "svhn_cropped", "3.1.0", "{}_{:06d}", True),
        ("cifar10", "cifar10", "3.0.2", "{}_{:05d}", False),
        ("cifar10", "cifar10", "3.0.0", None, False),
    ],
)
def test_stock_tfrecord(tmp_path, monkeypatch, name, stock, version, ids, extra):
    arrays = make_official(monkeypatch, name)
    settings = {"name": stock, "version": version, "ids": ids, "extra": extra}
    write_stock_tfrecord(tmp_path / "tfds", arrays, **settings)
    assert_same(load(name), arrays, name)
    assert_same(load(name, tmp_path / "tfds"), arrays, name)


def test_ids_must_agree_with_the_order(tmp_path):
    arrays = some_arrays(shape=COLOR)
    settings = {"name": "cifar10", "version": "3.0.2", "ids": "{}_1{:04d}"}
    write_stock_tfrecord(tmp_path / "tfds", arrays, **settings)
    with pytest.raises(DatasetError, match=r"train_1\d+ where train_0\d+ belongs"):
        load("cifar10", tmp_path / "tfds")


def stock_arguments(name, folder, split, size):
    """What a stock builder passes to its `_generate_examples`."""
    if name == "cifar10":
        batches = [f"data_batch_{i}" for i in range(1, 6)]
        names = batches if split == "train" else ["test_batch"]
        return f"{split}_", [folder / f"{batch}.bin" for batch in names]
    if name == "svhn":
        return f"{split}_", folder / f"{split}_32x32.mat"
    prefix = "train" if split == "train" else "t10k"
    images, labels = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    return size, folder / images, folder / labels


@pytest.mark.parametrize("form", ["kmnist", "mat", "binary"])
def test_order_of_what_the_stock_builder_yields(tmp_path, monkeypatch, form):
    """Keys, ids and labels are those of the installed TFDS's own code."""
    import tensorflow_datasets as tfds

    name, write = FORMS[form]
    arrays = make_official(monkeypatch, name)
    folder, sizes = write(tmp_path / "raw", arrays), {"train": 40, "test": 20}
    stock = tfds.builder_cls(datasets.FACTS[name].tfds_name)
    # The builders open files with TensorFlow and leave the encoding to it.
    files = SimpleNamespace(gfile=SimpleNamespace(GFile=open))
    for base in stock.__mro__:
        module = sys.modules[base.__module__]
        if "_generate_examples" in vars(base) and hasattr(module, "tf"):
            monkeypatch.setattr(module, "tf", SimpleNamespace(io=files))
    with tfds.core.registered.skip_registration():

        class Encoded(stock):
            name, VERSION = stock.name, stock.VERSION

            def _split_generators(self, dl_manager):
                return {split: self.encoded(split) for split in sizes}

            def encoded(self, split):
                arguments = stock_arguments(form_name, folder, split, sizes[split])
                for key, example in super()._generate_examples(*arguments):
                    example = example | {"image": png(example["image"])}
                    yield key, example | {"label": int(np.squeeze(example["label"]))}

    form_name = name
    builder = Encoded(data_dir=tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    dataset = load(name)
    assert str(tmp_path / "tfds") in dataset.source
    assert_same(dataset, arrays, name)


# One dataset's files under another's name


def balanced(seed):
    """Arrays with as many examples of each class."""
    arrays = some_arrays(seed)
    return arrays._replace(
        train_labels=np.arange(40, dtype=np.int32) % 10,
        test_labels=np.arange(20, dtype=np.int32) % 10,
    )


@pytest.fixture
def relatives(monkeypatch):
    """Three datasets of equal size, of which the last two have equal counts too."""
    return {
        "mnist": make_official(monkeypatch, "mnist"),
        "fashion_mnist": make_official(monkeypatch, "fashion_mnist", balanced(1)),
        "kmnist": make_official(monkeypatch, "kmnist", balanced(2)),
    }


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ("mnist", "fashion_mnist"),
        ("mnist", "kmnist"),
        ("fashion_mnist", "mnist"),
        ("fashion_mnist", "kmnist"),
        ("kmnist", "mnist"),
    ],
)
def test_files_of_a_relative_are_refused(tmp_path, relatives, held, asked):
    folder = write_idx(tmp_path / "raw", relatives[held])
    # Without a digest, nothing tells KMNIST from Fashion-MNIST changed a little.
    assert_refused(asked, folder, f"files of {held}, not {asked}")


def test_relative_that_nothing_tells_apart_is_not_official(tmp_path, relatives):
    folder = write_idx(tmp_path / "raw", relatives["kmnist"])
    dataset = load("fashion_mnist", folder)
    assert "not the official data: sha256 of train-images" in dataset.source
    assert tfds_format.find_prepared(datasets.cache_dir(), "fashion_mnist") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a._replace(train_labels=a.train_labels * 0), "its train split have"),
        (lambda a: a._replace(test_labels=a.test_labels * 0), "its test split have"),
        (lambda a: Arrays(*(part[:-1] for part in a)), "it has 39 train and 19 test"),
        (
            lambda a: a._replace(
                train_images=a.train_images[:, 1:], test_images=a.test_images[:, 1:]
            ),
            "its images are (27, 28, 1)",
        ),
    ],
)
def test_other_counts_are_not_official(tmp_path, relatives, change, message):
    changed = change(relatives["kmnist"])
    dataset = load("kmnist", write_idx(tmp_path / "raw", changed))
    assert_same(dataset, changed, "kmnist")
    assert "not the official data" in dataset.source
    assert message in dataset.source


# The rest


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("kmnist", ["t10k-labels-idx1-ubyte", "kmnist is prepared"]),
        ("svhn", ["train_32x32.mat", "test_32x32.mat", "svhn_cropped is prepared"]),
        ("cifar10", ["data_batch_5.bin", "cifar-10-batches-py", "binary.tar.gz"]),
    ],
)
def test_message_names_the_files_of_the_dataset(name, parts):
    with pytest.raises(DatasetError) as caught:
        load(name)
    assert all(part in str(caught.value) for part in parts)
    mirrors = [attempt for attempt in caught.value.tried if "package" in attempt]
    assert len(mirrors) == (name == "cifar10")


@pytest.mark.parametrize("name", datasets.FACTS)
def test_facts_agree_with_tfds(name):
    import tensorflow_datasets as tfds

    facts = datasets.FACTS[name]
    stock = tfds.builder_cls(facts.tfds_name)
    published = {url.rpartition("/")[2] for url in stock.url_infos}
    assert {*facts.format.published} <= published
    assert published - {*facts.format.published} <= {"extra_32x32.mat"}
    assert len(facts.class_names) == len(facts.train_counts) == len(facts.test_counts)
