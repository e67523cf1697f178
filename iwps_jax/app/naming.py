"""Names of rows and classes.

The same rule holds for every file and function. The name of a row is its id; without
ids it is the row number, written `7` and not `07`; where a spreadsheet has made `7.0`
of it, and that is no id, it is `7` all the same. A label is the name of a class.
`skip`, in any case, is the answer for a sample that nobody can label, and `unsure` that
of a person who cannot decide. An empty label means that there is no answer yet. Only in
Python may a label be an int.

Unicode writes some letters in two ways. Names are equal if their forms are (see
`form`), and everybody keeps their own spelling. No name begins or ends with a space.
"""

import difflib
import functools
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import Any

import numpy as np

from iwps_jax.refusal import MOST_SAID, Refusal
from iwps_jax.types import AnyArray

SKIP = "skip"  # the answer for a sample that nobody can label
SKIPPED = -1  # its class
UNSURE = "unsure"  # the answer of a person who cannot decide
UNSURED = -2  # its class
NAMED = 20  # how many classes a sentence lists at most
VARIATIONS = "".join(map(chr, range(0xFE00, 0xFE10)))  # of how a letter is drawn
DIGITS = 18  # of the longest row number; it fits 64 bits
AS_DECIMAL = re.compile(r"([0-9]+)\.00?")
"""A whole number as spreadsheets may write it; with three zeros, 1.000 may be 1,000."""
ONE_CLASS = (
    "Each sample must have one class: run a campaign for each class, with the labels "
    "0 (no) and 1 (yes)."
)
"""What to do with multi-label data."""
SEPARATORS = ";|,"
"""Between several classes in one cell."""
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


def twins(names: Iterable[str]) -> tuple[int, int] | None:
    r"""The places of the first name that repeats another; None if there is none.

    Names are equal if their forms are. Empty ones are no names.

    Example:
        >>> print(twins(["a", "", "caf\u00e9", "", "cafe\u0301"]), twins("ab"))
        (2, 4) None
    """
    first: dict[str, int] = {}
    for place, name in enumerate(names):
        if name and first.setdefault(form(name), place) != place:
            return first[form(name)], place
    return None


def flaw_of(name: str) -> str | None:
    r"""Why a text can name nothing, as files would not keep it; None if it can.

    Example:
        >>> [flaw_of(name) for name in ("a b", "a\0", "")]
        [None, 'must not have a NUL character', 'must not be empty']
    """
    if not name:
        return "must not be empty"
    if name.strip() != name:
        return "must not begin or end with a space"
    if name.isprintable():  # most are, and pools are large
        return None
    if "\0" in name:
        return "must not have a NUL character"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "must be Unicode text, not bytes of another encoding"
    return None


def lookalikes(names: Sequence[str]) -> list[tuple[str, str]]:
    r"""Pairs of names that differ only in case, spaces or invisible characters.

    Example:
        >>> lookalikes(["cat", "dog", "Cat", "do\u200bg"])
        [('cat', 'Cat'), ('dog', 'do\u200bg')]
    """
    first: dict[str, str] = {}
    pairs = [(first.setdefault(_visible(name), name), name) for name in names]
    return [pair for pair in pairs if pair[0] is not pair[1]]


def close_to(name: str, known: Sequence[str]) -> str | None:
    """A known name that another one may be a misspelling of; None if there is none.

    It differs in case, spaces or invisible characters alone; or it is the same number,
    as `1.0` and `1`; or, in a word of at least three letters, in one letter that is
    added, left out, replaced or swapped with the next. A digit is no such letter: `run
    1` and `run 2` are two names, and so are `type a` and `type b`.

    Example:
        >>> [close_to(name, ["cat", "run 1"]) for name in ("Cat", "cta", "run 2")]
        ['cat', 'cat', None]
    """
    seen, number = _visible(name), _number_in(name)
    for other in known:
        visible = _visible(other)
        is_same = number is not None and number == _number_in(other)
        if is_same or seen == visible or _is_one_edit(seen, visible):
            return other
    return None


def _is_one_edit(one, other) -> bool:
    if abs(len(one) - len(other)) > 1:
        return False
    words, others = one.split(), other.split()
    if len(words) == len(others):  # a short word, as in `type a`, may be meant
        pairs = [pair for pair in zip(words, others, strict=True) if len({*pair}) > 1]
        if any(min(map(len, pair)) < 3 for pair in pairs):
            return False
    start = len(os.path.commonprefix([one, other]))
    end = len(os.path.commonprefix([one[start:][::-1], other[start:][::-1]]))
    left, right = one[start : len(one) - end], other[start : len(other) - end]
    if any(letter.isdecimal() for letter in left + right):
        return False
    return max(len(left), len(right)) <= 1 or (len(left) == 2 and left == right[::-1])


@functools.lru_cache(10_000)  # each of many names is compared with all others
def _visible(name) -> str:
    seen = [
        " " if letter.isspace() else letter
        for letter in name
        if letter.isspace()
        or not (unicodedata.category(letter) in ("Cc", "Cf") or letter in VARIATIONS)
    ]
    return form(" ".join("".join(seen).split()).casefold())


def number_of(text: str) -> int | None:
    """The number, from 0, that a text spells, or None.

    Example:
        >>> [number_of(text) for text in ("7", "07", "٧", "-7")]
        [7, None, None, None]
    """
    # Not 07: in another system it may be a different id than 7.
    is_number = text.isascii() and text.isdecimal() and len(text) <= DIGITS
    return int(text) if is_number and str(int(text)) == text else None


def whole(text: str) -> str:
    """A whole number without the zeros behind its point; any other text as it is.

    Example:
        >>> [whole(text) for text in ("47.0", "47.5", "1.000", "a.0")]
        ['47', '47.5', '1.000', 'a.0']
    """
    matched = AS_DECIMAL.fullmatch(text)
    return matched[1] if matched else text


def is_skip(label: str) -> bool:
    """Whether an answer says that nobody can label the sample."""
    return label.casefold() == SKIP


def is_unsure(label: str) -> bool:
    """Whether an answer says that the person could not decide."""
    return label.casefold() == UNSURE


def is_class(label: str) -> bool:
    """Whether an answer is neither missing nor `skip` nor `unsure`."""
    return label != "" and not is_skip(label) and not is_unsure(label)


def several_in(label: str, classes: Container[str]) -> list[str]:
    """The classes that a label joins, if it is several at once; else none.

    Example:
        >>> several_in("cat; dog", {"cat", "dog"}), several_in("cat; a", {"cat"})
        (['cat', 'dog'], [])
    """
    for separator in SEPARATORS:
        parts = [part.strip() for part in label.split(separator)]
        if len(parts) > 1 and all(form(part) in classes for part in parts):
            return parts
    return []


def rows_of(ids: Ids, size: int, wanted: Sequence[str]) -> np.ndarray:
    """The rows with these names.

    Args:
        ids: names of all rows.
        size: number of rows of the pool.
        wanted: distinct names; `47.0`, if that is no id, is `47`.

    Raises:
        AnswerError: if a name occurs twice or no row has it.
    """
    forms = [form(name) for name in wanted]
    sought = {*forms, *map(whole, forms)}
    if ids is None:
        rows = ((name, number_of(name)) for name in sought)
        row_of = {name: row for name, row in rows if row is not None and row < size}
    else:
        row_of = {
            name: row for row, name in enumerate(map(form, ids)) if name in sought
        }
    forms = [name if name in row_of else whole(name) for name in forms]
    shared, count = Counter(forms).most_common(1)[0] if wanted else ("", 0)
    if count > 1:
        name = wanted[forms.index(shared)]
        raise AnswerError(
            name, f"ids must be distinct, got {_quoted(name)} {count} times."
        )
    for name, formed in zip(wanted, forms, strict=True):
        if formed not in row_of:
            made_of = _made_of(ids, size, name)
            raise AnswerError(
                name, f"every id must be in the pool, got {_quoted(name)}{made_of}."
            )
    return np.array([row_of[name] for name in forms], np.int64)


def _made_of(ids: Ids, size: int, name) -> str:
    """A guess which id a spreadsheet has turned into this number, for the refusal."""
    number = _number_in(name)
    if number is None or name.isdecimal() and ids is None:  # no spreadsheet adds zeros
        return ""
    is_rounded = "e" in name.lower()  # 1.23457E+19
    is_row = number < size and number.is_integer()
    rows = [str(int(number))] if is_row else []
    for id_ in rows if ids is None else ids:
        other = _number_in(id_)
        if other is not None and math.isclose(
            other, number, rel_tol=1e-5 if is_rounded else 0.0
        ):
            meant = _quoted(id_)
            return f"; it may be {meant}, which a spreadsheet has turned into a number"
    return ""


def _number_in(text) -> float | None:
    is_number = re.fullmatch(r"[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?", text, re.IGNORECASE)
    return float(text) if is_number else None


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
    exact = {name: c for c, name in enumerate(classes)}
    number = {form(name): c for name, c in exact.items()} | exact
    return [
        _class_of(label, number, classes, name)
        for name, label in zip(names, labels, strict=True)
    ]


def some_of(names: Sequence[str]) -> str:
    """The first names of many, as a sentence lists them.

    Example:
        >>> some_of(["cat", "dog"])
        'cat, dog'
    """
    return ", ".join(names[:NAMED]) + ", ..." * (len(names) > NAMED)


def _class_of(label, number, classes, name) -> int | None:
    if label is None or label == "":
        return None
    if isinstance(label, str):
        known = number.get(label, number.get(form(label)))
        if known is not None:
            return known
        if is_skip(label):
            return SKIPPED
        if is_unsure(label):
            return UNSURED
    elif isinstance(label, int | np.integer) and not isinstance(label, bool):
        if 0 <= label < len(classes):
            return int(label)
    listed = some_of(classes)
    raise AnswerError(
        name,
        f"the label of {_quoted(name)} must be {listed or 'a class number'}, "
        f"{SKIP} or {UNSURE}, got {_quoted(label)}{_meant(label, classes)}",
    )


def _meant(label, classes) -> str:
    """The end of the refusal, with a guess which answer was meant."""
    if not isinstance(label, str) or len(label) > MOST_SAID:  # else it takes long
        return "."
    if several_in(label, {*map(form, classes)}):
        return f": this is multi-label. {ONE_CLASS}"
    answers = {_visible(name): name for name in (*classes, SKIP, UNSURE)}
    close = difflib.get_close_matches(_visible(label), answers, n=1)
    return f": did you mean {answers[close[0]]!r}?" if close else "."


def _quoted(name) -> str:
    """A name as a sentence shows it, with all its spaces."""
    quoted = repr(name)
    return quoted if len(quoted) <= MOST_SAID else f"{quoted[:MOST_SAID]}..."


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
