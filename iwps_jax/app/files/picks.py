"""Pick files (which samples to label next) and answer files: CSV in UTF-8.

Texts are guarded against spreadsheets, which would execute an id like `=1+1`: it is
written as `'=1+1`, and the reader takes the `'` away (see `tables.guarded`). Numbers
stay bare. A spreadsheet may still turn an id that looks like a number into another
number, as 007 into 7. The column `row`, which we write beside the id, shows it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from iwps_jax.app.files.tables import guarded, read_table, table_of
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import SKIP, form
from iwps_jax.atomic_write import write_atomically

TEXTS = ("id", "method", "predicted", "label")  # the other columns hold numbers


class Pick(NamedTuple):
    """A line of a pick file, as text; fields that the file lacks are empty.

    Attributes:
        id: name of the sample.
        row: its row of the pool.
        score: score of the method; empty for methods without a score.
        method: the method that chose it.
        predicted: name of the predicted class.
        confidence: the largest class probability.
        hurts: rows of the holdout set that learning the prediction would hurt most,
            separated by spaces.
        hurts_by: the changes of their losses, separated by spaces, in nats (for
            iwps_app, per unit of step length).
        label: its class, which people fill in.
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
    """A score in the fewest digits that identify it; "" for NaN, which is no score."""
    return "" if np.isnan(score) else str(score)


class Answer(NamedTuple):
    """A line of an answer file.

    Attributes:
        id: name of the sample.
        label: name of its class; empty if there is no answer yet; "skip" if nobody can
            label the sample, "unsure" if the person could not decide, in any case.
        line: number of its line or task in the file.
        unit: whether `line` counts lines or tasks.
        row: its row of the pool according to the file, or empty.
        annotator: who answered, or empty.
    """

    id: str
    label: str
    line: int
    unit: str = "line"
    row: str = ""
    annotator: str = ""


def write_picks(
    path: str | Path, picks: Sequence[Pick], columns: Sequence[str]
) -> None:
    """Writes these columns of the picks, completely or not at all.

    Args:
        path: the CSV file; its folder must exist.
        picks: best first.
        columns: attributes of `Pick`, in the order of the file.

    Raises:
        OSError: if it cannot be written.
    """
    write_atomically(path, text_of(picks, columns))


def text_of(picks: Sequence[Pick], columns: Sequence[str]) -> str:
    """These columns of the picks as CSV."""
    return table_of([columns, *as_lines(picks, columns)])


def as_lines(picks: Sequence[Pick], columns: Sequence[str]) -> list[list[str]]:
    """The cells of each pick in these columns."""
    return [[_cell(pick, name) for name in columns] for pick in picks]


def _cell(pick, name) -> str:
    text = getattr(pick, name)
    return guarded(text) if name in TEXTS else text


def read_picks(path: str | Path) -> list[Pick]:
    """The picks of a file, in its order.

    Args:
        path: CSV with a column id; columns that are no attribute of `Pick` are
            ignored.

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
        path: CSV with columns id and label; of the others, row and annotator are read.
            A column sample_id takes the place of id, and what Label Studio calls
            was_cancelled is a skip.

    Raises:
        FileError: if it cannot be read, its ids are those of another tool, or an id is
            empty or occurs twice.
    """
    answers: list[Answer] = []
    lines: dict[str, int] = {}
    for line, record in read_table(path, ("id", "label")):
        if not record["id"]:
            raise FileError(f"{path}: line {line} must have an id.")
        name = form(record["id"])
        if name in lines:
            raise FileError(
                f"{path}: ids must be distinct, but line {lines[name]} and "
                f"line {line} both have {record['id']}."
            )
        lines[name] = line
        is_cancelled = record.get("was_cancelled", "").casefold() == "true"
        label = SKIP if is_cancelled else record["label"]
        row, annotator = record.get("row", ""), record.get("annotator", "")
        answers.append(Answer(record["id"], label, line, row=row, annotator=annotator))
    return answers
