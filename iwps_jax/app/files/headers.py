"""The header of a table: where it stands, what separates cells, and whose ids it has.

Several labeling tools export a column `id` that numbers their own samples. Such a
number must never be taken for the id of a row. A column `sample_id`, which our tasks
for Label Studio have, says the id in any table; without it, a header that only another
tool writes is refused.
"""

import csv
import re
from collections.abc import Sequence
from typing import NamedTuple

from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import NAMED

LINES_READ = 20
"""The header is within these first lines: titles and blank lines may stand above it."""
NUL = "must be text, but it has a NUL character: save it as UTF-8"
DELIMITERS = ",;\t"
TITLE = re.compile(r"""[^",;\t]+(, [^",;\t]+)+""")
"""A sentence: no program writes a space after the commas of a record."""
LETTERS_NAMED = 40  # of a name in a message
SAMPLE_ID = "sample_id"
LABEL_STUDIO = {"annotation_id", "lead_time"}  # no other tool calls columns so
LABELBOX = "datarow id"
DOCCANO = (["id", "data", "label"], ["id", "text", "label"])  # how its exports begin
OURS = {"row", "score", "method", "predicted", "confidence", "hurts"}


class Header(NamedTuple):
    """Names of the columns, in lower case; what separates cells; lines to its end."""

    names: list[str]
    delimiter: str
    num_lines: int


def find(path, lines: Sequence[str], columns: Sequence[str]) -> Header:
    """The first line that names these columns, below nothing but titles.

    Args:
        path: the file, for the refusal.
        lines: its first lines.
        columns: the columns that the table must have.

    Raises:
        FileError: if there is no such line, or another tool's ids are below it.
    """
    lines = [line.lstrip("\ufeff") for line in lines]  # tools may write two marks
    delimiters, start, has_title = DELIMITERS, 0, False
    while start < len(lines):
        chosen = re.fullmatch(r"\s*\"?sep=(.)\"?\s*", lines[start], re.IGNORECASE)
        if chosen:  # a line for spreadsheets
            delimiters = chosen[1]
        else:
            for header in _parsed(lines[start:], delimiters):
                names = _with_our_names(header.names)
                if all(names.count(column) == 1 for column in columns):
                    if start and len(names) == 1 and "".join(lines[:start]).strip():
                        break  # the lines above may be ids
                    if has_title and ", " in lines[start]:
                        break  # this person writes records like sentences
                    _refuse_foreign(path, header.names)
                    return Header(names, header.delimiter, start + header.num_lines)
            if any(_num_cells(header) > 1 for header in _parsed(lines[start:], ",;\t")):
                if has_title or not TITLE.fullmatch(lines[start].strip()):
                    break  # no title: it may be a record
                has_title = True
        start += 1
    raise FileError(_without_columns(path, lines, columns))


def _parsed(lines, delimiters):
    """The record that begins these lines, read with the likeliest delimiter first."""
    for delimiter in sorted(delimiters, key=lines[0].count, reverse=True):
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            cells = next(reader, [])
        except csv.Error:
            continue
        names = [cell.strip().casefold() for cell in cells]
        yield Header(names, delimiter, reader.line_num)


def _num_cells(header) -> int:
    return sum(map(bool, header.names))


def _with_our_names(names) -> list[str]:
    if SAMPLE_ID not in names:
        return names
    ours = {SAMPLE_ID: "id", "id": "id of another tool"}
    if "choice" in names and LABEL_STUDIO & set(names):
        ours |= {"choice": "label", "label": "label of another tool"}
    return [ours.get(name, name) for name in names]


def _refuse_foreign(path, names):
    there = set(names)
    if SAMPLE_ID in there:
        return
    tool = None
    if LABEL_STUDIO & there:
        tool = "Label Studio"
    elif LABELBOX in there:
        tool = "Labelbox"
    elif names[:3] in DOCCANO and not OURS & there:
        tool = "doccano"
    if tool is None:
        return
    remedy = "export as JSON, or " if tool == "Label Studio" else ""
    raise FileError(
        f"{path} is an export of {tool}, as its columns {_listed(names)} show, so "
        f"that its ids are those of {tool}: {remedy}call the column of your own ids "
        f"{SAMPLE_ID}."
    )


def _without_columns(path, lines, columns) -> str:
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    header = next(_parsed(lines[first:], DELIMITERS), None) if lines else None
    names = [] if header is None else header.names
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            return f"{path}: line {number} {NUL}."
    if "".join(names).startswith(("{", "[")):
        return (
            f"{path} must be a table with the columns {' and '.join(columns)}, but it "
            "looks like JSON; of JSON only Label Studio's exports, called .json, are "
            "read."
        )
    _refuse_foreign(path, names)
    missing = [
        column for column in columns if _with_our_names(names).count(column) != 1
    ]
    if LABEL_STUDIO & set(names) and "label" in missing:
        return (
            f"{path} is an export of Label Studio and must have one column choice, for "
            f"the control of the answers, got {_listed(names)}: rename its column, or "
            "export as JSON."
        )
    wanted = " and ".join(missing or columns)
    return (
        f"{path} must have one column {wanted} in its first line, got "
        f"{_listed(names) or 'none'}."
    )


def _listed(names) -> str:
    """Names in one line of bearable length: what is no table may have any."""
    short = [" ".join(name.split())[:LETTERS_NAMED] for name in names[:NAMED]]
    return ", ".join(short) + ", ..." * (len(names) > NAMED)
