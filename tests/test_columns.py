"""Columns of a table as a network sees them, against NumPy."""

import jax
import numpy as np

from experiments.classification.networks import RECIPES
from experiments.data import datasets
from experiments.data.columns import CUT_OFF, scale


def test_numbers_are_scaled_by_median_and_quartiles_of_the_training_rows():
    rng = np.random.default_rng(0)
    train, test = (
        np.array([*map(tuple, rng.lognormal(size=(n, 2)))], "f8,f8") for n in (41, 9)
    )
    found = scale(train, test)
    for name, column in (("f0", 0), ("f1", 1)):
        low, middle, high = np.percentile(train[name], (25, 50, 75))
        for rows, part in zip((train, test), found, strict=True):
            expected = (rows[name] - middle) / (high - low)
            np.testing.assert_allclose(part[:, column], expected, rtol=1e-6, atol=1e-6)
    assert found[0].dtype == found[1].dtype == np.float32


def test_wild_and_constant_columns_stay_finite():
    rows = np.array([(i, 5.0) for i in range(9)] + [(1e300, 5.0)], "f8,f8")
    train, test = scale(rows, rows)
    assert np.isfinite(train).all() and train.max() == CUT_OFF
    assert not train[:, 1].any()
    np.testing.assert_array_equal(train, test)


def test_categories_are_columns_and_new_ones_are_none():
    train = np.array([("b", 1.0), ("a", 2.0), ("b", 4.0)], "U1,f8")
    test = np.array([("c", 1.0), ("a", 2.0)], "U1,f8")
    seen, unseen = scale(train, test)
    assert seen.shape == (3, 3) and unseen.shape == (2, 3)
    np.testing.assert_array_equal(seen[:, 1:], [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(unseen[:, 1:], [[0, 0], [1, 0]])


def test_networks_of_tables():
    wine = datasets.load("wine")
    for name, num_layers in (("table_mlp", 3), ("table_linear", 1)):
        network, inputs = RECIPES[name].make(wine)
        assert inputs.train.shape == (144, 13) and inputs.test.shape == (34, 13)
        layers, _ = network.dense_layers(network.init(jax.random.key(0)))
        assert len(layers) == num_layers and layers[-1][0].shape[-1] == 3
