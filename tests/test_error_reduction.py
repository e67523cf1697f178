"""Expected error reduction: against a real head update for every possible label."""

import jax
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import ASKED
from scipy import stats

import iwps_jax

SEEDS = st.integers(0, 2**31 - 1)


error_reduction = jax.jit(iwps_jax.error_reduction)
entropy_reduction = jax.jit(iwps_jax.expected_entropy_reduction)


def problem(seed, pool, dim, classes, references, scale=1.0):
    """Features of the pool, the head, and features of the reference points."""
    numbers = reference.head_problem(seed, pool, dim, classes, references, scale)
    names = ("features", "kernel", "bias", "holdout_features")
    return [numbers[name] for name in names]


@pytest.mark.parametrize(
    ("scale", "learning_rate"), [(1.0, 1e-3), (1.0, 1e-1), (20.0, 1e-2)]
)
def test_matches_reference(scale, learning_rate):
    arrays = problem(0, 4096, 32, 4, 50, scale)

    found = np.asarray(error_reduction(*arrays, learning_rate=learning_rate))[ASKED]
    arrays[0] = arrays[0][ASKED]
    expected = reference.error_reduction(*arrays, learning_rate=learning_rate)
    # The score is an entropy, not a change of one. A confident candidate changes it by
    # less than float32 can show beside it: such scores have no order to compare.
    features, kernel, bias, references = map(reference.wide, arrays)
    now = reference.entropy(references @ kernel + bias).mean()
    visible = np.abs(expected + now) > 1e-6 * now
    assert visible.sum() > 60
    reference.assert_same_scores(found, expected, ranked=visible)


def entropy_changes(features, kernel, bias, references, learning_rate):
    """What is summed: [pool, label, reference], weighed by p(label) / references."""
    layers = reference.wide_layers([(kernel, bias)])
    references = reference.wide(references)
    now = reference.entropy(reference.forward(layers, references))
    changes = []
    for one_input in reference.wide(features):
        probs = reference.softmax(reference.forward(layers, one_input))
        for label, prob in enumerate(probs):
            moved = reference.moved(
                layers, reference.look_ahead(layers, one_input, label, 3, learning_rate)
            )
            after = reference.entropy(reference.forward(moved, references))
            changes.append(prob * (after - now) / len(references))
    return np.reshape(changes, (len(features), -1, len(references)))


@pytest.mark.parametrize(
    ("scale", "learning_rate"),
    [
        *[(1.0, 1e-3), (5.0, 1e-1)],
        pytest.param(1.0, 1e-1, marks=pytest.mark.full),
        pytest.param(5.0, 1e-3, marks=pytest.mark.full),
    ],
)
def test_reduction_matches_reference_where_the_entropy_hides_it(scale, learning_rate):
    """At most 1e-2 and often below 1e-6, beside entropies near one.

    The changes under the possible labels nearly cancel in their mean; the error is
    compared with what is summed.
    """
    arrays = problem(0, 4096, 32, 4, 50, scale)

    found = entropy_reduction(*arrays, learning_rate=learning_rate)
    found = np.asarray(found, np.float64)[ASKED]
    features, *others = arrays
    changes = entropy_changes(features[ASKED], *others, learning_rate)
    expected, size = -changes.sum((1, 2)), np.abs(changes).sum((1, 2))
    assert np.all(np.abs(found - expected) <= 1e-4 * size)
    assert stats.spearmanr(found, expected)[0] > 0.9999


@pytest.mark.parametrize("steps", [1, 7])
def test_matches_reference_for_any_number_of_steps(steps):
    arrays = problem(1, 64, 16, 5, 20)
    expected = reference.error_reduction(*arrays, steps=steps, learning_rate=0.05)
    scores = iwps_jax.error_reduction(*arrays, steps=steps, learning_rate=0.05)
    reference.assert_same_scores(scores, expected)


def test_oracle_weighs_every_label_by_its_probability():
    """Two classes, one step, one reference point: the formula written out."""
    features, kernel, bias, references = problem(2, 1, 3, 2, 1)
    wide = [reference.wide(array) for array in (features, kernel, bias, references)]
    (x,), kernel64, bias64, (r,) = wide
    p = reference.softmax(x @ kernel64 + bias64)
    expected = 0.0
    for label in (0, 1):
        error = p - np.eye(2)[label]
        logits = r @ (kernel64 - 0.1 * np.outer(x, error)) + bias64 - 0.1 * error
        q = reference.softmax(logits)
        expected -= p[label] * -np.sum(q * np.log(q))
    found = reference.error_reduction(
        features, kernel, bias, references, steps=1, learning_rate=0.1
    )
    np.testing.assert_allclose(found, [expected])


@given(seed=SEEDS)
def test_range(seed):
    scores = np.asarray(iwps_jax.error_reduction(*problem(seed, 16, 8, 4, 6)))
    assert np.all((scores <= 0.0) & (scores >= -np.log(4) - 1e-6))


@given(seed=SEEDS)
def test_small_steps_leave_the_entropy_of_the_reference(seed):
    arrays = problem(seed, 16, 8, 4, 6)
    _, kernel, bias, references = arrays
    now = reference.entropy(references @ kernel + bias).mean()
    scores = iwps_jax.error_reduction(*arrays, learning_rate=1e-8)
    np.testing.assert_allclose(scores, -now, rtol=1e-4)


@given(seed=SEEDS)
def test_class_order_changes_nothing(seed):
    features, kernel, bias, references = problem(seed, 16, 8, 4, 6)
    order = np.random.default_rng(seed).permutation(4)
    renamed = [features, kernel[:, order], bias[order], references]
    scores = iwps_jax.error_reduction(
        features, kernel, bias, references, learning_rate=0.1
    )
    np.testing.assert_allclose(
        iwps_jax.error_reduction(*renamed, learning_rate=0.1), scores, rtol=1e-4
    )


def test_reference_points_twice_change_nothing():
    features, kernel, bias, references = problem(3, 16, 8, 4, 6)
    twice = np.concatenate([references, references])
    scores = iwps_jax.error_reduction(features, kernel, bias, references)
    doubled = iwps_jax.error_reduction(features, kernel, bias, twice)
    np.testing.assert_allclose(doubled, scores, rtol=1e-5)


def test_certain_reference_points_have_no_entropy_left():
    features, kernel, bias, references = problem(4, 16, 8, 4, 6)
    arrays = [features, kernel * np.float32(1e5), bias, references]
    scores = np.asarray(iwps_jax.error_reduction(*arrays))
    assert np.all(scores == 0.0)


def test_large_features_match_reference():
    features, kernel, bias, references = problem(5, 64, 16, 5, 8)
    arrays = [features * 1e4, kernel * 1e-4, bias, references * 1e4]
    arrays = [array.astype(np.float32) for array in arrays]
    scores = np.asarray(iwps_jax.error_reduction(*arrays))
    expected = reference.error_reduction(*arrays)
    # An update with such features makes nearly every reference point certain.
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("argument", ["steps", "learning_rate"])
@pytest.mark.parametrize("value", [0, -1])
def test_options_must_be_positive(without_jaxtyping, argument, value):
    arrays = problem(6, 16, 8, 4, 6)
    with pytest.raises((ValueError, TypeError), match=argument):
        iwps_jax.error_reduction(*arrays, **{argument: value})


def test_no_reference_points_is_an_error(without_jaxtyping):
    features, kernel, bias, references = problem(7, 16, 8, 4, 6)
    with pytest.raises((ValueError, TypeError), match="reference_features"):
        iwps_jax.error_reduction(features, kernel, bias, references[:0])
