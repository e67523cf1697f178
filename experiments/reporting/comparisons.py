"""Tables of paired comparisons: with one method, with the best baseline, of all pairs.

Every table takes its verdicts from the paired t-test of `statistics` after Holm's
correction for all comparisons of that table. From 20 seeds on, a percentile bootstrap
over the seeds is shown beside them. It decides nothing; its interval does not assume
normal differences and does not reach beyond them. With five seeds it would mislead, for
two reasons. First, it is too narrow: a resample's mean varies by sqrt((S-1)/S) of the
standard error, and normal quantiles replace those of Student's t, so that "95 %" covers
about 85 % of normal differences. Second, it leaves out zero whenever all differences
have the same sign, which happens with five seeds in 2 / 2^5 = 6 % of all comparisons of
equal methods, before any correction. The permutation test fails in the other direction:
with five seeds its p-value is at least 0.0625, so it could never separate two methods.

The best baseline is chosen by its mean on the same seeds on which it is then compared.
The best of several means is partly luck, so this comparison is harder for our methods
than one with a baseline named in advance. No p-value here accounts for the choice.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.reporting.statistics import (
    LEVEL,
    PairedComparison,
    Verdict,
    corrected_verdict,
    holm,
    paired_comparison,
)
from iwps_jax import methods

MIN_SEEDS_OF_A_BOOTSTRAP = 20
MAX_SEEDS_RESAMPLED_EXACTLY = 6  # 6^6 = 46656 resamples
# (B + 1) * 0.025 is whole, so that both tails hold the same number of resamples.
NUM_RESAMPLES = 9999
MIRRORED: dict[Verdict, Verdict] = {
    "better": "worse",
    "worse": "better",
    "not separable": "not separable",
    "no verdict": "no verdict",
}
OURS = methods.IWPS.name

Values = Mapping[str, Mapping[int, float]]
"""One number by method, then by seed; methods may have different seeds."""


class Compared(NamedTuple):
    """A comparison in a table of several.

    Attributes:
        paired: the comparison, its verdict after Holm's correction.
        p_value_holm: the corrected p-value behind that verdict.
        bootstrap: 95 % percentile interval of the mean difference over resampled
            seeds; None with fewer than 20 seeds.
    """

    paired: PairedComparison
    p_value_holm: float
    bootstrap: tuple[float, float] | None


class WinMatrix(NamedTuple):
    """Who is significantly better than whom.

    Attributes:
        methods: names of rows and columns.
        verdicts: `verdicts[i][j]` is the verdict on i against j; None on the diagonal
            and for two methods that share no seed.
        p_values_holm: p-values corrected for all pairs, None in the same places.
    """

    methods: tuple[str, ...]
    verdicts: list[list[Verdict | None]]
    p_values_holm: list[list[float | None]]


def is_ours(method: str) -> bool:
    """Whether a method is IWPS or a variant of it, by its name.

    Example:
        >>> is_ours("iwps_app"), is_ours("margin")
        (True, False)
    """
    return method.startswith(OURS)


def best_baseline(values: Values) -> str | None:
    """Name the method with the highest mean that is not ours; the first of equals.

    Chosen on the data it is then compared on, see the module's docstring.

    Args:
        values: larger is better.

    Returns:
        Its name; None if all methods are ours.

    Example:
        >>> best_baseline({"random": {0: 0.5}, "bald": {0: 0.6}, "iwps": {0: 0.7}})
        'bald'
    """
    means = {
        method: float(np.mean(list(by_seed.values())))
        for method, by_seed in values.items()
        if by_seed and not is_ours(method)
    }
    return max(means, key=means.__getitem__) if means else None


def bootstrap_interval(
    differences: Float[np.ndarray, " seeds"],
) -> tuple[float, float] | None:
    """95 % percentile interval of a mean over resampled seeds.

        m_b = 1 / S * sum_s d_{b_s},   b drawn from {1..S}^S with replacement
        interval = 0.025 and 0.975 quantile of the m_b

    Uses all S^S resamples for at most 6 seeds, and 9999 of a fixed generator for more.
    In both cases the order of the differences does not matter, and differences with the
    other sign give the mirrored interval. The interval lies inside [min d, max d]. This
    is not a test: see the module's docstring.

    Args:
        differences: value - baseline per seed, in any order.

    Returns:
        Lower and upper end in the unit of `differences`; None with fewer than two.

    References:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", Section 13.3.

    Example:
        >>> bootstrap_interval(np.array([1.0, 2.0]))
        (1.0, 2.0)
    """
    differences = np.sort(np.asarray(differences, dtype=float))
    num_seeds = len(differences)
    if num_seeds < 2:
        return None
    # d and -d use the same resamples, so that their intervals are mirrored exactly.
    mirrored = np.sort(-differences)
    if tuple(mirrored) < tuple(differences):
        low, high = bootstrap_interval(mirrored)
        return -high + 0.0, -low + 0.0  # no minus zero
    if num_seeds <= MAX_SEEDS_RESAMPLED_EXACTLY:
        resamples = np.indices((num_seeds,) * num_seeds).reshape(num_seeds, -1).T
    else:
        generator = np.random.default_rng(0)
        resamples = generator.integers(num_seeds, size=(NUM_RESAMPLES, num_seeds))
    means = differences[resamples].mean(axis=1)
    ends = [LEVEL / 2, 1 - LEVEL / 2]
    low, high = np.quantile(means, ends, method="inverted_cdf").tolist()
    return low, high


def compare_all(values: Values, baseline: str) -> dict[str, Compared]:
    """Compare every method of a table with one of them, paired and corrected.

    Args:
        values: larger is better.
        baseline: the method the others are compared with.

    Returns:
        By method, the comparison over the seeds shared with the baseline, corrected
        for all comparisons. Methods that share no seed with the baseline are left out.

    Example:
        >>> areas = {"random": {0: 0.5, 1: 0.6}, "bald": {0: 0.7, 1: 0.8, 2: 0.9}}
        >>> compared = compare_all(areas, "random")["bald"]
        >>> round(compared.paired.mean_difference, 6)
        0.2
    """
    pairs = [(method, baseline) for method in values if method != baseline]
    return {method: c for (method, _), c in _compare(values, pairs).items()}


def win_matrix(values: Values) -> WinMatrix:
    """Compare all pairs of methods, corrected for all M (M - 1) / 2 of them.

    This is stricter than a table with one baseline, so a method may be better there and
    not separable here. The matrix is antisymmetric: if i is better than j, j is worse
    than i.

    Args:
        values: larger is better.

    Example:
        >>> areas = {"a": {0: 0.5, 1: 0.6, 2: 0.5}, "b": {0: 0.7, 1: 0.8, 2: 0.71}}
        >>> win_matrix(areas).verdicts
        [[None, 'worse'], ['better', None]]
    """
    methods = tuple(values)
    pairs = [(a, b) for i, a in enumerate(methods) for b in methods[i + 1 :]]
    compared = _compare(values, pairs)
    verdicts: list[list[Verdict | None]] = [[None] * len(methods) for _ in methods]
    p_values: list[list[float | None]] = [[None] * len(methods) for _ in methods]
    for (a, b), result in compared.items():
        i, j = methods.index(a), methods.index(b)
        verdicts[i][j] = result.paired.verdict
        verdicts[j][i] = MIRRORED[result.paired.verdict]
        p_values[i][j] = p_values[j][i] = result.p_value_holm
    return WinMatrix(methods, verdicts, p_values)


def _compare(
    values: Values, pairs: list[tuple[str, str]]
) -> dict[tuple[str, str], Compared]:
    """Compare pairs over their shared seeds; Holm's correction is for all of them."""
    results, intervals = {}, {}
    for method, baseline in pairs:
        own, other = values[method], values.get(baseline, {})
        seeds = sorted(own.keys() & other.keys())
        if seeds:
            table = np.array([(own[s], other[s]) for s in seeds])
            result = paired_comparison(table[:, 0], table[:, 1])
            results[method, baseline] = result
            differences = table[:, 0] - table[:, 1]
            intervals[method, baseline] = (
                bootstrap_interval(differences)
                if len(seeds) >= MIN_SEEDS_OF_A_BOOTSTRAP
                else None
            )
    corrected = holm(np.array([r.p_value for r in results.values()])).tolist()
    return {
        pair: Compared(
            result._replace(verdict=corrected_verdict(result, p_value)),
            p_value,
            intervals[pair],
        )
        for (pair, result), p_value in zip(results.items(), corrected, strict=True)
    }
