"""DeepLabv3: torchvision's arithmetic in NumPy, sizes, training mode, precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_deeplab as reference

from experiments import models
from experiments.models import resnet_weights
from iwps_jax.types import Variables

MEAN, STD = np.float32([120, 110, 100]), np.float32([60, 55, 50])


def some_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def resnet50(width, num_classes, **options):
    return models.deeplabv3_resnet50(
        num_classes, mean=MEAN, std=STD, width=width, **options
    )


def with_weights(network, state_dict):
    """Variables with every tensor of a torchvision checkpoint of the whole network."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    empty = jax.tree.map(lambda leaf: np.full(leaf.shape, np.nan, np.float32), shapes)
    bare = resnet_weights._without_prefix(state_dict)
    params, statistics = resnet_weights.into_segmenter(empty, bare)

    def fill(keys, convolution, norm):
        own, running = params, statistics
        for key in keys:
            own, running = own[key], running[key]
        kernel = state_dict[f"{convolution}.weight"].transpose(2, 3, 1, 0)
        shape = own["convolution"]["kernel"].shape
        own["convolution"]["kernel"] = kernel.reshape(shape)
        own["normalization"]["scale"] = state_dict[f"{norm}.weight"]
        own["normalization"]["bias"] = state_dict[f"{norm}.bias"]
        running["normalization"]["mean"] = state_dict[f"{norm}.running_mean"]
        running["normalization"]["var"] = state_dict[f"{norm}.running_var"]

    aspp = "classifier.0.convs"
    fill(("pyramid", "point"), f"{aspp}.0.0", f"{aspp}.0.1")
    for i in range(3):
        name = f"{aspp}.{i + 1}"
        fill(("pyramid", f"atrous_{i}"), f"{name}.0", f"{name}.1")
    fill(("pyramid", "pooled"), f"{aspp}.4.1", f"{aspp}.4.2")
    project = "classifier.0.project"
    fill(("pyramid", "projection"), f"{project}.0", f"{project}.1")
    fill(("last",), "classifier.1", "classifier.2")
    params["head"]["kernel"] = state_dict["classifier.4.weight"][:, :, 0, 0].T
    params["head"]["bias"] = state_dict["classifier.4.bias"]
    filled = Variables(params, statistics)
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(filled))
    return filled


# The whole network


@pytest.mark.parametrize(
    ("width", "shape"),
    [
        # 37x13 positions: all three spacings of the pyramid reach others than their own
        (2, (1, 296, 104, 3)),
        # the true channels, on 2x4 positions
        pytest.param(64, (2, 16, 32, 3), marks=pytest.mark.full),
    ],
)
def test_features_and_logits_are_those_of_the_reference(width, shape):
    state_dict = reference.random_state_dict(0, width, 5)
    network = resnet50(width, 5)
    variables = with_weights(network, state_dict)
    images = some_images(*shape)
    x = ((np.float64(images) - MEAN) / STD).transpose(0, 3, 1, 2)
    expected = reference.features(state_dict, x).transpose(0, 2, 3, 1)
    found = jax.jit(network.features)(variables, images)
    assert network.stride == 8 and found.dtype == jnp.float32
    assert found.shape == (shape[0], shape[1] // 8, shape[2] // 8, 4 * width)
    assert 0.2 < (expected > 0).mean() < 0.9
    # Relative to the largest: small ones are differences of large ones.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * expected.max())
    kernel, bias = network.head(variables)
    logits = reference.logits(state_dict, x).transpose(0, 2, 3, 1)
    error = np.abs(np.asarray(found) @ kernel + bias - logits).max()
    assert error < 2e-5 * np.abs(logits).max()


def test_the_full_network_has_the_parameters_of_torchvision():
    """42,004,074 in torchvision with 21 classes, less the auxiliary classifier's."""
    network = models.deeplabv3_resnet50(21, mean=0.0, std=1.0)
    variables = jax.eval_shape(network.init, jax.random.key(0))
    auxiliary = 1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21
    num_params = sum(leaf.size for leaf in jax.tree.leaves(variables.params))
    assert num_params == 42_004_074 - auxiliary == 39_638_869
    images = jax.ShapeDtypeStruct((2, 712, 712, 3), jnp.uint8)
    found = jax.eval_shape(network.features, variables, images)
    assert found.shape == (2, 89, 89, 256)


@pytest.mark.parametrize(("h", "w"), [(20, 16), (16, 12)])
def test_other_sides_are_refused(h, w):
    network = resnet50(1, 2)
    variables = jax.eval_shape(network.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((1, h, w, 3), jnp.uint8)
    with pytest.raises(ValueError, match=f"multiples of 8, got {h}x{w}"):
        jax.eval_shape(network.features, variables, images)


def test_bfloat16_is_close_and_keeps_float32_parameters():
    """Eight bits round by 0.2 %; some fifty layers one after another by more."""
    state_dict = reference.random_state_dict(1, 4, 3)
    images = some_images(2, 32, 24, 3)
    network = resnet50(4, 3, compute_dtype=jnp.bfloat16)
    variables = with_weights(network, state_dict)
    x = ((np.float64(images) - MEAN) / STD).transpose(0, 3, 1, 2)
    expected = reference.features(state_dict, x).transpose(0, 2, 3, 1)
    found = jax.jit(network.features)(variables, images)
    assert found.dtype == jnp.float32
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert 1e-4 < error < 0.03

    found = jax.jit(network.features_train)(jax.random.key(0), variables, images)
    leaves = jax.tree.leaves(found)
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert all(np.isfinite(leaf).all() for leaf in leaves)


# On the maps of a frozen backbone


@pytest.fixture(scope="module")
def small():
    network = models.deeplabv3_on_features(
        6, 3, mean=np.arange(6.0), std=2.0, stride=4, width=5, dropout_rate=0.25
    )
    network = network._replace(
        init=jax.jit(network.init),
        features=jax.jit(network.features),
        features_train=jax.jit(network.features_train),
    )
    variables = network.init(jax.random.key(0))
    generator = np.random.default_rng(0)

    def disturb(leaf):
        noise = generator.normal(size=leaf.shape).astype(np.float32)
        leaf = np.asarray(leaf)
        return leaf + np.float32(0.1) * noise if leaf.ndim > 1 else np.exp(0.3 * noise)

    return network, jax.tree.map(disturb, variables)


NUM_MAPS, H, W = 16, 7, 10  # of all tests: every function is compiled once


def some_maps(seed=0):
    maps = np.random.default_rng(seed).normal(size=(NUM_MAPS, H, W, 6))
    return (3 * maps + np.arange(6)).astype(np.float32)


def numpy_block(variables, keys, x, rate=1, statistics=None):
    """Convolution, batch norm by running or given statistics, ReLU, in float64."""
    own, running = variables
    for key in keys:
        own, running = own[key], running[key]
    kernel = np.float64(own["convolution"]["kernel"])
    kernel = kernel[None, None] if kernel.ndim == 2 else kernel
    y = reference.convolve(
        x.transpose(0, 3, 1, 2),
        kernel.transpose(3, 2, 0, 1),
        dilation=rate,
        padding=rate * (len(kernel) // 2),
    ).transpose(0, 2, 3, 1)
    mean, variance = (np.float64(running["normalization"][k]) for k in ("mean", "var"))
    if statistics is not None:
        mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
        statistics[keys] = mean, variance
    y = (y - mean) / np.sqrt(variance + 1e-5)
    own = jax.tree.map(np.float64, own["normalization"])
    return np.maximum(y * own["scale"] + own["bias"], 0)


def numpy_features(variables, maps, statistics=None):
    def block(keys, x, rate=1):
        return numpy_block(variables, keys, x, rate, statistics)

    x = block(("reduction",), (np.float64(maps) - np.arange(6)) / 2)
    branches = [block(("pyramid", "point"), x)]
    for i, rate in enumerate((1, 2, 4)):
        branches.append(block(("pyramid", f"atrous_{i}"), x, rate))
    pooled = block(("pyramid", "pooled"), x.mean((1, 2), keepdims=True))
    branches.append(np.broadcast_to(pooled, branches[0].shape))
    return block(("pyramid", "projection"), np.concatenate(branches, -1))


def test_small_features_are_numpy(small):
    network, variables = small
    maps = some_maps()
    found = network.features(variables, maps)
    assert network.stride == 4 and found.shape == (NUM_MAPS, H, W, 5)
    np.testing.assert_allclose(
        found, numpy_features(variables, maps), rtol=1e-4, atol=1e-5
    )
    kernel, bias = network.head(variables)
    assert kernel.shape == (5, 3) and bias.shape == (3,)


def test_in_inference_images_do_not_see_each_other(small):
    network, variables = small
    maps, among_others = some_maps(), some_maps(seed=1)
    among_others[2] = maps[2]
    found, other = (network.features(variables, m) for m in (maps, among_others))
    np.testing.assert_allclose(other[2], found[2], rtol=1e-5, atol=1e-6)
    assert not np.allclose(other[1], found[1], rtol=1e-2)


def test_training_drops_features_and_moves_every_statistic(small):
    network, variables = small
    maps, train = some_maps(), network.features_train
    found, moved = train(jax.random.key(1), variables, maps)
    statistics = {}
    expected = numpy_features(variables, maps, statistics)
    kept = np.asarray(found) != 0
    np.testing.assert_allclose(
        found, np.where(kept, expected / 0.75, 0), rtol=1e-3, atol=1e-4
    )
    shown = kept[expected > 1e-3]
    assert abs(shown.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / shown.size)
    assert len(statistics) == 7 == len(jax.tree.leaves(moved)) / 2
    for keys, (mean, variance) in statistics.items():
        old, new = variables.statistics, moved
        for key in (*keys, "normalization"):
            old, new = old[key], new[key]
        np.testing.assert_allclose(
            new["mean"], 0.9 * old["mean"] + 0.1 * mean, rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            new["var"], 0.9 * old["var"] + 0.1 * variance, rtol=1e-3, atol=1e-5
        )
    other, same = (train(jax.random.key(key), variables, maps)[0] for key in (2, 1))
    assert np.array_equal(found, same) and not np.array_equal(found, other)


def test_initial_statistics_do_not_come_from_the_inputs_of_init(small):
    network, _ = small
    statistics = network.init(jax.random.key(3)).statistics
    for path, leaf in jax.tree_util.tree_leaves_with_path(statistics):
        assert (leaf == (path[-1].key == "var")).all()


def test_a_few_steps_learn_what_only_the_surroundings_say(small):
    """The class of a whole map is the channel in which one of its columns is bright."""
    network, _ = small
    rng = np.random.default_rng(0)
    maps = some_maps()
    classes = rng.integers(0, 3, NUM_MAPS)
    maps[np.arange(NUM_MAPS), :, 2, classes] += 20
    labels = np.broadcast_to(classes[:, None, None], (NUM_MAPS, H, W))

    def loss(params, statistics, key):
        own = Variables(params, statistics)
        found, statistics = network.features_train(key, own, maps)
        kernel, bias = network.head(own)
        log_probs = jax.nn.log_softmax(found @ kernel + bias[None, None, None])
        chosen = jnp.take_along_axis(log_probs, labels[..., None], -1)
        return -chosen.mean(), statistics

    @jax.jit
    def step(params, statistics, key):
        (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(
            params, statistics, key
        )
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
        return params, statistics, value

    params, statistics = network.init(jax.random.key(0))
    for number in range(200):
        params, statistics, value = step(params, statistics, jax.random.key(number))
    trained = Variables(params, statistics)
    kernel, bias = map(np.asarray, network.head(trained))
    found = np.asarray(network.features(trained, maps)) @ kernel + bias
    assert (found.argmax(-1) == labels).mean() > 0.9
