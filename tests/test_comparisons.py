"""Tables of comparisons: bootstrap by brute force, corrections, antisymmetry."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.reporting import comparisons, statistics

SEEDS = st.integers(0, 2**31 - 1)


def some_differences(seed, num_seeds, mean=0.02):
    return np.random.default_rng(seed).normal(mean, 0.03, num_seeds)


def some_values(seed, num_methods=5, num_seeds=5):
    generator = np.random.default_rng(seed)
    means = generator.normal(0.7, 0.04, (num_methods, 1))
    table = means + generator.normal(0, 0.01, (num_methods, num_seeds))
    return {f"m{i}": dict(enumerate(row.tolist())) for i, row in enumerate(table)}


@pytest.mark.parametrize("num_seeds", [2, 3, 4, 5])
def test_bootstrap_matches_enumeration(num_seeds):
    differences = some_differences(num_seeds, num_seeds)
    exact = [Fraction(d) for d in differences]
    means = sorted(
        sum(draw) / num_seeds for draw in itertools.product(exact, repeat=num_seeds)
    )
    # The smallest mean with at least that share of all resamples at or below it.
    low, high = (
        next(m for i, m in enumerate(means, 1) if Fraction(i, len(means)) >= share)
        for share in (Fraction(25, 1000), Fraction(975, 1000))
    )
    interval = comparisons.bootstrap_interval(differences)
    assert interval == pytest.approx((float(low), float(high)), rel=1e-12)


def test_bootstrap_of_two_seeds_by_hand():
    # The four resamples have means 1, 1.5, 1.5 and 2.
    assert comparisons.bootstrap_interval(np.array([1.0, 2.0])) == (1.0, 2.0)
    assert comparisons.bootstrap_interval(np.array([1.0])) is None
    assert comparisons.bootstrap_interval(np.zeros(4)) == (0.0, 0.0)


def test_bootstrap_of_many_seeds_nears_the_normal_interval():
    differences = some_differences(3, 400)
    low, high = comparisons.bootstrap_interval(differences)
    error = stats.sem(differences)
    expected = differences.mean() + 1.96 * error * np.array([-1, 1])
    np.testing.assert_allclose([low, high], expected, atol=0.1 * error)


def test_sampled_bootstrap_agrees_with_scipy():
    differences = some_differences(4, 9)
    result = stats.bootstrap(
        (differences,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    interval = comparisons.bootstrap_interval(differences)
    error = stats.sem(differences)
    np.testing.assert_allclose(interval, [result.low, result.high], atol=0.1 * error)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, num_seeds=st.integers(2, 9))
def test_bootstrap_properties(seed, num_seeds):
    differences = some_differences(seed, num_seeds)
    low, high = comparisons.bootstrap_interval(differences)
    assert differences.min() - 1e-15 <= low <= differences.mean() + 1e-15
    assert differences.mean() - 1e-15 <= high <= differences.max() + 1e-15
    permuted = np.random.default_rng(seed).permutation(differences)
    assert comparisons.bootstrap_interval(permuted) == (low, high)
    assert comparisons.bootstrap_interval(-differences) == (-high, -low)
    if num_seeds <= comparisons.MAX_SEEDS_RESAMPLED_EXACTLY:
        moved = comparisons.bootstrap_interval(2 * differences + 1)
        assert moved == pytest.approx((2 * low + 1, 2 * high + 1))


def test_bootstrap_alone_would_claim_too_much():
    """The reasons of the module's docstring, by numbers."""
    generator = np.random.default_rng(5)
    null = generator.normal(size=(2000, 5))
    intervals = [comparisons.bootstrap_interval(d) for d in null]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.82 < covered < 0.88
    # Five differences of one sign never leave zero inside.
    for signs, (low, high) in zip(np.sign(null).sum(axis=1), intervals, strict=True):
        if abs(signs) == 5:
            assert low > 0 or high < 0


def test_best_baseline_is_the_highest_mean_that_is_not_ours():
    values = {
        "random": {0: 0.5, 1: 0.7},
        "margin": {0: 0.8, 1: 0.6},
        "bald": {0: 0.7, 1: 0.7},
        "iwps": {0: 0.9, 1: 0.9},
        "iwps_app_full": {0: 0.95},
    }
    assert comparisons.best_baseline(values) == "margin"  # the first of equals
    ours = {m: v for m, v in values.items() if m.startswith("iwps")}
    assert comparisons.best_baseline(ours) is None
    assert comparisons.best_baseline({}) is None


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, num_seeds=st.integers(1, 7))
def test_the_win_matrix_is_antisymmetric(seed, num_seeds):
    values = some_values(seed, num_seeds=num_seeds)
    matrix = comparisons.win_matrix(values)
    opposite = {"better": "worse", "worse": "better"}
    for i, j in itertools.product(range(5), repeat=2):
        if i == j:
            assert matrix.verdicts[i][j] is matrix.p_values_holm[i][j] is None
        else:
            assert matrix.verdicts[j][i] == opposite.get(
                matrix.verdicts[i][j], matrix.verdicts[i][j]
            )
            assert matrix.p_values_holm[i][j] == matrix.p_values_holm[j][i]


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_the_win_matrix_does_not_depend_on_any_order(seed):
    values = some_values(seed)
    matrix = comparisons.win_matrix(values)
    generator = np.random.default_rng(seed)
    order = generator.permutation(5)
    shuffled = {
        f"m{i}": dict(generator.permutation(list(values[f"m{i}"].items())).tolist())
        for i in order
    }
    other = comparisons.win_matrix(shuffled)
    for i, j in itertools.permutations(range(5), 2):
        a, b = order[i], order[j]
        assert other.verdicts[i][j] == matrix.verdicts[a][b]
        assert other.p_values_holm[i][j] == pytest.approx(matrix.p_values_holm[a][b])


def test_the_win_matrix_corrects_for_all_pairs():
    values = some_values(7)
    matrix = comparisons.win_matrix(values)
    pairs = list(itertools.combinations(range(5), 2))
    table = np.array([list(v.values()) for v in values.values()])
    p_values = np.array([stats.ttest_rel(table[i], table[j]).pvalue for i, j in pairs])
    # Holm's method as its definition has it: step down until one fails.
    rejected = set()
    for rank, k in enumerate(np.argsort(p_values)):
        if p_values[k] >= 0.05 / (len(pairs) - rank):
            break
        rejected.add(pairs[k])
    assert 0 < len(rejected) < len(pairs)
    for i, j in pairs:
        higher = "better" if table[i].mean() > table[j].mean() else "worse"
        expected = higher if (i, j) in rejected else "not separable"
        assert matrix.verdicts[i][j] == expected


def test_methods_without_a_shared_seed_are_not_compared():
    values = {"a": {0: 0.5, 1: 0.6}, "b": {0: 0.7, 1: 0.85}, "c": {2: 0.9}}
    matrix = comparisons.win_matrix(values)
    assert matrix.verdicts[0][2] is matrix.verdicts[2][1] is None
    assert matrix.verdicts[0][1] is not None
    # The pairs that do not exist cost nothing: a and b are the only comparison.
    single = statistics.paired_comparison(np.array([0.5, 0.6]), np.array([0.7, 0.85]))
    assert matrix.p_values_holm[0][1] == single.p_value


def test_one_seed_separates_nothing():
    values = {"a": {0: 0.1}, "b": {0: 0.9}}
    assert comparisons.win_matrix(values).verdicts[0][1] == "no verdict"
    assert comparisons.compare_all(values, "a")["b"].bootstrap is None


@pytest.mark.parametrize("num_seeds", [2, 5, 19, 20])
def test_a_table_has_bootstrap_intervals_from_twenty_seeds_on(num_seeds):
    (result,) = comparisons.compare_all(
        some_values(0, num_methods=2, num_seeds=num_seeds), "m0"
    ).values()
    assert (result.bootstrap is not None) == (num_seeds == 20)
    assert (result.paired.verdict == "no verdict") == (num_seeds == 2)


def test_a_table_pairs_shared_seeds_and_takes_corrected_verdicts():
    seeds = range(5)
    noise = [0.01, -0.01, 0.02, -0.02, 0.0]
    random = {s: 0.6 + 0.01 * s for s in seeds}
    clear = {s: random[s] + 0.2 + noise[s] for s in seeds}
    slight = {s: random[s] + 0.021 + noise[s] for s in seeds}
    flat = {s: random[s] + noise[s] for s in seeds}
    other_seeds = {7: 0.9}
    values = {"a": clear, "b": slight, "c": flat, "random": random, "d": other_seeds}
    results = comparisons.compare_all(values | {"e": {1: 0.9, 8: 0.1}}, "random")
    assert list(results) == ["a", "b", "c", "e"]
    single = statistics.paired_comparison(
        np.array(list(slight.values())), np.array(list(random.values()))
    )
    assert single.verdict == "better"
    assert results["b"].paired == single._replace(verdict="not separable")
    assert results["b"].p_value_holm == pytest.approx(3 * single.p_value)
    assert results["a"].paired.verdict == "better"
    assert results["e"].paired.mean_difference == pytest.approx(0.29)
    assert results["e"].paired.low is None
    assert comparisons.compare_all(values, "absent") == {}
