"""`iwps status`: show how a campaign stands, and whether to keep labeling.

    iwps status

This shows how often the model is right, by the control rows, with an exact 95 %
interval; the learning curve; how often the model was wrong about the picks; the number
of labels of each class; how many samples wait for an answer; a hint when more labels no
longer pay; and the next command.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from tyro import conf

from iwps_jax.app.campaign import (
    RECOMMENDED,
    Campaign,
    Measured,
    Outlook,
    Point,
    folder,
    judged_by,
    measure,
    open_classes,
    outlook,
)
from iwps_jax.app.campaign.control import (
    PURPOSE,
    control_labels,
    training_labels,
)
from iwps_jax.app.campaign.learn import final_head, refitted
from iwps_jax.app.campaign.state import (
    batches_of,
    counts_as,
    holdout_of,
    last_answers,
    task_of,
)
from iwps_jax.app.commands import answers, exit_status
from iwps_jax.app.commands.measured import sentence_of
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import SKIPPED, some_of
from iwps_jax.atomic_write import write_arrays_atomically, write_atomically
from iwps_jax.wording import plural

LINES = 40  # of the learning curve at most
FEW = 5
"""Classes with fewer labels are named."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(answers.OfCampaign):
    """The options of the command."""

    writes: ClassVar = ("json", "head", "judged_head")
    json: Annotated[Path | None, conf.arg(metavar="FILE")] = None
    """also write the status as JSON"""
    head: Annotated[Path | None, conf.arg(metavar="FILE")] = None
    """also write the final head as an .npz file: it has learned all labels, those of
    the holdout set as well"""
    judged_head: Annotated[Path | None, conf.arg(metavar="FILE")] = None
    """also write the head that has not learned the holdout set, for iwps score with
    --holdout"""


def run(options: Options) -> int:
    """Prints, and writes what is asked for; returns the exit status."""
    return exit_status.run(lambda: _status(options))


def _status(options: Options) -> None:
    state = folder.read_record(options.campaign)
    if control_labels(state) or options.head or options.judged_head:
        state = refitted(state)
    now, measured = outlook(state), measure(state)
    print(f"{options.campaign}: {_text(state, now, measured)}")
    if options.json is not None:
        told = now._asdict() | {
            "measured": None if measured is None else measured._asdict(),
            "accuracy_is": judged_by(state),
            "curve": [point._asdict() for point in now.curve],
            "labels_per_class": dict(
                zip(task_of(state).classes, now.labels_per_class.tolist(), strict=True)
            ),
        }
        write_atomically(options.json, json.dumps(told, indent=1, ensure_ascii=False))
    if options.head is not None:
        _write_head(options.head, state, final_head(state))
    if options.judged_head is not None:
        _write_head(options.judged_head, state, state.head)


def _text(state: Campaign, now: Outlook, measured: Measured | None) -> str:
    judges, width = judged_by(state), len(judged_by(state))
    lines = [
        f"{plural(len(state.task.pool), 'sample')}, {now.num_labeled:,} labeled, "
        f"{now.num_skipped:,} skipped, {now.num_unsure:,} unsure, {_retired(state)}"
        f"{now.num_unanswered:,} waiting for an answer, {now.num_left:,} left; "
        f"{_method(state)}",
        "",
        _accuracy(state, now, measured),
        "",
        f"labels  {judges}  loss   wrong picks",
    ]
    for point in _shown(now.curve):
        accuracy, loss, wrong = "-", "-", "-"
        if point.holdout_accuracy is not None:
            accuracy = f"{point.holdout_accuracy:.1%}"
            loss = f"{point.holdout_loss:.3f}"
        if point.answered:
            share = point.wrong / point.answered
            wrong = f"{point.wrong} of {point.answered} ({share:.0%})"
        lines.append(f"{point.num_labeled:6,}  {accuracy:>{width}}  {loss:>5}  {wrong}")
    numbers = now.labels_per_class.tolist()
    all_counts = dict(zip(task_of(state).classes, numbers, strict=True))
    counts = {name: all_counts[name] for name in open_classes(state)}
    if counts:
        listed = "; ".join(f"{name}: {n}" for name, n in counts.items())
        lines += ["", f"labels of each class: {listed}"]
    few = [name for name, n in counts.items() if n < FEW]
    if few:
        lines.append(f"fewer than {FEW} labels: {some_of(few)}")
    return "\n".join([*lines, "", now.hint, _next_step(now)])


def _retired(state: Campaign) -> str:
    """The rows whose class was retired, if there are some."""
    target = counts_as(state)
    given = np.array([c for _, c in last_answers(state) if c >= 0], int)
    number = int((target[given] == SKIPPED).sum())
    return f"{number:,} of retired classes, " if number else ""


def _method(state: Campaign) -> str:
    name = task_of(state).method
    if name != RECOMMENDED:
        return f"method {name}"
    picked = [b.method for b in batches_of(state) if b.purpose != PURPOSE]
    return f"method {name}" + (f", last {picked[-1]}" if picked else "")


def _accuracy(state: Campaign, now: Outlook, measured: Measured | None) -> str:
    """How often the model is right, as one or two sentences."""
    if measured is not None:
        return f"{sentence_of(measured)}."
    accuracy = now.curve[-1].holdout_accuracy if now.curve else None
    if accuracy is None or len({*training_labels(state).values()}) < 2:
        return "How often the model is right is not known yet."
    if len(holdout_of(state).labels):
        return f"The model is right on {accuracy:.1%} of the holdout set."
    return (
        f"The model is right on {accuracy:.1%} of the labeled samples in "
        "cross-validation. These were not drawn at random: in the pool it may be right "
        "more or less often."
    )


def _next_step(now: Outlook) -> str:
    if now.num_unanswered:
        return (
            "Next: answer the samples that wait, then iwps label FILE; iwps next "
            "--unanswered writes them again."
        )
    if now.num_left:
        return "Next: iwps next --k 20"
    if np.count_nonzero(now.labels_per_class) > 1:
        return "Next: iwps predict --out labels.csv"
    return "Only one class has labels: there is nothing to predict."


def _shown(curve: Sequence[Point]) -> list[Point]:
    """At most `LINES` points, each for the answers since the one before."""
    size = max(1, math.ceil(len(curve) / LINES))
    parts = [curve[max(0, end - size) : end] for end in range(len(curve), 0, -size)]
    return [
        part[-1]._replace(
            answered=sum(point.answered for point in part),
            wrong=sum(point.wrong for point in part),
        )
        for part in reversed(parts)
    ]


def _write_head(path, state, head):
    if head is None:
        raise FileError("there is no head before two classes are labeled.")
    kernel, bias = state.task.scaling.unscaled(head.kernel, head.bias)
    write_arrays_atomically(path, {"kernel": kernel, "bias": bias})
    print(f"Head for the features of the pool: {path}")
