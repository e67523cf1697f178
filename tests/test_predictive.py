"""Scores of the predicted distribution: entropy, margin, MC-Dropout, BALD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import ASKED

import iwps_jax

SEEDS = st.integers(0, 2**31 - 1)
DRAWS, CLASSES = 10, 10


def some_logits(seed, scale, pool=4096):
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=(pool, CLASSES))).astype(np.float32)


def some_log_probs(seed, scale, noise, pool=4096):
    """Draws around common logits, normalized in float64 before they are rounded."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(pool, CLASSES))
    logits = logits + noise * rng.normal(size=(DRAWS, pool, CLASSES))
    return reference.log_softmax(logits).astype(np.float32)


# Parity with the oracle.


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence"])
def test_one_prediction_matches_reference(name, scale):
    logits = some_logits(0, scale)
    scores = jax.jit(getattr(iwps_jax, name))(jnp.asarray(logits))
    reference.assert_same_scores(scores, getattr(reference, name)(logits))


@pytest.mark.parametrize(("scale", "noise"), [(1.0, 1.0), (20.0, 1.0), (0.0, 20.0)])
def test_mc_dropout_matches_reference(scale, noise):
    log_probs = some_log_probs(1, scale, noise)
    scores = jax.jit(iwps_jax.mc_dropout)(jnp.asarray(log_probs))
    expected = reference.mc_dropout(log_probs[:, ASKED])
    reference.assert_same_scores(scores[ASKED], expected)


@pytest.mark.parametrize(("scale", "noise"), [(1.0, 1.0), (20.0, 1.0), (0.0, 20.0)])
def test_bald_matches_reference(scale, noise):
    log_probs = some_log_probs(2, scale, noise)
    scores = jax.jit(iwps_jax.bald)(jnp.asarray(log_probs))
    reference.assert_same_scores(scores[ASKED], reference.bald(log_probs[:, ASKED]))


@pytest.mark.parametrize(("scale", "noise"), [(1.0, 1.0), (20.0, 1.0), (0.0, 20.0)])
def test_variation_ratio_matches_reference(scale, noise):
    log_probs = some_log_probs(3, scale, noise)
    scores = jax.jit(iwps_jax.variation_ratio)(jnp.asarray(log_probs))
    expected = reference.variation_ratio(log_probs)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_oracle_bald_is_entropy_of_mean_minus_mean_entropy():
    log_probs = reference.wide(some_log_probs(4, 1.0, 1.0, pool=50))
    probs = np.exp(log_probs)
    mean = probs.mean(axis=0)
    expected = np.mean(np.sum(probs * log_probs, axis=-1), axis=0)
    expected = expected - np.sum(mean * np.log(mean), axis=-1)
    np.testing.assert_allclose(reference.bald(log_probs), expected, atol=1e-12)
    np.testing.assert_allclose(
        reference.mc_dropout(log_probs), -np.sum(mean * np.log(mean), axis=-1)
    )


def test_oracle_confidence_scores_match_their_definitions():
    logits = reference.wide(some_logits(5, 1.0, pool=50))
    probs = np.sort(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(reference.softmax(logits).max(axis=-1), probs[:, -1])
    np.testing.assert_allclose(
        reference.margin(logits), 1 - (probs[:, -1] - probs[:, -2])
    )
    np.testing.assert_allclose(reference.least_confidence(logits), 1 - probs[:, -1])
    np.testing.assert_allclose(
        reference.entropy(logits), -np.sum(probs * np.log(probs), axis=-1)
    )


# Ranges, zeros and limiting cases.


@given(seed=SEEDS, scale=st.sampled_from([0.0, 1.0, 30.0]))
def test_ranges(seed, scale):
    logits = jnp.asarray(some_logits(seed, scale, pool=16))
    rounding = 1e-6
    limits = {"entropy": np.log(CLASSES), "margin": 1.0}
    limits["least_confidence"] = 1.0 - 1.0 / CLASSES
    for name, limit in limits.items():
        scores = np.asarray(getattr(iwps_jax, name)(logits))
        assert np.all((scores >= 0.0) & (scores <= limit + rounding)), name


@given(seed=SEEDS, noise=st.sampled_from([0.0, 1.0, 30.0]))
def test_ranges_over_draws(seed, noise):
    log_probs = jnp.asarray(some_log_probs(seed, 1.0, noise, pool=16))
    rounding = 1e-6
    total = np.asarray(iwps_jax.mc_dropout(log_probs))
    mutual = np.asarray(iwps_jax.bald(log_probs))
    ratio = np.asarray(iwps_jax.variation_ratio(log_probs))
    assert np.all((total >= 0.0) & (total <= np.log(CLASSES) + rounding))
    assert np.all((mutual >= 0.0) & (mutual <= total + rounding))
    assert np.all(mutual <= np.log(DRAWS) + rounding)
    assert np.all((ratio >= 0.0) & (ratio <= 1.0 - 1.0 / DRAWS + rounding))


@given(seed=SEEDS)
def test_a_constant_on_all_logits_changes_nothing(seed):
    # Multiples of 2^-8 make the sum with the constant exact.
    logits = np.round(some_logits(seed, 3.0, pool=16) * 256) / np.float32(256)
    for name in ("entropy", "margin", "least_confidence"):
        score = getattr(iwps_jax, name)
        scores = score(jnp.asarray(logits))
        np.testing.assert_allclose(
            score(jnp.asarray(logits + np.float32(64))), scores, rtol=1e-5
        )


@given(seed=SEEDS)
def test_class_and_draw_order_change_nothing(seed):
    rng = np.random.default_rng(seed)
    logits = some_logits(seed, 2.0, pool=16)
    classes = rng.permutation(CLASSES)
    for name in ("entropy", "margin", "least_confidence"):
        score = getattr(iwps_jax, name)
        np.testing.assert_allclose(
            score(jnp.asarray(logits[:, classes])),
            score(jnp.asarray(logits)),
            rtol=1e-5,
        )
    log_probs = some_log_probs(seed, 1.0, 1.0, pool=16)
    mixed = log_probs[rng.permutation(DRAWS)][:, :, classes]
    for name in ("mc_dropout", "bald", "variation_ratio"):
        score = getattr(iwps_jax, name)
        np.testing.assert_allclose(
            score(jnp.asarray(mixed)), score(jnp.asarray(log_probs)), rtol=1e-4
        )


def test_uniform_prediction_has_the_largest_scores():
    logits = jnp.zeros((1, 4))
    np.testing.assert_allclose(iwps_jax.entropy(logits), np.log(4), rtol=1e-6)
    np.testing.assert_allclose(iwps_jax.margin(logits), 1.0, rtol=1e-6)
    np.testing.assert_allclose(iwps_jax.least_confidence(logits), 0.75, rtol=1e-6)


@pytest.mark.parametrize("size", [1e4, 3e38])
def test_saturated_logits_score_zero(size):
    logits = jnp.asarray([[size, 0.0, -size], [0.0, size, 0.0]], jnp.float32)
    for name in ("entropy", "margin", "least_confidence"):
        assert np.all(np.asarray(getattr(iwps_jax, name)(logits)) == 0.0), name


def test_impossible_classes_in_logits_are_allowed():
    logits = jnp.asarray([[0.0, 0.0, -jnp.inf]])
    np.testing.assert_allclose(iwps_jax.entropy(logits), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(iwps_jax.margin(logits), 1.0, rtol=1e-6)
    np.testing.assert_allclose(iwps_jax.least_confidence(logits), 0.5, rtol=1e-6)


def test_draws_that_are_certain():
    """Zero probabilities, log p = -inf: agreeing, disagreeing and split draws."""
    probs = jnp.zeros((4, 3, 3))
    probs = probs.at[:, 0, 1].set(1.0)
    probs = probs.at[:2, 1, 0].set(1.0).at[2:, 1, 2].set(1.0)
    probs = probs.at[0, 2, 0].set(1.0).at[1:, 2, 1].set(1.0)
    log_probs = jnp.log(probs)
    split = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    expected = [0.0, np.log(2), split]
    np.testing.assert_allclose(iwps_jax.mc_dropout(log_probs), expected, rtol=1e-6)
    np.testing.assert_allclose(iwps_jax.bald(log_probs), expected, rtol=1e-6)
    np.testing.assert_allclose(
        iwps_jax.variation_ratio(log_probs), [0.0, 0.5, 0.25], rtol=1e-6
    )


def test_some_impossible_classes_match_reference():
    log_probs = some_log_probs(6, 1.0, 1.0, pool=64)
    log_probs[np.random.default_rng(6).random(log_probs.shape) < 0.3] = -np.inf
    log_probs[:, :, 0] = np.maximum(log_probs[:, :, 0], -1.0)
    log_probs[:, :, 5] = -np.inf
    largest = np.logaddexp.reduce(reference.wide(log_probs), axis=-1, keepdims=True)
    log_probs = (log_probs - largest).astype(np.float32)
    for name in ("mc_dropout", "bald"):
        scores = getattr(iwps_jax, name)(jnp.asarray(log_probs))
        reference.assert_same_scores(scores, getattr(reference, name)(log_probs))


def test_bald_is_zero_when_draws_agree():
    log_probs = some_log_probs(7, 1.0, 0.0, pool=64)
    scores = np.asarray(iwps_jax.bald(jnp.asarray(log_probs)))
    assert np.all((scores >= 0.0) & (scores <= 1e-6))


def test_one_draw_has_no_disagreement():
    log_probs = jnp.asarray(some_log_probs(8, 1.0, 1.0, pool=64)[:1])
    np.testing.assert_allclose(iwps_jax.bald(log_probs), 0.0, atol=1e-6)
    assert np.all(np.asarray(iwps_jax.variation_ratio(log_probs)) == 0.0)
    np.testing.assert_allclose(
        iwps_jax.mc_dropout(log_probs), iwps_jax.entropy(log_probs[0]), rtol=1e-5
    )


def test_ties_inside_a_draw_vote_for_the_lower_class():
    log_probs = jnp.log(jnp.asarray([[[0.5, 0.5]], [[0.9, 0.1]], [[0.2, 0.8]]]))
    np.testing.assert_allclose(iwps_jax.variation_ratio(log_probs), 1 / 3, rtol=1e-6)


# Errors.


@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence"])
@pytest.mark.parametrize("bad", [jnp.zeros(3), jnp.zeros((2, 3, 4)), jnp.zeros((4, 0))])
def test_wrong_logits_are_named(without_jaxtyping, name, bad):
    with pytest.raises((ValueError, TypeError), match="logits"):
        getattr(iwps_jax, name)(bad)


@pytest.mark.parametrize("name", ["mc_dropout", "bald", "variation_ratio"])
@pytest.mark.parametrize("bad", [jnp.zeros((3, 4)), jnp.zeros((0, 3, 4))])
def test_wrong_log_probs_are_named(without_jaxtyping, name, bad):
    with pytest.raises((ValueError, TypeError), match="log_probs"):
        getattr(iwps_jax, name)(bad)
