"""The temperature of a head: known ones, brute force, and folds by scikit-learn."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from iwps_jax.heads.calibration import (
    HIGHEST,
    LOWEST,
    cross_validated_temperature,
    most_likely_temperature,
)


def softmax(logits):
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    return probs / probs.sum(-1, keepdims=True)


def loss(logits, labels, temperature):
    """That of the docstring, by loops."""
    n, classes = logits.shape
    z = logits / temperature
    logs = z - logsumexp(z, axis=1, keepdims=True)
    total = 0.0
    for i in range(n):
        for c in range(classes):
            rest = 1 / ((n + 2) * (classes - 1))
            target = (n + 1) / (n + 2) if c == labels[i] else rest
            total -= target * logs[i, c]
    return total / n


def some_logits(seed, n=30, classes=3, scale=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, classes))
    return logits, rng.integers(0, classes, n)


@pytest.mark.parametrize("true", [0.25, 1.0, 3.0])
def test_a_known_temperature_is_found(true):
    rng = np.random.default_rng(0)
    logits, _ = some_logits(1, 20_000, 5)
    noise = rng.gumbel(size=logits.shape)  # the largest is drawn from the softmax
    labels = (logits / true + noise).argmax(1)
    assert most_likely_temperature(logits, labels) == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_minimum_of_the_loss(seed):
    logits, labels = some_logits(seed)
    labels[:20] = logits[:20].argmax(1)
    found = most_likely_temperature(logits, labels)
    grid = np.geomspace(LOWEST, HIGHEST, 800)
    losses = [loss(logits, labels, temperature) for temperature in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.012)
    assert loss(logits, labels, found) <= min(losses) + 1e-12


@given(seed=st.integers(0, 2**31 - 1), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_no_prediction_changes(seed, scale):
    logits, labels = some_logits(seed, scale=scale)
    found = most_likely_temperature(logits, labels)
    assert LOWEST * 0.99 <= found <= HIGHEST * 1.01
    np.testing.assert_array_equal((logits / found).argmax(1), logits.argmax(1))


@pytest.mark.parametrize("n", [1, 8, 98])
def test_when_all_are_right_the_rule_of_succession_says_how_sure_to_be(n):
    logits = np.tile([3.0, 0.0], (n, 1))
    found = most_likely_temperature(logits, np.zeros(n, int))
    assert softmax(logits / found)[0, 0] == pytest.approx((n + 1) / (n + 2))


def test_logits_that_say_nothing_or_the_contrary():
    assert most_likely_temperature(np.full((4, 3), 7.0), np.arange(4) % 3) == 1
    contrary = most_likely_temperature(np.tile([3.0, 0.0], (9, 1)), np.ones(9, int))
    assert contrary == pytest.approx(HIGHEST)
    tiny = most_likely_temperature(np.tile([1e-9, 0.0], (9, 1)), np.zeros(9, int))
    assert tiny == pytest.approx(LOWEST)


def clusters(sizes, seed=0, spread=1.5):
    """Samples around as many random centers, of about unit scale."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centers = rng.normal(size=(len(sizes), 6))
    features = centers[labels] + spread * rng.normal(size=(len(labels), 6))
    features = (features - features.mean(0)) / features.std()
    order = rng.permutation(len(labels))
    return features[order].astype(np.float32), labels[order]


def test_the_logits_are_those_of_heads_that_did_not_learn_the_sample():
    """As scikit-learn fits them, on the same folds."""
    features, labels = clusters([22, 14, 11])
    penalty, order = 0.01, np.argsort(labels, kind="stable")
    folds = np.empty(len(labels), int)
    folds[order] = np.arange(len(labels)) % 5
    logits = np.zeros((len(labels), 3))
    for fold in range(5):
        learned = folds != fold
        head = LogisticRegression(C=1 / (penalty * learned.sum()), tol=1e-8)
        head.fit(features[learned].astype(np.float64), labels[learned])
        logits[~learned] = head.decision_function(features[~learned])
    expected = most_likely_temperature(logits, labels)
    found = cross_validated_temperature(
        features, labels, num_classes=3, penalty=penalty
    )
    assert found == pytest.approx(expected, rel=0.01)
    assert expected > 1  # such a small penalty makes heads too sure


def test_a_class_with_one_label_judges_nothing():
    """No head that has not seen it could predict it, and it would spoil all others."""
    features, labels = clusters([20, 20, 1])
    known = labels < 2
    alone = cross_validated_temperature(
        features[known], labels[known], num_classes=2, penalty=0.01
    )
    found = cross_validated_temperature(features, labels, num_classes=3, penalty=0.01)
    assert found == pytest.approx(alone, rel=0.3)
    each = cross_validated_temperature(
        np.eye(3, dtype=np.float32), np.arange(3), num_classes=3, penalty=0.01
    )
    assert each == 1
    features, labels = clusters([2, 2, 1])
    assert LOWEST <= cross_validated_temperature(
        features, labels, num_classes=3, penalty=0.01
    )


def test_the_mode_of_jax_does_not_matter():
    features, labels = clusters([9, 9])
    given = {"num_classes": 2, "penalty": 0.1}
    expected = cross_validated_temperature(features, labels, **given)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        assert cross_validated_temperature(features, labels, **given) == expected


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"labels": np.full(4, 2)}, "labels must be in"),
        ({"labels": np.zeros(3, int)}, "labels must have length 4"),
        ({"features": np.full((4, 2), np.nan, np.float32)}, "features must be finite"),
        ({"penalty": 0.0}, "penalty must be positive"),
        ({"num_folds": 1}, "num_folds must be at least 2"),
        ({"num_classes": 1, "labels": np.zeros(4, int)}, "num_classes must be at le"),
    ],
    ids=str,
)
def test_what_cannot_be_calibrated_is_refused(without_jaxtyping, changed, said):
    arguments = {
        "features": np.eye(4, 2, dtype=np.float32),
        "labels": np.array([0, 1, 0, 1]),
        **{"num_classes": 2, "penalty": 0.1},
    }
    with pytest.raises(ValueError, match=said):
        cross_validated_temperature(**{**arguments, **changed})


def test_logits_of_one_class_are_refused(without_jaxtyping):
    with pytest.raises(ValueError, match="at least 2 classes"):
        most_likely_temperature(np.zeros((3, 1)), np.zeros(3, int))
