"""`iwps label`: take answers back and learn from them.

    iwps label answers.csv
    iwps label export.json --next 50

A .csv file has the columns id and label. A label is a class, `skip`, `unsure`, or empty
if there is no answer yet. A .json file is an export of Label Studio. If an id or a
label is impossible, the command takes nothing from the file.

A campaign that began without a holdout set and without --classes takes new names for
new classes. A name that may be a known class, misspelled, is asked about on a terminal
and refused elsewhere; --new-classes takes every name as it is. Other campaigns refuse
unknown names: `iwps classes --add NAME` adds a class.

The command refuses a file that changes earlier labels, or that answers more samples
that nobody was given than samples that wait for an answer: it may belong to another
campaign. --overwrite-labels takes it all the same, and a later answer then replaces the
earlier one.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from tyro import conf

from iwps_jax.app.campaign import (
    Answers,
    Campaign,
    ask,
    folder,
    free_rows,
    judged_by,
    measure,
    outlook,
    unanswered_of,
)
from iwps_jax.app.campaign.learn import learned
from iwps_jax.app.campaign.state import ids_of, last_answers, task_of
from iwps_jax.app.commands import batch_files, exit_status, new_classes
from iwps_jax.app.commands.answers import note_answers
from iwps_jax.app.commands.jax_settings import start_jax
from iwps_jax.app.commands.measured import sentence_of
from iwps_jax.app.files.label_studio import read_exported
from iwps_jax.app.files.picks import read_answers
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import SKIP, SKIPPED, UNSURE, UNSURED
from iwps_jax.app.options import Flag
from iwps_jax.pool.sources import PoolError
from iwps_jax.refusal import refusing
from iwps_jax.wording import plural

CHANGES_NAMED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(batch_files.Output):
    """The options of the command."""

    answers: conf.Positional[Path]
    """file of answers, .csv or .json"""
    next: Annotated[int | None, conf.arg(metavar="K")] = None
    """then hand out the next K samples, like iwps next"""
    overwrite_labels: Flag = False
    """take the file although it changes earlier labels, or mostly answers samples that
    nobody was given"""
    new_classes: Flag = False
    """take every unknown name for a new class"""
    annotator: Annotated[str, conf.arg(metavar="NAME")] = ""
    """who answered, where the file does not say so"""


class Taken(NamedTuple):
    """How many answers were taken, by kind; each is of one of the first seven.

    Attributes:
        new: labels of samples that had none.
        changed: labels of samples that had another label.
        changed_to_skip: skips of samples that had a label.
        changed_to_unsure: `unsure` for samples that had a label.
        skipped: skips of samples that had no label.
        unsure: `unsure` for samples that had no label.
        same: answers as before.
        awaited: answers to samples that waited for one.
        unasked: answers to samples that nobody was given, and that had no answer.
    """

    new: int
    changed: int
    changed_to_skip: int
    changed_to_unsure: int
    skipped: int
    unsure: int
    same: int
    awaited: int
    unasked: int

    @property
    def total(self) -> int:
        """How many answers were taken."""
        return sum(self[:7])

    @property
    def corrections(self) -> int:
        """How many of them are to samples that had another label."""
        return self.changed + self.changed_to_skip + self.changed_to_unsure


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
    start_jax(options)
    with folder.locked(
        options.campaign, wait=options.wait, outputs=batch_files.folders_of(options)
    ):
        before = folder.read_record(options.campaign)
        grown, meant = new_classes.take(
            before, options.answers, answers, takes_all=options.new_classes
        )
        noted = note_answers(grown, options.answers, meant, options.annotator)
        if noted is grown:
            raise FileError(
                f"{options.answers} must have an answer, but all are empty."
            )
        taken = _taken(before, noted)
        if not options.overwrite_labels:
            _refuse_surprise(options.answers, before, noted, taken)
        told = learned(grown, noted)
        written: Sequence[Path] = ()
        if options.next is None or not free_rows(told).any():
            folder.commit(options.campaign, before, told)
        else:
            with refusing(PoolError, MemoryError):
                state, _ = ask(told, batch_files.num_left(told, options.next))
            written = batch_files.hand_out(before, state, options)
    new_classes.say(before, told)
    print(_said(told, taken))
    if options.next is not None and not written:
        print("No sample is left to ask for.")
    batch_files.say(written)


def _taken(before: Campaign, told: Campaign) -> Taken:
    had, waiting = dict(last_answers(before)), set(unanswered_of(before))
    answers = [
        (row, label)
        for event in told.events[len(before.events) :]
        if isinstance(event, Answers)
        for row, label in zip(event.rows.tolist(), event.labels.tolist(), strict=True)
    ]
    same = sum(had.get(row) == label for row, label in answers)
    others = [(row, label) for row, label in answers if had.get(row) != label]
    first = [label for row, label in others if had.get(row, SKIPPED) < 0]
    later = [label for row, label in others if had.get(row, SKIPPED) >= 0]
    return Taken(
        sum(label >= 0 for label in first),
        sum(label >= 0 for label in later),
        later.count(SKIPPED),
        later.count(UNSURED),
        first.count(SKIPPED),
        first.count(UNSURED),
        same,
        sum(row in waiting for row, _ in answers),
        sum(row not in waiting and row not in had for row, _ in answers),
    )


def _refuse_surprise(path: Path, before: Campaign, told: Campaign, taken: Taken):
    """Refuses a file that is probably another campaign's, or an old one."""
    remedy = "--overwrite-labels takes the file all the same."
    waiting = len(unanswered_of(before))
    if taken.corrections:
        raise FileError(
            f"{path} changes {plural(taken.corrections, 'earlier label')}: "
            f"{_changes(before, told)}. {remedy}"
        )
    if taken.same == taken.total:
        step = "Take more samples with iwps next"
        if waiting:
            step = plural(
                waiting,
                "sample waits: iwps next --unanswered writes it again",
                "samples wait: iwps next --unanswered writes them again",
            )
        raise FileError(
            f"{path} has nothing new: {'all ' * (taken.same > 1)}"
            f"{plural(taken.same, 'answer is', 'answers are')} in the campaign "
            f"already. {step}."
        )
    if taken.unasked and taken.unasked >= taken.awaited:
        wait = plural(waiting, "sample that waits", "samples that wait")
        raise FileError(
            f"{path} answers {taken.awaited:,} of the {wait} for an answer, and "
            f"{taken.unasked:,} that nobody was given. Is it the file of another "
            f"campaign? {remedy}"
        )


def _changes(before: Campaign, told: Campaign) -> str:
    names = (*task_of(told).classes, UNSURE, SKIP)  # as numbers from the end
    said = []
    for event in told.events[len(before.events) :]:
        if isinstance(event, Answers) and event.previous is not None:
            ids = ids_of(told.task, event.rows)
            for id_, old, new in zip(ids, event.previous, event.labels, strict=True):
                if old >= 0:
                    said.append(f"{id_} from {names[old]} to {names[new]}")
    return ", ".join(said[:CHANGES_NAMED]) + ", ..." * (len(said) > CHANGES_NAMED)


def _said(state: Campaign, taken: Taken) -> str:
    now = outlook(state)
    withdrawn = {
        "changed to skip": taken.changed_to_skip,
        "changed to unsure": taken.changed_to_unsure,
    }
    kinds = {
        "new": taken.new,
        "changed": taken.changed,
        **{kind: count for kind, count in withdrawn.items() if count},
        "skipped": taken.skipped,
        "unsure": taken.unsure,
        "as before": taken.same,
    }
    listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    wait = plural(now.num_unanswered, "sample still waits", "samples still wait")
    lines = [
        f"Took {plural(taken.total, 'answer')}: {listed}.",
        f"Of these, {plural(taken.awaited, 'was', 'were')} for samples that waited for "
        f"an answer, and {taken.unasked:,} for samples that nobody was given. {wait}, "
        f"{plural(now.num_labeled, 'is', 'are')} labeled.",
    ]
    point = now.curve[-1]
    if point.answered:
        lines.append(
            f"The head was wrong about {point.wrong:,} of "
            f"{plural(point.answered, 'answered pick')}."
        )
    if point.holdout_accuracy is not None:
        accuracy = judged_by(state)
        lines.append(
            f"{accuracy.capitalize()} {point.holdout_accuracy:.1%}, loss "
            f"{point.holdout_loss:.3f}."
        )
    if (measured := measure(state)) is not None:
        lines.append(f"{sentence_of(measured)}.")
    return "\n".join(lines)
