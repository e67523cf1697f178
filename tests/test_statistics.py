"""The statistics of a report against SciPy, brute force and numbers done by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.reporting import statistics

SEEDS = st.integers(0, 2**31 - 1)


def some_pairs(seed: int, num_seeds: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies of two methods that share what a seed does to both."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(0.7, 0.05, num_seeds)
    noise = generator.normal(0.0, 0.01, (2, num_seeds))
    return shared + noise[0], shared + noise[1]


def test_area_is_the_mean_over_rounds():
    accuracy = np.array([[0.2, 0.4, 0.9], [0.5, 0.5, 0.5]])
    area = statistics.mean_over_rounds(accuracy)
    np.testing.assert_allclose(area, [0.5, 0.5], rtol=1e-15)


@pytest.mark.parametrize("shape", [(3,), (2, 0), (2, 3, 4)])
def test_area_names_a_wrong_shape(shape):
    with pytest.raises(ValueError, match="accuracy must be"):
        statistics.mean_over_rounds(np.zeros(shape))


@pytest.mark.parametrize("shape", [(2,), (5,), (4, 3)])
def test_spread_matches_scipy(shape):
    values = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(statistics.standard_error(values), stats.sem(values))
    deviation = statistics.standard_deviation(values)
    np.testing.assert_allclose(deviation, stats.tstd(values, axis=0))


def test_spread_of_one_seed_is_undefined():
    assert statistics.standard_error(np.array([0.7])) is None
    assert statistics.standard_deviation(np.array([[0.7, 0.8]])) is None


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (0.1, 100.0),  # below the start
        (0.2, 100.0),  # the start itself
        (0.3, 150.0),  # halfway to round 1
        (0.4, 200.0),  # exactly round 1
        (0.5, 350.0),  # the dip in round 2 is below it: between rounds 2 and 3
        (0.6, 375.0),
        (0.7, 400.0),  # the end
        (0.71, None),  # never
    ],
)
def test_labels_to_reach_on_a_curve_with_a_dip(target, expected):
    num_labeled = np.array([100, 200, 300, 400])
    curve = np.array([0.2, 0.4, 0.3, 0.7])
    assert statistics.labels_to_reach(num_labeled, curve, target) == (
        None if expected is None else pytest.approx(expected)
    )


def test_labels_to_reach_takes_the_first_crossing():
    curve = np.array([0.2, 0.6, 0.4, 0.6])
    assert statistics.labels_to_reach(np.arange(4), curve, 0.4) == pytest.approx(0.5)


def test_labels_to_reach_wants_one_shape():
    with pytest.raises(ValueError, match="num_labeled and mean_curve"):
        statistics.labels_to_reach(np.arange(3), np.zeros(4), 0.5)


@pytest.mark.parametrize("num_seeds", [3, 5, 20])
def test_paired_comparison_matches_scipy(num_seeds):
    values, baseline = some_pairs(num_seeds, num_seeds)
    result = statistics.paired_comparison(values, baseline)
    expected = stats.ttest_rel(values, baseline)
    interval = expected.confidence_interval(0.95)
    assert result.mean_difference == pytest.approx(np.mean(values - baseline))
    assert result.standard_error == pytest.approx(stats.sem(values - baseline))
    assert result.p_value == pytest.approx(expected.pvalue)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("num_seeds", [1, 2, 5, 8])
def test_sign_flips_match_enumeration(num_seeds):
    differences = np.random.default_rng(num_seeds).normal(0.5, 1.0, num_seeds)
    observed = abs(differences.sum())
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product([-1, 1], repeat=num_seeds)
    ]
    expected = np.mean([total >= observed - 1e-9 for total in sums])
    assert statistics.sign_flip_p_value(differences) == expected


def test_sampled_sign_flips_are_near_the_exact_value(monkeypatch):
    differences = np.random.default_rng(0).normal(0.4, 1.0, 14)
    sampled = statistics.sign_flip_p_value(differences)
    assert sampled == statistics.sign_flip_p_value(differences[::-1])
    monkeypatch.setattr(statistics, "MAX_SEEDS_ENUMERATED", 14)
    exact = statistics.sign_flip_p_value(differences)
    assert sampled == pytest.approx(exact, abs=4 * np.sqrt(exact / 16384))


def test_five_seeds_can_be_separated_although_sign_flips_cannot():
    baseline = np.array([0.60, 0.65, 0.62, 0.66, 0.61])
    result = statistics.paired_comparison(
        baseline + np.array([0.08, 0.07, 0.09, 0.08, 0.07]), baseline
    )
    assert result.sign_flip_p_value == 0.0625
    assert result.verdict == "better"


def test_one_seed_is_never_separable():
    result = statistics.paired_comparison(np.array([0.9]), np.array([0.1]))
    assert result == (pytest.approx(0.8), None, None, None, 1.0, "no verdict", 1.0)


@pytest.mark.parametrize("difference", [0.0, 0.1, -0.1])
def test_equal_differences_prove_nothing(difference):
    baseline = np.array([0.61, 0.67, 0.7])  # 0.1 more is not exact in binary
    result = statistics.paired_comparison(baseline + difference, baseline)
    assert result.mean_difference == pytest.approx(difference, abs=1e-15)
    assert result[1:6] == (0.0, None, None, 1.0, "not separable")


def test_two_seeds_that_coincide_on_the_grid_of_accuracies_prove_nothing():
    """Two real runs, 355 test samples: both differences are 9 of them."""
    values, baseline = np.array([0.88920, 0.86761]), np.array([0.86385, 0.84225])
    for noise in (0.0, 1e-5):
        result = statistics.paired_comparison(values + [noise, 0.0], baseline)
        assert (result.p_value, result.verdict) == (1.0, "no verdict")


def test_rounding_errors_are_no_difference():
    baseline = np.array([0.1, 0.2, 0.3])
    result = statistics.paired_comparison(baseline * (1 + 3e-16), baseline)
    assert (result.mean_difference, result.verdict) == (0.0, "not separable")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1], "of the same length"),
        ([], "of the same length"),
        ([0.1, np.nan], "finite"),
    ],
)
def test_paired_comparison_names_bad_arrays(values, message):
    with pytest.raises(ValueError, match=message):
        statistics.paired_comparison(np.array(values), np.zeros(2))


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, shift=st.floats(-1.0, 1.0), num_seeds=st.integers(3, 14))
def test_a_shift_of_both_methods_changes_nothing(seed, shift, num_seeds):
    values, baseline = some_pairs(seed, num_seeds)
    result = statistics.paired_comparison(values, baseline)
    shifted = statistics.paired_comparison(values + shift, baseline + shift)
    assert shifted[:5] == pytest.approx(result[:5], rel=1e-6, abs=1e-9)
    assert shifted[5:] == result[5:]


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, num_seeds=st.integers(3, 14))
def test_the_order_of_seeds_changes_nothing(seed, num_seeds):
    values, baseline = some_pairs(seed, num_seeds)
    order = np.random.default_rng(seed).permutation(num_seeds)
    result = statistics.paired_comparison(values, baseline)
    permuted = statistics.paired_comparison(values[order], baseline[order])
    assert permuted[:5] == pytest.approx(result[:5], rel=1e-9)
    assert permuted[5:] == result[5:]


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS)
def test_a_shift_larger_than_the_noise_is_seen_and_mirrored(seed):
    values, baseline = some_pairs(seed)
    spread = np.ptp(values - baseline)
    shift = 3 * spread - np.mean(values - baseline)
    better = statistics.paired_comparison(values + shift, baseline)
    worse = statistics.paired_comparison(baseline, values + shift)
    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert better.mean_difference == pytest.approx(-worse.mean_difference)
    assert (better.low, better.high) == pytest.approx((-worse.high, -worse.low))


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS, num_seeds=st.integers(3, 8), shift=st.floats(-0.05, 0.05))
def test_verdict_and_interval_agree(seed, num_seeds, shift):
    values, baseline = some_pairs(seed, num_seeds)
    result = statistics.paired_comparison(values + shift, baseline)
    expected = (
        "better" if result.low > 0 else "worse" if result.high < 0 else "not separable"
    )
    assert result.verdict == expected
    assert 2 / 2**num_seeds <= result.sign_flip_p_value <= 1


def test_holm_by_hand():
    # Ascending 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1; 0.06 is kept from falling.
    p_values = np.array([0.03, 0.5, 0.01, 0.02])
    np.testing.assert_allclose(statistics.holm(p_values), [0.06, 0.5, 0.04, 0.06])
    np.testing.assert_array_equal(statistics.holm(np.array([0.6, 0.7])), [1.0, 1.0])
    np.testing.assert_array_equal(statistics.holm(np.array([0.04])), [0.04])
    assert statistics.holm(np.array([])).size == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_bounds_and_order(p_values):
    p_values = np.array(p_values)
    corrected = statistics.holm(p_values)
    assert (corrected >= p_values).all()
    assert (corrected <= np.minimum(1, len(p_values) * p_values)).all()
    assert (np.diff(corrected[np.argsort(p_values)]) >= 0).all()
    np.testing.assert_array_equal(statistics.holm(p_values[::-1]), corrected[::-1])
