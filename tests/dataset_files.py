"""Small datasets in every form that the dataset layer reads, and their isolation.

Shared by the tests of `experiments.datasets`. The TFRecord dataset is encoded here
from the description of its formats, not with the code under test.
"""

import gzip
import hashlib
import io
import json
import struct
import tarfile

import numpy as np
import pytest
import scipy.io
from PIL import Image

from experiments import datasets, prepare
from experiments.formats.idx import IDX_FILES, idx_bytes
from experiments.official import Arrays, SourceError

# Taken before `isolate` hides them from every test.
REAL_DIRS = (datasets.standard_dir(), datasets.cache_dir())


def isolate(tmp_path, monkeypatch):
    """No folder of this machine is seen, and no network."""
    monkeypatch.setenv("IWPS_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))

    def refuse(facts, folder):
        raise SourceError("no network in tests.")

    monkeypatch.setattr(prepare, "download", refuse)
    monkeypatch.setattr(prepare, "fetch_mirror", refuse)


def some_arrays(seed=0, num_train=40, num_test=20, shape=(28, 28, 1)):
    rng = np.random.default_rng(seed)

    def split(size):
        images = rng.integers(0, 256, (size, *shape), dtype=np.uint8)
        return images, rng.integers(0, 10, size).astype(np.int32)

    return Arrays(*split(num_train), *split(num_test))


def class_counts(labels):
    return tuple(np.bincount(labels, minlength=10).tolist())


def make_official(monkeypatch, name="mnist", arrays=None):
    """Sixty small images that are the official dataset `name` for one test."""
    facts = datasets.FACTS[name]
    arrays = some_arrays(shape=facts.image_shape) if arrays is None else arrays
    files = {
        "mnist": lambda: [idx_bytes(array) for array in arrays],
        "fashion_mnist": lambda: [idx_bytes(array) for array in arrays],
        "kmnist": list,
        "svhn": list,
        "cifar10": lambda: binary_batches(arrays).values(),
    }[name]()
    facts = facts._replace(
        train_counts=class_counts(arrays.train_labels),
        test_counts=class_counts(arrays.test_labels),
        sha256=tuple(hashlib.sha256(file).hexdigest() for file in files),
    )
    monkeypatch.setitem(datasets.FACTS, name, facts)
    return arrays


def write_idx(folder, arrays, *, pack=False, dotted=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(IDX_FILES, arrays, strict=True):
        name = name.replace("-idx", ".idx") if dotted else name
        data = idx_bytes(array)
        path = folder / (f"{name}.gz" if pack else name)
        path.write_bytes(gzip.compress(data) if pack else data)
    return folder


def assert_same(dataset, arrays, name="mnist"):
    assert dataset.name == name
    assert dataset.class_names == datasets.FACTS[name].class_names
    for found, expected in zip(dataset[1:5], arrays, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    joined = b"".join(array.tobytes() for array in arrays)
    assert dataset.sha256 == hashlib.sha256(joined).hexdigest()


def assert_refused(name, folder, match):
    with pytest.raises(datasets.DatasetError, match=match) as caught:
        datasets.load(name, folder)
    assert len(caught.value.tried) == 1  # no other source in its place


# SVHN and CIFAR-10 in the forms of their official files


def write_mat(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for split, images, labels in (
        ("train", arrays.train_images, arrays.train_labels),
        ("test", arrays.test_images, arrays.test_labels),
    ):
        pixels = np.moveaxis(images, 0, -1)
        digits = np.array([[label or 10] for label in labels], np.uint8)
        write_mat_file(folder / f"{split}_32x32.mat", X=pixels, y=digits)
    return folder


def write_mat_file(path, **variables):
    scipy.io.savemat(path, variables, do_compression=True)


def batches(arrays):
    """Name -> images and labels of the five training batches and the test batch."""
    size = len(arrays.train_labels) // 5
    parts = {
        f"data_batch_{i + 1}": (
            arrays.train_images[i * size : (i + 1) * size],
            arrays.train_labels[i * size : (i + 1) * size],
        )
        for i in range(5)
    }
    return parts | {"test_batch": (arrays.test_images, arrays.test_labels)}


def planes(image):
    """Red, green and blue one after another."""
    return b"".join(image[..., color].tobytes() for color in range(3))


def binary_batches(arrays):
    return {
        f"{name}.bin": b"".join(
            bytes([label]) + planes(image)
            for image, label in zip(images, labels, strict=True)
        )
        for name, (images, labels) in batches(arrays).items()
    }


def python_batches(arrays, *, by_column=False):
    return {
        name: pickle_of_python_2(images, labels, by_column=by_column)
        for name, (images, labels) in batches(arrays).items()
    }


def pickle_of_python_2(images, labels, *, by_column=False, kind=b"u1", size=3072):
    """A batch as Python 2 and its NumPy pickled it (protocol 2), code by code."""
    data = b"".join(planes(image) for image in images)
    if by_column:
        data = np.frombuffer(data, np.uint8).reshape(-1, 3072).T.tobytes()

    def string(text):
        return b"T" + struct.pack("<i", len(text)) + text

    numpy_array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    empty = numpy_array + b"K\x00\x85" + string(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + string(kind) + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + string(b"|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    shape = b"M" + struct.pack("<H", len(images)) + b"M" + struct.pack("<H", size)
    order = b"\x88" if by_column else b"\x89"
    state = b"(K\x01" + shape + b"\x86" + dtype + order + string(data) + b"t"
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    items = string(b"batch_label") + string(b"a batch")
    items += string(b"data") + empty + state + b"b"
    items += string(b"labels") + b"](" + numbers + b"e"
    return b"\x80\x02}(" + items + b"u."


def sheets(arrays):
    """PNG files with an image a row, and the labels, as a package ships them."""
    files = {}
    for name, (images, _) in batches(arrays).items():
        file = io.BytesIO()
        Image.fromarray(images.reshape(len(images), -1, 3)).save(file, "PNG")
        files[f"{name}.png"] = file.getvalue()
    files["train_lables.json"] = json.dumps(arrays.train_labels.tolist()).encode()
    files["test_lables.json"] = json.dumps(arrays.test_labels.tolist()).encode()
    return files


def write_files(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def write_archive(path, inside, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{inside}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path.parent


# A TFRecord dataset as stock TFDS writes it, built from the formats' descriptions


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked_crc(data):
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def field(number, payload):
    size, varint = len(payload), b""
    while size > 127:
        varint, size = varint + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + varint + bytes([size]) + payload


def png(image):
    file = io.BytesIO()
    image = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def example_bytes(image, label, name=None):
    features = {
        b"image": field(1, field(1, png(image))),
        b"label": field(3, field(1, bytes([label]))),
    }
    if name is not None:
        features[b"id"] = field(1, field(1, name.encode()))
    entries = [field(1, field(1, k) + field(2, v)) for k, v in features.items()]
    return field(1, b"".join(entries))


def write_stock_tfrecord(
    data_dir, arrays, *, shards=2, name="mnist", version="3.0.1", ids=None, extra=False
):
    """`ids` formats split and position; `extra` adds a split without files."""
    folder = data_dir / name / version
    folder.mkdir(parents=True)
    splits = []
    for split, images, labels in (
        ("train", arrays.train_images, arrays.train_labels),
        ("test", arrays.test_images, arrays.test_labels),
    ):
        order = sorted(
            range(len(labels)),
            key=lambda i, s=split: hashlib.md5(f"{s}{i}".encode()).hexdigest(),
        )
        parts = np.array_split(order, shards)
        for shard, part in enumerate(parts):
            path = folder / f"{name}-{split}.tfrecord-{shard:05}-of-{shards:05}"
            with path.open("wb") as file:
                for i in part:
                    example_id = None if ids is None else ids.format(split, i)
                    record = example_bytes(images[i], labels[i], example_id)
                    length = struct.pack("<Q", len(record))
                    file.write(length + masked_crc(length))
                    file.write(record + masked_crc(record))
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        lengths = [str(len(part)) for part in parts]
        splits.append(
            {"name": split, "shardLengths": lengths, "filepathTemplate": template}
        )
    if extra:
        splits.append(splits[0] | {"name": "extra"})
    info = {"name": name, "version": version, "fileFormat": "tfrecord"}
    (folder / "dataset_info.json").write_text(json.dumps(info | {"splits": splits}))
    core = "tensorflow_datasets.core.features"
    features = {
        "image": {
            "pythonClassName": f"{core}.image_feature.Image",
            "image": {
                "dtype": "uint8",
                "shape": {"dimensions": [*map(str, arrays.train_images.shape[1:])]},
                "encodingFormat": "png",
            },
        },
        "label": {
            "pythonClassName": f"{core}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": "10"},
        },
    }
    if ids is not None:
        features["id"] = {"pythonClassName": f"{core}.text_feature.Text", "text": {}}
    spec = {
        "pythonClassName": f"{core}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }
    (folder / "features.json").write_text(json.dumps(spec))
    return folder
