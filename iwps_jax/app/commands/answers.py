"""What the commands of a campaign share: its folder, and files of answers."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from iwps_jax.app.campaign import Campaign, tell
from iwps_jax.app.files.arrays import FileError
from iwps_jax.app.files.picks import Answer
from iwps_jax.app.naming import AnswerError, rows_of


def add_campaign(parser: argparse.ArgumentParser) -> None:
    """Adds the option that names the campaign."""
    parser.add_argument(
        "--campaign",
        type=Path,
        default=Path("campaign"),
        metavar="DIR",
        help="folder of the campaign (default %(default)s)",
    )


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Adds the option of commands that change the campaign."""
    parser.add_argument(
        "--wait",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="how long to wait for another command that changes the campaign; it may "
        "be reading the whole pool (default %(default)g)",
    )


def take_answers(
    state: Campaign, path: Path | None, answers: Sequence[Answer]
) -> Campaign:
    """The state after the answers of a file, all or none.

    Raises:
        FileError: if one cannot be taken; names the file and the line, or task.
    """
    with naming_line(path, answers):
        _require_same_rows(state.task, answers)
        return tell(state, [a.id for a in answers], [a.label for a in answers])


def _require_same_rows(task, answers):
    """Refuses a file whose ids are another pool's, where it says their rows."""
    rows = rows_of(task.ids, len(task.pool), [a.id for a in answers])
    for answer, row in zip(answers, rows.tolist(), strict=True):
        if answer.row not in ("", str(row)):
            raise AnswerError(
                answer.id,
                f"{answer.id!r} must be row {row} as in the campaign, got "
                f"{answer.row}.",
            )


@contextmanager
def naming_line(path: str | Path | None, answers: Sequence[Answer]) -> Iterator[None]:
    """Turns the refusal of an answer into one with its file and line, or task.

    Raises:
        FileError: if the block refuses an answer.
    """
    try:
        yield
    except AnswerError as error:
        places = [f"{a.unit} {a.line}" for a in answers if a.id == error.id]
        if not places:  # it is of another file
            raise
        raise FileError(f"{path}: {places[-1]}: {error}") from error


@contextmanager
def naming_source(source: str | Path) -> Iterator[None]:
    """Turns a refusal of what a file or option says into one that names it.

    Raises:
        FileError: if the block raises a `ValueError` or `TypeError`.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        raise FileError(f"{source}: {error}") from error
