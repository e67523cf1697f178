"""What goes with a network: its inputs, and how its programs meet the seeds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.classification.methods import PoolView
from experiments.classification.networks import (
    RECIPES,
    channel_statistics,
    one_after_another,
)
from experiments.classification.study import ONE_SEED
from experiments.data.datasets import Dataset
from experiments.frozen import features


def some_dataset(channels=3, classes=4):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 8, 8, channels), dtype=np.uint8)
    labels = rng.integers(0, classes, 30).astype(np.int32)
    names = tuple(map(str, range(classes)))
    parts = (images[:20], labels[:20], images[20:], labels[20:])
    return Dataset("some", *parts, names, "made up.", "0" * 64)


def test_channel_statistics_are_numpy():
    images = some_dataset().train_images
    mean, std = channel_statistics(images)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, images.std((0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "resnet18"])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_on_pixels_see_the_images_and_give_logits(name, channels):
    dataset = some_dataset(channels)
    network, inputs = RECIPES[name].make(dataset)
    assert inputs.train is dataset.train_images and inputs.test is dataset.test_images
    variables = jax.eval_shape(network.init, jax.random.key(0))
    logits = jax.eval_shape(network.apply, variables, inputs.test)
    assert logits.shape == (10, 4)


def test_a_frozen_backbone_gives_standardized_features(monkeypatch):
    """A feature that never fires must not be divided by its deviation, zero."""
    dataset = some_dataset()
    rng = np.random.default_rng(1)
    train = rng.exponential(3.0, (20, 5)).astype(np.float32)
    train[:, 2] = 0
    made = features.Features(train, train[:10] + 1, "made up.")
    monkeypatch.setattr(features, "embed", lambda dataset: made)
    network, inputs = RECIPES["efficientnet_lite0"].make(dataset)
    assert inputs.train is made.train and inputs.test is made.test
    layers, normalize = network.dense_layers(network.init(jax.random.key(0)))
    seen = np.asarray(normalize(inputs.train))
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.delete(seen.std(0), 2, 0), 1, rtol=1e-4)
    assert not seen[:, 2].any()
    assert [kernel.shape for kernel, _ in layers] == [(5, 256), (256, 256), (256, 4)]


def test_one_after_another_is_vmap():
    """On what a study maps: keys, a state, a view that shares its inputs, None."""
    rng = np.random.default_rng(0)
    view = PoolView(
        inputs=jnp.asarray(rng.normal(size=(6, 2))),
        pool_ids=jnp.asarray(rng.integers(0, 6, (3, 4))),
        known_labels=jnp.asarray(rng.integers(-1, 3, (3, 4))),
        holdout_ids=jnp.asarray(rng.integers(0, 6, (3, 2))),
        holdout_labels=jnp.asarray(rng.integers(0, 3, (3, 2))),
    )
    state = {"w": jnp.asarray(rng.normal(size=(3, 2))), "n": jnp.arange(3)}

    def program(key, state, view, shift):
        noise = jax.random.normal(key, (4,))
        picked = view.inputs[view.pool_ids] @ state["w"] + noise + shift
        return {"picked": picked, "n": state["n"] + view.holdout_labels.sum()}

    axes = (0, 0, ONE_SEED, None)

    def run(mapped):
        keys = jax.random.split(jax.random.key(0), 3)
        return jax.jit(mapped(program, axes))(keys, state, view, jnp.float32(0.5))

    expected, found = run(jax.vmap), run(one_after_another)
    np.testing.assert_allclose(found["picked"], expected["picked"], rtol=1e-5)
    np.testing.assert_array_equal(found["n"], expected["n"])
