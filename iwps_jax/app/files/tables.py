"""Text files, and tables as spreadsheets save them.

A spreadsheet executes a cell that begins with `=`, `+`, `-` or `@`, and an id may begin
so. Texts that a table of ours holds are therefore guarded: `'` stands before such a
text. A text of apostrophes before such a character gets one more, so that the reader,
which takes one away, finds every text as it was; `'tis` needs no guard and gets none.
"""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from iwps_jax.app.files import headers
from iwps_jax.app.files.unreadable import FileError, naming, require_file
from iwps_jax.wording import plural

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how "Unicode text" begins
SPREADSHEETS = (b"PK\3\4", b"\xd0\xcf\x11\xe0")  # how .xlsx, .ods and .xls begin
FORMULA = re.compile("'*[-=+@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How guarded texts begin, and those that need a guard; four are wide characters."""
QUOTED = re.compile(r"""[",;\t\r\n]|^\s|\s$""")


def guarded(text: str) -> str:
    """A text as a cell that no spreadsheet executes; `text_of` undoes it.

    Example:
        >>> [guarded(text) for text in ("=1+1", "'=", "'tis", "7")]
        ["'=1+1", "''=", "'tis", '7']
    """
    return f"'{text}" if FORMULA.match(text) else text


def text_of(cell: str) -> str:
    """The text of a cell, without the guard."""
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell


def table_of(rows: Iterable[Sequence[str]]) -> str:
    """Lines of cells, separated by commas; a cell may hold line breaks and quotes."""
    return "".join(",".join(map(_quoted, row)) + "\n" for row in rows)


def _quoted(cell):
    # csv.writer leaves a lone carriage return bare, at which a reader ends the line.
    return '"' + cell.replace('"', '""') + '"' if QUOTED.search(cell) else cell


def read_table(
    path: str | Path, columns: tuple[str, ...]
) -> list[tuple[int, dict[str, str]]]:
    """The records of a table, each with its line.

    Args:
        path: the file; one of its first lines names the columns, with only a title or
            blank lines above. It may also say `sep=;`.
        columns: the columns that the table must have.

    Raises:
        FileError: if it cannot be read, a column is missing or occurs twice, the ids
            are those of another tool, or a line has more fields than the header.
    """
    return [
        (line, dict(zip(header, fields, strict=True)))
        for line, header, fields in records(path, columns)
    ]


def records(
    path: str | Path, columns: tuple[str, ...]
) -> Iterator[tuple[int, list[str], list[str]]]:
    """For each record: its line, the names of all columns, and its texts, stripped.

    Rows of empty cells, which spreadsheets keep, are passed over.

    Raises:
        FileError: see `read_table`.
    """
    for line, names, fields in all_rows(path, columns):
        if any(fields):
            yield line, names, fields


def all_rows(
    path: str | Path, columns: tuple[str, ...]
) -> Iterator[tuple[int, list[str], list[str]]]:
    """The same with rows of empty cells, for tables in which the place of a row counts.

    Spreadsheets leave out the empty cells at the end of a line, or add some: they are
    filled up, or taken away.

    Raises:
        FileError: see `read_table`.
    """
    with opened(path, "") as file:
        first = list(itertools.islice(file, headers.LINES_READ))
        names, delimiter, above = headers.find(path, first, columns)
        body = itertools.chain(first[above:], file)
        reader = csv.reader(body, strict=True, delimiter=delimiter)
        try:
            for cells in reader:
                fields = [*map(str.strip, cells)]
                text = "".join(fields)
                if not cells:  # a blank line is no row
                    continue
                line = above + reader.line_num
                if "\0" in text:
                    raise FileError(f"{path}: line {line} {headers.NUL}.")
                if "'" in text:
                    fields = [*map(text_of, fields)]
                if len(fields) != len(names):
                    fields = _fitted(path, line, fields, len(names))
                yield line, names, fields
        except csv.Error as error:
            raise FileError(
                f"{path}: line {above + reader.line_num} is not CSV: {error}."
            ) from error


def _fitted(path, line, fields, width):
    """With empty cells added, or taken away, at the end."""
    if any(fields[width:]):
        raise FileError(
            f"{path}: line {line} must have at most {plural(width, 'field')} like the "
            f"header, got {len(fields)}."
        )
    return fields[:width] + [""] * (width - len(fields))


@contextmanager
def opened(path: str | Path, newline: str | None) -> Iterator[TextIO]:
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
        start = file.read(4)
    if start in SPREADSHEETS:
        raise FileError(
            f"{path} must be text, but it is a spreadsheet or an archive: save it as "
            "CSV."
        )
    return "utf-16" if start[:2] in UTF_16 else "utf-8-sig"


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
        raise FileError(
            f"{path} must be UTF-8 text, line {line} is not. "
            'Spreadsheets save it as "CSV UTF-8".'
        ) from error
