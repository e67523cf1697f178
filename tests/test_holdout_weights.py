"""Weighted holdout samples: exact, harmless where equal, refused where meaningless."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from reference import ASKED

import iwps_jax
from iwps_jax import methods, picking
from iwps_jax.method import Model
from iwps_jax.types import Head, Holdout

SCORES = {
    "iwps_last_layer": jax.jit(iwps_jax.iwps_last_layer),
    "iwps_app_last_layer": jax.jit(iwps_jax.iwps_app_last_layer),
}
HOLDOUT = 20
PROBLEM = reference.head_problem(1, 4096, 16, 5, HOLDOUT)


@cache
def terms_of(name):
    """The oracle's change of every holdout loss, or its first order."""
    layers = [(PROBLEM["kernel"], PROBLEM["bias"])]
    asked = PROBLEM["features"][ASKED]
    holdout = PROBLEM["holdout_features"], PROBLEM["holdout_labels"]
    if name == "iwps_last_layer":
        return reference.look_ahead_changes(layers, asked, *holdout)
    return -reference.gradient_kernel(layers, asked, None, *holdout)


def assert_same(name, found, expected):
    """But for rounding, whose size is that of the terms."""
    scale = np.abs(terms_of(name)).mean(1)
    assert np.all(np.abs(found - expected)[ASKED] <= 1e-6 * scale)


def of_holdout(rows):
    names = "holdout_features", "holdout_labels"
    return {**PROBLEM, **{name: PROBLEM[name][rows] for name in names}}


def some_weights():
    weights = np.random.default_rng(0).uniform(0, 3, HOLDOUT).astype(np.float32)
    weights[:3] = 0
    return weights


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_the_weighted_mean(name):
    weights = some_weights()
    found = SCORES[name](**PROBLEM, holdout_weights=weights)
    terms = terms_of(name) * (np.float64(weights) / np.float64(weights).sum())
    reference.assert_same_scores(found[ASKED], terms.sum(1), np.abs(terms).sum(1))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("weight", [1e-3, 1.0, 7.0])
def test_equal_weights_change_nothing(name, weight):
    weights = np.full(HOLDOUT, weight, np.float32)
    found = SCORES[name](**PROBLEM, holdout_weights=weights)
    assert_same(name, found, SCORES[name](**PROBLEM))


@pytest.mark.parametrize("name", SCORES)
def test_two_is_as_two_of_them_and_zero_as_none(name):
    weights = np.array([2, 0, *[1] * (HOLDOUT - 2)], np.float32)
    repeated = of_holdout(np.array([0, 0, *range(2, HOLDOUT)]))
    found = SCORES[name](**PROBLEM, holdout_weights=weights)
    assert_same(name, found, SCORES[name](**repeated))


@pytest.mark.parametrize("name", SCORES)
def test_the_order_of_holdout_samples_does_not_matter(name):
    weights, order = some_weights(), np.random.default_rng(1).permutation(HOLDOUT)
    found = SCORES[name](**of_holdout(order), holdout_weights=weights[order])
    assert_same(name, found, SCORES[name](**PROBLEM, holdout_weights=weights))


def test_every_class_that_occurs_says_the_same():
    labels = np.array([3, 0, 0, 1, 0, 0, 1, 9])
    where = np.array([True] * 7 + [False])
    weights = jax.jit(iwps_jax.class_balanced_weights, static_argnums=1)(
        labels, 5, where
    )
    np.testing.assert_allclose(
        weights, [1 / 3, *[1 / 12] * 2, 1 / 6, *[1 / 12] * 2, 1 / 6, 0], rtol=1e-6
    )


def test_balanced_labels_weigh_one_over_their_number():
    weights = iwps_jax.class_balanced_weights(np.arange(30) % 5, 7)
    np.testing.assert_allclose(weights, np.full(30, 1 / 30), rtol=1e-6)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([1.0, -1.0, 1.0], "holdout_weights must be at least 0"),
        ([0.0, 0.0, 0.0], "holdout_weights must be at least 0, some of them more"),
        ([1.0, 1.0], "holdout_weights must have length 3"),
        ([1.0, np.nan, 1.0], "holdout_weights must be finite"),
        ([[1.0, 1.0, 1.0]], "holdout_weights must have 1 axes"),
    ],
)
def test_weights_that_have_no_mean_are_refused(
    without_jaxtyping, name, weights, sentence
):
    problem = reference.head_problem(6, 4, 4, 3, 3)
    with pytest.raises(ValueError, match=sentence):
        getattr(iwps_jax, name)(
            **problem, holdout_weights=np.array(weights, np.float32)
        )


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.array([0, 5]), r"labels must be in \[0, 5\)"),
        (np.array([0.0]), "labels must be integers"),
        (np.array([], int), "labels must hold at least one"),
    ],
)
def test_labels_that_are_none_are_refused(without_jaxtyping, labels, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        iwps_jax.class_balanced_weights(jnp.asarray(labels), 5)


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("row", [methods.IWPS, methods.IWPS_APP, methods.IWPS_BATCH])
def test_a_row_of_the_table_passes_the_weights_on(row, quick):
    head = Head(PROBLEM["kernel"], PROBLEM["bias"])
    holdout = Holdout(PROBLEM["holdout_features"], PROBLEM["holdout_labels"])
    model = Model(head, holdout, holdout, holdout_weights=some_weights())
    features = PROBLEM["features"]
    some = features[:256] if quick else None
    score = picking.bind_score(row, model, some_rows=some)
    scores = iwps_jax.score_pool(score, features)
    app = row is methods.IWPS_APP
    name = "iwps_app_last_layer" if app else "iwps_last_layer"
    expected = SCORES[name](**PROBLEM, holdout_weights=some_weights())
    assert_same(name, np.asarray(scores), np.asarray(expected))
