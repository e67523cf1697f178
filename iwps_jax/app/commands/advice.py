"""Which method to use, and what in the given files may spoil it.

One table decides for all commands: `iwps_jax.recommendations`. All else that `iwps
check` says follows from the numbers of the given files alone.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from iwps_jax import methods
from iwps_jax.recommendations import recommend
from iwps_jax.refusal import printable
from iwps_jax.types import AnyArray, Head, Holdout
from iwps_jax.wording import plural

FEWEST = 5
"""The fewest holdout samples of a class that `check` and `init` do not warn of."""
ALIKE = 0.99
"""The rank correlation from which on `check` says that the cheaper form will do."""


class Advice(NamedTuple):
    """What to do.

    Attributes:
        method: the one to use; None if nothing can be told.
        reason: why.
        warnings: what may spoil it.
    """

    method: str | None
    reason: str
    warnings: list[str]


def advise(
    *,
    predicted: Int[AnyArray, " classes"] | None,
    holdout: Int[AnyArray, " classes"] | None,
    classes: Sequence[str],
    has_labels: bool = False,
    warnings: Sequence[str] = (),
    agreement: float | None = None,
    is_of_draws: bool = False,
) -> Advice:
    """The recommended method, and what the files' own numbers say about it.

    Args:
        predicted: how many rows of the pool are predicted of each class; None without
            predictions, that is without a head and logits.
        holdout: samples of the holdout set of each class; None if there is none to
            judge by features.
        classes: their names.
        has_labels: whether labels of other samples are there.
        warnings: those about the head.
        agreement: the rank correlation of IWPS and IWPS-app on a sample of the pool.
        is_of_draws: whether the logits are those of several dropout masks.
    """
    missing = [] if holdout is None else holdout_warnings(holdout, classes)
    warnings = [*missing, *warnings]
    if is_of_draws:
        names = [row.name for row in methods.ROWS.values() if "draws" in row.needs]
        reason = f"logits of several dropout masks are for {', '.join(names)}."
        return Advice(None, reason, warnings)
    if predicted is None:
        reason = "give --pool with --head, or --logits, to get a recommendation."
        return Advice(None, reason, warnings)
    others = ["holdout"] * (holdout is not None) + ["labels"] * has_labels
    recommended = recommend(["head", *others])
    ratio = imbalance(predicted)
    reason = recommended.reason + (
        " In a sample of the pool the class that is predicted most often has "
        f"{ratio:.3g} times as many rows as the class that is predicted least often."
    )
    if agreement is not None and agreement >= ALIKE:
        reason += (
            " If iwps takes too long, take iwps_app: it orders the sample alike (rank "
            f"correlation {agreement:.3f}) and is cheaper."
        )
    return Advice(recommended.method, reason, warnings)


def imbalance(counts: Int[AnyArray, " classes"]) -> float:
    """How many times the smallest count the largest is; a count of 0 is taken as 1.

    Example:
        >>> imbalance(np.array([40, 10, 20]))
        4.0
    """
    counts = np.asarray(counts)
    return float(counts.max() / max(counts.min(), 1))


def is_near_chance(accuracy: float, counts: Any) -> bool:
    """Whether two standard errors bring the accuracy down to that of one fixed class.

    Args:
        accuracy: share of the holdout set.
        counts: its samples of each class.

    Example:
        >>> is_near_chance(0.3, [25, 25, 25, 25]), is_near_chance(0.4, [25] * 4)
        (True, False)
    """
    counts = np.asarray(counts)
    error = np.sqrt(accuracy * (1 - accuracy) / counts.sum())
    return bool(accuracy - 2 * error <= counts.max() / counts.sum())


def warn(warnings: Sequence[str]) -> None:
    """Tells people what may spoil the result, beside what the command prints."""
    for text in warnings:
        print(printable(f"Warning: {text}"), file=sys.stderr)


def head_warnings(head: Head | None, holdout: Holdout | None) -> list[str]:
    """Why a head that is near chance on its holdout set may be so; or nothing.

    Args:
        head: the last layer.
        holdout: labeled samples that it did not learn from.

    Example:
        >>> labels = np.arange(1, 41) % 4
        >>> shifted = Holdout(np.eye(4, dtype=np.float32)[labels - 1], labels)
        >>> head = Head(np.eye(4, dtype=np.float32), np.zeros(4, np.float32))
        >>> head_warnings(head, shifted)[0].split(", ")[0]
        'the head is right on only 0% of the holdout set'
    """
    if head is None or holdout is None:
        return []
    labels = np.asarray(holdout.labels)
    predicted = (np.asarray(holdout.features) @ head.kernel + head.bias).argmax(-1)
    counts = np.bincount(labels, minlength=len(head.bias))
    accuracy = float((predicted == labels).mean())
    if not is_near_chance(accuracy, counts):
        return []
    said = (
        f"the head is right on only {accuracy:.0%} of the holdout set, hardly more "
        "than by always naming the most frequent class"
    )
    for shift, cause in ((-1, "counted from 1"), (1, "too low by 1")):
        moved = float((predicted == labels + shift).mean())
        if not is_near_chance(moved, counts):
            return [
                f"{said}, but on {moved:.0%} of it if all labels are moved by "
                f"{shift:+}: are the labels {cause}?"
            ]
    return [
        f"{said}. Are the labels counted from 1, or in another order than the "
        "features? Are the features those of another model, or scaled otherwise? If "
        "the head has learned from few labels, label samples at random first, with "
        "--method random."
    ]


def outlying_warning(path: str, count: int, names: Sequence[str], scales: float) -> str:
    """Names rows with a feature that many scales from the center."""
    return (
        f"{path}: in {plural(count, 'row')} a feature lies {scales:,.0f} times the "
        f"usual distance from the center, or more: {_some(names)}. Are they damaged? "
        "Campaigns cut such features off; scores of your own head do not."
    )


def holdout_warnings(
    counts: Int[AnyArray, " classes"], classes: Sequence[str]
) -> list[str]:
    """What is missing in a holdout set, a sentence each."""
    warnings = []
    counts = np.asarray(counts)
    missing = [classes[c] for c in np.flatnonzero(counts == 0).tolist()]
    is_few = (counts > 0) & (counts < FEWEST)
    few = [f"{classes[c]} ({counts[c]})" for c in np.flatnonzero(is_few).tolist()]
    if missing:
        warnings.append(
            f"the holdout set has no sample of {_some(missing)}: it cannot show "
            "that a prediction hurts such a class."
        )
    if few:
        warnings.append(
            f"the holdout set has fewer than {FEWEST} samples of {_some(few)}: so few "
            "say little about what hurts such a class."
        )
    return warnings


def _some(names, most=5) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


# Agreement of two scores


def rank_correlation(one: Num[AnyArray, " n"], other: Num[AnyArray, " n"]) -> float:
    """Spearman's: the correlation of the ranks, ties sharing their mean rank.

    NaN if one of them is constant, or of a single number.

    Example:
        >>> print(f"{rank_correlation(np.array([1, 2, 9]), np.array([2, 4, 5])):.1f}")
        1.0
    """
    one, other = average_ranks(one), average_ranks(other)
    if min(np.ptp(one), np.ptp(other)) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def average_ranks(values: Num[AnyArray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 0, the mean one for ties."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[place]


def overlap_of_best(
    one: Num[AnyArray, " n"], other: Num[AnyArray, " n"], share: float = 0.1
) -> float:
    """Share of the highest of one that are among as many highest of the other.

    Example:
        >>> overlap_of_best(np.arange(20), -np.arange(20))
        0.0
    """
    k = max(1, round(share * len(one)))
    best, others = (np.argsort(-np.asarray(x), kind="stable")[:k] for x in (one, other))
    return len(np.intersect1d(best, others)) / k
