"""`iwps status`: show how a campaign stands, and whether to keep labeling.

    iwps status

This shows the learning curve, how often the head was wrong about the picks, the number
of labels of each class, how many samples wait for an answer, and a hint when more
labels no longer pay.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from tyro import conf

from iwps_jax.app.campaign import Campaign, Outlook, Point, folder, outlook
from iwps_jax.app.campaign.learn import final_head, refitted
from iwps_jax.app.campaign.state import task_of
from iwps_jax.app.commands import answers, exit_status
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.atomic_write import write_arrays_atomically, write_atomically

LINES = 40  # of the learning curve at most


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
    now = outlook(state)
    print(f"{options.campaign}: {_text(state, now)}")
    if options.json is not None:
        told = now._asdict() | {
            "curve": [point._asdict() for point in now.curve],
            "labels_per_class": dict(
                zip(task_of(state).classes, now.labels_per_class.tolist(), strict=True)
            ),
        }
        write_atomically(options.json, json.dumps(told, indent=1, ensure_ascii=False))
    if options.head is None and options.judged_head is None:
        return
    state = refitted(state)
    if options.head is not None:
        _write_head(options.head, state, final_head(state))
    if options.judged_head is not None:
        _write_head(options.judged_head, state, state.head)


def _text(state: Campaign, now: Outlook) -> str:
    lines = [
        f"{len(state.task.pool):,} samples, {now.num_labeled:,} labeled, "
        f"{now.num_skipped:,} skipped, {now.num_unsure:,} unsure, "
        f"{now.num_unanswered:,} waiting for an answer, {now.num_left:,} left; method "
        f"{task_of(state).method}",
        "",
        "labels  holdout accuracy  holdout loss  wrong picks",
    ]
    for point in _shown(now.curve):
        accuracy, loss, wrong = "-", "-", "-"
        if point.holdout_accuracy is not None:
            accuracy = f"{point.holdout_accuracy:.1%}"
            loss = f"{point.holdout_loss:.3f}"
        if point.answered:
            share = point.wrong / point.answered
            wrong = f"{point.wrong} of {point.answered} ({share:.0%})"
        lines.append(f"{point.num_labeled:6,}  {accuracy:>16}  {loss:>12}  {wrong}")
    named = zip(task_of(state).classes, now.labels_per_class.tolist(), strict=True)
    lines += [
        "",
        "labels of each class: " + "; ".join(f"{name}: {n}" for name, n in named),
        now.hint,
    ]
    return "\n".join(lines)


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
