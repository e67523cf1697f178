"""IWPS: parity with the float64 look-ahead, its invariants and its corners."""

from functools import partial

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
SMALL = {"pool": 16, "dim": 8, "classes": 4, "holdout": 6}


def on_device(problem):
    return {name: jnp.asarray(array) for name, array in problem.items()}


def apply_head(params, inputs):
    return inputs @ params["kernel"] + params["bias"][None]


def apply_network(layers, inputs):
    for kernel, bias in layers[:-1]:
        inputs = jax.nn.relu(inputs @ kernel + bias[None])
    kernel, bias = layers[-1]
    return inputs @ kernel + bias[None]


def last_layer(problem, steps=3, learning_rate=1e-3):
    # A default of a jitted function would be a constant, of a program of its own.
    return jitted(problem, steps, learning_rate)


@partial(jax.jit, static_argnums=1)
def jitted(problem, steps, learning_rate):
    return iwps_jax.iwps_last_layer(**problem, steps=steps, learning_rate=learning_rate)


whole_network = jax.jit(partial(iwps_jax.iwps, apply_network))


def head_changes(problem, **options):
    """The oracle's changes of every holdout loss, [pool, holdout]."""
    return reference.look_ahead_changes(
        [(problem["kernel"], problem["bias"])],
        problem["features"],
        problem["holdout_features"],
        problem["holdout_labels"],
        **options,
    )


def terms(problem, **options):
    """Natural size of each candidate's score."""
    return np.abs(head_changes(problem, **options)).mean(axis=1)


# Parity with the oracle.


@pytest.mark.parametrize(
    ("dim", "classes", "holdout", "scale", "learning_rate", "rectified"),
    [
        (32, 10, 100, 1.0, 1e-6, False),
        (32, 10, 100, 1.0, 1e-3, False),
        (32, 10, 100, 1.0, 1e-1, False),
        (32, 10, 100, 20.0, 1e-6, False),
        (32, 10, 100, 20.0, 1e-3, False),
        (32, 10, 100, 20.0, 1e-1, False),
        (32, 3, 1, 1.0, 1e-3, True),
        (32, 3, 1, 20.0, 1e-3, True),
    ],
)
def test_last_layer_matches_reference(
    dim, classes, holdout, scale, learning_rate, rectified
):
    problem = reference.head_problem(
        1, 4096, dim, classes, holdout, scale, rectified=rectified
    )
    scores = last_layer(on_device(problem), learning_rate=learning_rate)
    problem["features"] = problem["features"][ASKED]
    changes = head_changes(problem, learning_rate=learning_rate)
    reference.assert_same_scores(
        scores[ASKED], changes.mean(axis=1), np.abs(changes).mean(axis=1)
    )


@pytest.mark.parametrize("steps", [1, pytest.param(2, marks=pytest.mark.full), 10])
def test_last_layer_matches_reference_for_any_number_of_steps(steps):
    problem = reference.head_problem(2, 64, 32, 10, 20)
    changes = head_changes(problem, steps=steps, learning_rate=0.05)
    reference.assert_same_scores(
        last_layer(on_device(problem), steps=steps, learning_rate=0.05),
        changes.mean(axis=1),
        np.abs(changes).mean(axis=1),
    )


@pytest.mark.parametrize(
    ("scale", "learning_rate"),
    [(1.0, 1e-6), (1.0, 1e-3), (1.0, 1e-1), (20.0, 1e-6), (20.0, 1e-3)],
)
def test_iwps_matches_reference(scale, learning_rate):
    layers, inputs, holdout, labels = reference.network_problem(
        3, 4096, (16, 16, 5), 20, scale
    )
    on_jax = jax.tree.map(jnp.asarray, (layers, inputs, holdout, labels))
    scores = whole_network(*on_jax, learning_rate=learning_rate)
    changes = reference.look_ahead_changes(
        layers, inputs[ASKED], holdout, labels, learning_rate=learning_rate
    )
    reference.assert_same_scores(
        scores[ASKED], changes.mean(axis=1), np.abs(changes).mean(axis=1)
    )


def apply_convolution(params, images):
    hidden = jax.lax.conv(images, params["filters"], (1, 1), "SAME")
    hidden = jnp.tanh(hidden).mean(axis=(2, 3))
    return jnp.tanh(hidden) @ params["head"]["kernel"]


@jax.jit
def changes_by_autodiff(params, images, holdout, labels, learning_rate):
    """Changes of every holdout loss after three steps, [pool, holdout]."""

    def loss(params, images, labels):
        log_probs = jax.nn.log_softmax(apply_convolution(params, images))
        return -jnp.take_along_axis(log_probs, labels[:, None], axis=1)[:, 0]

    def of_one(image):
        target = jnp.argmax(apply_convolution(params, image[None]), axis=-1)
        moved = params
        for _ in range(3):
            step = jax.grad(lambda p: loss(p, image[None], target)[0])(moved)
            moved = jax.tree.map(lambda p, g: p - learning_rate * g, moved, step)
        return loss(moved, holdout, labels) - loss(params, holdout, labels)

    return jax.vmap(of_one)(images)


@pytest.mark.parametrize("learning_rate", [0.03, 0.3])
def test_iwps_on_any_network_matches_autodiff_in_float64(learning_rate):
    rng = np.random.default_rng(4)
    params = {
        "filters": rng.normal(size=(6, 2, 3, 3)).astype(np.float32),
        "head": {"kernel": rng.normal(size=(6, 3)).astype(np.float32)},
    }
    images = rng.normal(size=(136, 2, 5, 5)).astype(np.float32)
    labels = rng.integers(0, 3, 8)
    with jax.enable_x64(True):
        exact, pool, holdout = jax.tree.map(
            np.float64, (params, images[8:], images[:8])
        )
        expected = np.asarray(
            changes_by_autodiff(exact, pool, holdout, labels, learning_rate)
        )
    scores = iwps_jax.iwps(
        apply_convolution,
        jax.tree.map(jnp.asarray, params),
        jnp.asarray(images[8:]),
        jnp.asarray(images[:8]),
        jnp.asarray(labels, jnp.int32),
        learning_rate=learning_rate,
    )
    reference.assert_same_scores(
        scores, expected.mean(axis=1), np.abs(expected).mean(axis=1)
    )


# Equalities and invariants of the method.


@pytest.mark.parametrize("learning_rate", [1e-3, 1e-1])
def test_last_layer_is_iwps_on_a_linear_network(learning_rate):
    numbers = reference.head_problem(5, **SMALL)
    problem = on_device(numbers)
    params = {"kernel": problem["kernel"], "bias": problem["bias"]}
    full = iwps_jax.iwps(
        apply_head,
        params,
        problem["features"],
        problem["holdout_features"],
        problem["holdout_labels"],
        learning_rate=learning_rate,
    )
    reference.assert_same_scores(
        full,
        np.float64(last_layer(problem, learning_rate=learning_rate)),
        terms(numbers, learning_rate=learning_rate),
    )


@given(seed=SEEDS)
def test_last_layer_is_at_least_first_order(seed):
    numbers = reference.head_problem(seed, **SMALL)
    exact = last_layer(on_device(numbers), steps=1, learning_rate=0.1)
    slope = iwps_jax.iwps_app_last_layer(**on_device(numbers))
    rounding = 1e-5 * terms(numbers, steps=1, learning_rate=0.1)
    assert np.all(np.asarray(exact) >= 0.1 * np.asarray(slope) - rounding)


@given(seed=SEEDS)
def test_last_layer_is_at_least_first_order_along_all_steps(seed):
    numbers = reference.head_problem(seed, **SMALL)
    layers = reference.wide_layers([(numbers["kernel"], numbers["bias"])])
    slope = reference.per_sample_gradients(
        layers, numbers["holdout_features"], numbers["holdout_labels"]
    ).mean(axis=0)
    labels = np.argmax(reference.forward(layers, numbers["features"]), axis=-1)
    first_order = [
        slope @ reference.flat(reference.look_ahead(layers, x, y, 3, 0.1))
        for x, y in zip(reference.wide(numbers["features"]), labels, strict=True)
    ]
    exact = np.asarray(last_layer(on_device(numbers), learning_rate=0.1))
    assert np.all(exact >= first_order - 1e-5 * terms(numbers, learning_rate=0.1))


@given(seed=SEEDS)
def test_last_layer_per_step_tends_to_the_first_order_score(seed):
    numbers = reference.head_problem(seed, **SMALL)
    rate = np.asarray(last_layer(on_device(numbers), learning_rate=1e-7)) / 3e-7
    limit = np.asarray(iwps_jax.iwps_app_last_layer(**on_device(numbers)))
    scale = terms(numbers, learning_rate=1e-7) / 3e-7
    assert np.all(np.abs(rate - limit) <= 1e-4 * scale)


@given(seed=SEEDS)
def test_confident_candidates_score_nearly_zero(seed):
    numbers = reference.head_problem(seed, **SMALL, scale=20.0)
    layers = reference.wide_layers([(numbers["kernel"], numbers["bias"])])
    features = reference.wide(numbers["features"])
    doubt = reference.least_confidence(reference.forward(layers, features))
    reach = np.max(np.abs(1 + features @ numbers["holdout_features"].T), axis=1)
    scores = np.asarray(last_layer(on_device(numbers)))
    assert np.all(np.abs(scores) <= 2.001 * reach * 3 * 1e-3 * doubt)


@given(seed=SEEDS)
def test_own_holdout_under_the_pseudo_label_scores_negative(seed):
    numbers = reference.head_problem(seed, 1, 8, 4, 1)
    logits = numbers["features"] @ numbers["kernel"] + numbers["bias"]
    numbers["holdout_features"] = numbers["features"]
    numbers["holdout_labels"] = np.argmax(logits, axis=-1).astype(np.int32)
    assert last_layer(on_device(numbers))[0] < 0.0


@given(seed=SEEDS)
def test_pool_order_permutes_scores(seed):
    numbers = reference.head_problem(seed, **SMALL)
    order = np.random.default_rng(seed).permutation(SMALL["pool"])
    mixed = {**numbers, "features": numbers["features"][order]}
    scores = np.asarray(last_layer(on_device(numbers)))
    change = np.abs(np.asarray(last_layer(on_device(mixed))) - scores[order])
    assert np.all(change <= 1e-5 * terms(mixed))


@given(seed=SEEDS)
def test_class_order_changes_nothing(seed):
    numbers = reference.head_problem(seed, **SMALL)
    order = np.random.default_rng(seed).permutation(SMALL["classes"])
    renamed = {
        **numbers,
        "kernel": numbers["kernel"][:, order],
        "bias": numbers["bias"][order],
        "holdout_labels": np.argsort(order)[numbers["holdout_labels"]].astype(np.int32),
    }
    change = last_layer(on_device(renamed)) - last_layer(on_device(numbers))
    assert np.all(np.abs(change) <= 1e-5 * terms(numbers))


@given(seed=SEEDS)
def test_holdout_twice_changes_nothing(seed):
    numbers = reference.head_problem(seed, **SMALL)
    twice = {
        **numbers,
        "holdout_features": np.tile(numbers["holdout_features"], (2, 1)),
        "holdout_labels": np.tile(numbers["holdout_labels"], 2),
    }
    change = last_layer(on_device(twice)) - last_layer(on_device(numbers))
    assert np.all(np.abs(change) <= 1e-5 * terms(numbers))


@given(seed=SEEDS, offset=st.sampled_from([-8.0, 0.5, 4.0]))
def test_a_constant_on_all_biases_changes_nothing(seed, offset):
    numbers = reference.head_problem(seed, **SMALL)
    # Biases that are multiples of 2^-10 make the sum with the constant exact.
    numbers["bias"] = np.round(numbers["bias"] * 1024) / np.float32(1024)
    shifted = {**numbers, "bias": numbers["bias"] + np.float32(offset)}
    change = last_layer(on_device(shifted)) - last_layer(on_device(numbers))
    assert np.all(np.abs(change) <= 1e-5 * terms(numbers))


# Corners.


def test_large_features_match_reference():
    problem = reference.head_problem(6, 64, 16, 5, 8)
    problem["features"] *= 1e4
    problem["holdout_features"] *= 1e4
    problem["kernel"] *= 1e-4
    changes = head_changes(problem)
    scores = last_layer(on_device(problem))
    reference.assert_same_scores(
        scores, changes.mean(axis=1), np.abs(changes).mean(axis=1)
    )
    assert np.max(np.asarray(scores)) > 1e3  # far beyond the range of expm1


def test_saturated_softmax_scores_zero():
    problem = reference.head_problem(7, 16, 8, 4, 6)
    problem["kernel"] *= 1e4
    scores = np.asarray(last_layer(on_device(problem)))
    logits = reference.forward([(problem["kernel"], 0.0)], problem["features"])
    certain = reference.least_confidence(logits) < 1e-45
    assert certain.sum() >= 12
    assert np.all(scores[certain] == 0.0)
    assert np.all(np.isfinite(scores))


def test_identical_candidates_score_alike():
    problem = reference.head_problem(8, **SMALL)
    problem["features"][:] = problem["features"][0]
    scores = np.asarray(last_layer(on_device(problem)))
    np.testing.assert_allclose(scores, scores[0], rtol=1e-6)


@pytest.mark.parametrize("argument", ["steps", "learning_rate"])
@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("score", ["iwps_last_layer", "iwps"])
def test_options_must_be_positive(without_jaxtyping, score, argument, value):
    problem = on_device(reference.head_problem(9, **SMALL))
    if score == "iwps":
        score = partial(iwps_jax.iwps, apply_head)
        params = {"kernel": problem.pop("kernel"), "bias": problem.pop("bias")}
        arguments = (params, *problem.values())
    else:
        score, arguments = iwps_jax.iwps_last_layer, tuple(problem.values())
    with pytest.raises((ValueError, TypeError), match=argument):
        score(*arguments, **{argument: value})


# Memory


def iwps_memory(layers, pool_size, steps):
    """Temporary floats of one call."""
    arrays = layers, jnp.zeros((pool_size, 96)), jnp.zeros((3, 96)), jnp.zeros(3, int)
    program = jax.jit(partial(iwps_jax.iwps, apply_network, steps=steps))
    compiled = program.lower(*arrays).compile()
    return compiled.memory_analysis().temp_size_in_bytes / 4


def test_memory_of_iwps_is_five_networks_a_candidate_whatever_the_steps():
    layers = [
        (jnp.zeros((96, 128)), jnp.zeros(128)),
        (jnp.zeros((128, 4)), jnp.zeros(4)),
    ]
    num_params = sum(leaf.size for leaf in jax.tree.leaves(layers))
    few, many = (iwps_memory(layers, 32, steps) for steps in (3, 10))
    assert 32 * num_params < many <= 5 * 32 * num_params
    assert abs(many - few) < 0.01 * many
