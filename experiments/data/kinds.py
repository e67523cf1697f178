"""Datasets of three kinds: images, texts, and rows of a table.

    Dataset        images; `train_images`
    TextDataset    texts; `train_texts`
    TableDataset   rows of a table; `train_rows`

All have a name, labels, names of classes, a source and a hash. Code that needs no more
takes any of them; code that shows or embeds samples looks at `kind`.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

IMAGES, TEXTS, TABLE = "images", "texts", "table"
"""The kinds."""


class Dataset(NamedTuple):
    """A dataset in memory; row i of an array is example i of the official files."""

    name: str
    train_images: np.ndarray  # uint8 [n, height, width, channels]
    train_labels: np.ndarray  # int32 [n]
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    source: str  # where the data came from, as a sentence
    sha256: str  # of the four arrays' bytes one after another, labels as int32

    @property
    def kind(self) -> str:
        """What a sample is."""
        return IMAGES


class TextDataset(NamedTuple):
    """Texts in memory; entry i is example i of the official files."""

    name: str
    train_texts: tuple[str, ...]
    train_labels: np.ndarray  # int32 [n]
    test_texts: tuple[str, ...]
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    sha256: str  # of all texts and labels
    outliers: tuple[str, ...] = ()  # texts of no class, if the files have some

    @property
    def kind(self) -> str:
        """What a sample is."""
        return TEXTS


class TableDataset(NamedTuple):
    """A table in memory; row i is example i of the official files.

    Rows are structured arrays: a column has a name, and holds float64 numbers or texts,
    which are the names of categories.
    """

    name: str
    train_rows: np.ndarray  # structured [n]
    train_labels: np.ndarray  # int32 [n]
    test_rows: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    sha256: str  # of the names of the columns, all rows and labels

    @property
    def kind(self) -> str:
        """What a sample is."""
        return TABLE


AnyDataset = Dataset | TextDataset | TableDataset


def training_samples(dataset: Any, ids: Sequence[int]) -> np.ndarray | list[str]:
    """Some training samples for people to look at.

    Args:
        dataset: data with the fields of one of the three, of images if it has no kind.
        ids: positions in the official training set.

    Returns:
        Images, uint8 [n, h, w, c]; or texts; or rows as texts.
    """
    kind = getattr(dataset, "kind", IMAGES)
    if kind == TEXTS:
        return [dataset.train_texts[i] for i in ids]
    if kind == TABLE:
        return [describe_row(dataset.train_rows[i]) for i in ids]
    return np.asarray(dataset.train_images)[ids]


def describe_row(row: np.void) -> str:
    """A row as text: the names of its columns and their values.

    Example:
        >>> rows = np.array([(80742.3, "a")], [("x", "f8"), ("y", "U1")])
        >>> describe_row(rows[0])
        'x 80740, y a'
    """
    return ", ".join(f"{name} {_shown(row[name])}" for name in row.dtype.names)


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:.4g}"
    return np.format_float_positional(value, 4, fractional=False, trim="-")


def every_fifth(labels: np.ndarray) -> np.ndarray:
    """Every fifth example of a class, where the data have no official test set.

    Returns:
        Which examples are test examples.

    Example:
        >>> np.flatnonzero(every_fifth(np.array([0, 1, 0, 0, 1, 0, 0, 0])))
        array([6])
    """
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        test[np.flatnonzero(labels == label)[4::5]] = True
    return test


def sha256_of_arrays(arrays: Iterable[np.ndarray]) -> str:
    """Hash of the bytes of arrays one after another, on any machine."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype(array.dtype.newbyteorder("<"), order="C").tobytes())
    return digest.hexdigest()


def text_dataset(
    name: str,
    train: Sequence[tuple[str, str]],
    test: Sequence[tuple[str, str]],
    source: str,
    *,
    outliers: Sequence[str] = (),
) -> TextDataset:
    """A dataset of (text, class) pairs; its classes are in alphabetical order."""
    names, labels = _labels([label for _, label in (*train, *test)])
    texts = tuple(text for text, _ in (*train, *test))
    size = len(train)
    encoded = [text.encode() for text in (*texts, *outliers)]
    parts = [
        np.frombuffer(b"".join(encoded), np.uint8),
        np.array([len(text) for text in encoded], np.int64),
        labels,
    ]
    return TextDataset(
        *(name, texts[:size], labels[:size], texts[size:], labels[size:]),
        *(names, source, sha256_of_arrays(parts), tuple(outliers)),
    )


def table_dataset(
    name: str,
    columns: Sequence[str],
    train: Sequence[tuple[Sequence[str], str]],
    test: Sequence[tuple[Sequence[str], str]],
    source: str,
) -> TableDataset:
    """A dataset of (cells, class) pairs; its classes are in natural order.

    A column whose cells are all finite numbers is numeric, any other has categories.
    Without test rows every fifth row of a class becomes one.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """
    everything = (*train, *test)
    for number, (cells, _) in enumerate(everything, 1):
        if len(cells) != len(columns):
            raise ValueError(
                f"row {number} has {len(cells)} cells, not {len(columns)}."
            )
    names, labels = _labels([label for _, label in everything])
    cells = zip(*(cells for cells, _ in everything), strict=True)
    values = [_column(list(column)) for column in cells]
    rows = np.empty(
        len(everything),
        [(name, column.dtype) for name, column in zip(columns, values, strict=True)],
    )
    for column, of_column in zip(columns, values, strict=True):
        rows[column] = of_column
    is_test = np.arange(len(rows)) >= len(train) if len(test) else every_fifth(labels)
    heading = np.frombuffer("\n".join(columns).encode(), np.uint8)
    parts = rows[~is_test], labels[~is_test], rows[is_test], labels[is_test]
    sha256 = sha256_of_arrays((heading, *parts))
    return TableDataset(name, *parts, names, source, sha256)


def _column(cells: list[str]) -> np.ndarray:
    try:
        numbers = np.array(cells, np.float64)
    except ValueError:
        return np.array(cells)
    return numbers if np.isfinite(numbers).all() else np.array(cells)


def _labels(given: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes, and the number of each example's class."""

    def in_order(name):
        return int(name) if name.isdecimal() else float("inf"), name

    names = sorted(set(given), key=in_order)
    number = {name: i for i, name in enumerate(names)}
    return tuple(names), np.array([number[name] for name in given], np.int32)
