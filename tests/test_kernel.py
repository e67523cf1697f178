"""IWPS-app and the gradient kernel: against explicit per-sample gradients."""

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
SIZES = (8, 8, 4)


def apply_head(head, inputs):
    return inputs @ head["kernel"] + head["bias"][None]


def apply_network(layers, inputs):
    for kernel, bias in layers[:-1]:
        inputs = jax.nn.relu(inputs @ kernel + bias[None])
    kernel, bias = layers[-1]
    return inputs @ kernel + bias[None]


def apply_convolution(params, images):
    hidden = jax.lax.conv(images, params["filters"], (2, 2), "SAME")
    hidden = jax.nn.gelu(hidden) + params["shift"][None, :, None, None]
    return hidden.mean(axis=(2, 3)) @ params["kernel"]


def convolution_problem(seed, pool=12, holdout=5):
    rng = np.random.default_rng(seed)
    params = {
        "filters": rng.normal(size=(6, 2, 3, 3)),
        "kernel": rng.normal(size=(6, 3)),
        "shift": rng.normal(size=6),
    }
    images = rng.normal(size=(pool + holdout, 2, 6, 6)).astype(np.float32)
    labels = rng.integers(0, 3, holdout).astype(np.int32)
    params = jax.tree.map(np.float32, params)
    return params, images[:pool], images[pool:], labels


def on_device(tree):
    return jax.tree.map(jnp.asarray, tree)


def predicted(layers, inputs):
    logits = reference.forward(reference.wide_layers(layers), reference.wide(inputs))
    return np.argmax(logits, axis=-1).astype(np.int32)


def autodiff_gradients(apply_fn, params, inputs, labels):
    """One flat float64 gradient per sample by jax.grad: what IWPS-app never forms."""

    def loss(params, one_input, label):
        logits = apply_fn(params, one_input[None])[0]
        return jax.nn.logsumexp(logits) - logits[label]

    with jax.enable_x64(True):
        params, inputs = jax.tree.map(np.float64, (params, inputs))
        per_sample = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0, 0)))
        leaves = jax.tree.leaves(per_sample(params, inputs, labels))
        return np.concatenate([np.reshape(g, (len(labels), -1)) for g in leaves], 1)


# Parity with the oracle.


@jax.jit
def network_score(layers, inputs, holdout, labels):
    slope = iwps_jax.holdout_gradient(apply_network, layers, holdout, labels)
    return iwps_jax.iwps_app(apply_network, layers, inputs, slope)


last_layer_score = jax.jit(iwps_jax.iwps_app_last_layer)
network_kernel = jax.jit(partial(iwps_jax.gradient_kernel, apply_network))


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_iwps_app_matches_reference(scale):
    problem = reference.network_problem(0, 4096, (16, 16, 5), 20, scale)
    kernel = reference.gradient_kernel(
        problem[0], problem[1][ASKED], None, problem[2], problem[3]
    )
    reference.assert_same_scores(
        np.asarray(network_score(*problem))[ASKED],
        -kernel.mean(axis=1),
        np.abs(kernel).mean(axis=1),
    )


@pytest.mark.parametrize(
    ("dim", "classes", "holdout", "scale", "rectified"),
    [
        (32, 10, 100, 1.0, False),
        (32, 10, 100, 20.0, False),
        (32, 3, 1, 1.0, True),
        (32, 3, 1, 20.0, True),
    ],
)
def test_iwps_app_last_layer_matches_reference(dim, classes, holdout, scale, rectified):
    problem = reference.head_problem(
        1, 4096, dim, classes, holdout, scale, rectified=rectified
    )
    kernel = reference.gradient_kernel(
        [(problem["kernel"], problem["bias"])],
        problem["features"][ASKED],
        None,
        problem["holdout_features"],
        problem["holdout_labels"],
    )
    reference.assert_same_scores(
        np.asarray(last_layer_score(**problem))[ASKED],
        -kernel.mean(axis=1),
        np.abs(kernel).mean(axis=1),
    )


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_gradient_kernel_matches_reference(scale):
    layers, inputs, others, labels = reference.network_problem(
        2, 4096, (16, 16, 5), 8, scale
    )
    own = predicted(layers, inputs)
    found = np.asarray(network_kernel(layers, inputs, own, others, labels))[ASKED]
    inputs, own = inputs[ASKED], own[ASKED]
    expected = reference.gradient_kernel(layers, inputs, own, others, labels)
    assert found.dtype == jnp.float32
    norms_a = np.linalg.norm(
        reference.per_sample_gradients(layers, inputs, own), axis=1
    )
    norms_b = np.linalg.norm(
        reference.per_sample_gradients(layers, others, labels), axis=1
    )
    error = np.abs(np.asarray(found, np.float64) - expected)
    floor = reference.FLOAT32_FLOOR * np.maximum(norms_b, 1.0)
    allowed = 1e-4 * np.outer(norms_a, norms_b) + floor
    assert np.all(error <= allowed)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_holdout_gradient_matches_reference(scale):
    layers, _, holdout, labels = reference.network_problem(3, 1, SIZES, 7, scale)
    found = iwps_jax.holdout_gradient(
        apply_network, *on_device((layers, holdout, labels))
    )
    assert jax.tree.structure(found) == jax.tree.structure(layers)
    expected = reference.per_sample_gradients(layers, holdout, labels)
    np.testing.assert_allclose(
        reference.flat(jax.tree.map(np.asarray, found)),
        expected.mean(axis=0),
        atol=1e-5 * np.abs(expected).mean(axis=0).max(),
    )


# Equalities.


@pytest.mark.parametrize("network", ["relu", "convolution"])
def test_scores_are_dot_products_of_autodiff_gradients(network):
    if network == "relu":
        problem = on_device(reference.network_problem(4, 12, SIZES, 5))
        apply_fn = apply_network
    else:
        problem, apply_fn = convolution_problem(4), apply_convolution
    params, inputs, holdout, labels = problem
    own = np.argmax(apply_fn(params, inputs), axis=-1).astype(np.int32)
    gradients = autodiff_gradients(
        apply_fn, params, np.concatenate([inputs, holdout]), np.append(own, labels)
    )
    expected = gradients[: len(own)] @ gradients[len(own) :].T
    scale = np.abs(expected).mean(axis=1)

    kernel = iwps_jax.gradient_kernel(apply_fn, params, inputs, own, holdout, labels)
    assert kernel.dtype == jnp.float32
    assert np.all(np.abs(kernel - expected) <= 1e-5 * scale[:, None])
    slope = iwps_jax.holdout_gradient(apply_fn, params, holdout, labels)
    scores = np.asarray(iwps_jax.iwps_app(apply_fn, params, inputs, slope))
    assert np.all(np.abs(scores + expected.mean(axis=1)) <= 1e-5 * scale)


def test_iwps_app_takes_any_tangent():
    """With a unit vector in place of the holdout gradient: one partial derivative."""
    layers, inputs, _, _ = reference.network_problem(5, 12, SIZES, 1)
    gradients = reference.per_sample_gradients(layers, inputs)
    tangent = jax.tree.map(np.zeros_like, layers)
    tangent[0][0][3, 2] = 1.0
    scores = iwps_jax.iwps_app(apply_network, *on_device((layers, inputs, tangent)))
    np.testing.assert_allclose(
        scores, -gradients[:, 3 * SIZES[1] + 2], rtol=1e-4, atol=1e-6
    )


@given(seed=SEEDS)
def test_last_layer_is_iwps_app_on_the_head(seed):
    problem = on_device(reference.head_problem(seed, 16, 8, 4, 6))
    head = {"kernel": problem["kernel"], "bias": problem["bias"]}
    slope = iwps_jax.holdout_gradient(
        apply_head, head, problem["holdout_features"], problem["holdout_labels"]
    )
    full = iwps_jax.iwps_app(apply_head, head, problem["features"], slope)
    scores = iwps_jax.iwps_app_last_layer(**problem)
    np.testing.assert_allclose(full, scores, rtol=1e-4, atol=1e-5)


def test_iwps_app_is_minus_the_mean_kernel():
    problem = reference.network_problem(6, 12, SIZES, 5)
    layers, inputs, holdout, labels = on_device(problem)
    own = jnp.asarray(predicted(problem[0], problem[1]))
    kernel = iwps_jax.gradient_kernel(
        apply_network, layers, inputs, own, holdout, labels
    )
    slope = iwps_jax.holdout_gradient(apply_network, layers, holdout, labels)
    scores = iwps_jax.iwps_app(apply_network, layers, inputs, slope)
    scale = np.abs(np.asarray(kernel)).mean(axis=1)
    assert np.all(np.abs(scores + kernel.mean(axis=1)) <= 1e-5 * scale)


@pytest.mark.parametrize("network", ["relu", "convolution"])
def test_kernel_is_symmetric_and_positive_semidefinite(network):
    if network == "relu":
        params, inputs, _, _ = on_device(reference.network_problem(8, 12, SIZES, 1))
        apply_fn, classes = apply_network, SIZES[-1]
    else:
        params, inputs, _, _ = convolution_problem(8)
        apply_fn, classes = apply_convolution, 3
    labels = jnp.arange(12, dtype=jnp.int32) % classes
    kernel = np.asarray(
        iwps_jax.gradient_kernel(apply_fn, params, inputs, labels, inputs, labels)
    )
    largest = np.abs(kernel).max()
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-6 * largest)
    assert np.linalg.eigvalsh(np.float64(kernel + kernel.T)).min() >= -1e-5 * largest


# Corners.


@given(seed=SEEDS)
def test_confident_candidates_score_nearly_zero(seed):
    numbers = reference.head_problem(seed, 16, 8, 4, 6, scale=20.0)
    layers = reference.wide_layers([(numbers["kernel"], numbers["bias"])])
    features = reference.wide(numbers["features"])
    doubt = reference.least_confidence(reference.forward(layers, features))
    reach = np.max(np.abs(1 + features @ numbers["holdout_features"].T), axis=1)
    scores = iwps_jax.iwps_app_last_layer(**on_device(numbers))
    assert np.all(np.abs(np.asarray(scores)) <= 2.001 * reach * doubt)


@given(seed=SEEDS)
def test_own_holdout_under_the_pseudo_label_scores_negative(seed):
    numbers = reference.head_problem(seed, 1, 8, 4, 1)
    logits = numbers["features"] @ numbers["kernel"] + numbers["bias"]
    numbers["holdout_features"] = numbers["features"]
    numbers["holdout_labels"] = np.argmax(logits, axis=-1).astype(np.int32)
    assert iwps_jax.iwps_app_last_layer(**on_device(numbers))[0] < 0.0


def test_kernel_of_saturated_samples_is_zero():
    layers, inputs, _, _ = reference.network_problem(9, 12, SIZES, 1, scale=1e4)
    own = predicted(layers, inputs)
    found = iwps_jax.gradient_kernel(
        apply_network, *on_device((layers, inputs, own, inputs, own))
    )
    expected = reference.gradient_kernel(layers, inputs, own, inputs, own)
    assert np.all(np.isfinite(found))
    assert np.all(np.asarray(found)[np.abs(expected) < 1e-60] == 0.0)


# Errors.


def bad_kernel_arguments():
    layers, inputs, others, labels = on_device(
        reference.network_problem(10, 6, SIZES, 5)
    )
    own = jnp.zeros(6, jnp.int32)
    return {
        "params": layers,
        "inputs_a": inputs,
        "labels_a": own,
        "inputs_b": others,
        "labels_b": labels,
    }


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels.astype(jnp.float32),
        lambda labels: labels[None],
        lambda labels: labels[:-1],
        lambda labels: labels + SIZES[-1],
        lambda labels: labels - SIZES[-1],
    ],
)
def test_wrong_kernel_labels_are_named(without_jaxtyping, side, change):
    arguments = bad_kernel_arguments()
    arguments[f"labels_{side}"] = change(arguments[f"labels_{side}"])
    with pytest.raises((ValueError, TypeError), match=f"(labels|inputs)_{side}"):
        iwps_jax.gradient_kernel(apply_network, **arguments)


@pytest.mark.parametrize("side", ["a", "b"])
def test_kernel_inputs_that_are_not_numbers_are_named(without_jaxtyping, side):
    arguments = bad_kernel_arguments()
    inputs = np.array(arguments[f"inputs_{side}"])
    inputs[2, 1] = np.nan
    arguments[f"inputs_{side}"] = inputs
    with pytest.raises((ValueError, TypeError), match=f"inputs_{side}"):
        iwps_jax.gradient_kernel(apply_network, **arguments)


@pytest.mark.parametrize("change", ["structure", "shape"])
def test_wrong_holdout_gradient_is_named(without_jaxtyping, change):
    layers, inputs, holdout, labels = on_device(
        reference.network_problem(11, 6, SIZES, 5)
    )
    slope = iwps_jax.holdout_gradient(apply_network, layers, holdout, labels)
    if change == "structure":
        slope = slope[:1]
    else:
        slope = jax.tree.map(lambda leaf: leaf[:-1], slope)
    with pytest.raises((ValueError, TypeError), match="holdout_gradient"):
        iwps_jax.iwps_app(apply_network, layers, inputs, slope)


@pytest.mark.parametrize(
    ("dtype", "classes"),
    [
        (np.int8, 128),
        (np.uint8, 256),
        pytest.param(np.int8, 300, marks=pytest.mark.full),
    ],
)
def test_narrow_labels_are_what_they_say(dtype, classes):
    """A type that cannot hold the number of classes changes no number."""
    problem = reference.head_problem(0, 8, 4, classes, 6)
    labels = problem["holdout_labels"] % 128
    for score in (iwps_jax.iwps_app_last_layer, iwps_jax.iwps_last_layer):
        expected = score(**{**problem, "holdout_labels": labels})
        narrow = score(**{**problem, "holdout_labels": labels.astype(dtype)})
        np.testing.assert_array_equal(narrow, expected)
    head = {"kernel": problem["kernel"], "bias": problem["bias"]}
    gradient = partial(
        iwps_jax.holdout_gradient, apply_head, head, problem["holdout_features"]
    )
    expected, narrow = gradient(labels), gradient(labels.astype(dtype))
    jax.tree.map(np.testing.assert_array_equal, narrow, expected)
