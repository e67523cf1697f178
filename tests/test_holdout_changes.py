"""The look-ahead before its mean: what happens to every holdout sample's loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import iwps_jax

changes_of = jax.jit(iwps_jax.holdout_changes)


def natural_size(problem, learning_rate):
    """|k| |δ| (1 - p_y), with the reach that bounds |k|: what rounding is relative to.

    A coupling k = 1 + h·g may itself be a difference of larger numbers.
    """
    layers = reference.wide_layers([(problem["kernel"], problem["bias"])])
    features = reference.wide(problem["features"])
    logits = reference.forward(layers, features)
    doubt = reference.least_confidence(logits)
    holdout = reference.forward(layers, reference.wide(problem["holdout_features"]))
    losses = reference.cross_entropy(holdout, problem["holdout_labels"])
    lengths = np.linalg.norm(problem["holdout_features"], axis=1)
    reach = 1 + np.linalg.norm(features, axis=1) * lengths.max()
    step = 3 * learning_rate * doubt * reach
    return step[:, None] * -np.expm1(-losses)[None]


@pytest.mark.parametrize(
    ("scale", "learning_rate"),
    [(1.0, 1e-7), (1.0, 1e-3), (1.0, 1e-2), (1.0, 1.0), (1.0, 100.0)]
    + [(20.0, 1e-7), (20.0, 1e-3), (20.0, 1e-2), (20.0, 1.0)],
)
def test_every_change_matches_reference(scale, learning_rate):
    """Whichever of the forms the steps ask for, each term by itself."""
    problem = reference.head_problem(1, 300, 16, 5, 30, scale)
    found = changes_of(**problem, learning_rate=learning_rate)
    expected = reference.look_ahead_changes(
        [(problem["kernel"], problem["bias"])],
        problem["features"],
        problem["holdout_features"],
        problem["holdout_labels"],
        learning_rate=learning_rate,
    )
    size = np.maximum(np.abs(expected), natural_size(problem, learning_rate))
    assert found.shape == expected.shape and found.dtype == jnp.float32
    error = np.abs(np.float64(found) - expected)
    assert np.all(error <= 1e-4 * size + reference.FLOAT32_FLOOR)


@pytest.mark.parametrize("learning_rate", [1e-6, 1e-3, 0.1, 100.0])
def test_their_mean_is_iwps(learning_rate):
    problem = reference.head_problem(2, 300, 16, 5, 30)
    changes = np.float64(changes_of(**problem, learning_rate=learning_rate))
    scores = iwps_jax.iwps_last_layer(**problem, learning_rate=learning_rate)
    reference.assert_same_scores(
        scores, changes.mean(axis=1), np.abs(changes).mean(axis=1), rtol=1e-6
    )


def test_their_limit_is_minus_the_gradient_kernel():
    problem = reference.head_problem(3, 300, 16, 5, 30)
    rate, steps = 1e-6, 3
    changes = np.asarray(changes_of(**problem, learning_rate=rate)) / (steps * rate)
    expected = -reference.gradient_kernel(
        [(problem["kernel"], problem["bias"])],
        problem["features"],
        None,
        problem["holdout_features"],
        problem["holdout_labels"],
    )
    size = natural_size(problem, rate) / (steps * rate)
    assert np.all(np.abs(changes - expected) <= 1e-4 * size)


def test_a_sample_helps_one_of_its_label_and_hurts_others():
    rng = np.random.default_rng(4)
    kernel, bias = np.float32(rng.normal(size=(8, 3))), np.zeros(3, np.float32)
    features = np.float32(rng.normal(size=(20, 8)))
    predicted = np.argmax(features @ kernel, axis=-1)
    for label in range(3):
        changes = changes_of(features, kernel, bias, features, np.full(20, label))
        own = np.diag(changes)
        assert np.all((own < 0) == (predicted == label))


def test_chunks_of_the_pool_change_nothing():
    problem = reference.head_problem(5, 60, 16, 5, 30)
    whole = changes_of(**problem)
    features = problem.pop("features")
    parts = [changes_of(part, **problem) for part in np.split(features, 3)]
    size = natural_size({**problem, "features": features}, 1e-3)
    assert np.all(np.abs(np.concatenate(parts) - whole) <= 1e-6 * size)


@pytest.mark.parametrize("argument", ["features", "kernel", "bias", "holdout_labels"])
def test_wrong_arguments_are_named(without_jaxtyping, argument):
    problem = reference.head_problem(6, 6, 4, 3, 5)
    with pytest.raises((ValueError, TypeError), match=argument):
        iwps_jax.holdout_changes(**{**problem, argument: problem[argument][None]})
