"""The state of a campaign: its learning curve, and a hint when to stop."""

from typing import NamedTuple

import numpy as np

from iwps_jax import methods
from iwps_jax.app.campaign.control import training_labels
from iwps_jax.app.campaign.events import NO_MODEL, Answers, Batch
from iwps_jax.app.campaign.state import (
    RECOMMENDED,
    Campaign,
    counts_as,
    free_rows,
    holdout_of,
    labels_of,
    skipped_of,
    task_of,
    unanswered_of,
    unsure_of,
)

RECENT = 50  # answered picks that a hint needs and uses
FLAT = 0.01  # a smaller gain in holdout accuracy counts as none
Z = 1.96  # of a 95 % interval


class Point(NamedTuple):
    """The campaign after some answers.

    Attributes:
        num_labeled: number of labeled rows.
        holdout_accuracy: accuracy on the holdout set, or cross-validated where there
            is none, see `LinearProbe`; None without a head.
        holdout_loss: loss likewise, in nats; None without a head.
        answered: number of the head's picks among these answers.
        wrong: number of these picks whose prediction was wrong.
    """

    num_labeled: int
    holdout_accuracy: float | None
    holdout_loss: float | None
    answered: int
    wrong: int


class Outlook(NamedTuple):
    """The state of a campaign, and a hint whether to continue.

    Attributes:
        curve: a point for each set of answers.
        num_labeled: number of labeled rows.
        num_skipped: number of skipped rows.
        num_unsure: number of rows of which people could not decide the class.
        num_unanswered: number of rows that were asked for and have no answer.
        num_left: number of rows that the campaign may still ask for.
        labels_per_class: [classes], labels of each class.
        recent: number of the head's last answered picks, on which the hint is based.
        recent_wrong: number of them whose prediction was wrong.
        wrong_interval: 95 % interval of their wrong-rate (Wilson); None without picks.
        hint: one sentence.
    """

    curve: tuple[Point, ...]
    num_labeled: int
    num_skipped: int
    num_unsure: int
    num_unanswered: int
    num_left: int
    labels_per_class: np.ndarray
    recent: int
    recent_wrong: int
    wrong_interval: tuple[float, float] | None
    hint: str


def judged_by(state: Campaign) -> str:
    """Which accuracy `Point.holdout_accuracy` is, as a table's heading."""
    has_holdout = len(holdout_of(state).labels) > 0
    return "holdout accuracy" if has_holdout else "cross-validated accuracy"


def outlook(state: Campaign) -> Outlook:
    """The state of a campaign before the next batch.

    The hint compares the wrong-rate of the last `RECENT` answered picks with the error
    on the holdout set, or with the cross-validated error where there is none. It
    advises to stop if these picks are wrong no more often, so that they are no better
    than random picks, and if the accuracy has risen by less than `FLAT` over the same
    answers.
    """
    curve, wrongs = _curve(state)
    recent = wrongs[-RECENT:]
    labels = np.array(list(labels_of(state).values()), int)
    interval = wilson(sum(recent), len(recent)) if recent else None
    return Outlook(
        curve,
        len(labels),
        len(skipped_of(state)),
        len(unsure_of(state)),
        len(unanswered_of(state)),
        int(free_rows(state).sum()),
        np.bincount(labels, minlength=len(task_of(state).classes)),
        len(recent),
        sum(recent),
        interval,
        _hint(state, curve, recent, interval),
    )


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % confidence interval of a rate, from `count` of `total`.

        (p + z²/2n ± z √(p (1 - p) / n + z²/4n²)) / (1 + z²/n)

    References:
        Wilson 1927, "Probable inference, the law of succession, and statistical
        inference".
    """
    share, unit = count / total, Z**2 / total
    middle = share + unit / 2
    half = Z * np.sqrt(share * (1 - share) / total + unit / (4 * total))
    return (
        float(max(0.0, (middle - half) / (1 + unit))),
        float(min(1.0, (middle + half) / (1 + unit))),
    )


def _curve(state) -> tuple[tuple[Point, ...], list[bool]]:
    """The points, and for each answered pick of a head whether it was wrong.

    A pick counts at its first answer, but with its current label, so a corrected
    mistake does not count.
    """
    labels = labels_of(state)
    target = counts_as(state).tolist()
    predicted: dict[int, int] = {}
    points: list[Point] = []
    wrongs: list[bool] = []
    before = None
    for event in state.events:
        if isinstance(event, Batch):
            if methods.row_of(event.method).needs:  # else no prediction chose them
                of_head = zip(
                    event.rows.tolist(), event.predicted.tolist(), strict=True
                )
                predicted.update((r, target[p]) for r, p in of_head if p != NO_MODEL)
        elif isinstance(event, Answers):
            answered = [row for row in event.rows.tolist() if row in predicted]
            told = {row: predicted.pop(row) for row in answered if row in labels}
            of_these = [labels[row] != prediction for row, prediction in told.items()]
            wrongs += of_these
            point = Point(
                event.num_labeled,
                event.holdout_accuracy,
                event.holdout_loss,
                len(of_these),
                sum(of_these),
            )
            if _is_of_same_command(before, event):
                point = point._replace(
                    answered=point.answered + points[-1].answered,
                    wrong=point.wrong + points[-1].wrong,
                )
                points.pop()
            points.append(point)
        before = event
    return tuple(points), wrongs


def _is_of_same_command(before, event) -> bool:
    """Whether a file of answers became both events: people, and what they corrected."""
    return (
        isinstance(before, Answers)
        and before[2:5] == event[2:5]
        and (before.annotator, before.previous is None)
        != (event.annotator, event.previous is None)
    )


def _hint(state, curve, recent, interval) -> str:
    if len({*training_labels(state).values()}) < 2:
        return "Label two classes or more: until then picks cover the pool."
    if not free_rows(state).any():
        return "Every sample is labeled, skipped or asked for."
    name = task_of(state).method
    if name != RECOMMENDED and not methods.row_of(name).needs:
        return "No hint: how often random picks are wrong does not say when to stop."
    if len(recent) < RECENT:
        return (
            f"Keep labeling: the first hint comes after {RECENT} answered picks, so "
            f"far there are {len(recent)}."
        )
    if curve[-1].holdout_accuracy is None:
        return "Keep labeling: each class needs two labels to judge the model by."
    error = 1 - curve[-1].holdout_accuracy
    has_holdout = len(holdout_of(state).labels) > 0
    judges = "holdout set" if has_holdout else "labeled samples, cross-validated"
    share = sum(recent) / len(recent)
    said = (
        f"the model was wrong on {sum(recent)} of the last {len(recent)} picks "
        f"({share:.0%}, 95% interval {interval[0]:.0%} to {interval[1]:.0%}) and on "
        f"{error:.1%} of the {judges}"
    )
    gain = _gain_over_recent(curve, len(recent))
    gained = f"the {judged_by(state)} moved by {gain:+.1%} over these picks"
    if interval[0] > error and gain >= FLAT:
        return f"Keep labeling: {said}; {gained}."
    if share <= error and gain < FLAT:
        return f"Consider stopping: {said}; {gained}."
    return f"Undecided: {said}; {gained}."


def _gain_over_recent(curve, count) -> float:
    """The gain in accuracy over the answers that contain the last `count` picks."""
    before = 0
    for i in range(len(curve) - 1, 0, -1):
        before += curve[i].answered
        if before >= count and curve[i - 1].holdout_accuracy is not None:
            return curve[-1].holdout_accuracy - curve[i - 1].holdout_accuracy
    first = next(p for p in curve if p.holdout_accuracy is not None)
    return curve[-1].holdout_accuracy - first.holdout_accuracy
