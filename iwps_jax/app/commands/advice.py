"""Which method suits some files, by what was measured, and what may spoil it.

What was measured are the studies of experiments/RESULTS.md: a small network, five
seeds, the pool balanced, or half of its classes 1/10 or 1/20 as frequent.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from iwps_jax.types import AnyArray

# Mean test accuracy over the rounds, in percent, by dataset; the key is how many times
# as frequent the frequent classes of the pool were.
MEASURED = {
    1: {
        "MNIST": {"iwps_app": 84.3, "margin": 86.4, "random": 84.0},
        "Fashion-MNIST": {"iwps_app": 75.6, "margin": 76.8, "random": 75.9},
        "CIFAR-10": {"iwps_app": 80.4, "margin": 80.8, "random": 80.3},
    },
    10: {
        "MNIST": {"iwps_app": 73.9, "margin": 72.2, "random": 62.4},
        "Fashion-MNIST": {"iwps_app": 62.1, "margin": 66.1, "random": 63.0},
        "CIFAR-10": {"iwps_app": 72.6, "margin": 72.5, "random": 68.9},
    },
    20: {
        "MNIST": {"iwps_app": 67.9, "margin": 64.3, "random": 57.1},
        "Fashion-MNIST": {"iwps_app": 60.8, "margin": 59.7, "random": 55.6},
        "CIFAR-10": {"iwps_app": 68.5, "margin": 67.4, "random": 61.3},
    },
}
NAMES = {"iwps_app": "IWPS-app", "margin": "Margin", "random": "Random"}
FEWEST = 2  # holdout samples of a class, below which is warned


class Advice(NamedTuple):
    """What to do.

    Attributes:
        method: the one to use; None if nothing can be told.
        reason: why, by what was measured.
        warnings: what may spoil it.
    """

    method: str | None
    reason: str
    warnings: list[str]


def advise(
    predicted: Int[AnyArray, " classes"] | None,
    holdout: Int[AnyArray, " classes"] | None,
    classes: Sequence[str],
) -> Advice:
    """The method that led in the measured setting that is nearest to these files.

    Args:
        predicted: how many rows of the pool are predicted of each class; None without
            predictions, that is without a head and logits.
        holdout: samples of the holdout set of each class; None if there is none to
            judge by features.
        classes: their names.
    """
    warnings = [] if holdout is None else holdout_warnings(holdout, classes)
    if predicted is None:
        reason = "give a --pool and a --head, or --logits, to be told of a method."
        return Advice(None, reason, warnings)
    if holdout is None:
        return Advice(
            "margin",
            "without a holdout set the predictions are all there is. "
            + _accuracies((1, 10, 20), ("margin", "random")),
            warnings,
        )
    if (np.asarray(holdout) == 0).any():
        return Advice(
            "margin",
            "the holdout set cannot judge a class of which it has no sample, and was "
            "not measured so; Margin needs none. "
            + _accuracies((1, 10, 20), ("margin", "random")),
            warnings,
        )
    ratio = imbalance(predicted)
    setting = nearest_setting(ratio)
    seen = (
        f"the most frequent prediction of the sample is {ratio:.3g} times as frequent "
        f"as the rarest; of the pools measured ({', '.join(map(str, MEASURED))} times) "
        f"{setting} is nearest. "
    )
    if setting == 1:
        reason = seen + _accuracies((1,), ("margin", "iwps_app", "random"))
        return Advice("margin", reason, warnings)
    accuracies = _accuracies((setting,), ("iwps_app", "margin", "random"))
    caution = " Margin and IWPS-app are not separable with five seeds there."
    return Advice("iwps_app", seen + accuracies + caution, warnings)


def _accuracies(settings, methods) -> str:
    """The measured facts in words."""
    parts = []
    for setting in settings:
        kind = f"1/{setting}" if setting > 1 else "balanced"
        for dataset, found in MEASURED[setting].items():
            told = ", ".join(f"{NAMES[name]} {found[name]}" for name in methods)
            parts.append(f"{dataset} {kind}: {told}")
    return f"Mean accuracy over the rounds, %: {'; '.join(parts)}."


def imbalance(counts: Int[AnyArray, " classes"]) -> float:
    """How many times the smallest count the largest is; a count of 0 is taken as 1.

    Example:
        >>> imbalance(np.array([40, 10, 20]))
        4.0
    """
    counts = np.asarray(counts)
    return float(counts.max() / max(counts.min(), 1))


def nearest_setting(ratio: float) -> int:
    """The measured setting whose ratio is nearest, on a logarithmic scale.

    Example:
        >>> nearest_setting(3.0), nearest_setting(4.0), nearest_setting(1000.0)
        (1, 10, 20)
    """
    return min(MEASURED, key=lambda measured: abs(np.log(ratio / measured)))


def holdout_warnings(
    counts: Int[AnyArray, " classes"], classes: Sequence[str]
) -> list[str]:
    """What is missing in a holdout set, a sentence each."""
    warnings = []
    counts = np.asarray(counts)
    missing = [classes[c] for c in np.flatnonzero(counts == 0).tolist()]
    is_few = (counts > 0) & (counts < FEWEST)
    few = [classes[c] for c in np.flatnonzero(is_few).tolist()]
    if missing:
        warnings.append(
            f"the holdout set has no sample of {_some(missing)}: nothing that is "
            "learned can be seen to hurt a class without one."
        )
    if few:
        warnings.append(
            f"the holdout set has one sample of {_some(few)}: on MNIST 1/10 one a "
            "class gave IWPS-app 69.5 % mean accuracy over the rounds, 2 to 20 gave "
            "71.4 to 72.8 %, not separable."
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
