"""A column of texts in a file, as a source."""

import csv
import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from iwps_jax.app.embedding.source import (
    TEXTS,
    Sample,
    Source,
    digest_of,
    flaw_of_id,
)
from iwps_jax.app.files.tables import all_rows, opened
from iwps_jax.app.files.unreadable import FileError, readable, require_file
from iwps_jax.app.naming import form
from iwps_jax.refusal import short

TABLES = (".csv", ".tsv")
SUFFIXES = (*TABLES, ".jsonl", ".txt", ".parquet")
DEFAULT_COLUMN = "text"
MOST_LETTERS = 1_000_000
"""Of a cell: the csv module refuses more than 131,072 by default."""


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
    if suffix not in SUFFIXES:
        raise FileError(
            f"{path} must be a folder of images, or texts in one of "
            f"{', '.join(SUFFIXES)}."
        )
    if suffix == ".txt":
        if text is not None or id_ is not None:
            raise FileError(
                f"{path} is a text in each line: it has no columns for --text and --id."
            )
        columns = Columns(path, None, None)
    else:
        columns = Columns(path, text or DEFAULT_COLUMN, id_)
    size = _require_distinct(columns)
    stat = path.stat()
    return Source(
        TEXTS,
        {"file": str(path), "text": columns.text, "id": columns.id},
        digest_of(map(str, (columns.text, columns.id, stat.st_size, stat.st_mtime_ns))),
        size,
        partial(_samples, columns),
    )


def _require_distinct(columns: Columns) -> int:
    """How many rows there are; refuses two with one id."""
    size, seen = 0, dict[str, int]()
    for row, (id_, _) in enumerate(_cells(columns)):
        size += 1
        if columns.id is not None:
            first = seen.setdefault(form(id_), row)
            if first != row:
                raise FileError(
                    f"{columns.path}: ids must be distinct, but rows {first} and {row} "
                    f"both have {short(id_)}."
                )
    if not size:
        raise FileError(f"{columns.path} must have a text, got none.")
    return size


def _samples(columns: Columns, start: int) -> Iterator[Sample]:
    for id_, text in islice(_cells(columns), start, None):
        if flaw := flaw_of_id(id_):
            yield Sample(id_, flaw=f"its id {flaw}")
        elif not isinstance(text, str):
            yield Sample(id_, flaw=f"it is no text but {short(repr(text))}")
        elif not text.strip():
            yield Sample(id_, flaw="it is empty")
        elif any("\ud800" <= letter <= "\udfff" for letter in text):
            yield Sample(id_, flaw="it holds half of a surrogate pair")
        else:
            yield Sample(id_, text)


def _cells(columns: Columns) -> Iterator[tuple[str, Any]]:
    """Id and text of each row."""
    read = {".jsonl": _of_lines, ".parquet": _of_parquet, ".txt": _of_text}
    of_rows = read.get(columns.path.suffix.lower(), _of_table)
    for row, (id_, text) in enumerate(of_rows(columns)):
        yield (str(row) if id_ is None else id_), text


def _of_text(columns):
    with opened(columns.path, None) as file:
        for line in file:
            yield None, line.strip("\ufeff\r\n")


def _of_table(columns):
    csv.field_size_limit(MOST_LETTERS)
    names = [name.casefold() for name in (columns.text, columns.id) if name]
    for _, header, fields in all_rows(columns.path, tuple(names)):
        if any(fields):
            cells = [fields[header.index(name)] for name in names]
            yield (cells[1] if columns.id else None), cells[0]


def _of_lines(columns):
    with opened(columns.path, None) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FileError(
                    f"{columns.path}: line {number} is no JSON: {short(str(error))}."
                ) from None
            yield _of_record(columns, found, f"line {number}")


def _of_record(columns, found, place):
    if not isinstance(found, dict) or columns.text not in found:
        names = ", ".join(map(str, found)) if isinstance(found, dict) else "none"
        raise FileError(
            f"{columns.path}: {place} must have {columns.text} (--text), got "
            f"{short(names)}."
        )
    return _id_in(columns, found, place), found[columns.text]


def _id_in(columns, found, place):
    if columns.id is None:
        return None
    id_ = found.get(columns.id)
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise FileError(
            f"{columns.path}: {place} must have a text or a whole number as "
            f"{columns.id} (--id), got {short(repr(id_))}."
        )
    return str(id_)


def _of_parquet(columns):
    try:
        from pyarrow import parquet
    except ImportError:
        raise FileError(
            f"{columns.path} needs pyarrow: pip install 'iwps-jax[embed]', or save it "
            "as .csv."
        ) from None
    with readable(columns.path, "a Parquet file"):
        file = parquet.ParquetFile(columns.path)
        names = [name for name in (columns.text, columns.id) if name is not None]
        for name in names:
            if name not in file.schema_arrow.names:
                raise FileError(
                    f"{columns.path} must have a column {name}, got "
                    f"{short(', '.join(file.schema_arrow.names))}."
                )
        row = 0
        for batch in file.iter_batches(columns=names):
            for found in batch.to_pylist():
                yield _of_record(columns, found, f"row {row}")
                row += 1
