"""Names of rows and classes.

The same rule holds for every file and function. The name of a row is its id; without
ids it is the row number, written `7` and not `07`. A label is the name of a class.
`skip`, in any case, is the answer for a sample that nobody can label, and `unsure` that
of a person who cannot decide. An empty label means that there is no answer yet. Only in
Python may a label be an int.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from iwps_jax.refusal import Refusal
from iwps_jax.types import AnyArray

SKIP = "skip"  # the answer for a sample that nobody can label
SKIPPED = -1  # its class
UNSURE = "unsure"  # the answer of a person who cannot decide
UNSURED = -2  # its class
NAMED = 20  # how many classes a sentence lists at most
DIGITS = 18  # of the longest row number; it fits 64 bits
Ids = np.ndarray | None
"""Names of all rows, strings of any width; None if the names are the row numbers."""


class AnswerError(Refusal):
    """An impossible answer.

    Attributes:
        id: the sample that it is about.
    """

    def __init__(self, id: str, sentence: str):
        """The sentence is the whole message."""
        super().__init__(sentence)
        self.id = id


def form(name: str) -> str:
    """A name as it is compared: in Unicode's composed form, NFC.

    Example:
        >>> form("cafe\u0301") == "caf\u00e9"
        True
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def number_of(text: str) -> int | None:
    """The number, from 0, that a text spells, or None.

    Example:
        >>> [number_of(text) for text in ("7", "07", "٧", "-7")]
        [7, None, None, None]
    """
    # Not 07: in another system it may be a different id than 7.
    is_number = text.isascii() and text.isdecimal() and len(text) <= DIGITS
    return int(text) if is_number and str(int(text)) == text else None


def is_skip(label: str) -> bool:
    """Whether an answer says that nobody can label the sample."""
    return label.casefold() == SKIP


def is_unsure(label: str) -> bool:
    """Whether an answer says that the person could not decide."""
    return label.casefold() == UNSURE


def is_class(label: str) -> bool:
    """Whether an answer is neither missing nor `skip` nor `unsure`."""
    return label != "" and not is_skip(label) and not is_unsure(label)


def rows_of(ids: Ids, size: int, wanted: Sequence[str]) -> np.ndarray:
    """The rows with these names.

    Args:
        ids: names of all rows.
        size: number of rows of the pool.
        wanted: distinct names.

    Raises:
        AnswerError: if a name occurs twice or no row has it.
    """
    name, count = Counter(wanted).most_common(1)[0] if wanted else ("", 0)
    if count > 1:
        raise AnswerError(name, f"ids must be distinct, got {name!r} {count} times.")
    if ids is None:
        rows = [number_of(name) for name in wanted]
        row_of = {
            name: row
            for name, row in zip(wanted, rows, strict=True)
            if row is not None and row < size
        }
    else:
        sought = set(wanted)
        row_of = {name: row for row, name in enumerate(ids) if name in sought}
    for name in wanted:
        if name not in row_of:
            raise AnswerError(name, f"every id must be in the pool, got {name!r}.")
    return np.array([row_of[name] for name in wanted], np.int64)


def ids_of(ids: Ids, rows: np.ndarray) -> list[str]:
    """The names of these rows."""
    return [str(row) for row in rows.tolist()] if ids is None else ids[rows].tolist()


def classes_of(
    classes: Sequence[str],
    names: Sequence[str],
    labels: Sequence[Any],
) -> list[int | None]:
    """The classes of answers: `SKIPPED`, `UNSURED`, or None if there is no answer.

    Args:
        classes: names of the classes; one that is called `unsure` is a class.
        names: names of the rows, for the refusal.
        labels: class names, ints, `skip`, `unsure`, None or the empty string.

    Raises:
        AnswerError: for the first label that is none of these.
    """
    number = {name: c for c, name in enumerate(classes)}
    return [
        _class_of(label, number, name)
        for name, label in zip(names, labels, strict=True)
    ]


def _class_of(label, number, name) -> int | None:
    if label is None or label == "":
        return None
    if isinstance(label, str):
        if label in number:
            return number[label]
        if is_skip(label):
            return SKIPPED
        if is_unsure(label):
            return UNSURED
    elif isinstance(label, int | np.integer) and not isinstance(label, bool):
        if 0 <= label < len(number):
            return int(label)
    listed = ", ".join([*number][:NAMED]) + ", ..." * (len(number) > NAMED)
    raise AnswerError(
        name,
        f"the label of {name!r} must be {listed or 'a class number'}, {SKIP} or "
        f"{UNSURE}, got {label!r}.",
    )


def require_finite(names: Sequence[str], rows: np.ndarray, features: AnyArray) -> None:
    """Refuses rows with features that are not finite in float32.

    Args:
        names: names of the rows.
        rows: their numbers, for the message.
        features: their features.

    Raises:
        AnswerError: for the first such row.
    """
    is_bad = ~np.isfinite(np.asarray(features)).all(axis=1)
    if is_bad.any():
        name, row = names[int(is_bad.argmax())], rows[is_bad][0]
        raise AnswerError(
            name,
            f"features of the pool must be finite in float32, but those of {name!r} "
            f"(row {row}) are not.",
        )
