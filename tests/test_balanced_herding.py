"""Balanced herding: the formula in float64, its bandwidth, and UHerding within it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_herding import (
    FEATURES,
    LABELED,
    LOGITS,
    NONE,
    POOL,
    H,
    K,
    assert_each_is_best,
    distances,
    unsure,
)

import iwps_jax
from iwps_jax import methods
from iwps_jax.method import Model
from iwps_jax.picking import pick
from iwps_jax.selection import cover
from iwps_jax.selection.balanced_herding import mean_distance
from iwps_jax.types import Head

SKEWED = LOGITS + np.array([3, 0, 0], np.float32)  # the first class is frequent


def picked(labeled=LABELED, logits=SKEWED, k=K, features=FEATURES, **options):
    options = {"bandwidth": H} | options
    picks = iwps_jax.balanced_herding(
        jax.random.key(3), features, logits, k, labeled, **options
    )
    return np.asarray(picks)


def weights_of(logits, labeled, rarity):
    """The weights of the targets, from the formula."""
    wide = np.asarray(logits, float)
    probs = np.exp(wide - wide.max(1, keepdims=True))
    probs = probs / probs.sum(1, keepdims=True)
    share = (probs / (1 + probs[~labeled].sum(0))).sum(1)
    return unsure(logits) * share**rarity


@pytest.mark.parametrize("rarity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("labeled", [LABELED, NONE], ids=["labeled", "cold"])
def test_every_pick_is_the_brute_force_argmax(labeled, rarity):
    picks = picked(labeled, rarity=rarity)
    weights = weights_of(SKEWED, labeled, rarity)
    assert_each_is_best(picks, FEATURES, weights * POOL, labeled, H)
    assert len({*picks.tolist()}) == K and not labeled[picks].any()


def test_without_rarity_it_is_uncertainty_herding():
    other = iwps_jax.uncertainty_herding(
        jax.random.key(3), FEATURES, SKEWED, K, LABELED, bandwidth=H
    )
    assert picked(rarity=0.0).tolist() == np.asarray(other).tolist()
    assert picked().tolist() != np.asarray(other).tolist()


def test_a_rare_class_is_picked_more():
    rare = SKEWED.argmax(1) > 0
    assert rare[picked(k=16)].sum() > rare[picked(k=16, rarity=0.0)].sum()


def test_labels_of_labeled_rows_weigh_nothing():
    changed = np.where(LABELED[:, None], -SKEWED, SKEWED)
    assert picked(logits=changed).tolist() == picked().tolist()


def drawn(number, seed=0, labeled=LABELED):
    weights = jnp.asarray(weights_of(SKEWED, labeled, 1.0), jnp.float32)
    return cover.draw_by_priority(
        jax.random.key(seed), FEATURES, weights, ~jnp.asarray(labeled), number
    )


def test_drawn_targets_stand_for_all_in_expectation():
    weights = np.where(LABELED, 0, weights_of(SKEWED, LABELED, 1.0))
    kernel = np.exp(-((distances(FEATURES) / H) ** 2))
    exact = kernel @ weights
    many = jax.vmap(lambda key: cover.draw_by_priority(
        key, FEATURES, jnp.asarray(weights, jnp.float32), ~jnp.asarray(LABELED), 12
    ))(jax.random.split(jax.random.key(0), 4_000))  # fmt: skip
    found = np.einsum("ist,st->si", kernel[:, many.rows], np.asarray(many.weights))
    error = found.std(0) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - exact) < 5 * error + 1e-9).all()
    assert not LABELED[np.asarray(many.rows)].any()


def test_drawn_by_weight_they_err_less_than_drawn_alike():
    """Where few rows are unsure."""
    weights = np.where(LABELED, 0, weights_of(3 * SKEWED, LABELED, 1.0))
    arguments = FEATURES, jnp.asarray(weights, jnp.float32), ~jnp.asarray(LABELED), 12
    keys, errors = jax.random.split(jax.random.key(0), 300), {}
    for draw, share in ((cover.draw_by_priority, 1), (cover.draw_targets, 53 / 12)):

        def total(key, draw=draw):
            return draw(key, *arguments).weights.sum()

        sums = share * np.asarray(jax.vmap(total)(keys))
        errors[draw] = np.mean((sums - weights.sum()) ** 2)
    assert errors[cover.draw_by_priority] < errors[cover.draw_targets] / 2


@pytest.mark.parametrize("number", [POOL - LABELED.sum(), POOL, 8_192])
def test_where_all_rows_are_targets_their_weights_are_their_own(number):
    targets = drawn(int(number))
    rows = np.asarray(targets.rows)[np.asarray(targets.counts)]
    assert sorted(rows.tolist()) == np.flatnonzero(~LABELED).tolist()
    found = np.zeros(POOL)
    found[np.asarray(targets.rows)] = np.asarray(targets.weights)
    expected = np.where(LABELED, 0, weights_of(SKEWED, LABELED, 1.0))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_bandwidth_is_the_mean_distance_to_the_nearest_labeled_row():
    features = np.concatenate([FEATURES, FEATURES[LABELED][:2]])  # copies do not count
    labeled = np.concatenate([LABELED, [True, True]])
    apart = distances(FEATURES)[np.ix_(LABELED, LABELED)]
    nearest = np.where(apart > 1e-6, apart, np.inf).min(1)
    expected = np.concatenate([nearest, nearest[:2]]).mean()
    place = jnp.asarray(cover.unit_rows(jnp.asarray(features)).mean(0))
    found = mean_distance(jnp.asarray(features), jnp.asarray(labeled), place)
    assert found == pytest.approx(expected, rel=1e-4)
    picks = picked(bandwidth=None).tolist()
    assert picks == picked(bandwidth=float(nearest.mean())).tolist()


@pytest.mark.parametrize("labeled", [NONE, np.arange(POOL) == 7], ids=["none", "one"])
def test_before_two_labels_the_bandwidth_is_that_of_max_herding(labeled):
    same = np.zeros_like(LOGITS)
    other = iwps_jax.max_herding(jax.random.key(3), FEATURES, K, labeled)
    found = picked(labeled, same, bandwidth=None).tolist()
    assert found == np.asarray(other).tolist()


def test_under_vmap_each_pool_has_its_own_picks():
    pools = np.stack([FEATURES, FEATURES[::-1]])
    keys = jnp.stack([jax.random.key(3), jax.random.key(3)])

    def one(key, features, labeled):
        return iwps_jax.balanced_herding(key, features, SKEWED, K, labeled)

    masks = np.stack([LABELED, LABELED[::-1]])
    together = jax.jit(jax.vmap(one))(keys, pools, masks)
    for found, features, labeled in zip(together, pools, masks, strict=True):
        assert (
            found.tolist()
            == picked(labeled, features=features, bandwidth=None).tolist()
        )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rarity": -1.0}, "rarity must be at least 0 and finite, got -1.0"),
        ({"rarity": np.nan}, "rarity must be at least 0 and finite"),
        ({"bandwidth": 0.0}, "bandwidth must be positive"),
        ({"logits": SKEWED[:9]}, "logits must"),
        ({"k": POOL}, "k must be at most the number of samples left"),
        ({"num_targets": 0}, "num_targets must be at least 1"),
    ],
)
def test_what_is_wrong_is_refused(without_jaxtyping, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        picked(**changes)


def test_the_rows_are_the_function():
    kernel = np.random.default_rng(1).normal(size=(FEATURES.shape[1], 3))
    head = Head(np.float32(kernel), np.zeros(3, np.float32))
    logits = FEATURES @ head.kernel
    for row, rarity in ((methods.BALANCED_HERDING, 1.0), (methods.POOL_HERDING, 0.0)):
        top = pick(row, Model(head=head, key=jax.random.key(3)), FEATURES, ~LABELED, K)
        found = picked(logits=logits, bandwidth=None, rarity=rarity)
        assert top.rows.tolist() == found.tolist()
