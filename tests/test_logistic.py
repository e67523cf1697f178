"""The solver of all heads: SciPy's minimum, alone, in a batch, and with masked rows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special

from iwps_jax.heads.logistic import minimum

N, D, CLASSES = 40, 6, 4
FREE_BIAS = np.float32([[1]] * (D - 1) + [[0]])
fit = partial(minimum, num_classes=CLASSES)
jitted_fit = jax.jit(fit)


def some_samples(seed, classes=CLASSES):
    """Features, the last of which is always one, classes and weights of sum one."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(N) % classes)
    features = rng.normal(size=(N, D)) + rng.normal(size=(classes, D))[labels]
    features[:, -1] = 1
    weights = rng.uniform(size=N)
    return (
        jnp.float32(features),
        jnp.array(labels, jnp.int32),
        jnp.float32(weights / weights.sum()),
    )


def loss_and_gradient(at, features, labels, weights, penalty):
    """The objective in float64."""
    features, weights, penalty = map(np.float64, (features, weights, penalty))
    at = np.float64(at).reshape(features.shape[1], -1)
    log_probs = special.log_softmax(features @ at, axis=1)
    one_hot = np.eye(at.shape[1])[labels]
    loss = -(weights @ (one_hot * log_probs).sum(1)) + (penalty * at**2).sum() / 2
    residual = weights[:, None] * (np.exp(log_probs) - one_hot)
    return loss, (features.T @ residual + penalty * at).ravel()


def gradient_size(found, *samples_and_penalty):
    return np.linalg.norm(loss_and_gradient(found, *samples_and_penalty)[1])


@pytest.mark.parametrize("strength", [1e-2, 1.0, 100.0])
@pytest.mark.parametrize("shares", [np.float32(1), FREE_BIAS])
def test_it_is_the_minimum_that_scipy_finds(strength, shares):
    samples, penalty = some_samples(0), strength * shares
    found = jitted_fit(*samples, penalty=penalty, tolerance=1e-5)
    assert found.shape == (D, CLASSES) and found.dtype == jnp.float32
    expected = optimize.minimize(
        loss_and_gradient,
        np.zeros(D * CLASSES),
        (*samples, penalty),
        method="BFGS",
        jac=True,
        options={"gtol": 1e-10, "xrtol": 1e-14},
    ).x.reshape(D, CLASSES)
    assert gradient_size(expected, *samples, penalty) < 1e-6
    # As far as the docstring allows; the classes alone curve the loss by about 0.02.
    distance = np.abs(found - expected)
    assert (distance <= 1.1e-5 / np.maximum(penalty, 0.02)).all()
    np.testing.assert_allclose(found.sum(1), 0, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("strength", [1e-3, 10.0])
def test_a_class_without_samples_has_a_probability_below_the_tolerance(
    strength, classes, seed
):
    """Although no bias is low enough, and a strong penalty rounds its slope away."""
    samples, penalty = some_samples(seed, classes), strength * FREE_BIAS
    found = jitted_fit(*samples, penalty=penalty, tolerance=1e-5)
    assert gradient_size(found, *samples, penalty) < 1.1e-5
    probs = special.softmax(np.float64(samples[0] @ found), axis=1)
    assert (np.float64(samples[2]) @ probs[:, classes:] < 1.1e-5).all()


@given(seed=st.integers(0, 2**31 - 1))
def test_a_batch_gives_what_every_problem_gives_alone(seed):
    """Over weights and penalties, as folds and the choice of a penalty need it."""
    rng = np.random.default_rng(seed)
    features, labels, _ = some_samples(seed)
    weights = jnp.float32(rng.dirichlet(np.ones(N), 3))
    penalties = jnp.float32(10 ** rng.uniform(-2, 1, (3, D, 1)))
    batch = jitted_batch(features, labels, weights, penalties)
    for found, its, penalty in zip(batch, weights, penalties, strict=True):
        alone = jitted_fit(features, labels, its, penalty=penalty, tolerance=1e-5)
        distance = 2 * 1e-5 / float(penalty.min())
        assert np.linalg.norm(found - alone) <= distance + 1e-6


@jax.jit
@partial(jax.vmap, in_axes=(None, None, 0, 0))
def jitted_batch(features, labels, weights, penalty):
    return fit(features, labels, weights, penalty=penalty, tolerance=1e-5)


def test_without_jit_it_is_the_same():
    samples = some_samples(3)
    found = fit(*samples, penalty=0.1, tolerance=1e-5)
    expected = jitted_fit(*samples, penalty=0.1, tolerance=1e-5)
    np.testing.assert_allclose(found, expected, atol=2 * 1e-5 / 0.1)


@pytest.mark.parametrize("penalty", [np.float32(0.1), 0.1 * FREE_BIAS])
def test_rows_of_weight_zero_do_not_count(penalty):
    """Bit for bit whatever they hold, and within the tolerance as if they were away."""
    features, labels, weights = some_samples(4)
    options = {"penalty": penalty, "tolerance": 1e-5}
    masked = weights.at[::3].set(0)
    found = jitted_fit(features, labels, masked, **options)
    others = features.at[::3].set(1e6), labels.at[::3].set(0)
    np.testing.assert_array_equal(jitted_fit(*others, masked, **options), found)
    kept = np.arange(N) % 3 > 0
    fewer = jitted_fit(features[kept], labels[kept], weights[kept], **options)
    np.testing.assert_allclose(found, fewer, atol=1e-3)


def test_without_any_weight_all_parameters_are_zero():
    features, labels, weights = some_samples(5)
    found = jitted_fit(features, labels, 0 * weights, penalty=0.1, tolerance=1e-5)
    np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"features": jnp.ones((3, 2), int)}, "features must be floating point"),
        ({"features": jnp.ones(3)}, "features must have 2 axes"),
        ({"labels": jnp.zeros(3)}, "labels must be integers"),
        ({"labels": jnp.zeros(4, int)}, "labels must have length 3"),
        ({"weights": jnp.ones(4)}, "weights must have length 3"),
    ],
)
def test_refusals(without_jaxtyping, change, sentence):
    some = {
        "features": jnp.ones((3, 2)),
        "labels": jnp.array([0, 1, 0]),
        "weights": jnp.ones(3),
    }
    with pytest.raises((ValueError, TypeError), match=sentence):
        fit(**{**some, **change}, penalty=1.0, tolerance=1e-3)
