"""`iwps label`: take answers back and learn from them.

    iwps label answers.csv
    iwps label export.json --next 50

A .csv has columns id and label: a class, `skip`, or nothing where there is no answer
yet; a .json is an export of Label Studio. A later answer to the same sample overrules
the earlier one. If any id or label is impossible, nothing of the file is taken.
"""

import argparse
from pathlib import Path

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
from iwps_jax.app.commands.answers import add_campaign, add_wait, take_answers
from iwps_jax.app.commands.processes import use_all_cores
from iwps_jax.app.files.arrays import FileError
from iwps_jax.app.files.label_studio import read_exported
from iwps_jax.app.files.picks import read_answers


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.add_argument("answers", type=Path, help=".csv or .json")
    parser.add_argument(
        "--next", type=int, metavar="K", help="then hand out the next K, as iwps next"
    )
    batch_files.add_output(parser)
    add_campaign(parser)
    add_wait(parser)


def run(options: argparse.Namespace) -> int:
    """Takes all answers or none; returns the exit status."""
    return exit_status.run(lambda: _label(options))


def _label(options):
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
            raise FileError(f"{options.answers} must have an answer, all are empty.")
        if options.next is None or not free_rows(told).any():
            folder.commit(options.campaign, before, told)
            written = ()
        else:
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
        f"{len(told.rows) - skipped} labels and {skipped} skips taken, {asked} of "
        f"samples that waited for an answer; {now.num_unanswered} still wait, "
        f"{now.num_labeled} samples are labeled."
    ]
    point = now.curve[-1]
    if point.answered:
        lines.append(f"The head was wrong about {point.wrong} of {point.answered}.")
    if point.holdout_accuracy is not None:
        lines.append(
            f"Holdout accuracy {point.holdout_accuracy:.1%}, loss "
            f"{point.holdout_loss:.3f}."
        )
    return "\n".join(lines)
