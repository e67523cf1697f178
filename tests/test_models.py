import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import models
from iwps_jax.types import Variables


def some_images(size, shape=(28, 28, 1), seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, 256, (size, *shape), dtype=np.uint8))


def compiled(network):
    *functions, dense_layers = network
    return models.Network(*map(jax.jit, functions), dense_layers)


@pytest.fixture(scope="module")
def network():
    return compiled(models.mlp((28, 28, 1), 10, mean=33.0, std=79.0))


@pytest.fixture(scope="module")
def variables(network):
    return network.init(jax.random.key(0))


def layers_of(variables):
    """Kernels and biases from the inputs to the head, found by their names."""
    params = variables.params
    hidden = [params[name] for name in sorted(params) if name != "head"]
    layers = [*hidden, params["head"]]
    return [
        (np.float64(layer["kernel"]), np.float64(layer["bias"])) for layer in layers
    ]


def test_the_paper_network_has_its_sizes(network, variables):
    shapes = [(kernel.shape, bias.shape) for kernel, bias in layers_of(variables)]
    assert shapes == [
        ((784, 256), (256,)),
        ((256, 256), (256,)),
        ((256, 10), (10,)),
    ]
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert len(jax.tree.leaves(variables)) == 6


def test_another_key_gives_another_start(network, variables):
    same, other = network.init(jax.random.key(0)), network.init(jax.random.key(1))
    for leaf, equal, different in zip(
        *map(jax.tree.leaves, (variables, same, other)), strict=True
    ):
        np.testing.assert_array_equal(leaf, equal)
        assert leaf.ndim == 1 or not (leaf == different).any()


def test_logits_are_numpy_on_normalized_pixels(network, variables):
    images = some_images(5)
    hidden = (np.float64(images).reshape(5, 784) - 33) / 79
    layers = layers_of(variables)
    for kernel, bias in layers[:-1]:
        hidden = np.maximum(hidden @ kernel + bias, 0)
    logits = hidden @ layers[-1][0] + layers[-1][1]
    found = network.apply(variables, images)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        network.features(variables, images), hidden, rtol=1e-4, atol=1e-5
    )


def test_pixels_of_the_given_mean_and_deviation_become_standard():
    """With one linear layer the logits show the network's inputs."""
    network = models.mlp((2, 2, 1), 4, mean=102.0, std=51.0, hidden_sizes=())
    variables = Variables({"head": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}}, {})
    images = jnp.array([0, 102, 153, 255], jnp.uint8).reshape(1, 2, 2, 1)
    found = network.apply(variables, images)
    np.testing.assert_allclose(found, [[-2.0, 0.0, 1.0, 3.0]], atol=1e-6)


@pytest.mark.parametrize("hidden_sizes", [(), (8, 6, 5)])
def test_the_head_of_the_features_gives_the_logits(key, hidden_sizes):
    network = compiled(
        models.mlp((3, 2, 2), 4, mean=127.5, std=127.5, hidden_sizes=hidden_sizes)
    )
    variables, images = network.init(key), some_images(6, (3, 2, 2))
    features, (kernel, bias) = (
        network.features(variables, images),
        network.head(variables),
    )
    assert features.shape == (6, hidden_sizes[-1] if hidden_sizes else 12)
    assert kernel.shape == (features.shape[1], 4) and bias.shape == (4,)
    np.testing.assert_allclose(
        features @ kernel + bias[None], network.apply(variables, images), atol=1e-5
    )


def test_samples_do_not_see_each_other(network, variables):
    images = some_images(5)
    alone = network.apply(variables, images[2:3])
    np.testing.assert_allclose(
        alone, network.apply(variables, images)[2:3], rtol=1e-5, atol=1e-6
    )


def test_inference_has_no_dropout(network, variables):
    images = some_images(5)
    first, again = (network.apply(variables, images) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not jnp.allclose(
        first, network.apply_dropout(jax.random.key(0), variables, images)
    )


def test_masks_are_fixed_by_their_key(network, variables):
    images = some_images(5)
    draws = [
        network.apply_dropout(jax.random.key(seed), variables, images)
        for seed in (0, 0, 1, 2)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not jnp.allclose(draws[0], draws[2])
    assert not jnp.allclose(draws[2], draws[3])


# All hidden units are one and the head is the identity: logits show the masks.


def masks(key, num_layers, rate, size=400, images=5):
    network = models.mlp(
        (1, 1, 1),
        size,
        mean=0.0,
        std=1.0,
        hidden_sizes=(size,) * num_layers,
        dropout_rate=rate,
    )
    shapes = jax.eval_shape(network.init, key)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    params = variables.params
    names = sorted(name for name in params if name != "head")
    params[names[0]]["bias"] = jnp.ones(size)
    for name in [*names[1:], "head"]:
        params[name]["kernel"] = jnp.eye(size)
    return np.asarray(
        jax.jit(network.apply_dropout)(
            key, variables, jnp.zeros((images, 1, 1, 1), jnp.uint8)
        )
    )


@pytest.mark.parametrize("num_layers, rate", [(1, 0.2), (2, 0.5)])
def test_every_hidden_layer_drops_its_share(key, num_layers, rate):
    found = masks(key, num_layers, rate)
    kept = found > 0
    np.testing.assert_allclose(found[kept], (1 / (1 - rate)) ** num_layers, rtol=1e-5)
    share = (1 - rate) ** num_layers  # more, if two layers shared a mask
    deviation = np.sqrt(share * (1 - share) / kept.size)
    assert abs(kept.mean() - share) < 5 * deviation
    assert len({tuple(row) for row in kept}) == 5  # each image its own mask


def test_no_dropout_is_inference(key):
    assert (masks(key, 2, 0.0) == 1).all()


def test_draws_side_by_side_are_the_draws_one_by_one(network, variables):
    images = some_images(5)
    keys = jax.random.split(jax.random.key(3), 2)
    draws = jax.vmap(network.apply_dropout, (0, None, None))(keys, variables, images)
    for draw, one_key in zip(draws, keys, strict=True):
        expected = network.apply_dropout(one_key, variables, images)
        np.testing.assert_allclose(draw, expected, rtol=1e-4, atol=1e-5)


def test_dense_layers_are_the_network(network, variables):
    images = some_images(5)
    layers, normalize = network.dense_layers(variables)
    hidden = np.float64(normalize(images))
    assert hidden.shape == (5, 784)
    for i, (kernel, bias) in enumerate(layers):
        hidden = np.maximum(hidden, 0) if i else hidden
        hidden = hidden @ np.float64(kernel) + np.float64(bias)
    found = network.apply(variables, images)
    np.testing.assert_allclose(found, hidden, rtol=1e-4, atol=1e-5)


def test_inputs_of_one_axis_have_a_mean_and_deviation_each(key):
    mean, std = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 2.0, 4.0])
    network = models.mlp((3,), 3, mean=mean, std=std, hidden_sizes=())
    variables = Variables({"head": {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}}, {})
    found = network.apply(variables, jnp.array([[1.0, 4.0, 11.0]]))
    np.testing.assert_allclose(found, [[0.0, 1.0, 2.0]])
    assert network.features(network.init(key), jnp.ones((2, 3))).shape == (2, 3)
