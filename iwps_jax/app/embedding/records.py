"""The records of a file: .csv, .tsv, .jsonl or .parquet, one after another."""

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from iwps_jax.app.files.headers import DELIMITERS
from iwps_jax.app.files.tables import opened, text_of
from iwps_jax.app.files.unreadable import FileError, readable, require_file
from iwps_jax.refusal import short
from iwps_jax.wording import plural

TABLES = {".csv": DELIMITERS, ".tsv": "\t"}
SUFFIXES = (*TABLES, ".jsonl", ".parquet")
OPTIONS = "--text and --id name columns; --table is for rows of measures"
MOST_LETTERS = 1_000_000
"""Of a cell: the csv module refuses more than 131,072 by default."""


class Record(NamedTuple):
    """Values by the name of their column; `place` says where they stand."""

    place: str
    values: dict[str, Any]


def records_of(path: Path, columns: Sequence[str] | None = None) -> Iterator[Record]:
    """The records of a file. Blank lines are passed over.

    Args:
        path: its suffix is one of `SUFFIXES`.
        columns: each record must have these; no others are read. None for all columns.

    Raises:
        FileError: if it cannot be read, or a record has no such column.
    """
    require_file(path)
    read = {".jsonl": _of_lines, ".parquet": _of_parquet}
    for record in read.get(path.suffix.lower(), _of_table)(path, columns):
        for name in columns or ():
            if name not in record.values:
                raise FileError(
                    f"{path}: {record.place} must have {name}, got "
                    f"{short(', '.join(map(str, record.values)))}: {OPTIONS}."
                )
        yield record


def _of_table(path, columns):
    csv.field_size_limit(MOST_LETTERS)
    with opened(path, "") as file:
        above, header = _first_line(file)
        delimiter = _delimiter_of(path, header)
        lines = itertools.chain([header], file)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            first = f"line {above + 1}"
            names = _names_of(path, next(reader, []), columns, first)
            for cells in reader:
                if not cells:  # a blank line is no row
                    continue
                place = f"line {above + reader.line_num}"
                if any(cells[len(names) :]):
                    raise FileError(
                        f"{path}: {place} must have at most "
                        f"{plural(len(names), 'field')} like the header in {first}, "
                        f"got {len(cells)}: delete titles above the header."
                    )
                cells += [""] * (len(names) - len(cells))
                texts = map(text_of, cells)
                yield Record(place, dict(zip(names, texts, strict=False)))
        except csv.Error as error:
            raise FileError(
                f"{path}: line {above + reader.line_num} is not CSV: {error}."
            ) from error


def _first_line(file) -> tuple[int, str]:
    """How many blank lines stand above the first other line, and that line."""
    for number, line in enumerate(file):
        if line.strip("\ufeff \t\r\n"):
            return number, line
    return 0, ""


def _delimiter_of(path, line):
    """That by which the header has the most cells."""

    def num_cells(delimiter):
        try:
            return len(next(csv.reader([line], delimiter=delimiter), []))
        except csv.Error:
            return 0

    return max(TABLES[path.suffix.lower()], key=num_cells)


def _names_of(path, cells, columns, place):
    """Names of the columns; those without one are called by their places."""
    names = [cell.strip().lstrip("\ufeff") for cell in cells]
    if "\0" in "".join(names):
        raise FileError(f"{path} must be text in UTF-8, or in UTF-16 with a mark.")
    names = [name or f"column {at}" for at, name in enumerate(names, start=1)]
    _require_distinct(path, names)
    _require_columns(path, names, columns, f" in {place}, the header")
    return names


def _require_distinct(path, names):
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise FileError(
            f"{path} must have columns of distinct names, got {short(name)} {count} "
            "times."
        )


def _of_lines(path, columns):
    with opened(path, None) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FileError(
                    f"{path}: line {number} must be one JSON object: "
                    f"{short(str(error))}."
                ) from None
            if not isinstance(values, dict):
                raise FileError(f"{path}: line {number} must be a JSON object.")
            yield Record(f"line {number}", values)


def _of_parquet(path, columns):
    try:
        from pyarrow import parquet
    except ImportError:
        raise FileError(
            f"{path} needs pyarrow: pip install 'iwps-jax[embed]', or save it as .csv."
        ) from None
    with readable(path, "a Parquet file"):
        file = parquet.ParquetFile(path)
        _require_distinct(path, file.schema_arrow.names)
        _require_columns(path, file.schema_arrow.names, columns)
        row = 0
        for batch in file.iter_batches(columns=columns and [*columns]):
            for values in _in_microseconds(batch).to_pylist():
                yield Record(f"row {row}", values)
                row += 1


def _in_microseconds(batch):
    """A batch in which no time is finer than Python's."""
    import pyarrow as pa

    for at, field in enumerate(batch.schema):
        kind = field.type
        coarser = None
        if pa.types.is_timestamp(kind) and kind.unit == "ns":
            coarser = pa.timestamp("us", kind.tz)
        elif pa.types.is_time64(kind) and kind.unit == "ns":
            coarser = pa.time64("us")
        elif pa.types.is_duration(kind) and kind.unit == "ns":
            coarser = pa.duration("us")
        if coarser is not None:
            column = batch.column(at).cast(coarser, safe=False)
            batch = batch.set_column(at, field.name, column)
    return batch


def _require_columns(path, names, columns, place=""):
    for name in columns or ():
        if name not in names:
            hint = f"{OPTIONS}; delete titles above the header" if place else OPTIONS
            raise FileError(
                f"{path} must have a column {name}{place}, got "
                f"{short(', '.join(names))}: {hint}."
            )


def id_in(path: Path, record: Record, column: str) -> str:
    """The id of a record.

    Raises:
        FileError: if it is neither a text nor a whole number.
    """
    id_ = record.values[column]
    if isinstance(id_, bool) or not isinstance(id_, str | int):
        raise FileError(
            f"{path}: {record.place} must have a text or a whole number as {column}, "
            f"got {short(repr(id_))}."
        )
    return str(id_).strip()
