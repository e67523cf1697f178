"""Batches as files: what `iwps next` and `iwps label --next` hand out."""

import dataclasses
import itertools
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from tyro import conf

from iwps_jax.app.campaign import Batch, Campaign, folder, free_rows, unanswered_of
from iwps_jax.app.campaign.control import handed_out
from iwps_jax.app.campaign.events import NO_MODEL, Reissue
from iwps_jax.app.campaign.journal import share
from iwps_jax.app.campaign.state import ids_of, task_of
from iwps_jax.app.commands import answers, batch_columns
from iwps_jax.app.commands.jax_settings import Computing
from iwps_jax.app.files import label_studio
from iwps_jax.app.files.picks import Pick, as_text
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.atomic_write import create_atomically
from iwps_jax.wording import plural

COLUMNS = ("id", "row", "score", "predicted", "confidence", "label")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output(answers.Changing, Computing):
    """The options of commands that hand out a batch: the campaign, and where to."""

    writes: ClassVar = ("out", "label_studio")
    out: Path | None = None
    """a new .csv file (default: one in the folder batches of the campaign)"""
    label_studio: Annotated[Path | None, conf.arg(metavar="FILE")] = None
    """also write tasks for Label Studio to a new .json file"""
    image_url: Annotated[str | None, conf.arg(metavar="URL")] = None
    """URL of the images for --label-studio, with {id} in place of the id"""


def check_output(options: Output) -> None:
    """Refuses what cannot be written, before the work for it is done.

    Raises:
        FileError: if a file is there, which may hold answers, or its folder is not, or
            may not be written to; or if tasks have no images.
    """
    if (options.label_studio is None) != (options.image_url is None):
        raise FileError("--label-studio and --image-url must be given together.")
    if options.image_url is not None:
        label_studio.require_id(options.image_url)
    given = [path for path in (options.out, options.label_studio) if path is not None]
    for path in given:
        if path.exists() or path.is_symlink():
            raise FileError(f"{path} must be a new file: the old one may hold answers.")
        if not path.parent.is_dir():
            raise FileError(f"{path} must be in a folder that exists.")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise FileError(f"{path} must be in a folder that you may write to.")


def folders_of(options: Output) -> list[Path]:
    """The folders outside the campaign to which the command writes."""
    return [path.parent for path in (options.out, options.label_studio) if path]


def num_left(state: Campaign, k: int) -> int:
    """k, or as many samples as may still be asked for, where they are fewer."""
    left = int(free_rows(state).sum())
    if k > left > 0:
        print(f"Only {plural(left, 'sample is', 'samples are')} left.")
        return left
    return k


def hand_out(before: Campaign, state: Campaign, options: Output) -> Sequence[Path]:
    """Keeps the events since `before`, then writes what `state` has handed out last.

    The events come first: nobody is given a batch that the campaign does not know.

    Returns:
        The files.

    Raises:
        FileError: if a file cannot be written; the message says how to write it again.
        OSError: if no event can be written; the campaign is unchanged then.
    """
    picks = picks_of(state, handed_out(state)[-1])
    return _commit_and_write(before, state, options, picks, "")


def hand_out_again(before: Campaign, options: Output) -> Sequence[Path]:
    """Writes what was asked for and has no answer, as it was asked for.

    Raises:
        FileError: if there is none, or a file cannot be written.
        OSError: see `hand_out`.
    """
    waiting = set(unanswered_of(before))
    asked = {
        pick.row: pick
        for places in handed_out(before)
        for pick in picks_of(before, places)
        if int(pick.row) in waiting
    }
    if not asked:
        raise FileError(f"{options.campaign} has no sample without an answer.")
    picks = [*asked.values()]
    again = Reissue(np.array([int(pick.row) for pick in picks]))
    state = before._replace(events=(*before.events, again))
    return _commit_and_write(before, state, options, picks, "-again")


def say(written: Iterable[Path]) -> None:
    """Tells where a batch is."""
    for path in written:
        print(f"Samples to label, best first: {path}")
        if path.suffix.lower() == ".csv":
            name = shlex.quote(str(path))
            print(
                f"Next: fill in its column label, by iwps show {name} or in a "
                f"spreadsheet; then iwps label {name}"
            )


def picks_of(state: Campaign, places: Sequence[tuple[Batch, int]]) -> list[Pick]:
    """The lines of a file, their labels empty."""
    return [_pick_at(state, *place, task_of(state).classes) for place in places]


def _pick_at(state, batch, at, classes) -> Pick:
    (id_,), row = ids_of(state.task, batch.rows[at : at + 1]), str(batch.rows[at])
    pick = Pick(id_, row, as_text(batch.scores[at]))
    predicted = int(batch.predicted[at])
    if predicted == NO_MODEL:
        return pick
    confidence = f"{batch.confidence[at]:.4f}"
    return pick._replace(predicted=classes[predicted], confidence=confidence)


def _commit_and_write(before, state, options: Output, picks, suffix) -> list[Path]:
    check_output(options)  # again, since another command may have written there
    batches = options.campaign / folder.BATCHES
    batches.mkdir(exist_ok=True)  # some tools do not keep empty folders
    path = options.out or _free(batches, f"{len(state.events):06}{suffix}")
    more = batch_columns.columns_of(options.campaign, len(state.task.pool), picks)
    texts = {path: batch_columns.text_of(picks, COLUMNS, more)}
    if options.label_studio is not None and options.image_url is not None:
        tasks = label_studio.tasks_of(picks, options.image_url)
        texts[options.label_studio] = tasks
    folder.commit(options.campaign, before, state)
    for path, text in texts.items():
        try:
            create_atomically(path, text)
            if path.parent == batches:
                share(path)
        except OSError as error:
            raise FileError(
                f"{path}: {error.strerror}. The campaign keeps the samples: iwps next "
                "--unanswered writes all that have no answer."
            ) from error
    return [*texts]


def _free(batches, name) -> Path:
    """A file that is not there: that of an earlier command may have been filled in."""
    names = (f"{name}{suffix}.csv" for suffix in _suffixes())
    return next(batches / name for name in names if not (batches / name).exists())


def _suffixes():
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))
