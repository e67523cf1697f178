"""Numbers from the curves of several seeds, and the rule when two methods differ.

Axes: `seeds` = repetitions of a run, the same initial set for every method of a seed;
`rounds` = evaluations 0..R of one run, each a fixed number of labels after the last.
Nothing here returns NaN: what is undefined (a spread from one seed, a target that is
never reached) is None.

**The rule for a verdict.** Methods are compared seed by seed, because the initial set
and the split move the accuracy of all methods together. The interval is the paired t
interval and the p-value is the p-value of the same paired t test, so "the 95 % interval
leaves out zero" and "p < 0.05" mean the same and cannot contradict each other. A
table of m comparisons corrects these p-values with Holm's method and takes its verdicts
from the corrected ones (`comparisons`); the interval printed beside them is for that
comparison alone.

A sign-flip permutation p-value is reported next to it as a check that does not assume
normal differences, but it decides nothing: with n seeds it cannot be less than
2 / 2^n, which is 0.0625 for five seeds, so a rule built on it could never separate any
two methods in the usual five-seed experiment, least of all after a correction.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy import special

Verdict = Literal["better", "worse", "not separable", "no verdict"]

LEVEL = 0.05  # two-sided
MIN_SEEDS = 3  # with two, differences that are close by chance look like certainty
MAX_SEEDS_ENUMERATED = 12  # 4096 sign patterns
NUM_SAMPLED_FLIPS = 1 << 14
ROUND_OFF = 1e-12  # relative; accuracies carry about 1e-4, float64 sums about 1e-16


class PairedComparison(NamedTuple):
    """One method against a baseline over the seeds they share.

    Attributes:
        mean_difference: mean over seeds of value - baseline, in the values' unit.
        standard_error: of the mean difference; None with one seed.
        low: lower end of the 95 % paired t interval; None with fewer than three seeds
            or without any spread.
        high: upper end; None in the same cases.
        p_value: p-value of the two-sided paired t test; 1 in the same cases.
        verdict: from p_value and the sign of the difference; from the corrected
            p-value in a table. "no verdict" with fewer than three seeds.
        sign_flip_p_value: the check without a normal assumption, see
            `sign_flip_p_value`.
    """

    mean_difference: float
    standard_error: float | None
    low: float | None
    high: float | None
    p_value: float
    verdict: Verdict
    sign_flip_p_value: float


def mean_over_rounds(
    accuracy: Float[np.ndarray, "seeds rounds"],
) -> Float[np.ndarray, " seeds"]:
    """Mean accuracy over the rounds, one number per seed.

        mean_s = 1 / (R + 1) * sum_r accuracy_sr

    The first and the last round have the same weight as all others, so this is no area
    under a curve. The start, which all methods of a seed share, is one of the rounds.
    The mean has the unit and the range of `accuracy`; that of a flat curve is its
    height. The JSON files of a run store it under `aubc`.

    Args:
        accuracy: after rounds 0..R.

    Returns:
        One mean per seed.

    Raises:
        ValueError: the array is not `[seeds, rounds]` with at least one round.

    Example:
        >>> print(mean_over_rounds(np.array([[0.25, 0.5, 0.75]])))
        [0.5]
    """
    accuracy = np.asarray(accuracy, dtype=float)
    if accuracy.ndim != 2 or accuracy.shape[1] < 1:
        raise ValueError(
            f"accuracy must be [seeds, rounds >= 1], got shape {accuracy.shape}."
        )
    return accuracy.mean(axis=1)


def standard_deviation(
    values: Float[np.ndarray, "seeds ..."],
) -> Float[np.ndarray, "..."] | np.float64 | None:
    """Sample standard deviation over seeds.

        sd = sqrt( sum_s (v_s - mean v)^2 / (S - 1) )

    Args:
        values: one entry per seed on the first axis.

    Returns:
        Same unit as `values`; None with fewer than two seeds, where it is undefined.

    Example:
        >>> print(standard_deviation(np.array([1.0, 3.0])).round(4))
        1.4142
    """
    values = np.asarray(values, dtype=float)
    return values.std(axis=0, ddof=1) if len(values) > 1 else None


def standard_error(
    values: Float[np.ndarray, "seeds ..."],
) -> Float[np.ndarray, "..."] | np.float64 | None:
    """Standard error of the mean over seeds.

        se = sd / sqrt(S),   sd with S - 1 in its denominator

    Args:
        values: one entry per seed on the first axis.

    Returns:
        Same unit as `values`; None with fewer than two seeds, where it is undefined.

    Example:
        >>> print(standard_error(np.array([1.0, 3.0])))
        1.0
    """
    deviation = standard_deviation(values)
    return None if deviation is None else deviation / np.sqrt(len(values))


def labels_to_reach(
    num_labeled: Real[np.ndarray, " rounds"],
    mean_curve: Float[np.ndarray, " rounds"],
    target: float,
) -> float | None:
    """Number of labels at which a mean curve first reaches a target.

    With r the first round at or above the target and c the curve,

        n_{r-1} + (n_r - n_{r-1}) * (target - c_{r-1}) / (c_r - c_{r-1})

    and n_0 if the curve starts at or above the target. Later dips do not count.

    Args:
        num_labeled: labels n_r behind each point of the curve, ascending.
        mean_curve: accuracy c_r, averaged over seeds.
        target: the wanted accuracy, in the unit of `mean_curve`.

    Returns:
        A number of labels, in general not whole; None if the target is never reached.

    Example:
        >>> labels_to_reach(np.array([100, 200]), np.array([0.5, 0.75]), 0.625)
        150.0
    """
    num_labeled = np.asarray(num_labeled, dtype=float)
    mean_curve = np.asarray(mean_curve, dtype=float)
    if num_labeled.shape != mean_curve.shape:
        raise ValueError(
            "num_labeled and mean_curve must have the same shape, got "
            f"{num_labeled.shape} and {mean_curve.shape}."
        )
    reached = np.flatnonzero(mean_curve >= target)
    if not reached.size:
        return None
    first = reached[0]
    if first == 0:
        return float(num_labeled[0])
    below, above = mean_curve[first - 1], mean_curve[first]
    step = num_labeled[first] - num_labeled[first - 1]
    share = (target - below) / (above - below)
    return float(num_labeled[first - 1] + step * share)


def sign_flip_p_value(differences: Float[np.ndarray, " seeds"]) -> float:
    """Two-sided permutation p-value of "the differences are symmetric about zero".

        p = share of the sign patterns e in {-1, 1}^S with |sum e_s d_s| >= |sum d_s|

    Exact for at most 12 seeds; beyond that from 16384 patterns of a fixed generator,
    counting the observed pattern once more so that p stays above zero. At least
    2 / 2^S; 1 for one seed and for differences that are all zero.

    Args:
        differences: value - baseline per seed, in any order.

    Returns:
        A probability in (0, 1].

    Example:
        >>> sign_flip_p_value(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
        0.0625
    """
    # Sorted, so that the sampled patterns too give one answer for any order of seeds.
    differences = np.sort(np.asarray(differences, dtype=float))
    num_seeds = len(differences)
    if num_seeds <= MAX_SEEDS_ENUMERATED:
        patterns = np.arange(1 << num_seeds)[:, None] >> np.arange(num_seeds)
        signs = 1 - 2 * (patterns & 1)
    else:
        generator = np.random.default_rng(0)
        signs = generator.choice([-1, 1], size=(NUM_SAMPLED_FLIPS, num_seeds))
        signs = np.concatenate([np.ones((1, num_seeds), dtype=int), signs])
    observed = abs(differences.sum())
    # Patterns that tie with the observed one must count as such despite rounding.
    slack = ROUND_OFF * np.abs(differences).sum()
    return float(np.mean(np.abs(signs @ differences) >= observed - slack))


def paired_comparison(
    values: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " seeds"]
) -> PairedComparison:
    """Compare a method with a baseline, paired over seeds.

        d_s = values_s - baseline_s,   se = sd(d) / sqrt(S)
        interval = mean d -+ t_{0.975, S-1} * se,   p = 2 P(T_{S-1} > |mean d| / se)

    Fewer than three seeds give no interval, p = 1 and "no verdict". Differences that
    are all equal give no interval, p = 1 and "not separable": accuracies are multiples
    of one over the number of test samples, so three equal differences do not prove a
    spread of zero. Differences of the size of rounding errors count as zero.

    Args:
        values: one number per seed, larger is better.
        baseline: the same seeds in the same order.

    Returns:
        The comparison; its verdict is not corrected for other comparisons, see `holm`.

    Raises:
        ValueError: the arrays are not one-dimensional, differ in length, are empty, or
            hold numbers that are not finite.

    Example:
        >>> result = paired_comparison(np.array([3.0, 5.0]), np.array([2.0, 2.0]))
        >>> result.mean_difference, result.standard_error, result.verdict
        (2.0, 1.0, 'no verdict')
    """
    values = np.asarray(values, dtype=float)
    baseline = np.asarray(baseline, dtype=float)
    if values.ndim != 1 or values.shape != baseline.shape or not values.size:
        raise ValueError(
            "values and baseline must be [seeds] of the same length >= 1, got shapes "
            f"{values.shape} and {baseline.shape}."
        )
    differences = values - baseline
    if not np.isfinite(differences).all():
        raise ValueError(
            f"values and baseline must be finite, got {values} and {baseline}."
        )
    tolerance = ROUND_OFF * max(np.abs(values).max(), np.abs(baseline).max())
    differences[np.abs(differences) <= tolerance] = 0.0
    mean = float(differences.mean())
    flip_p_value = sign_flip_p_value(differences)
    error = standard_error(differences)
    if error is not None:
        error = float(error) if error > tolerance else 0.0
    if len(differences) < MIN_SEEDS or not error:
        few = len(differences) < MIN_SEEDS
        says: Verdict = "no verdict" if few else "not separable"
        return PairedComparison(mean, error, None, None, 1.0, says, flip_p_value)
    freedom = len(differences) - 1
    half_width = float(special.stdtrit(freedom, 1 - LEVEL / 2)) * error
    p_value = float(2 * special.stdtr(freedom, -abs(mean) / error))
    return PairedComparison(
        mean,
        error,
        mean - half_width,
        mean + half_width,
        p_value,
        verdict(mean, p_value),
        flip_p_value,
    )


def verdict(mean_difference: float, p_value: float) -> Verdict:
    """The verdict in words that a two-sided p-value allows.

    Args:
        mean_difference: its sign is the direction.
        p_value: corrected if there are several comparisons.

    Returns:
        "better" or "worse" if p < 0.05, else "not separable".

    Example:
        >>> verdict(-0.1, 0.01)
        'worse'
    """
    if not p_value < LEVEL:
        return "not separable"
    return "better" if mean_difference > 0 else "worse"


def corrected_verdict(result: PairedComparison, p_value: float) -> Verdict:
    """The verdict that a comparison's corrected p-value allows.

    Args:
        result: the comparison; "no verdict" stays "no verdict".
        p_value: its p-value, corrected for the other comparisons of a table.

    Example:
        >>> few = paired_comparison(np.array([3.0, 5.0]), np.array([2.0, 2.0]))
        >>> corrected_verdict(few, 1.0)
        'no verdict'
    """
    if result.verdict == "no verdict":
        return result.verdict
    return verdict(result.mean_difference, p_value)


def holm(
    p_values: Float[np.ndarray, " comparisons"],
) -> Float[np.ndarray, " comparisons"]:
    """Correct p-values so that the chance of any false claim among them stays small.

        p~_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)),   p_(1) <= ... <= p_(m)

    Rejecting p~ < 0.05 keeps the probability of one or more false rejections at 0.05,
    for any dependence between the comparisons (they share a baseline). A corrected
    p-value is at least the p-value itself and at most m times it, so m = 1 changes
    nothing.

    Args:
        p_values: one per comparison in the table, in any order.

    Returns:
        Corrected p-values in the same order, at most 1.

    References:
        Holm 1979, "A simple sequentially rejective multiple test procedure", Section 3.

    Example:
        >>> print(holm(np.array([0.04, 0.01, 0.03])))
        [0.06 0.03 0.06]
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, factors * p_values[order]))
    return corrected
