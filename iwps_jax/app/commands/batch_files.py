"""Batches as files: what `iwps next` and `iwps label --next` hand out."""

import dataclasses
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from tyro import conf

from iwps_jax.app.campaign import Batch, Campaign, folder, free_rows, unanswered_of
from iwps_jax.app.campaign.state import NO_MODEL, batches_of, ids_of
from iwps_jax.app.commands import answers
from iwps_jax.app.files import label_studio
from iwps_jax.app.files.arrays import FileError
from iwps_jax.app.files.picks import Pick, as_text, write_picks
from iwps_jax.atomic_write import write_atomically

COLUMNS = ("id", "row", "score", "predicted", "confidence", "label")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output(answers.Changing):
    """The options of commands that hand out a batch: the campaign, and where to."""

    out: Path | None = None
    """a new .csv file (default: one in the folder batches of the campaign)"""
    label_studio: Annotated[Path | None, conf.arg(metavar="FILE")] = None
    """also write tasks for Label Studio to a new .json file"""
    image_url: Annotated[str | None, conf.arg(metavar="URL")] = None
    """URL of the images for --label-studio, with {id} in place of the id"""


def check_output(options: Output) -> None:
    """Refuses what cannot be written, before the work for it is done.

    Raises:
        FileError: if a file is there, which may hold answers, or its folder is not; if
            both files are one; or if tasks have no images.
    """
    if (options.label_studio is None) != (options.image_url is None):
        raise FileError("--label-studio and --image-url must be given together.")
    if options.image_url is not None:
        label_studio.require_id(options.image_url)
    given = [path for path in (options.out, options.label_studio) if path is not None]
    if len({os.path.realpath(path) for path in given}) < len(given):
        raise FileError(
            f"--out and --label-studio must differ, but both are {given[0]}."
        )
    for path in given:
        if path.exists() or path.is_symlink():
            raise FileError(f"{path} must be a new file: the old one may hold answers.")
        if not path.parent.is_dir():
            raise FileError(f"{path} must be in a folder that exists.")


def num_left(state: Campaign, k: int) -> int:
    """k, or as many samples as may still be asked for, where they are fewer."""
    left = int(free_rows(state).sum())
    if k > left > 0:
        print(f"Only {left} samples are left.")
        return left
    return k


def hand_out(before: Campaign, state: Campaign, options: Output) -> Sequence[Path]:
    """Writes the batch that `state` ends with, and keeps its events since `before`.

    The files come first: a batch that is asked for is there to be labeled.

    Returns:
        The files.

    Raises:
        OSError: if something cannot be written; no event and no file is there then.
    """
    batch = batches_of(state)[-1]
    name = f"{len(state.events):06}"
    written = _write(picks_of(state, batch), options, name)
    try:
        folder.commit(options.campaign, before, state)
    except Exception:
        _remove(written)
        raise
    return written


def hand_out_again(state: Campaign, options: Output) -> Sequence[Path]:
    """Writes what was asked for and has no answer, as it was asked for.

    Raises:
        FileError: if there is none.
    """
    waiting = set(unanswered_of(state))
    asked = (pick for batch in batches_of(state) for pick in picks_of(state, batch))
    picks = [pick for pick in asked if int(pick.row) in waiting]
    if not picks:
        raise FileError(f"{options.campaign} has no sample without an answer.")
    return _write(picks, options, f"{len(state.events):06}-again")


def say(written: Iterable[Path]) -> None:
    """Tells where a batch is."""
    for path in written:
        print(f"Samples to label, best first: {path}")


def picks_of(state: Campaign, batch: Batch) -> list[Pick]:
    """The lines of a batch's file, their labels empty."""
    classes = state.task.classes
    columns = zip(
        ids_of(state.task, batch.rows),
        batch.rows.tolist(),
        map(as_text, batch.scores),
        batch.predicted.tolist(),
        batch.confidence.tolist(),
        strict=True,
    )
    return [
        Pick(id, str(row), score)
        if predicted == NO_MODEL
        else Pick(
            id,
            str(row),
            score,
            predicted=classes[predicted],
            confidence=f"{confidence:.4f}",
        )
        for id, row, score, predicted, confidence in columns
    ]


def _write(picks, options: Output, name) -> list[Path]:
    batches = options.campaign / folder.BATCHES
    batches.mkdir(exist_ok=True)  # some tools do not keep empty folders
    path = options.out or _free(batches, name)
    write_picks(path, picks, COLUMNS)
    if options.label_studio is None or options.image_url is None:
        return [path]
    try:
        tasks = label_studio.tasks_of(picks, options.image_url)
        write_atomically(options.label_studio, tasks)
    except Exception:
        _remove([path])
        raise
    return [path, options.label_studio]


def _free(batches, name) -> Path:
    """A file that is not there: one of a killed command may have been filled in."""
    names = (f"{name}{suffix}.csv" for suffix in _suffixes())
    return next(batches / name for name in names if not (batches / name).exists())


def _suffixes():
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))


def _remove(paths):
    for path in paths:
        path.unlink(missing_ok=True)
