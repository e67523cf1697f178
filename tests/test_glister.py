"""GLISTER in float64: gradients of every row, and a head that learns every pick."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iwps_jax import glister, iwps_app_last_layer, methods, picking
from iwps_jax.method import Model
from iwps_jax.types import Head, Holdout

POOL, WIDTH, CLASSES, HOLDOUT, K = 40, 5, 3, 12, 8


def some_case(seed, size=2.0):
    """Features, head and holdout set; and which rows may be picked."""
    rng = np.random.default_rng(seed)
    arrays = (
        size * rng.normal(size=(POOL, WIDTH)),
        rng.normal(size=(WIDTH, CLASSES)) / size,
        rng.normal(size=CLASSES),
        size * rng.normal(size=(HOLDOUT, WIDTH)),
    )
    arrays = (array.astype(np.float32) for array in arrays)
    return (*arrays, rng.integers(0, CLASSES, HOLDOUT)), rng.random(POOL) < 0.7


def gradients(features, labels, weights):
    """Of the loss of each sample, [samples, d + 1, classes]."""
    inputs = np.hstack([features, np.ones((len(features), 1))])
    logits = inputs @ weights
    labels = logits.argmax(1) if labels is None else labels
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    residual = probs - np.eye(weights.shape[1])[labels]
    return inputs[:, :, None] * residual[:, None]


def brute_force(case, where, k=K, rate=0.01, diversity=0.0, per_gradient=1):
    *arrays, labels = case
    features, kernel, bias, holdout = (np.asarray(a, float) for a in arrays)
    weights = np.vstack([kernel, bias])
    of_pool = gradients(features, None, weights)
    left, picks = [*np.flatnonzero(where)], []

    def value(row):
        likeness = [
            np.exp(-((of_pool[row] - of_pool[p]) ** 2).sum() / 2) for p in picks
        ]
        return (of_pool[row] * of_holdout).sum() - diversity * sum(likeness)

    for i in range(k):
        if i % per_gradient == 0:
            of_holdout = gradients(holdout, labels, weights).mean(0)
        picks.append(left.pop(int(np.argmax([value(row) for row in left]))))
        weights = weights - rate * of_pool[picks[-1]]
    return picks


@pytest.mark.parametrize("rate", [0.01, 0.3, 3.0])
def test_every_pick_is_that_of_the_formula(rate):
    differ = 0
    for seed in range(8):
        case, where = some_case(seed)
        picks = glister(*case, K, where, learning_rate=rate)
        assert picks.dtype == jnp.int32
        assert picks.tolist() == brute_force(case, where, K, rate), seed
        first = np.argsort(np.where(where, iwps_app_last_layer(*case), np.inf))
        differ += picks.tolist() != first[:K].tolist()
    assert differ > 4 or rate == 0.01  # else the steps would not be tested


@pytest.mark.parametrize(("diversity", "per_gradient"), [(0.5, 1), (0.05, 3)])
def test_so_is_it_with_other_options(diversity, per_gradient):
    for seed in range(4):
        case, where = some_case(seed)
        options = {"diversity": diversity, "picks_per_gradient": per_gradient}
        picks = glister(*case, K, where, learning_rate=0.3, **options)
        expected = brute_force(case, where, K, 0.3, diversity, per_gradient)
        assert picks.tolist() == expected, seed


def test_one_gradient_for_all_picks_is_iwps_app_from_below():
    case, where = some_case(1)
    picks = glister(*case, K, where, picks_per_gradient=K)
    lowest = np.argsort(np.where(where, iwps_app_last_layer(*case), np.inf))
    assert picks.tolist() == lowest[:K].tolist()


def test_the_order_of_the_pool_does_not_matter():
    (features, *rest), where = some_case(2)
    order = np.random.default_rng(0).permutation(POOL)
    picks = glister(features, *rest, K, where, learning_rate=0.3)
    moved = glister(features[order], *rest, K, where[order], learning_rate=0.3)
    assert order[np.asarray(moved)].tolist() == picks.tolist()


@pytest.mark.parametrize("kind", ["equal rows", "copies", "certain", "huge", "tiny"])
def test_picks_are_distinct_rows_that_may_be_picked(kind):
    (features, kernel, bias, holdout, labels), where = some_case(3)
    if kind == "equal rows":
        features = np.ones_like(features)
    elif kind == "copies":
        features = np.tile(features[: POOL // 2], (2, 1))
    elif kind == "certain":
        kernel, bias = kernel * 0, np.array([200, 0, 0], np.float32)
    else:
        size = np.float32(1e30 if kind == "huge" else 1e-30)
        features, kernel, holdout = features * size, kernel / size, holdout * size
    case = features, kernel, bias, holdout, labels
    picks = np.asarray(glister(*case, K, where, learning_rate=3.0))
    assert len({*picks.tolist()}) == K and where[picks].all()
    if kind in ("equal rows", "certain"):
        assert picks.tolist() == np.flatnonzero(where)[:K].tolist()
    last = np.flatnonzero(where)[-K:]
    only = np.isin(np.arange(POOL), last)
    assert sorted(glister(*case, K, only, learning_rate=3.0).tolist()) == last.tolist()


def test_rows_that_may_not_be_picked_do_not_matter():
    (features, *rest), where = some_case(4)
    picks = glister(features, *rest, K, where).tolist()
    features[~where] = 1e30
    assert glister(features, *rest, K, where).tolist() == picks


def test_seeds_are_mapped_over():
    cases = [some_case(seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *parts: jnp.stack([*map(jnp.asarray, parts)]), *cases)
    options = {"learning_rate": 0.3, "diversity": 0.5, "picks_per_gradient": 2}
    mapped = jax.jit(jax.vmap(lambda case, w: glister(*case, K, w, **options)))
    for picks, (case, where) in zip(mapped(*stacked), cases, strict=True):
        assert picks.tolist() == brute_force(case, where, K, 0.3, 0.5, 2)


def test_a_pool_of_several_blocks_is_the_formula():
    rng = np.random.default_rng(5)
    (_, *rest), _ = some_case(5)
    features = 2 * rng.normal(size=(9_000, WIDTH)).astype(np.float32)
    where = np.isin(np.arange(9_000), rng.permutation(9_000)[:200])
    picks = glister(features, *rest, K, where, learning_rate=0.3)
    assert picks.tolist() == brute_force((features, *rest), where, K, 0.3)


def test_the_row_shows_what_the_prediction_alone_would_help():
    (features, kernel, bias, *holdout), where = some_case(6)
    model = Model(Head(kernel, bias), Holdout(*holdout))
    top = picking.pick(methods.GLISTER, model, features, where, K)
    picks = glister(features, kernel, bias, *holdout, K, where)
    assert top.rows.tolist() == picks.tolist()
    scores = iwps_app_last_layer(features, kernel, bias, *holdout)
    np.testing.assert_allclose(top.scores, -scores[picks], rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"diversity": -1.0}, "diversity must be at least 0 and finite, got -1.0"),
        ({"diversity": float("nan")}, "diversity must be at least 0 and finite"),
        ({"picks_per_gradient": 0}, "picks_per_gradient must be at least 1, got 0"),
    ],
)
def test_what_is_impossible_is_refused(changes, sentence):
    case, where = some_case(0)
    with pytest.raises(ValueError, match=sentence):
        glister(*case, **{"k": K, "where": where} | changes)
