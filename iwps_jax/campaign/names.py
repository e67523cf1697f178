"""What people call rows and classes, and which ones they mean."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from iwps_jax.files.inputs import SKIP

SKIPPED = -1
NAMED = 20  # of many classes, how many a sentence lists


class AnswerError(ValueError):
    """An answer that cannot be taken.

    Attributes:
        id: whose answer it is.
    """

    def __init__(self, id: str, sentence: str):
        """The sentence is the whole message."""
        super().__init__(sentence)
        self.id = id


def rows_of(ids: np.ndarray | None, size: int, wanted: Sequence[str]) -> np.ndarray:
    """The rows with these names.

    Args:
        ids: names of all rows, or None for their numbers.
        size: of the pool.
        wanted: names, each once.

    Raises:
        AnswerError: of a name that is there twice or is no row's.
    """
    name, count = Counter(wanted).most_common(1)[0] if wanted else ("", 0)
    if count > 1:
        raise AnswerError(
            name, f"every id must be there once, {name!r} is {count} times."
        )
    if ids is None:
        rows = [_row(name, size) for name in wanted]
    else:
        found = np.flatnonzero(np.isin(ids, np.array(wanted, str)))
        row_of = dict(zip(ids[found].tolist(), found.tolist(), strict=True))
        rows = [row_of.get(name, -1) for name in wanted]
    for name, row in zip(wanted, rows, strict=True):
        if row < 0:
            raise AnswerError(name, f"ids must be of the pool, got {name!r}.")
    return np.array(rows, np.int64)


def _row(name, size) -> int:
    # Only as it is written: 07 may be another system's 7.
    is_number = name.isascii() and name.isdecimal() and str(int(name)) == name
    return int(name) if is_number and int(name) < size else -1


def class_of(
    classes: Sequence[str], name: str | int, label: str | int | None
) -> int | None:
    """The class of an answer, `SKIPPED`, or None if there is no answer.

    Raises:
        AnswerError: if there is no such class.
    """
    if label is None or label == "":
        return None
    if isinstance(label, str):
        if label in classes:
            return list(classes).index(label)
        if label.casefold() == SKIP:
            return SKIPPED
    elif not isinstance(label, bool) and 0 <= label < len(classes):
        return int(label)
    listed = ", ".join(classes[:NAMED]) + ", ..." * (len(classes) > NAMED)
    raise AnswerError(
        str(name),
        f"the label of {str(name)!r} must be {listed} or {SKIP}, got {label!r}.",
    )
