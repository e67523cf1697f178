import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iwps_jax import models


def some_images(size, shape=(28, 28, 1), seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, 256, (size, *shape), dtype=np.uint8))


def compiled(network):
    return models.Network(*map(jax.jit, network))


@pytest.fixture(scope="module")
def network():
    return compiled(models.mlp((28, 28, 1), 10, mean=0.13, std=0.31))


@pytest.fixture(scope="module")
def params(network):
    return network.init(jax.random.key(0))


def layers_of(params):
    """Kernels and biases from the inputs to the head, found by their shapes."""
    hidden = [params[name] for name in sorted(params) if name != "head"]
    layers = [*hidden, params["head"]]
    return [
        (np.float64(layer["kernel"]), np.float64(layer["bias"])) for layer in layers
    ]


def test_the_paper_network_has_its_sizes(network, params):
    shapes = [(kernel.shape, bias.shape) for kernel, bias in layers_of(params)]
    assert shapes == [
        ((784, 256), (256,)),
        ((256, 256), (256,)),
        ((256, 10), (10,)),
    ]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert len(jax.tree.leaves(params)) == 6


def test_another_key_gives_another_start(network, params):
    same, other = network.init(jax.random.key(0)), network.init(jax.random.key(1))
    for leaf, equal, different in zip(
        *map(jax.tree.leaves, (params, same, other)), strict=True
    ):
        np.testing.assert_array_equal(leaf, equal)
        assert leaf.ndim == 1 or not (leaf == different).any()


def test_logits_are_numpy_on_normalized_pixels(network, params):
    images = some_images(5)
    hidden = (np.float64(images).reshape(5, 784) / 255 - 0.13) / 0.31
    layers = layers_of(params)
    for kernel, bias in layers[:-1]:
        hidden = np.maximum(hidden @ kernel + bias, 0)
    logits = hidden @ layers[-1][0] + layers[-1][1]
    found = network.apply(params, images)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        network.features(params, images), hidden, rtol=1e-4, atol=1e-5
    )


def test_pixels_of_the_given_mean_and_deviation_become_standard():
    """With one linear layer the logits show the network's inputs."""
    network = models.mlp((2, 2, 1), 4, mean=0.4, std=0.2, hidden_sizes=())
    params = {"head": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}}
    images = jnp.array([0, 102, 153, 255], jnp.uint8).reshape(1, 2, 2, 1)
    found = network.apply(params, images)
    np.testing.assert_allclose(found, [[-2.0, 0.0, 1.0, 3.0]], atol=1e-6)


@pytest.mark.parametrize("hidden_sizes", [(), (8, 6, 5)])
def test_the_head_of_the_features_gives_the_logits(key, hidden_sizes):
    network = compiled(
        models.mlp((3, 2, 2), 4, mean=0.5, std=0.5, hidden_sizes=hidden_sizes)
    )
    params, images = network.init(key), some_images(6, (3, 2, 2))
    features, (kernel, bias) = network.features(params, images), network.head(params)
    assert features.shape == (6, hidden_sizes[-1] if hidden_sizes else 12)
    assert kernel.shape == (features.shape[1], 4) and bias.shape == (4,)
    np.testing.assert_allclose(
        features @ kernel + bias[None], network.apply(params, images), atol=1e-5
    )


def test_samples_do_not_see_each_other(network, params):
    images = some_images(5)
    alone = network.apply(params, images[2:3])
    np.testing.assert_allclose(
        alone, network.apply(params, images)[2:3], rtol=1e-5, atol=1e-6
    )


def test_inference_has_no_dropout(network, params):
    images = some_images(5)
    first, again = (network.apply(params, images) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not jnp.allclose(
        first, network.apply_dropout(jax.random.key(0), params, images)
    )


def test_masks_are_fixed_by_their_key(network, params):
    images = some_images(5)
    draws = [
        network.apply_dropout(jax.random.key(seed), params, images)
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
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    names = sorted(name for name in params if name != "head")
    params[names[0]]["bias"] = jnp.ones(size)
    for name in [*names[1:], "head"]:
        params[name]["kernel"] = jnp.eye(size)
    return np.asarray(
        jax.jit(network.apply_dropout)(
            key, params, jnp.zeros((images, 1, 1, 1), jnp.uint8)
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


def test_draws_side_by_side_are_the_draws_one_by_one(network, params):
    images = some_images(5)
    keys = jax.random.split(jax.random.key(3), 2)
    draws = jax.vmap(network.apply_dropout, (0, None, None))(keys, params, images)
    for draw, one_key in zip(draws, keys, strict=True):
        expected = network.apply_dropout(one_key, params, images)
        np.testing.assert_allclose(draw, expected, rtol=1e-4, atol=1e-5)
