"""Readers of the commands' input: pool, holdout set, ids and class names.

A reader returns values that need no further check, or raises a `FileError`: one
sentence with the file, the rule that it breaks, and the row, key or line.
"""

import sys
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from iwps_jax.app.files.arrays import first_bad_row, open_array, open_arrays
from iwps_jax.app.files.file_array import AnyRows
from iwps_jax.app.files.labels import require_one_class
from iwps_jax.app.files.numeric import finite, require_matrix, require_real
from iwps_jax.app.files.tables import all_rows, opened, records
from iwps_jax.app.files.unreadable import FileError, require_file, short
from iwps_jax.app.naming import (
    flaw_of,
    form,
    is_skip,
    is_unsure,
    lookalikes,
    twins,
    whole,
)
from iwps_jax.refusal import printable
from iwps_jax.types import Head, Holdout
from iwps_jax.wording import plural

PAIRS_NAMED = 5  # of classes that look alike
MOST_CLASSES = 1000  # that are numbers, and mostly missing


def read_pool(path: str | Path) -> AnyRows:
    """The rows to choose from, features or logits, which stay in the file.

    Args:
        path: see `open_array`; if the file holds several arrays, the one called
            features.

    Returns:
        [pool, d], floating point or integers, see `open_array`. Its numbers are not
        checked.

    Raises:
        FileError: if it cannot be opened, has no row or column, or is not a matrix of
            real numbers.
    """
    pool = open_array(path)
    require_matrix(path, "the pool", pool)
    return pool


def read_logits(path: str | Path) -> AnyRows:
    """The same for logits, which may also be those of several dropout masks.

    Args:
        path: see `open_array`; [pool, classes] or [pool, draws, classes].

    Raises:
        FileError: see `read_pool`.
    """
    logits = open_array(path)
    if logits.ndim != 3 or 0 in logits.shape:
        return read_pool(path)
    require_real(path, "the logits", logits)
    return logits


def read_holdout(path: str | Path) -> Holdout:
    """The holdout set: features as float32 and labels as int32.

    Args:
        path: .npz or .safetensors with features [m, d] and integer labels [m].

    Raises:
        FileError: if it cannot be read, an array is missing or has another shape or
            type, a number is not finite, or a label is negative.
    """
    features, labels = open_arrays(path, Holdout._fields)
    require_matrix(path, "features", features)
    require_one_class(path, labels)
    if labels.dtype.kind not in "iu":
        raise FileError(
            f"{path}: labels must be integers (class numbers from 0), got "
            f"{labels.dtype}."
        )
    if len(labels) != len(features):
        raise FileError(
            f"{path}: features and labels must have the same length, got "
            f"{len(features)} and {len(labels)}."
        )
    labels = np.asarray(labels)
    outside = first_bad_row(labels, lambda x: (x < 0) | (x > np.iinfo(np.int32).max))
    if outside is not None:
        raise FileError(
            f"{path}: labels must be class numbers from 0, got {labels[outside]} in "
            f"row {outside}."
        )
    return Holdout(finite(path, "features", features), labels.astype(np.int32))


def require_width(path: str | Path, features: AnyRows, head: Head) -> None:
    """Refuses features, of the pool or the holdout set, that the head cannot read.

    Raises:
        FileError: if the number of columns is not the number of rows of its kernel.
    """
    d, classes = head.kernel.shape
    if features.shape[1] == d:
        return
    hint = "; are these logits?" if features.shape[1] == classes else ""
    raise FileError(
        f"{path} must have {plural(d, 'column')} like the head's kernel "
        f"[{d}, {classes}], got shape {tuple(features.shape)}{hint}."
    )


def require_classes(path: str | Path, labels: np.ndarray, num_classes: int) -> None:
    """Refuses labels of classes that the head does not have.

    Raises:
        FileError: if one is not in [0, num_classes); the message names the row.
    """
    outside = first_bad_row(labels, lambda x: (x < 0) | (x >= num_classes))
    if outside is not None:
        raise FileError(
            f"{path}: labels must be in [0, {num_classes}) for "
            f"{plural(num_classes, 'class')}, got {labels[outside]} in row {outside}."
        )


def require_few_classes(places: Mapping[int, str]) -> None:
    """Refuses labels that are too large for class numbers, without given classes.

    Args:
        places: for each class number, where it occurs.

    Raises:
        FileError: if the largest number means more than 1,000 classes, and more than
            twice as many as occur.
    """
    largest, most = max(places, default=0), max(MOST_CLASSES, 2 * len(places))
    if largest >= most:
        raise FileError(
            f"{places[largest]}: labels must be class numbers below {most:,} if only "
            f"{len(places):,} of them occur, got {largest}: if it is a class, give "
            "--classes."
        )


def places_of(path: str | Path, labels: np.ndarray) -> dict[int, str]:
    """The first row of each class, for `require_few_classes`."""
    numbers, rows = np.unique(labels, return_index=True)
    where = [f"{path}: row {row}" for row in rows.tolist()]
    return dict(zip(numbers.tolist(), where, strict=True))


def read_ids(path: str | Path, size: int) -> np.ndarray:
    """The ids of the rows of the pool.

    Args:
        path: .txt with one id per line, .csv with a column id, or .npy of strings or
            integers.
        size: number of rows of the pool.

    Returns:
        Strings of a StringDType, one for each row.

    Raises:
        FileError: if it cannot be read, an id is empty or occurs twice, or there are
            too few or too many ids; the message names the line (for .npy, the row).
    """
    require_file(path := Path(path))
    ids, places, place = _ids_and_places(path)
    _require_names(path, ids, places, place)
    _require_distinct(path, "ids", ids, places, place)
    if len(ids) != size:
        where = f"; {place} {places[size]} is one too many" if len(ids) > size else ""
        raise FileError(
            f"{path} must have an id for each of the {plural(size, 'row')} of the "
            f"pool, got {len(ids):,}{where}."
        )
    return np.array(ids, np.dtypes.StringDType())


def _require_names(source, names, places, place):
    for name, where in zip(names, places, strict=True):
        flaw = flaw_of(name)
        if flaw is not None:
            raise FileError(f"{source}: {place} {where} {flaw}.")


def _require_distinct(source, what, names, places, place):
    pair = twins(names)
    if pair is not None:
        first, second = (places[at] for at in pair)
        raise FileError(
            f"{source}: {what} must be distinct, but {place} {first} and {place} "
            f"{second} both have {short(form(names[pair[1]]))}."
        )


def _ids_and_places(path) -> tuple[list[str], Sequence[int], str]:
    """Ids, where each is, and whether these places are lines or rows."""
    if path.suffix.lower() == ".npy":
        listed = open_array(path)
        if listed.ndim != 1 or listed.dtype.kind not in "iuUS":
            raise FileError(
                f"{path} must hold a vector of strings or integers, got {listed.dtype} "
                f"of shape {listed.shape}."
            )
        ids = [id_.strip() for id_ in _texts(path, np.asarray(listed))]
        return ids, range(len(ids)), "row"
    if path.suffix.lower() not in (".csv", ".txt"):
        raise FileError(
            f"{path} must end in .txt, .csv or .npy to be a list of ids: save a "
            "spreadsheet as CSV."
        )
    if path.suffix.lower() == ".csv":
        _require_rows_in_order(path)
    lines, ids = read_ids_of_lines(path)
    return ids, lines, "line"


def _texts(path, listed) -> list[str]:
    """Strings or numbers as text; refuses what no text file could hold."""
    if listed.dtype.kind == "U":
        codes = np.ascontiguousarray(listed).view((np.uint32, listed.itemsize // 4))
        bad = first_bad_row(codes, lambda x: (x > 0x10FFFF) | (x >> 11 == 0xD800 >> 11))
        if bad is not None:
            raise FileError(f"{path}: row {bad} must be Unicode text.")
    texts = []
    for row, entry in enumerate(listed.tolist()):
        try:
            texts.append(entry.decode() if isinstance(entry, bytes) else str(entry))
        except UnicodeDecodeError as error:
            raise FileError(f"{path}: row {row} must be UTF-8 text.") from error
    return texts


def _require_rows_in_order(path):
    """Refuses a column row that is not 0, 1, ...: only the order counts."""
    for row, (line, header, fields) in enumerate(records(path, ("id",))):
        if "row" not in header:
            return
        if whole(fields[header.index("row")].strip()) != str(row):
            raise FileError(
                f"{path}: ids must be in the order of the rows: line {line} must have "
                f"row {row}, got {short(fields[header.index('row')])}."
            )


def read_ids_of_lines(path: str | Path) -> tuple[Sequence[int], list[str]]:
    """The ids in a text file, stripped, and the line of each.

    Args:
        path: .txt with one id per line, or .csv with a column id. Blank lines at the
            end do not count.

    Raises:
        FileError: if it cannot be read, or has no such column.
    """
    if Path(path).suffix.lower() == ".txt":
        with opened(path, None) as file:
            listed = _up_to_the_last(file)
        return range(1, len(listed) + 1), listed
    lines, ids, size = array("q"), [], 0
    for line, header, fields in all_rows(path, ("id",)):
        lines.append(line)
        ids.append(fields[header.index("id")])
        size = len(ids) if any(fields) else size
    return lines[:size], ids[:size]


def _up_to_the_last(names) -> list[str]:
    """All names, stripped, without the empty ones at the end."""
    first, *others = [name.strip() for name in names] or [""]
    stripped = [first.lstrip("\ufeff"), *others]  # two programs have each set a mark
    size = max((n for n, name in enumerate(stripped, start=1) if name), default=0)
    return stripped[:size]


def read_classes(text: str | Path) -> tuple[str, ...]:
    """Class names from a list like "cat,dog", or from a file with one name per line.

    Args:
        text: the list, or the path of a file. A comma or blank lines at the end do not
            count.

    Raises:
        FileError: if the file cannot be read, there are fewer than two names, or a
            name is empty, occurs twice or is one of the answers "skip" and "unsure".

    Example:
        >>> read_classes("cat, dog")
        ('cat', 'dog')
    """
    path = Path(text)
    if "," in str(text) and not path.is_file():
        names = _up_to_the_last(str(text).split(","))
        source, place = "the list of classes", "name"
    else:
        with opened(path, None) as file:
            names = _up_to_the_last(file)
        source, place = str(path), "line"
    _require_names(source, names, range(1, len(names) + 1), place)
    for number, name in enumerate(names, start=1):
        if is_skip(name) or is_unsure(name):
            raise FileError(
                f"{source}: {place} {number} must not be {name}, which is the answer "
                "for samples without a class."
            )
    _require_distinct(source, "classes", names, range(1, len(names) + 1), place)
    if len(names) < 2:
        raise FileError(f"{source} must name at least 2 classes, got {len(names)}.")
    warn_of_lookalikes(source, names)
    return tuple(names)


def warn_of_lookalikes(source: str, names: Sequence[str]) -> None:
    """Warns of classes that differ only in case or in what nobody can see."""
    if pairs := lookalikes(names):
        told = [f"{one!r} and {other!r}" for one, other in pairs[:PAIRS_NAMED]]
        more = ", ..." * (len(pairs) > PAIRS_NAMED)
        print(
            f"Warning: {printable(source)} has classes that look alike and yet are "
            f"two: {', '.join(told)}{more}.",
            file=sys.stderr,
        )
