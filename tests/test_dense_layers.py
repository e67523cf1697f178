"""Which networks are recognized as fully connected, and which must not be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import linen as nn

import iwps_jax

SIZES = (6, 9, 9, 4)


def some_inputs(shape=(5, 6)):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def some_layers(sizes=SIZES, seed=0):
    return reference.network_problem(seed, 1, sizes, 1)[0]


def apply_layers(layers, inputs, activation=jax.nn.relu):
    hidden = inputs.reshape(len(inputs), -1)
    for kernel, bias in layers[:-1]:
        hidden = activation(hidden @ kernel + bias[None])
    kernel, bias = layers[-1]
    return hidden @ kernel + bias[None]


def assert_layers(found, expected):
    assert len(found) == len(expected)
    for pair, (kernel, bias) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(pair[0], kernel)
        np.testing.assert_array_equal(pair[1], bias)


class Network(nn.Module):
    """Fully connected, or something that is nearly so."""

    sizes: tuple = (9, 9, 4)
    activation: callable = nn.relu
    dropout: bool = False
    normalized: bool = False
    residual: bool = False
    bias: bool = True
    shift: float = 0.0

    @nn.compact
    def __call__(self, inputs):
        hidden = inputs.reshape(len(inputs), -1) - self.shift
        for size in self.sizes[:-1]:
            new = nn.Dense(size, bias_init=nn.initializers.normal())(hidden)
            if self.normalized:
                new = nn.BatchNorm(use_running_average=True)(new)
            new = self.activation(new)
            if self.dropout:
                new = nn.Dropout(0.5)(new, deterministic=True)
            hidden = (
                new + hidden if self.residual and new.shape == hidden.shape else new
            )
        return nn.Dense(self.sizes[-1], use_bias=self.bias)(hidden)


def draw(rng, shape):
    """Kernels of both signs; biases, scales and variances that are not 0 or 1."""
    return rng.normal(size=shape) if len(shape) > 1 else rng.uniform(0.2, 0.8, shape)


def made(network, inputs):
    # Drawn here: an initialization would be compiled for every network.
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(network.init, jax.random.key(1), inputs)
    variables = jax.tree.map(
        lambda leaf: draw(rng, leaf.shape).astype(np.float32), shapes
    )
    statistics = {k: v for k, v in variables.items() if k != "params"}

    def apply_fn(params, inputs):
        return network.apply({"params": params, **statistics}, inputs)

    return apply_fn, variables["params"]


# Recognized


@pytest.mark.parametrize("sizes", [(4,), (9, 4), (9, 9, 4), (9,) * 11 + (4,)])
def test_layers_of_a_flax_network_come_in_the_order_of_their_numbers(sizes):
    inputs = some_inputs((5, 2, 3))
    apply_fn, params = made(Network(sizes), inputs)
    found = iwps_jax.dense_layers(apply_fn, params, inputs)
    names = [f"Dense_{i}" for i in range(len(sizes))]
    assert_layers(found, [(params[n]["kernel"], params[n]["bias"]) for n in names])


def test_dropout_in_inference_mode_is_no_obstacle():
    inputs = some_inputs()
    assert iwps_jax.dense_layers(*made(Network(dropout=True), inputs), inputs)


def test_lists_of_pairs_and_of_dictionaries():
    inputs, layers = some_inputs(), some_layers()
    assert_layers(iwps_jax.dense_layers(apply_layers, layers, inputs), layers)
    as_tuple = tuple(layers)
    assert_layers(iwps_jax.dense_layers(apply_layers, as_tuple, inputs), layers)
    named = [{"w": kernel, "b": bias} for kernel, bias in layers]
    found = iwps_jax.dense_layers(
        lambda p, x: apply_layers([(q["w"], q["b"]) for q in p], x), named, inputs
    )
    assert_layers(found, layers)


@pytest.mark.parametrize(
    "names", [("hidden_0", "hidden_1", "head"), ("in", "middle", "a"), ("c", "b", "a")]
)
def test_names_in_another_order_than_the_layers(names):
    inputs, layers = some_inputs(), some_layers()
    params = {
        name: {"kernel": kernel, "bias": bias}
        for name, (kernel, bias) in zip(names, layers, strict=True)
    }

    def apply_fn(params, inputs):
        ordered = [(params[name]["kernel"], params[name]["bias"]) for name in names]
        return apply_layers(ordered, inputs)

    assert_layers(iwps_jax.dense_layers(apply_fn, params, inputs), layers)


def test_equal_shapes_in_another_order_than_their_names():
    inputs, layers = some_inputs(), some_layers((6, 6, 6, 6))
    params = dict(zip("bac", layers, strict=True))
    found = iwps_jax.dense_layers(
        lambda p, x: apply_layers([p[name] for name in "bac"], x), params, inputs
    )
    assert_layers(found, layers)


def test_scores_of_the_found_layers_are_those_of_the_network():
    layers, inputs, holdout, labels = reference.network_problem(2, 20, SIZES, 8)
    params = {f"Dense_{i}": {"kernel": k, "bias": b} for i, (k, b) in enumerate(layers)}

    def apply_fn(params, inputs):
        ordered = [params[f"Dense_{i}"] for i in range(3)]
        return apply_layers([(q["kernel"], q["bias"]) for q in ordered], inputs)

    found = iwps_jax.dense_layers(apply_fn, params, jnp.asarray(inputs[:4]))
    scores = iwps_jax.iwps_mlp(found, inputs, holdout, labels)
    full = iwps_jax.iwps(apply_fn, params, inputs, holdout, labels)
    changes = reference.look_ahead_changes(layers, inputs, holdout, labels)
    scale = np.abs(changes).mean(axis=1)
    reference.assert_same_scores(scores, np.float64(full), scale)


# Not recognized


@pytest.mark.parametrize(
    "options",
    [
        {"activation": nn.gelu},
        {"activation": nn.tanh},
        {"activation": nn.leaky_relu},
        {"activation": lambda x: nn.softplus(50 * x) / 50},
        {"activation": lambda x: jnp.minimum(nn.relu(x), 6)},
        {"normalized": True},
        {"residual": True},
        {"bias": False},
        {"shift": 0.1},
    ],
)
def test_other_networks_are_none(options):
    inputs = some_inputs()
    apply_fn, params = made(Network(**options), inputs)
    assert iwps_jax.dense_layers(apply_fn, params, inputs) is None


@pytest.mark.parametrize(
    "apply_fn",
    [
        lambda p, x: apply_layers(p, x)[:, :3],
        lambda p, x: apply_layers(p, x) ** 2,
        lambda p, x: apply_layers(p[:2] + [(p[2][0] * 2, p[2][1])], x),
        lambda p, x: apply_layers([jax.lax.stop_gradient(p[0]), *p[1:]], x),
        lambda p, x: apply_layers(some_layers(), x),
        lambda p, x: apply_layers([*p[:2], (p[2][0], 0 * p[2][1])], x),
    ],
    ids=["fewer classes", "squared", "scaled", "frozen", "constant", "unused bias"],
)
def test_other_functions_of_the_same_layers_are_none(apply_fn):
    assert iwps_jax.dense_layers(apply_fn, some_layers(), some_inputs()) is None


@pytest.mark.parametrize(
    "params",
    [
        [],
        {},
        jnp.zeros((6, 4)),
        [*some_layers(), jnp.zeros(3)],
        {"layers": some_layers(), "scale": jnp.ones(())},
        some_layers()[:2],
        [(jnp.zeros((6, 9)), jnp.zeros(8)), (jnp.zeros((8, 4)), jnp.zeros(4))],
        [(jnp.zeros((3, 3, 6, 9)), jnp.zeros(9)), (jnp.zeros((9, 4)), jnp.zeros(4))],
    ],
    ids=["list", "dict", "array", "vector", "scalar", "two", "bias", "convolution"],
)
def test_other_parameters_are_none(params):
    def apply_fn(params, inputs):
        return apply_layers(some_layers(), inputs)

    assert iwps_jax.dense_layers(apply_fn, params, some_inputs()) is None


def test_images_of_integers_are_none():
    inputs = jnp.arange(30, dtype=jnp.uint8).reshape(5, 6)
    apply_fn, params = made(Network(), inputs.astype(jnp.float32))
    assert iwps_jax.dense_layers(apply_fn, params, inputs) is None
