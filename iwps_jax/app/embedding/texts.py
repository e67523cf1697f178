"""A column of texts in a file, as a source."""

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from iwps_jax.app.embedding.records import SUFFIXES, id_in, records_of
from iwps_jax.app.embedding.source import (
    TEXTS,
    Sample,
    Source,
    digest_of_file,
    flaw_of_id,
    require_distinct_ids,
    sha256_of,
)
from iwps_jax.app.files.tables import opened
from iwps_jax.app.files.unreadable import FileError, require_file

LINES = ".txt"
DEFAULT_COLUMN = "text"


class Columns(NamedTuple):
    """Where the texts are.

    Attributes:
        path: of the file.
        text: name of the column of texts; None for the lines of a .txt file.
        id: name of the column of ids; None for the numbers of the rows, from 0.
    """

    path: Path
    text: str | None
    id: str | None


def open_texts(path: Path, text: str | None, id_: str | None) -> Source:
    """The texts in a file.

    Args:
        path: .csv, .tsv, .jsonl, .parquet, or .txt with a text in each line.
        text: the column of texts; `text` if there is none given.
        id_: the column of ids; without it the ids are the numbers of the rows.

    Raises:
        FileError: if it cannot be read, has no such column, or two rows have one id.
    """
    require_file(path)
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, LINES):
        raise FileError(
            f"{path} must be a folder of images, or texts in one of "
            f"{', '.join((*SUFFIXES, LINES))}."
        )
    if suffix == LINES:
        if text is not None or id_ is not None:
            raise FileError(
                f"{path} is a text in each line: it has no columns for --text and --id."
            )
        columns = Columns(path, None, None)
    else:
        columns = Columns(path, DEFAULT_COLUMN if text is None else text, id_)
    size = _require_distinct(columns)
    return Source(
        TEXTS,
        {
            "file": str(path.absolute()),
            "sha256": sha256_of(path),
            "text": columns.text,
            "id": columns.id,
        },
        digest_of_file(path, columns.text, columns.id),
        size,
        partial(_samples, columns),
    )


def _require_distinct(columns: Columns) -> int:
    """How many rows there are; refuses two with one id."""
    ids = (id_ for id_, _ in cells_of(columns))
    if columns.id is None:  # these are numbers
        size = sum(1 for _ in ids)
    else:
        listed = [*ids]
        require_distinct_ids(columns.path, listed)
        size = len(listed)
    if not size:
        raise FileError(f"{columns.path} must have a text, got none.")
    return size


def _samples(columns: Columns, start: int) -> Iterator[Sample]:
    for id_, text in islice(cells_of(columns), start, None):
        if flaw := flaw_of_id(id_):
            yield Sample(id_, flaw=f"its id {flaw}")
        elif text is None:
            yield Sample(id_, flaw="it is empty")
        elif not isinstance(text, str):
            yield Sample(id_, flaw=f"it is no text but a {type(text).__name__}")
        elif not text.strip():
            yield Sample(id_, flaw="it is empty")
        elif any("\ud800" <= letter <= "\udfff" for letter in text):
            yield Sample(id_, flaw="it holds half of a surrogate pair")
        else:
            yield Sample(id_, text)


def cells_of(columns: Columns) -> Iterator[tuple[str, Any]]:
    """Id and text of each row."""
    if columns.text is None:
        with opened(columns.path, None) as file:
            for row, line in enumerate(file):
                yield str(row), line.strip("\ufeff\r\n")
        return
    names = [name for name in (columns.text, columns.id) if name is not None]
    for row, record in enumerate(records_of(columns.path, names)):
        id_ = str(row)
        if columns.id is not None:
            id_ = id_in(columns.path, record, columns.id)
        yield id_, record.values[columns.text]
