"""Small datasets in every form that the dataset layer reads, and their isolation.

Shared by the tests of `experiments.datasets`. The TFRecord dataset is encoded here
from the description of its formats, not with the code under test.
"""

import gzip
import hashlib
import io
import json
import struct

import numpy as np
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


def some_arrays(seed=0, num_train=40, num_test=20):
    rng = np.random.default_rng(seed)

    def split(size):
        images = rng.integers(0, 256, (size, 28, 28, 1), dtype=np.uint8)
        return images, rng.integers(0, 10, size).astype(np.int32)

    return Arrays(*split(num_train), *split(num_test))


def class_counts(labels):
    return tuple(np.bincount(labels, minlength=10).tolist())


def make_official(monkeypatch):
    """Sixty small images that are "the official MNIST" for one test."""
    arrays = some_arrays()
    facts = datasets.FACTS["mnist"]._replace(
        train_counts=class_counts(arrays.train_labels),
        test_counts=class_counts(arrays.test_labels),
        sha256=tuple(hashlib.sha256(idx_bytes(array)).hexdigest() for array in arrays),
    )
    monkeypatch.setitem(datasets.FACTS, "mnist", facts)
    return arrays


def write_idx(folder, arrays, *, pack=False, dotted=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(IDX_FILES, arrays, strict=True):
        name = name.replace("-idx", ".idx") if dotted else name
        data = idx_bytes(array)
        path = folder / (f"{name}.gz" if pack else name)
        path.write_bytes(gzip.compress(data) if pack else data)
    return folder


def assert_same(dataset, arrays):
    assert dataset.name == "mnist" and dataset.class_names[3] == "3"
    for found, expected in zip(dataset[1:5], arrays, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    joined = b"".join(array.tobytes() for array in arrays)
    assert dataset.sha256 == hashlib.sha256(joined).hexdigest()


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


def example_bytes(image, label):
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "PNG", compress_level=1)
    features = {
        b"image": field(1, field(1, file.getvalue())),
        b"label": field(3, field(1, bytes([label]))),
    }
    entries = [field(1, field(1, k) + field(2, v)) for k, v in features.items()]
    return field(1, b"".join(entries))


def write_stock_tfrecord(data_dir, arrays, *, shards=2, name="mnist"):
    folder = data_dir / name / "3.0.1"
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
                    record = example_bytes(images[i], labels[i])
                    length = struct.pack("<Q", len(record))
                    file.write(length + masked_crc(length))
                    file.write(record + masked_crc(record))
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        lengths = [str(len(part)) for part in parts]
        splits.append(
            {"name": split, "shardLengths": lengths, "filepathTemplate": template}
        )
    info = {"name": name, "version": "3.0.1", "fileFormat": "tfrecord"}
    (folder / "dataset_info.json").write_text(json.dumps(info | {"splits": splits}))
    core = "tensorflow_datasets.core.features"
    features = {
        "image": {
            "pythonClassName": f"{core}.image_feature.Image",
            "image": {
                "dtype": "uint8",
                "shape": {"dimensions": ["28", "28", "1"]},
                "encodingFormat": "png",
            },
        },
        "label": {
            "pythonClassName": f"{core}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": "10"},
        },
    }
    spec = {
        "pythonClassName": f"{core}.features_dict.FeaturesDict",
        "featuresDict": {"features": features},
    }
    (folder / "features.json").write_text(json.dumps(spec))
    return folder
