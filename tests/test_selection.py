"""Selectors: brute force on tiny pools, sampling laws, masks, ties and duplicates."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

import iwps_jax

SEEDS = st.integers(0, 2**31 - 1)

top_k = jax.jit(iwps_jax.top_k, static_argnums=1)
k_center_greedy = jax.jit(iwps_jax.k_center_greedy, static_argnums=1)


@partial(jax.jit, static_argnums=3)
def badge(key, features, logits, k, where=None):
    return iwps_jax.badge(key, features, logits, k, where)


@partial(jax.jit, static_argnums=3)
def badge_many(keys, features, logits, k, where=None):
    """One selection per key."""
    return jax.vmap(lambda key: iwps_jax.badge(key, features, logits, k, where))(keys)


def many_keys(seed, number=4000):
    return jax.random.split(jax.random.key(seed), number)


def assert_distinct(picks, allowed):
    """Every row of picks holds distinct indices, all of them allowed."""
    picks = np.atleast_2d(picks)
    assert picks.dtype == np.int32
    assert np.all(np.asarray(allowed)[picks])
    ordered = np.sort(picks, axis=1)
    assert np.all(ordered[:, 1:] > ordered[:, :-1])


def assert_follows(picks, law):
    """The frequencies of the picks lie within 4 sigma of the law; zeros stay zero."""
    counts = np.bincount(picks, minlength=len(law))
    assert np.all(counts[law == 0.0] == 0)
    sigma = np.sqrt(len(picks) * law * (1.0 - law))
    assert np.all(np.abs(counts - len(picks) * law) <= 4.0 * sigma + 1.0), (counts, law)


def badge_pool(seed, pool=5, scale=1.0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(pool, 3)).astype(np.float32)
    logits = (scale * rng.normal(size=(pool, 4))).astype(np.float32)
    return features, logits


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


# BADGE.


def test_oracle_embedding_is_the_gradient_by_autodiff():
    features, logits = badge_pool(0)

    def loss(change, feature, logits):  # of a kernel [classes, features]
        return -jax.nn.log_softmax(logits + change @ feature)[jnp.argmax(logits)]

    per_sample = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))
    arrays = jnp.zeros((4, 3)), jnp.asarray(features), jnp.asarray(logits)
    np.testing.assert_allclose(
        reference.badge_embedding(features, logits),
        np.reshape(per_sample(*arrays), (5, 12)),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_badge_starts_at_the_largest_gradient(scale):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(4096, 8)).astype(np.float32)
    logits = (scale * rng.normal(size=(4096, 5))).astype(np.float32)
    norms = np.linalg.norm(reference.badge_embedding(features, logits), axis=1)
    key, where = jax.random.key(0), np.ones(4096, bool)
    first = badge(key, features, logits, 1, where)[0]
    assert first == np.argmax(norms)
    where[np.argmax(norms)] = False
    second = badge(key, features, logits, 1, where)[0]
    assert second == np.argmax(np.where(where, norms, -1.0))


# At scale 40 the gradients are as small as 1e-12: p - 1 in float32 has no digits left.
@pytest.mark.parametrize(
    ("scale", "masked"),
    [
        (1.0, False),
        (40.0, True),
        *(
            pytest.param(*other, marks=pytest.mark.full)
            for other in ((6.0, False), (40.0, False), (1.0, True), (6.0, True))
        ),
    ],
)
def test_badge_samples_by_squared_distance(scale, masked):
    features, logits = badge_pool(2, scale=scale)
    where = np.array([True, True, True, not masked, True])
    arrays = jnp.asarray(features), jnp.asarray(logits)
    picks = np.asarray(badge_many(many_keys(2), *arrays, 3, jnp.asarray(where)))
    assert_distinct(picks, where)
    embedding = reference.badge_embedding(features, logits)
    first = np.argmax(reference.badge_law(embedding, [], where))
    assert np.all(picks[:, 0] == first)
    law_of_second = reference.badge_law(embedding, [first], where)
    assert_follows(picks[:, 1], law_of_second)
    for second in np.flatnonzero(law_of_second > 0.05):
        law_of_third = reference.badge_law(embedding, [first, second], where)
        assert_follows(picks[picks[:, 1] == second, 2], law_of_third)


def test_badge_never_repeats_a_pick_among_duplicates():
    features, logits = badge_pool(3)
    rows = np.array([0, 1, 0, 1, 2, 0, 2, 1])
    where = np.arange(8) != 4
    arrays = jnp.asarray(features[rows]), jnp.asarray(logits[rows])
    picks = badge_many(many_keys(3, 500), *arrays, 7, jnp.asarray(where))
    assert_distinct(picks, where)
    # Three different points exist: the first three picks are one of each.
    kinds = np.sort(rows[np.asarray(picks)[:, :3]], axis=1)
    assert np.all(kinds == [0, 1, 2])


@pytest.mark.parametrize("pool", ["identical", "saturated"])
def test_badge_without_distances_left_is_uniform(pool):
    features, logits = badge_pool(4, pool=6)
    if pool == "identical":
        features[:], logits[:] = features[3], logits[3]
    else:
        logits = 1e4 * np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    where = np.array([False, True, True, True, False, True])
    arrays = jnp.asarray(features), jnp.asarray(logits)
    picks = np.asarray(badge_many(many_keys(4), *arrays, 3, jnp.asarray(where)))
    assert_distinct(picks, where)
    assert np.all(picks[:, 0] == 1)  # a tie of all norms goes to the lower index
    uniform = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1.0]) / 3.0
    assert_follows(picks[:, 1], uniform)
    assert_follows(picks[:, 2], uniform)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in (1, 2))]
)
def test_badge_samples_near_duplicates_by_squared_distance(seed):
    """Gradients that differ in the fourth digit: ‖a‖² + ‖b‖² - 2ab has none left."""
    rng = np.random.default_rng(seed)
    features = 1.0 + 3e-4 * rng.normal(size=(5, 8))
    logits = rng.normal(size=4) + 3e-4 * rng.normal(size=(5, 4))
    features, logits = features.astype(np.float32), logits.astype(np.float32)
    keys, arrays = many_keys(seed), (jnp.asarray(features), jnp.asarray(logits))
    picks = np.asarray(badge_many(keys, *arrays, 3))
    embedding = reference.badge_embedding(features, logits)
    assert_follows(picks[:, 1], reference.badge_law(embedding, [picks[0, 0]]))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in (1, 2))]
)
def test_badge_is_uniform_among_copies_of_its_picks(seed):
    rng = np.random.default_rng(seed)
    rows = np.array([0, 0, 1, 1, 1])
    features = rng.normal(size=(2, 8)).astype(np.float32)[rows]
    logits = rng.normal(size=(2, 4)).astype(np.float32)[rows]
    keys, arrays = many_keys(seed), (jnp.asarray(features), jnp.asarray(logits))
    picks = np.asarray(badge_many(keys, *arrays, 3))
    embedding = reference.badge_embedding(features, logits)
    for second in np.unique(picks[:, 1]):
        law = reference.badge_law(embedding, [picks[0, 0], second])
        assert_follows(picks[picks[:, 1] == second, 2], law)


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_badge_ignores_masked_padding(size):
    features, logits = badge_pool(5, pool=12)
    padding = np.full((4, 1), size, np.float32)
    padded = [
        np.concatenate([array, padding * array[:4]]) for array in (features, logits)
    ]
    where = jnp.arange(16) < 12
    arrays = jnp.asarray(features), jnp.asarray(logits)
    plain = badge_many(many_keys(5, 50), *arrays, 5)
    masked = badge_many(many_keys(5, 50), *map(jnp.asarray, padded), 5, where)
    np.testing.assert_array_equal(masked, plain)


def test_badge_is_fixed_by_its_key():
    arrays = [jnp.asarray(array) for array in badge_pool(6, pool=40)]
    picks = [np.asarray(badge(jax.random.key(s), *arrays, 8)) for s in (0, 0, 1)]
    np.testing.assert_array_equal(picks[0], picks[1])
    assert np.any(picks[0] != picks[2])
    eager = iwps_jax.badge(jax.random.key(0), *arrays, 8)
    np.testing.assert_array_equal(eager, picks[0])


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
