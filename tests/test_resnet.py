"""ResNet-18 and -50: their sizes, their arithmetic in NumPy, and what statistics do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import iwps_jax
from experiments import models
from experiments.classification import training
from experiments.models import classifiers
from experiments.models.residual import BASIC, BOTTLENECK, Trunk
from iwps_jax.types import Variables

WIDTH, CLASSES, EPSILON = 4, 3, 1e-5
MEAN, STD = np.float32([120, 110, 100]), 60.0
NUM_IMAGES = 20  # of most tests: each function is then compiled once


def some_images(size=NUM_IMAGES, seed=0, side=12):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (size, side, side, 3), dtype=np.uint8)


def jitted(network):
    *functions, dense_layers = network
    return models.Network(*map(jax.jit, functions), dense_layers)


def with_blocks(layers, counts, width, side):
    """A ResNet of fewer blocks, with what is around them in the library's own."""
    trunk = Trunk(layers, counts, width, for_large_images=layers is BOTTLENECK)
    module = classifiers._ResNet(trunk, CLASSES, 0.2)
    return jitted(classifiers._bundle(module, (side, side, 3), MEAN, STD))


def some_variables(network):
    """Weights and running statistics unlike the initial ones, which hide mistakes."""
    rng = np.random.default_rng(1)

    def draw(leaf):
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        if len(leaf.shape) == 1:
            return np.exp(0.3 * noise)
        fan_in = np.prod(leaf.shape[:-1])
        return noise * np.float32(np.sqrt(1 / fan_in + 0.01))

    return jax.tree.map(draw, jax.eval_shape(network.init, jax.random.key(0)))


@pytest.fixture(scope="module")
def network():
    shape = (12, 12, 3)
    return jitted(models.resnet18(shape, CLASSES, mean=MEAN, std=STD, width=WIDTH))


@pytest.fixture(scope="module")
def variables(network):
    return some_variables(network)


LARGE_COUNTS = (1, 2, 1, 1)  # with one block that neither strides nor widens


@pytest.fixture(scope="module")
def large():
    """As ResNet-50 but short, for images whose sizes it never halves evenly."""
    network = with_blocks(BOTTLENECK, LARGE_COUNTS, width=2, side=37)
    return network, some_variables(network)


# In NumPy


def convolve(inputs, kernel, stride):
    """Cross-correlation with (size - 1) / 2 zeros on every side."""
    size = kernel.shape[0]
    edge = size // 2
    padded = np.pad(inputs, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    rows, columns = (
        (length + 2 * edge - size) // stride + 1 for length in inputs.shape[1:3]
    )
    outputs = np.zeros((len(inputs), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            patch = padded[:, i * stride : i * stride + size, j * stride :][:, :, :size]
            outputs[:, i, j] = np.tensordot(patch, kernel, 3)
    return outputs


def normalized(inputs, params, statistics):
    scaled = (inputs - statistics["mean"]) / np.sqrt(statistics["var"] + EPSILON)
    return scaled * params["scale"] + params["bias"]


def max_pooled(inputs):
    """The largest of every 3x3 positions, at every second one; all are positive."""
    padded = np.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = ((length - 1) // 2 + 1 for length in inputs.shape[1:3])
    outputs = np.zeros((len(inputs), rows, columns, inputs.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            outputs[:, i, j] = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(
                (1, 2)
            )
    return outputs


def reference_features(variables, images, counts=(2, 2, 2, 2), convolutions=(3, 3)):
    """Blocks of convolutions of these sizes; the first 3x3 of a stage strides."""
    params, statistics = jax.tree.map(np.float64, variables)

    def layer(part, name, inputs, stride):
        within, prefix = (params, statistics), f"{name}_"
        if part is not None:
            within = (params[part], statistics[part])
        own, running = (tree[prefix + "normalization"] for tree in within)
        kernel = within[0][prefix + "convolution"]["kernel"]
        return normalized(convolve(inputs, kernel, stride), own, running)

    is_large = len(convolutions) == 3
    hidden = (np.float64(images) - [120, 110, 100]) / 60
    hidden = np.maximum(layer(None, "stem", hidden, 2 if is_large else 1), 0)
    hidden = max_pooled(hidden) if is_large else hidden
    strides = [
        2 if stage and not n else 1 for stage in range(4) for n in range(counts[stage])
    ]
    for number, stride in enumerate(strides):
        block, outputs = f"blocks_{number}", hidden
        for place, name in enumerate(("first", "second", "third")[: len(convolutions)]):
            strides_here = place == convolutions.index(3)
            outputs = np.maximum(outputs, 0) if place else outputs
            outputs = layer(block, name, outputs, stride if strides_here else 1)
        if "shortcut_convolution" in params[block]:
            hidden = layer(block, "shortcut", hidden, stride)
        hidden = np.maximum(hidden + outputs, 0)
    return hidden.mean((1, 2))


def test_inference_is_numpy_on_the_running_statistics(network, variables):
    images = some_images()
    expected = reference_features(variables, images)
    found = network.features(variables, images)
    assert found.shape == (NUM_IMAGES, 8 * WIDTH)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    kernel, bias = map(np.float64, network.head(variables))
    np.testing.assert_allclose(
        network.apply(variables, images), expected @ kernel + bias, rtol=1e-3, atol=1e-3
    )


def test_inference_of_the_large_one_is_numpy_too(large):
    network, variables = large
    images = some_images(3, side=37)
    expected = reference_features(variables, images, LARGE_COUNTS, (1, 3, 1))
    found = network.features(variables, images)
    assert found.shape == (3, 4 * 8 * 2)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def assert_sizes(network, shape, num_params, num_channels, num_features):
    """Sizes of a full network; returns the program of two images' logits."""
    variables = jax.eval_shape(network.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == num_params
    # A mean and a variance for each of the normalized channels.
    num_statistics = sum(leaf.size for leaf in jax.tree.leaves(variables.statistics))
    assert num_statistics == 2 * num_channels
    kernel, bias = network.head(variables)
    assert kernel.shape == (num_features, *bias.shape)
    images = jax.ShapeDtypeStruct((2, *shape), jnp.uint8)
    program = jax.make_jaxpr(network.apply)(variables, images)
    assert [logits.shape for logits in program.out_avals] == [(2, *bias.shape)]
    return program


def test_resnet18_has_the_sizes_of_the_literature():
    """With a 3x3 stem and ten classes."""
    network = models.resnet18((32, 32, 3), 10, mean=0.0, std=1.0)
    assert_sizes(network, (32, 32, 3), 11_173_962, 4_800, num_features=512)


def test_resnet50_has_the_sizes_of_the_literature():
    """With ImageNet's classes: 7x7 positions at the end of a 224x224 image, Table 1."""
    network = models.resnet50((224, 224, 3), 1000, mean=0.0, std=1.0)
    program = assert_sizes(network, (224, 224, 3), 25_557_032, 26_560, 2048)
    widths = [
        equation.outvars[0].aval.shape[1]
        for equation in program.eqns
        if equation.primitive.name == "conv_general_dilated"
    ]
    assert widths[0] == 112
    # Three convolutions a block, and a shortcut in the first of a stage, whose first
    # 1x1 still reads the larger image.
    found = [widths.count(width) for width in (112, 56, 28, 14, 7)]
    assert found == [1, 3 * 3 + 1 + 1, 4 * 3 + 1, 6 * 3 + 1, 3 * 3]


# Statistics


@pytest.mark.parametrize("side", [12, 37])
def test_in_inference_samples_do_not_see_each_other(network, variables, large, side):
    if side == 37:
        network, variables = large
    number = 3 if side == 37 else NUM_IMAGES
    images = some_images(number, side=side)
    among_others = some_images(number, seed=1, side=side)
    among_others[2] = images[2]
    found = network.features(variables, images)
    other = network.features(variables, among_others)
    np.testing.assert_allclose(other[2], found[2], rtol=1e-3, atol=1e-4)
    assert not np.allclose(other[1], found[1], rtol=1e-2)


def test_training_normalizes_by_the_minibatch_and_moves_the_statistics(
    network, variables
):
    key, images = jax.random.key(0), some_images()
    logits, moved = network.apply_train(key, variables, images)
    assert not np.allclose(logits, network.apply(variables, images), atol=1e-2)
    pixels = (np.float64(images) - [120, 110, 100]) / 60
    kernel = np.float64(variables.params["stem_convolution"]["kernel"])
    outputs = convolve(pixels, kernel, 1)
    for name, expected in (
        ("mean", outputs.mean((0, 1, 2))),
        ("var", outputs.var((0, 1, 2))),
    ):
        before = variables.statistics["stem_normalization"][name]
        np.testing.assert_allclose(
            moved["stem_normalization"][name],
            0.9 * before + 0.1 * expected,
            rtol=1e-3,
            atol=1e-4,
        )


def test_masks_fall_on_the_features_and_move_nothing_else(network, variables):
    """MC-Dropout must not normalize by the pool: only the features are masked."""
    images, key = some_images(), jax.random.key(3)
    features = np.asarray(network.features(variables, images))
    kernel, bias = map(np.asarray, network.head(variables))
    logits = network.apply_dropout(key, variables, images)
    # More features than classes: heads that show some features each show them all.
    # Every feature of an image is either dropped or divided by 0.8.
    masked = np.zeros_like(features)
    for first in range(0, 8 * WIDTH, CLASSES):
        shown = np.eye(8 * WIDTH, CLASSES, -first, dtype=np.float32)
        head = {"kernel": shown, "bias": np.zeros_like(bias)}
        own = Variables({**variables.params, "head": head}, variables.statistics)
        found = np.asarray(network.apply_dropout(key, own, images))
        masked[:, first : first + CLASSES] = found[:, : 8 * WIDTH - first]
    kept = masked != 0
    assert 0.6 < kept[features > 0].mean() < 0.95
    np.testing.assert_allclose(
        masked, np.where(kept, features / 0.8, 0), rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(logits, masked @ kernel + bias, atol=1e-3)


# Learning and scoring


@pytest.fixture(scope="module")
def short():
    """As ResNet-18 but of two blocks, which train as eight do."""
    return with_blocks(BASIC, (1, 1), WIDTH, side=12)


@pytest.fixture(scope="module")
def trained(short):
    """Three colors, told apart after a few steps; the start comes along."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 60).astype(np.int32)
    noise = rng.integers(0, 120, (60, 12, 12, 3))
    noise[np.arange(60), :, :, labels] += 100
    images = noise.astype(np.uint8)

    @jax.jit
    def train(key, images, labels):
        start = short.init(key)
        state = training.fit(
            key,
            start,
            images[:40],
            labels[:40],
            jnp.ones(40, bool),
            images[40:],
            labels[40:],
            apply_fn=short.apply,
            apply_train_fn=short.apply_train,
            optimizer=optax.adam(1e-3),
            minibatch_size=NUM_IMAGES,
            steps_per_evaluation=5,
            patience=6,
            max_evaluations=6,
        )
        return start, state

    return *train(jax.random.key(0), images, labels), images, labels


def test_training_learns_and_brings_its_statistics_along(short, trained):
    start, state, images, labels = trained
    logits = np.asarray(short.apply(state.variables, images[40:]))
    assert (logits.argmax(-1) == labels[40:]).mean() > 0.9
    for leaf, other in zip(
        *map(jax.tree.leaves, (state.variables.statistics, start.statistics)),
        strict=True,
    ):
        assert not np.allclose(leaf, other)


def test_the_best_state_has_the_statistics_of_its_own_step(short, trained):
    """The reported loss is that of the returned variables, statistics included."""
    _, state, images, labels = trained
    logits = np.float64(short.apply(state.variables, images[40:]))
    log_totals = np.log(np.exp(logits).sum(-1))
    loss = (log_totals - logits[np.arange(NUM_IMAGES), labels[40:]]).mean()
    np.testing.assert_allclose(loss, state.validation_loss, rtol=1e-3, atol=1e-5)


def test_look_ahead_holds_the_statistics(short, trained):
    """IWPS and IWPS-app on all parameters agree to first order, for a tiny step."""
    _, state, images, labels = trained
    params, statistics = state.variables

    def apply(params, images):
        return short.apply(Variables(params, statistics), images)

    pool, holdout = images[:6], (images[40:46], labels[40:46])
    exact = iwps_jax.iwps(apply, params, pool, *holdout, steps=1, learning_rate=1e-7)
    gradient = iwps_jax.holdout_gradient(apply, params, *holdout)
    first_order = iwps_jax.iwps_app(apply, params, pool, gradient)
    np.testing.assert_allclose(exact / 1e-7, first_order, rtol=0.02)
