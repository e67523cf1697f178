"""Slopes of the scores, above all where logits tie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import iwps_jax

INF = float("inf")
TIES = [[2.0, 2.0, 0.0, -1.0], [0.5, 2.0, 2.0, 2.0], [1.0] * 4, [3.0, 0.0, 0.0, -1.0]]


def differences(function, at, step=1e-5):
    """Central differences in float64: the gradient of a sum of scores."""
    at = np.array(at, np.float64)
    slopes = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[place] += step
        behind[place] -= step
        slopes[place] = np.sum(function(ahead) - function(behind)) / (2 * step)
    return slopes


def gradient(score, at):
    at = jnp.asarray(at, jnp.float32)
    return np.asarray(jax.jit(jax.grad(lambda at: score(at).sum()))(at))


def test_entropy_where_logits_tie():
    slopes = gradient(iwps_jax.entropy, TIES)
    np.testing.assert_allclose(slopes, differences(reference.entropy, TIES), atol=1e-6)
    known = gradient(iwps_jax.entropy, [[2.0, 2.0, 0.0]])
    np.testing.assert_allclose(known, [[-0.05936, -0.05936, 0.11872]], atol=1e-5)
    alone = jax.vmap(jax.grad(lambda row: iwps_jax.entropy(row[None])[0]))
    np.testing.assert_allclose(alone(jnp.array(TIES)), slopes, atol=1e-6)


@pytest.mark.parametrize("name", ["mc_dropout", "bald"])
def test_scores_of_draws_where_classes_and_draws_tie(name):
    def plain(logits):  # the draws of the first row are all alike
        return getattr(reference, name)(reference.log_softmax(logits))

    logits = np.stack([TIES, [TIES[0], *TIES[:0:-1]]])
    slopes = gradient(lambda z: getattr(iwps_jax, name)(jax.nn.log_softmax(z)), logits)
    np.testing.assert_allclose(slopes, differences(plain, logits), atol=1e-6)


@pytest.mark.parametrize("name", ["margin", "least_confidence"])
def test_scores_with_a_kink_have_the_slope_of_the_lower_class_first(name):
    def plain(logits):
        probs = reference.softmax(logits)
        return 1 - probs[:, 0] + (probs[:, 1] if name == "margin" else 0)

    logits = [[2.0, 2.0, 0.0, 0.0], [2.0, 1.0, -1.0, -1.0]]
    slopes = gradient(getattr(iwps_jax, name), logits)
    np.testing.assert_allclose(slopes, differences(plain, logits), atol=1e-6)


@pytest.mark.parametrize("name", ["entropy", "margin", "mc_dropout", "bald"])
def test_an_impossible_class_has_no_slope_and_the_others_keep_theirs(name):
    of_draws = name in ("mc_dropout", "bald")

    def score(logits):
        score = getattr(iwps_jax, name)
        return score(jax.nn.log_softmax(logits)) if of_draws else score(logits)

    logits = np.random.default_rng(0).normal(size=(2, 5, 3) if of_draws else (5, 3))
    padded = np.concatenate([logits, np.full((*logits.shape[:-1], 1), -INF)], -1)
    slopes = gradient(score, padded)
    assert np.all(slopes[..., 3] == 0)
    np.testing.assert_allclose(slopes[..., :3], gradient(score, logits), atol=1e-6)


# The look-ahead. A candidate at a tie of its own may be given either label, so only
# holdout samples tie: none, the two highest of three classes, and all of them. One
# candidate has features of only zeros, where its norm has no slope.

KERNEL, BIAS = np.array([[1.0, -1.0, 0.0], [0.5, 0.5, 1.0]]), np.array([0.5, 0.0, 0.0])
CANDIDATES = np.array([[1.5, 0.2], [0.0, 0.0], [0.1, 2.0]])
HOLDOUT = np.array([[0.3, 0.4], [-0.25, -1.0], [-0.25, 0.5]])
LABELS = np.array([0, 1, 2])
STEP = {"steps": 2, "learning_rate": 0.3}


def exact(features, holdout):
    head = [(KERNEL, BIAS)]
    return reference.look_ahead_changes(head, features, holdout, LABELS, **STEP).mean(1)


def reduced(features, holdout):
    return reference.error_reduction(features, KERNEL, BIAS, holdout, **STEP)


@pytest.mark.parametrize(
    ("name", "plain", "labels"),
    [
        ("iwps_last_layer", exact, {"holdout_labels": LABELS}),
        pytest.param("error_reduction", reduced, {}, marks=pytest.mark.full),
    ],
)
def test_look_ahead_where_the_holdout_ties(name, plain, labels):
    kernel, bias = jnp.asarray(KERNEL, jnp.float32), jnp.asarray(BIAS, jnp.float32)

    def score(both):
        features, holdout = jnp.split(both, 2)
        score = getattr(iwps_jax, name)
        return score(features, kernel, bias, holdout, **labels, **STEP)

    both = np.concatenate([CANDIDATES, HOLDOUT])
    expected = differences(lambda both: plain(*np.split(both, 2)), both)
    np.testing.assert_allclose(gradient(score, both), expected, atol=2e-6)
