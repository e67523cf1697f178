"""What the commands of a campaign share: its folder, and files of answers."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from tyro import conf

from iwps_jax.app.campaign import Campaign
from iwps_jax.app.campaign.learn import note
from iwps_jax.app.files.picks import Answer
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import AnswerError, rows_of, whole
from iwps_jax.app.options import Options


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfCampaign(Options):
    """The option that names the campaign."""

    campaign: Annotated[Path, conf.arg(metavar="DIR")] = Path("campaign")
    """folder of the campaign"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changing(OfCampaign):
    """The options of commands that change the campaign."""

    wait: Annotated[float, conf.arg(metavar="SECONDS")] = 600.0
    """how long to wait for another command that changes the campaign; it may be
    reading the whole pool"""


def note_answers(
    state: Campaign, path: Path | None, answers: Sequence[Answer], annotator: str = ""
) -> Campaign:
    """The state after the answers of a file, all or none; no head is fitted to them.

    Args:
        state: of the campaign.
        path: the file.
        answers: in it.
        annotator: who answered, where the file does not say so.

    Raises:
        FileError: if one cannot be taken; names the file and the line, or task.
    """
    with naming_line(path, answers):
        _require_same_rows(state.task, answers)
        return note(
            state,
            [answer.id for answer in answers],
            [answer.label for answer in answers],
            annotator=[answer.annotator or annotator for answer in answers],
        )


def _require_same_rows(task, answers):
    """Refuses a file whose ids are another pool's, where it says their rows."""
    rows = rows_of(task.ids, len(task.pool), [a.id for a in answers])
    for answer, row in zip(answers, rows.tolist(), strict=True):
        if whole(answer.row) not in ("", str(row)):
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
