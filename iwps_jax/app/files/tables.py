"""Text files, and tables as spreadsheets save them."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from iwps_jax.app.files.unreadable import FileError, naming, require_file, short

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how "Unicode text" begins


def read_table(
    path: str | Path, columns: tuple[str, ...]
) -> list[tuple[int, dict[str, str]]]:
    """The records of a table, stripped, each with its line.

    Args:
        path: the file; its first line names the columns.
        columns: the columns that the table must have.

    Raises:
        FileError: if it cannot be read, a column is missing or occurs twice, or a line
            has too few or too many fields.
    """
    return [
        (line, dict(zip(header, map(str.strip, fields), strict=True)))
        for line, header, fields in records(path, columns)
    ]


def records(
    path: str | Path, columns: tuple[str, ...]
) -> Iterator[tuple[int, list[str], list[str]]]:
    """For each record: its line, the names of all columns, and its fields.

    Raises:
        FileError: see `read_table`.
    """
    with opened(path, "") as file:
        first = file.readline()
        file.seek(0)
        lines = csv.reader(file, strict=True, delimiter=max(",;\t", key=first.count))
        try:
            header = [name.strip().casefold() for name in next(lines, [])]
            for name in columns:
                if header.count(name) != 1:
                    raise FileError(
                        f"{path} must have one column {name} in its first line, got "
                        f"{short(', '.join(header)) or 'none'}."
                    )
            for fields in lines:
                if not fields:  # a blank line
                    continue
                if len(fields) != len(header):
                    raise FileError(
                        f"{path}: line {lines.line_num} must have {len(header)} fields "
                        f"like the first, got {len(fields)}."
                    )
                yield lines.line_num, header, fields
        except csv.Error as error:
            raise FileError(
                f"{path}: line {lines.line_num} is not CSV: {error}."
            ) from error


@contextmanager
def opened(path: str | Path, newline: str) -> Iterator[TextIO]:
    """The lines of a text file, one at a time.

    Raises:
        FileError: see `read_text`.
    """
    require_file(Path(path))
    try:
        with (
            naming(path),
            Path(path).open(encoding=_encoding(path), newline=newline) as file,
        ):
            yield file
    except UnicodeError:
        read_text(path)  # names the line
        raise


def _encoding(path) -> str:
    with Path(path).open("rb") as file:
        return "utf-16" if file.read(2) in UTF_16 else "utf-8-sig"


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        FileError: if it cannot be read or is neither; the message names the line.
    """
    path = Path(path)
    require_file(path)
    with naming(path):
        content, encoding = path.read_bytes(), _encoding(path)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileError(f"{path} must be UTF-8 text, line {line} is not.") from error
