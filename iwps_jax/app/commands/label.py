"""`iwps label`: take answers back and learn from them.

    iwps label answers.csv
    iwps label export.json --next 50

A .csv file has the columns id and label. A label is a class, `skip`, or empty if there
is no answer yet. A .json file is an export of Label Studio. A later answer to the same
sample replaces the earlier one. If an id or a label is impossible, the command takes
nothing from the file.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro import conf

from iwps_jax.app.campaign import (
    Campaign,
    ask,
    folder,
    free_rows,
    outlook,
    unanswered_of,
)
from iwps_jax.app.campaign.state import answers_of
from iwps_jax.app.commands import batch_files, exit_status
from iwps_jax.app.commands.answers import take_answers
from iwps_jax.app.commands.processes import use_all_cores
from iwps_jax.app.files.arrays import FileError
from iwps_jax.app.files.label_studio import read_exported
from iwps_jax.app.files.picks import read_answers
from iwps_jax.pool.sources import PoolError
from iwps_jax.refusal import refusing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(batch_files.Output):
    """The options of the command."""

    answers: conf.Positional[Path]
    """file of answers, .csv or .json"""
    next: Annotated[int | None, conf.arg(metavar="K")] = None
    """then hand out the next K samples, like iwps next"""


def run(options: Options) -> int:
    """Takes all answers or none; returns the exit status."""
    return exit_status.run(lambda: _label(options))


def _label(options: Options) -> None:
    if options.next is not None:
        batch_files.check_output(options)
    elif (options.out, options.label_studio, options.image_url) != (None,) * 3:
        raise FileError("--out, --label-studio and --image-url need --next.")
    is_json = options.answers.suffix.lower() == ".json"
    answers = (read_exported if is_json else read_answers)(options.answers)
    use_all_cores()
    with folder.locked(options.campaign, wait=options.wait):
        before = folder.read_record(options.campaign)
        told = take_answers(before, options.answers, answers)
        if told is before:
            raise FileError(
                f"{options.answers} must have an answer, but all are empty."
            )
        if options.next is None or not free_rows(told).any():
            folder.commit(options.campaign, before, told)
            written: Sequence[Path] = ()
        else:
            with refusing(PoolError, MemoryError):
                state, _ = ask(told, batch_files.num_left(told, options.next))
            written = batch_files.hand_out(before, state, options)
    print(_said(before, told))
    if options.next is not None and not written:
        print("No sample is left to ask for.")
    batch_files.say(written)


def _said(before: Campaign, state: Campaign) -> str:
    told = answers_of(state)[-1]
    skipped = int((told.labels < 0).sum())
    now = outlook(state)
    asked = len(unanswered_of(before)) - now.num_unanswered
    lines = [
        f"Took {len(told.rows) - skipped} labels and {skipped} skips, {asked} of them "
        f"for samples that waited for an answer; {now.num_unanswered} samples still "
        f"wait, {now.num_labeled} are labeled."
    ]
    point = now.curve[-1]
    if point.answered:
        lines.append(
            f"The head was wrong about {point.wrong} of {point.answered} answered "
            "picks."
        )
    if point.holdout_accuracy is not None:
        lines.append(
            f"Holdout accuracy {point.holdout_accuracy:.1%}, loss "
            f"{point.holdout_loss:.3f}."
        )
    return "\n".join(lines)
