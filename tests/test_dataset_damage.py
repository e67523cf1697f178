"""Damaged and malicious files of SVHN and CIFAR-10: a sentence each, and no harm."""

import pickle
from types import SimpleNamespace

import dataset_files
import numpy as np
import pytest
from dataset_files import (
    assert_refused,
    binary_batches,
    pickle_of_python_2,
    png,
    python_batches,
    sheets,
    some_arrays,
    write_archive,
    write_files,
    write_mat,
    write_mat_file,
)

from experiments.datasets import load

COLOR = (32, 32, 3)
NO_PIXELS = np.zeros((32, 32, 3, 4), np.uint8)
NO_DIGITS = np.ones((4, 1), np.uint8)


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    dataset_files.isolate(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"X": NO_PIXELS}, r"cannot be read \(KeyError: 'y'\)"),
        ({"X": NO_PIXELS[:28], "y": NO_DIGITS}, r"uint8 \(28, 32, 3, 4\), not uint8"),
        ({"X": NO_PIXELS + 0.5, "y": NO_DIGITS}, r"X in .* is float64"),
        ({"X": NO_PIXELS, "y": NO_DIGITS[:3]}, "4 images but 3 labels"),
        ({"X": NO_PIXELS, "y": NO_DIGITS * 0}, "label 0, not only 1 to 10"),
        ({"X": NO_PIXELS, "y": NO_DIGITS * 11}, "label 11, not only 1 to 10"),
        ({"X": NO_PIXELS, "y": NO_DIGITS * np.nan}, "label nan, not only 1 to 10"),
    ],
)
def test_wrong_mat(tmp_path, variables, message):
    folder = write_mat(tmp_path, some_arrays(shape=COLOR))
    write_mat_file(folder / "train_32x32.mat", **variables)
    assert_refused("svhn", folder, message)


@pytest.mark.parametrize("size", [0, 100, 140, 20_000])
def test_cut_off_mat(tmp_path, size):
    path = write_mat(tmp_path, some_arrays(shape=COLOR)) / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:size])
    assert_refused("svhn", tmp_path, "test_32x32.mat cannot be read")


def test_missing_mat(tmp_path):
    (write_mat(tmp_path, some_arrays(shape=COLOR)) / "test_32x32.mat").unlink()
    assert_refused("svhn", tmp_path, "lacks test_32x32.mat")


def test_ten_is_the_digit_zero(tmp_path):
    digits = np.array([[10], [1], [9], [10]], np.uint8)
    for split in ("train", "test"):
        write_mat_file(tmp_path / f"{split}_32x32.mat", X=NO_PIXELS, y=digits)
    dataset = load("svhn", tmp_path)
    assert dataset.train_labels.tolist() == [0, 1, 9, 0]
    assert "it has 4 train and 4 test examples; the official svhn" in dataset.source


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], r"data_batch_2.bin is cut off: 24583 bytes"),
        (lambda data: b"", r"data_batch_2.bin is cut off: 0 bytes"),
        (lambda data: b"\x0a" + data[1:], "label 10, but cifar10 has 10 classes"),
        (None, "lacks data_batch_2.bin"),
    ],
)
def test_wrong_binary_batch(tmp_path, damage, message):
    files = binary_batches(some_arrays(shape=COLOR))
    data = files.pop("data_batch_2.bin")
    if damage is not None:
        files["data_batch_2.bin"] = damage(data)
    assert_refused("cifar10", write_files(tmp_path, files), message)


def test_hand_written_pickle_is_what_numpy_reads():
    images, labels, _, _ = some_arrays(shape=COLOR, num_train=3)
    for by_column in (False, True):
        data = pickle_of_python_2(images, labels, by_column=by_column)
        batch = pickle.loads(data, encoding="bytes")
        expected = np.moveaxis(images, -1, 1).reshape(3, -1)
        np.testing.assert_array_equal(batch[b"data"], expected)
        assert batch[b"labels"] == labels.tolist()


def some_pickle(num_labels=8, **settings):
    arrays = some_arrays(shape=COLOR)
    return pickle_of_python_2(
        arrays.train_images[:8], arrays.train_labels[:num_labels], **settings
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (some_pickle()[:-5], "Error"),
        (b"", "EOFError"),
        (b"<html>", "UnpicklingError"),
        (pickle.dumps([1, 2]), "TypeError"),
        (some_pickle(kind=b"O8"), "data are of type b'O8', not uint8"),
        (some_pickle(size=3000), "not rows of 3072"),
        (some_pickle(num_labels=7), "labels are not 8 integers"),
        (pickle.dumps(SimpleNamespace(a=1)), "asks for types.SimpleNamespace"),
    ],
)
def test_wrong_pickle(tmp_path, data, message):
    files = python_batches(some_arrays(shape=COLOR)) | {"data_batch_4": data}
    message = f"data_batch_4 is not a pickled batch .*{message}"
    assert_refused("cifar10", write_files(tmp_path, files), message)


@pytest.mark.parametrize(
    ("module", "function"),
    [("os", "mkdir"), ("builtins", "eval"), ("numpy", "load"), ("pickle", "loads")],
)
def test_malicious_pickle_is_refused_without_running(tmp_path, module, function):
    trace = tmp_path / "trace"
    argument = (
        str(trace) if function != "eval" else f"__import__('os').mkdir({str(trace)!r})"
    )
    attack = f"c{module}\n{function}\n(V{argument}\ntR.".encode()
    if function == "mkdir":  # the attack works on who does not refuse it
        pickle.loads(attack)
        trace.rmdir()
    files = python_batches(some_arrays(shape=COLOR)) | {"test_batch": attack}
    assert_refused(
        "cifar10", write_files(tmp_path / "raw", files), f"for {module}.{function}, "
    )
    assert not trace.exists()


@pytest.mark.parametrize("size", [0, 1000])
def test_cut_off_archive(tmp_path, size):
    files = binary_batches(some_arrays(shape=COLOR))
    path = tmp_path / "cifar-10-binary.tar.gz"
    write_archive(path, "cifar-10-batches-bin", files)
    path.write_bytes(path.read_bytes()[:size])
    assert_refused("cifar10", tmp_path, "cifar-10-binary.tar.gz is a damaged archive")


def test_archive_without_the_batches(tmp_path):
    write_archive(tmp_path / "cifar-10-python.tar.gz", "other", {"readme": b""})
    assert_refused("cifar10", tmp_path, "tar.gz lacks data_batch_1, data_batch_2")


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("data_batch_1.png", b"PNG"),
        ("data_batch_1.png", png(np.zeros((8, 1000, 3), np.uint8))),
        ("train_lables.json", b"[1, 2"),
        ("train_lables.json", b"[1, 2]"),
        ("train_lables.json", str([0.5] * 40).encode()),
    ],
)
def test_wrong_sheets(tmp_path, file, data):
    files = sheets(some_arrays(shape=COLOR)) | {file: data}
    assert_refused("cifar10", write_files(tmp_path, files), r"damaged sheet|images but")
