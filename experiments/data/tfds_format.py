"""Datasets in the format of TensorFlow Datasets (TFDS), without TensorFlow.

Without TensorFlow, TFDS can neither prepare an image dataset nor read a TFRecord file.
This module does both, for datasets with one image and one label per example. It writes
array_record, reads either format, and returns examples in the order of the official
files.
"""

import contextlib
import io
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.data.official import Arrays, Facts, SourceError, check_consistent
from experiments.data.prepare import progress

PRIVATE = ".preparing-"  # begins the name of a folder that nobody may read
STALE_SECONDS = 24 * 3600  # no preparation runs that long, so its process is gone


def find_prepared(data_dir: Path, name: str) -> Path | None:
    """The folder of the newest version of a dataset prepared in a TFDS folder."""
    versions = [
        (tuple(int(part) for part in path.parent.name.split(".")), path.parent)
        for path in (data_dir / name).glob("*.*.*/dataset_info.json")
        if path.parent.name.replace(".", "").isdigit()
    ]
    return max(versions)[1] if versions else None


def read_prepared(folder: Path, facts: Facts) -> Arrays:
    """A dataset in TFDS's format, array_record or TFRecord, in official order.

    Raises:
        SourceError: it cannot be read, or not all of it is there.
    """
    try:
        import tensorflow_datasets as tfds

        info = tfds.builder_from_directory(str(folder)).info
        parts = [
            part
            for split in ("train", "test")
            for part in _read_split(info, split, facts)
        ]
    except SourceError:
        raise
    except Exception as error:
        # Damaged files fail in as many ways as there are libraries below.
        fault = f"{type(error).__name__}: {error}"
        raise SourceError(f"it cannot be read ({fault}).") from error
    arrays = Arrays(*parts)
    check_consistent(arrays, facts)
    return arrays


def _read_split(info, split: str, facts: Facts) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one split, put back into official order.

    The records are parsed here because TFDS itself reads TFRecord only with
    TensorFlow, and takes three times as long to decode the images.
    """
    from PIL import Image
    from tensorflow_datasets.core.hashing import Hasher
    from tensorflow_datasets.proto import tf_example_pb2

    described = info.splits[split]
    file_format = info.file_format.value
    readers = {"array_record": _array_records, "tfrecord": _tfrecords}
    if file_format not in readers:
        raise SourceError(f"its format is {file_format}, not {' or '.join(readers)}.")
    records = [
        record
        for path in described.filepaths
        for record in readers[file_format](Path(path))
    ]
    if len(records) != described.num_examples:
        raise SourceError(
            f"its {split} split has {len(records)} rows, but its description promises "
            f"{described.num_examples}."
        )
    images = np.empty((len(records), *info.features["image"].shape), np.uint8)
    labels = np.empty(len(records), np.int32)
    # All the stock builders use the position in the official files as key, whether
    # or not they store an id too, and TFDS sorts by the key's hash, which it may not
    # change without new major versions.
    official = range(len(records))
    if not info.disable_shuffling:
        official = sorted(official, key=Hasher(split).hash_key)
    for position, record in zip(official, records, strict=True):
        feature = tf_example_pb2.Example.FromString(record).features.feature
        encoded = io.BytesIO(feature["image"].bytes_list.value[0])
        with Image.open(encoded, formats=("PNG", "JPEG")) as image:
            images[position] = np.asarray(image).reshape(images.shape[1:])
        labels[position] = feature["label"].int64_list.value[0]
        if facts.tfds_id is not None and "id" in feature:  # older versions: none
            found = feature["id"].bytes_list.value[0].decode()
            expected = facts.tfds_id.format(split=split, index=position)
            if found != expected:
                raise SourceError(f"it has {found} where {expected} belongs.")
    return images, labels


def _array_records(path: Path) -> list[bytes]:
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(str(path))
    try:
        return reader.read_all()
    finally:
        reader.close()


def _tfrecords(path: Path) -> Iterator[bytes]:
    """Records framed by length; the checks of count and sha256 stand for the CRCs."""
    data = path.read_bytes()
    start = 0
    while start < len(data):
        if start + 12 > len(data):
            raise SourceError(f"{path.name} is cut off.")
        (length,) = struct.unpack_from("<Q", data, start)
        start, end = start + 12, start + 12 + length
        if end + 4 > len(data):
            raise SourceError(f"{path.name} is cut off.")
        yield data[start:end]
        start = end + 4


def keep_prepared(arrays: Arrays, facts: Facts, data_dir: Path) -> Path:
    """Write `arrays` below `data_dir` so that TFDS opens them under the stock name.

    The files are written in a private folder beside their destination and renamed
    there when complete. So a process that dies leaves no folder that looks prepared,
    and if two processes prepare at once, the second discards its work. An existing
    folder is assumed to be good, so move a bad one away first (`discard`).

    Returns:
        The folder of the prepared version.
    """
    import tensorflow_datasets as tfds

    stock = tfds.builder_cls(facts.tfds_name)
    splits = {
        "train": (arrays.train_images, arrays.train_labels),
        "test": (arrays.test_images, arrays.test_labels),
    }
    data_dir.mkdir(parents=True, exist_ok=True)
    _remove_stale(data_dir)
    total = len(arrays.train_images) + len(arrays.test_images)
    with (
        progress(f"Preparing {facts.name}", total) as advance,
        tempfile.TemporaryDirectory(prefix=PRIVATE, dir=data_dir) as private,
    ):
        # Not registered, so that the name keeps meaning the stock builder.
        with tfds.core.registered.skip_registration():

            class Prepared(stock):
                name, VERSION = stock.name, stock.VERSION

                def _split_generators(self, dl_manager):
                    label = self.info.features["label"]
                    if tuple(label.names) != facts.class_names:
                        label.names = facts.class_names  # stock: from a file
                    return {split: self._generate_examples(split) for split in splits}

                def _generate_examples(self, split):
                    # The position as key, as in the stock builder: TFDS then
                    # shuffles both alike and the official order can be recovered.
                    for index, (image, label) in enumerate(
                        zip(*splits[split], strict=True)
                    ):
                        example = {"image": png_bytes(image), "label": int(label)}
                        if facts.tfds_id is not None:
                            example["id"] = facts.tfds_id.format(
                                split=split, index=index
                            )
                        yield index, example
                        advance(1)

        # array_record: without TensorFlow, TFDS cannot write TFRecord, and its
        # parquet writer loses most rows without a word.
        tfds.disable_progress_bar()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                builder = Prepared(data_dir=private, file_format="array_record")
                builder.download_and_prepare(file_format="array_record")
        finally:
            tfds.enable_progress_bar()
        version = str(stock.VERSION)
        final = data_dir / facts.tfds_name / version
        final.parent.mkdir(exist_ok=True)
        try:
            os.rename(Path(private) / facts.tfds_name / version, final)
        except OSError:
            if not final.is_dir():
                raise
    return final


def png_bytes(image: np.ndarray) -> bytes:
    """A PNG file; TFDS itself would need TensorFlow to encode an array."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue()


def discard(folder: Path) -> None:
    """Move a bad prepared folder out of the way, whole, and delete it."""
    with tempfile.TemporaryDirectory(prefix=PRIVATE, dir=folder.parents[1]) as private:
        with contextlib.suppress(FileNotFoundError):  # somebody else was quicker
            os.rename(folder, Path(private) / "bad")


def _remove_stale(data_dir: Path) -> None:
    """Delete what killed processes left behind."""
    for folder in data_dir.glob(f"{PRIVATE}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
