"""Predictions as files: a line for every row of the pool, as CSV or Parquet."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from iwps_jax.app.campaign.predictions import Predictions
from iwps_jax.app.commands.outputs import format_of
from iwps_jax.app.files.tables import guarded, table_of
from iwps_jax.app.files.unreadable import FileError

COLUMNS = ("id", "label", "confidence", "margin", "by_person")
PROBABILITY = "p_"
"""Stands before the name of a class in the name of its column."""


class Table(NamedTuple):
    """The lines of some rows, in columns.

    Attributes:
        ids: names of the rows.
        labels: names of their classes; None where there is no label.
        told: the numbers and truths of the rows.
        probabilities: [n, classes], or no columns where nobody asked for them.
    """

    ids: Sequence[str]
    labels: Sequence[str | None]
    told: Predictions
    probabilities: np.ndarray


Write = Callable[[Table], None]


def require_writer(path: Path) -> None:
    """Refuses a file that could not be written, or that is not one of predictions.

    Raises:
        FileError: if its suffix names no format, a package is missing, or a file is
            there that `iwps predict` did not write: it may hold answers.
    """
    _format_of(path)
    if path.is_file() and path.stat().st_size and not _holds_predictions(path):
        raise FileError(
            f"{path} must be a new file, or one that iwps predict wrote: this one may "
            "hold answers."
        )


@contextmanager
def opened(path: Path, file: BinaryIO, classes: Sequence[str]) -> Iterator[Write]:
    """Writes the head of the table; yields `write(table)` for the lines.

    Args:
        path: says the format by its suffix.
        file: to write to.
        classes: names of the columns of probabilities; none for no such column.
    """
    names = [*COLUMNS, *(f"{PROBABILITY}{name}" for name in classes)]
    with _format_of(path)(file, names) as write:
        yield write


@contextmanager
def _as_csv(file, names) -> Iterator[Write]:
    file.write(table_of([names]).encode())

    def write(table):
        told = table.told
        columns = [
            [guarded(id_) for id_ in table.ids],
            [guarded(label or "") for label in table.labels],
            *(_numbers(column) for column in (told.confidence, told.margin)),
            ["true" if given else "false" for given in told.by_person.tolist()],
            *map(_numbers, table.probabilities.T),
        ]
        file.write(table_of(zip(*columns, strict=True)).encode())

    yield write


def _numbers(column) -> list[str]:
    """Six decimals; nothing for NaN."""
    return ["" if number != number else f"{number:.6f}" for number in column.tolist()]


@contextmanager
def _as_parquet(file, names) -> Iterator[Write]:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = [pa.string(), pa.string(), pa.float32(), pa.float32(), pa.bool_()]
    kinds += [pa.float32()] * (len(names) - len(kinds))
    schema = pa.schema(list(zip(names, kinds, strict=True)))

    def number(column):
        return pa.array(column.astype(np.float32), pa.float32(), from_pandas=True)

    with parquet.ParquetWriter(file, schema) as writer:

        def write(table):
            told = table.told
            columns = [
                pa.array(list(table.ids), pa.string()),
                pa.array(list(table.labels), pa.string()),
                number(told.confidence),
                number(told.margin),
                pa.array(told.by_person),
                *(number(column) for column in table.probabilities.T),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))

        yield write


FORMATS: dict[str, Any] = {".csv": _as_csv, ".parquet": _as_parquet}


def _format_of(path: Path) -> Any:
    write = format_of(path, FORMATS)
    if write is _as_parquet:
        _require_pyarrow(path)
    return write


def _require_pyarrow(path):
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise FileError(
            f"{path} needs pyarrow: pip install 'iwps-jax[embed]', or name a .csv file."
        ) from None


def _holds_predictions(path: Path) -> bool:
    """Whether a file has the columns of predictions."""
    if FORMATS[path.suffix.lower()] is _as_csv:
        start = table_of([COLUMNS]).strip().encode()
        with path.open("rb") as file:
            return file.read(len(start)) == start
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return tuple(parquet.read_schema(path).names[: len(COLUMNS)]) == COLUMNS
    except (OSError, pa.ArrowException):
        return False
