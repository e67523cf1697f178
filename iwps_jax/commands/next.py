"""`iwps next`: hand out the samples to label next.

    iwps next --k 50

writes them with their predicted class and an empty column `label`, best first. No
sample is handed out twice, whoever asks: several people take a batch each. What was
asked for and never answered can be handed out again:

    iwps next --unanswered
"""

import argparse
import itertools
from pathlib import Path
from typing import Any

from iwps_jax.campaign import Batch, Campaign, ask, folder, unanswered_of
from iwps_jax.campaign.state import NO_MODEL, batches_of, ids_of
from iwps_jax.commands import answering, ending
from iwps_jax.commands.parsing import add_command
from iwps_jax.files import label_studio
from iwps_jax.files.arrays import FileError
from iwps_jax.files.picks import Pick, write_picks
from iwps_jax.files.whole import write_whole

COLUMNS = ("id", "row", "score", "predicted", "confidence", "label")


def add_to(commands: Any) -> None:
    """Adds the command and its options."""
    parser = add_command(
        commands,
        "next",
        run,
        summary="hand out the samples to label next",
        description=__doc__,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--k", type=int, help="how many")
    which.add_argument(
        "--unanswered",
        action="store_true",
        help="all that were asked for and have no answer, once more",
    )
    add_output(parser)
    answering.add_campaign(parser)
    answering.add_wait(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where a batch goes."""
    parser.add_argument(
        "--out",
        type=Path,
        help="a .csv that is not there yet (default: one in the campaign's batches)",
    )
    parser.add_argument(
        "--label-studio",
        type=Path,
        metavar="FILE",
        help="also write tasks for Label Studio, a .json that is not there yet",
    )
    parser.add_argument(
        "--image-url",
        help="of their images, with {id} in it, for --label-studio",
    )


def run(options: argparse.Namespace) -> int:
    """Asks, writes, and keeps what was asked; returns the exit status."""
    return ending.status_of(lambda: _next(options))


def _next(options):
    with folder.locked(options.campaign, wait=options.wait):
        if options.unanswered:
            hand_out_again(folder.read_record(options.campaign), options)
            return
        state = folder.read(options.campaign)
        waiting = len(unanswered_of(state))
        state, _ = ask(state, options.k)
        hand_out(state, options)
    if waiting:
        print(f"{waiting} samples asked for before have no answer yet.")


def hand_out(state: Campaign, options: argparse.Namespace) -> None:
    """Writes the batch that a state ends with, and keeps that state."""
    batch, number = state.events[-1], len(state.events)
    written = _write(_picks(state, batch), options, f"{number:06}.csv")
    try:
        folder.commit(options.campaign, state)
    except BaseException:
        for path in written:  # of a batch that was not asked for
            path.unlink(missing_ok=True)
        raise
    if state.head is None:
        print("Drawn at random: no two classes are labeled yet.")
    _say(written, len(batch.rows))


def hand_out_again(state: Campaign, options: argparse.Namespace) -> None:
    """Writes what was asked for and has no answer, as it was asked for."""
    waiting = set(unanswered_of(state))
    picks = (pick for batch in batches_of(state) for pick in _picks(state, batch))
    picks = [pick for pick in picks if int(pick.row) in waiting]
    if not picks:
        raise FileError(f"{options.campaign} has no sample without an answer.")
    batches = options.campaign / folder.BATCHES
    names = (f"{len(state.events):06}-again-{i}.csv" for i in itertools.count(1))
    name = next(name for name in names if not (batches / name).exists())
    _say(_write(picks, options, name), len(picks))


def _say(written, count):
    for path in written:
        print(f"{count:,} samples, best first, in {path}")


def _picks(state: Campaign, batch: Batch) -> list[Pick]:
    classes = state.task.classes
    columns = zip(
        ids_of(state.task, batch.rows),
        batch.rows.tolist(),
        batch.scores.tolist(),
        batch.predicted.tolist(),
        batch.confidence.tolist(),
        strict=True,
    )
    return [
        Pick(id, str(row), str(score))
        if predicted == NO_MODEL
        else Pick(
            id,
            str(row),
            str(score),
            predicted=classes[predicted],
            confidence=f"{confidence:.4f}",
        )
        for id, row, score, predicted, confidence in columns
    ]


def _write(picks, options, name) -> list[Path]:
    """The files of a batch; of files that people may have filled in, none is lost."""
    if (options.label_studio is None) != (options.image_url is None):
        raise FileError("--label-studio and --image-url must be given together.")
    path = options.out or options.campaign / folder.BATCHES / name
    for given in (options.out, options.label_studio):
        if given is not None and given.exists():
            raise FileError(f"{given} must not be there yet: it may hold answers.")
    write_picks(path, picks, COLUMNS)
    if options.label_studio is None:
        return [path]
    try:
        tasks = label_studio.tasks_of(picks, options.image_url)
        write_whole(options.label_studio, tasks)
    except BaseException:
        path.unlink()
        raise
    return [path, options.label_studio]
