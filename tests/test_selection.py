"""Selectors: brute force on tiny pools, sampling laws, masks, ties and duplicates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from test_badge import assert_distinct

import iwps_jax

SEEDS = st.integers(0, 2**31 - 1)

top_k = jax.jit(iwps_jax.top_k, static_argnums=1)
k_center_greedy = jax.jit(iwps_jax.k_center_greedy, static_argnums=1)


# The highest scores.


@given(
    scores=st.lists(st.integers(-3, 3), min_size=6, max_size=6),
    where=st.lists(st.booleans(), min_size=6, max_size=6).filter(
        lambda where: sum(where) >= 2
    ),
)
def test_top_k_matches_sorting(scores, where):
    picks = top_k(jnp.asarray(scores, jnp.float32), 2, jnp.asarray(where))
    assert picks.dtype == jnp.int32
    np.testing.assert_array_equal(picks, reference.top_k(scores, 2, where))
    everywhere = top_k(jnp.asarray(scores, jnp.float32), 2)
    np.testing.assert_array_equal(everywhere, reference.top_k(scores, 2))


@given(seed=SEEDS)
def test_top_k_is_equivariant(seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(20)
    scores = rng.permutation(20).astype(np.float32)
    where = np.ones(20, bool)
    where[rng.permutation(20)[:8]] = False
    picks = np.asarray(top_k(jnp.asarray(scores), 5, jnp.asarray(where)))
    mixed = top_k(jnp.asarray(scores[order]), 5, jnp.asarray(where[order]))
    np.testing.assert_array_equal(order[np.asarray(mixed)], picks)


def test_top_k_ignores_masked_padding():
    scores = np.float32([0.5, -2.0, 3.0, 3.0, 1.0])
    padded = np.append(scores, np.float32([9.0, 9.0, 9.0]))
    where = np.arange(8) < 5
    np.testing.assert_array_equal(top_k(padded, 3, where), top_k(scores, 3))


@pytest.mark.parametrize("lowest", [-np.inf, np.finfo(np.float32).min])
def test_top_k_prefers_the_worst_eligible_score_to_a_masked_one(lowest):
    scores = jnp.asarray([5.0, lowest, 7.0, lowest, lowest], jnp.float32)
    where = jnp.asarray([False, True, False, True, True])
    np.testing.assert_array_equal(top_k(scores, 3, where), [1, 3, 4])
    np.testing.assert_array_equal(top_k(scores, 2, where), [1, 3])


def test_top_k_orders_infinities_zeros_and_small_numbers():
    scores = jnp.asarray([-0.0, jnp.inf, 0.0, -jnp.inf, 1e-30, -1e-30])
    np.testing.assert_array_equal(top_k(scores, 6), [1, 4, 0, 2, 5, 3])


def test_top_k_takes_a_large_pool_of_ties_in_order():
    scores = np.where(np.arange(5000) == 4321, np.float32(1), np.float32(0))
    np.testing.assert_array_equal(top_k(scores, 5), [4321, 0, 1, 2, 3])


# k-center.


@given(
    points=st.lists(
        st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=6, max_size=6
    ),
    labeled=st.lists(st.booleans(), min_size=6, max_size=6).filter(
        lambda labeled: sum(labeled) <= 3
    ),
)
def test_every_k_center_step_is_the_brute_force_argmax(points, labeled):
    features = jnp.asarray(points, jnp.float32)
    picks = k_center_greedy(features, 3, jnp.asarray(labeled))
    expected = reference.k_center_greedy(points, 3, labeled)
    np.testing.assert_array_equal(picks, expected)
    assert_distinct(picks, ~np.asarray(labeled))


@pytest.mark.parametrize("num_labeled", [0, 1, 40])
def test_k_center_matches_reference(num_labeled):
    rng = np.random.default_rng(num_labeled)
    features = rng.normal(size=(200, 8)).astype(np.float32)
    labeled = np.zeros(200, bool)
    labeled[rng.permutation(200)[:num_labeled]] = True
    picks = k_center_greedy(jnp.asarray(features), 12, jnp.asarray(labeled))
    np.testing.assert_array_equal(
        picks, reference.k_center_greedy(features, 12, labeled)
    )


@given(seed=SEEDS)
def test_k_center_finds_labeled_rows_anywhere(seed):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(20, 4)).astype(np.float32)
    labeled = np.arange(20) < 5
    order = rng.permutation(20)
    picks = np.asarray(k_center_greedy(jnp.asarray(features), 4, jnp.asarray(labeled)))
    mixed = k_center_greedy(
        jnp.asarray(features[order]), 4, jnp.asarray(labeled[order])
    )
    np.testing.assert_array_equal(order[np.asarray(mixed)], picks)


def test_k_center_with_nothing_labeled_starts_at_the_first_point():
    features = jnp.asarray([[0.0], [1.0], [-4.0], [3.0]])
    picks = k_center_greedy(features, 4, jnp.zeros(4, bool))
    np.testing.assert_array_equal(picks, [0, 2, 3, 1])


@pytest.mark.parametrize("num_kinds", [1, 3])
def test_k_center_takes_copies_of_labeled_points_in_order(num_kinds):
    """All distances are exactly zero, whatever the rounding of |a|² + |b|² - 2ab."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        kinds = 3.0 + rng.normal(size=(num_kinds, 16)).astype(np.float32)
        features = kinds[np.append(rng.integers(0, num_kinds, 9), range(num_kinds))]
        labeled = np.arange(len(features)) >= 9
        picks = k_center_greedy(jnp.asarray(features, jnp.float32), 9, labeled)
        np.testing.assert_array_equal(picks, np.arange(9))


def test_k_center_ignores_padding_that_repeats_a_labeled_point():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(20, 4)).astype(np.float32)
    labeled = np.arange(20) == 7
    padded = np.concatenate([features, features[np.full(5, 7)]])
    is_center = np.concatenate([labeled, np.ones(5, bool)])
    picks = k_center_greedy(features, 6, labeled)
    np.testing.assert_array_equal(k_center_greedy(padded, 6, is_center), picks)


def test_k_center_sees_near_duplicates_far_from_the_origin():
    """Distances of 1/4 at coordinates of 4096: no digits survive |a|² + |b|² - 2ab."""
    rng = np.random.default_rng(3)
    features = 4096.0 + 0.25 * rng.integers(0, 64, size=(40, 3))
    labeled = np.arange(40) % 10 == 3
    picks = k_center_greedy(
        jnp.asarray(features, jnp.float32), 30, jnp.asarray(labeled)
    )
    np.testing.assert_array_equal(
        picks, reference.k_center_greedy(features, 30, labeled)
    )


# Contracts of all selectors.

SELECTORS = {
    "top_k": lambda features, k, where: iwps_jax.top_k(features[:, 0], k, where),
    "k_center_greedy": lambda features, k, where: iwps_jax.k_center_greedy(
        features, k, ~where
    ),
    "badge": lambda features, k, where: iwps_jax.badge(
        jax.random.key(0), features, features[:, :3], k, where
    ),
}


COMPILED = {name: jax.jit(f, static_argnums=1) for name, f in SELECTORS.items()}


@pytest.mark.parametrize("name", SELECTORS)
def test_selects_the_only_candidate(name):
    picks = COMPILED[name](np.ones((1, 4), np.float32), 1, np.ones(1, bool))
    np.testing.assert_array_equal(picks, [0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
@pytest.mark.parametrize("name", SELECTORS)
def test_indices_are_int32_for_every_float_type(name, dtype):
    rng = np.random.default_rng(8)
    with jax.enable_x64(dtype == "float64"):
        features = rng.normal(size=(9, 4)).astype(jnp.dtype(dtype))
        where = np.arange(9) % 3 > 0
        picks = COMPILED[name](features, 4, where)
        assert_distinct(picks, where)
        exact = COMPILED[name](features.astype(np.float32), 4, where)
    np.testing.assert_array_equal(picks, exact)


@pytest.mark.parametrize("k", [0, -1, 7])
@pytest.mark.parametrize("name", SELECTORS)
def test_impossible_k_is_named(without_jaxtyping, name, k):
    where = np.arange(9) % 3 > 0  # six candidates
    with pytest.raises((ValueError, TypeError), match=r"\bk\b"):
        SELECTORS[name](np.ones((9, 4), np.float32), k, where)


@pytest.mark.parametrize("where", [np.ones(8, bool), np.ones((9, 1), bool)])
@pytest.mark.parametrize("name", SELECTORS)
def test_wrong_mask_is_named(without_jaxtyping, name, where):
    with pytest.raises((ValueError, TypeError), match="where|labeled"):
        SELECTORS[name](np.ones((9, 4), np.float32), 2, where)


@pytest.mark.parametrize("name", SELECTORS)
def test_values_that_are_not_numbers_are_named(without_jaxtyping, name):
    features = np.ones((9, 4), np.float32)
    features[5, 0] = np.nan
    with pytest.raises((ValueError, TypeError), match="scores|features|logits"):
        SELECTORS[name](features, 2, np.ones(9, bool))


def test_wrong_ranks_are_named(without_jaxtyping):
    key, where = jax.random.key(0), jnp.zeros(9, bool)
    with pytest.raises((ValueError, TypeError), match="scores"):
        iwps_jax.top_k(jnp.ones((9, 4)), 2)
    with pytest.raises((ValueError, TypeError), match="features"):
        iwps_jax.k_center_greedy(jnp.ones(9), 2, where)
    with pytest.raises((ValueError, TypeError), match="features"):
        iwps_jax.badge(key, jnp.ones(9), jnp.ones((9, 3)), 2)
    with pytest.raises((ValueError, TypeError), match="logits"):
        iwps_jax.badge(key, jnp.ones((9, 4)), jnp.ones(9), 2)
    with pytest.raises((ValueError, TypeError), match="features|logits"):
        iwps_jax.badge(key, jnp.ones((9, 4)), jnp.ones((8, 3)), 2)
