"""The rows of a table as features: numbers, dates and categories.

A column is of numbers if all its cells are, of dates if all are ISO 8601, and otherwise
of categories. Numbers and dates are centered by their median and divided by the
distance of their quartiles, so that a few wild values do not squeeze all others
together; a missing one becomes the median, and a column of its own says where one is
missing. A category is a column of its own, 1 where a row has it; so is a missing one,
and so are all rare ones together.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.embedding.records import SUFFIXES, id_in, records_of
from iwps_jax.app.embedding.source import flaw_of_id, require_distinct_ids
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.refusal import short

NUMBER = "number"
"""The kind of a column of numbers."""
CUT_OFF = 100.0
"""No number lies farther out than this many distances of the quartiles."""
MOST_CATEGORIES = 50
"""Of a column; rarer ones share a column."""
LARGEST = 1e100
"""What is farther from zero, infinite or NaN is no number."""
FEW = 0.1
"""Of the cells: a column with fewer that are no number is meant to be of numbers."""
MOST_CODES, MANY_ROWS = 10, 50
"""So few whole numbers, in more rows than these, may be codes of classes."""
MISSING = ("", "nan", "null", "none", "na", "n/a")


class Table(NamedTuple):
    """A table as features.

    Attributes:
        ids: names of the rows.
        features: float32 [rows, d].
        kinds: of each column that counts: number, date or category.
        left_out: why each of the other columns does not count.
        codes: the values of columns of numbers that may be the classes, as they have
            few, which are whole.
    """

    ids: list[str]
    features: np.ndarray
    kinds: dict[str, str]
    left_out: dict[str, str]
    codes: dict[str, list[str]]


def read_table(path: Path, id_: str | None, without: Sequence[str]) -> Table:
    """The rows of a file.

    Args:
        path: .csv, .tsv, .jsonl or .parquet.
        id_: the column of ids; None for the numbers of the rows, from 0.
        without: columns that do not count, such as that of the classes.

    Raises:
        FileError: if it cannot be read, has no such columns, two rows have one id, or
            no column is left.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise FileError(f"{path} must be a table in one of {', '.join(SUFFIXES)}.")
    _require_sklearn(path)
    records = list(records_of(path))
    if not records:
        raise FileError(f"{path} must have a row, got none.")
    names = [*dict.fromkeys(name for record in records for name in record.values)]
    for name in (*([] if id_ is None else [id_]), *without):
        if name not in names:
            raise FileError(
                f"{path} must have a column {name}, got {short(', '.join(names))}."
            )
    ids = [str(row) for row in range(len(records))]
    if id_ is not None:
        ids = _ids(path, records, id_)
    left_out = {name: "--without names it" for name in without}
    parts, kinds, codes = [], {}, {}
    for name in names:
        if name in left_out or name == id_:
            continue
        cells = [_cell(record.values.get(name)) for record in records]
        kind, flaw = _kind_of(cells)
        if flaw:
            left_out[name] = flaw
        else:
            kinds[name] = kind
            parts.append(_SCALED[kind](cells))
            if kind == NUMBER and (few := _codes_in(cells)):
                codes[name] = few
    if not parts:
        raise FileError(
            f"{path} must have a column of numbers, dates or categories, got none: "
            + "; ".join(f"{name} {flaw}" for name, flaw in left_out.items())
            + "."
        )
    return Table(ids, np.concatenate(parts, axis=1), kinds, left_out, codes)


def _ids(path: Path, records, column: str) -> list[str]:
    ids = [id_in(path, record, column) for record in records]
    for record, id_ in zip(records, ids, strict=True):
        if flaw := flaw_of_id(id_):
            raise FileError(
                f"{path}: the id in {record.place} {flaw}, got {short(id_)}."
            )
    require_distinct_ids(path, ids)
    return ids


def _cell(value: Any) -> str | None:
    """A cell as text; None if it is missing."""
    text = "" if value is None else str(value).strip()
    return None if text.casefold() in MISSING else text


def _require_sklearn(path: Path) -> None:
    if find_spec("sklearn") is None:
        raise FileError(
            f"{path} needs scikit-learn as a table: pip install 'iwps-jax[embed]'."
        )


def _kind_of(cells) -> tuple[str, str]:
    """The kind of a column, and why it does not count."""
    there = [cell for cell in cells if cell is not None]
    if not there:
        return "", "is empty"
    if len(set(cells)) == 1:
        return "", "has one value"
    for kind, read in ((NUMBER, _number), ("date", _date)):
        others = [cell for cell in there if read(cell) is None]
        if not others:
            return kind, ""
        if len(others) <= FEW * len(there):
            right = len(there) - len(others)
            return "", (
                f"has a {kind} in {right:,} of {len(there):,} cells, but also "
                f"{short(repr(others[0]))}: correct the others"
            )
    if len(set(there)) > max(MOST_CATEGORIES, len(there) / 2):
        return "", f"has {len(set(there)):,} different texts (--text embeds texts)"
    return "category", ""


def _codes_in(cells) -> list[str]:
    """The values of numbers that may be codes, as the file has them; else nothing."""
    if len(cells) <= MANY_ROWS:
        return []
    values: dict[float, str] = {}
    for cell in cells:
        number = None if cell is None else _number(cell)
        if number is not None:
            values.setdefault(number, cell)
            if len(values) > MOST_CODES or not number.is_integer():
                return []
    return [values[number] for number in sorted(values)]


def _number(cell: str) -> float | None:
    try:
        number = float("" if "_" in cell else cell)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(cell.casefold())
    return number if abs(number) < LARGEST else None


def _date(cell: str) -> float | None:
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _scaled(read: Callable, cells) -> np.ndarray:
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import RobustScaler

    numbers = [np.nan if cell is None else read(cell) for cell in cells]
    column = np.array(numbers)[:, None]
    scaled = make_pipeline(SimpleImputer(strategy="median"), RobustScaler())
    values = np.clip(scaled.fit_transform(column), -CUT_OFF, CUT_OFF)
    where = MissingIndicator().fit_transform(column)
    return np.concatenate([values, where], axis=1).astype(np.float32)


def _one_hot(cells) -> np.ndarray:
    from sklearn.preprocessing import OneHotEncoder

    column = np.array([["" if cell is None else cell] for cell in cells], object)
    encoder = OneHotEncoder(max_categories=MOST_CATEGORIES, sparse_output=False)
    return encoder.fit_transform(column).astype(np.float32)


_SCALED = {
    NUMBER: lambda cells: _scaled(_number, cells),
    "date": lambda cells: _scaled(_date, cells),
    "category": _one_hot,
}
