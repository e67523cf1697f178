"""Pick files, what to label next, and the answers to them: CSV in UTF-8."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from iwps_jax.app.files.arrays import FileError
from iwps_jax.app.files.tables import read_table
from iwps_jax.atomic_write import write_atomically


class Pick(NamedTuple):
    """A line of a pick file, as text; what the file does not have is empty.

    Attributes:
        id: what the user calls the sample.
        row: its row of the pool.
        score: how much it should be labeled; empty for methods that give none.
        method: which method chose it.
        predicted: name of the predicted class.
        confidence: the largest class probability.
        hurts: rows of the holdout set that learning the prediction would hurt most,
            separated by spaces.
        hurts_by: the changes of their losses, separated by spaces, in nats (of iwps_app
            per unit of step length).
        label: its class, to be filled in.
    """

    id: str
    row: str = ""
    score: str = ""
    method: str = ""
    predicted: str = ""
    confidence: str = ""
    hurts: str = ""
    hurts_by: str = ""
    label: str = ""


def as_text(score: np.floating) -> str:
    """A score in as few digits as tell it from others; "" for none, which is NaN."""
    return "" if np.isnan(score) else str(score)


class Answer(NamedTuple):
    """A line of an answer file.

    Attributes:
        id: of the sample.
        label: name of its class; empty if it was not answered, "skip" in any case if
            it cannot be.
        line: number of where it is in the file.
        unit: what is counted, lines or tasks.
        row: what the file says is its row of the pool, or nothing.
    """

    id: str
    label: str
    line: int
    unit: str = "line"
    row: str = ""


def write_picks(
    path: str | Path, picks: Sequence[Pick], columns: Sequence[str]
) -> None:
    """Writes these columns of the picks, whole or not at all.

    Args:
        path: the CSV file; its folder must exist.
        picks: best first.
        columns: names of attributes of `Pick`, in the order of the file.

    Raises:
        OSError: if it cannot be written.
    """
    text = io.StringIO(newline="")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows([getattr(pick, name) for name in columns] for pick in picks)
    write_atomically(path, text.getvalue())


def read_picks(path: str | Path) -> list[Pick]:
    """The picks of a file, in its order.

    Args:
        path: CSV with a column id; the attributes of `Pick` are read where they are
            there, other columns are ignored.

    Raises:
        FileError: if it cannot be read, there is no pick, or an id is empty.
    """
    picks = []
    for line, record in read_table(path, ("id",)):
        if not record["id"]:
            raise FileError(f"{path}: line {line} must have an id.")
        known = {name: record[name] for name in Pick._fields if name in record}
        picks.append(Pick(**known))
    if not picks:
        raise FileError(f"{path} must hold at least one pick, got none.")
    return picks


def read_answers(path: str | Path) -> list[Answer]:
    """The answers of a file, in its order.

    Args:
        path: CSV with columns id and label; others, as of a pick file, are ignored.

    Raises:
        FileError: if it cannot be read, or an id is empty or there twice.
    """
    answers: list[Answer] = []
    lines: dict[str, int] = {}
    for line, record in read_table(path, ("id", "label")):
        if not record["id"]:
            raise FileError(f"{path}: line {line} must have an id.")
        if record["id"] in lines:
            raise FileError(
                f"{path}: ids must be distinct, {record['id']} of line {line} is that "
                f"of line {lines[record['id']]}."
            )
        lines[record["id"]] = line
        row = record.get("row", "")
        answers.append(Answer(record["id"], record["label"], line, row=row))
    return answers
