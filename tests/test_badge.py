"""BADGE on tiny pools: its first pick, the law of the others, copies and masks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import iwps_jax

# conftest.py asks the compiler for haste; thousands of selections take longer than it.
OPTIMIZED = {"xla_backend_optimization_level": 1}


@partial(jax.jit, static_argnums=3)
def badge(key, features, logits, k, where=None):
    return iwps_jax.badge(key, features, logits, k, where)


def badge_many(keys, features, logits, k, where=None):
    """One selection per key."""
    return jax.vmap(lambda key: iwps_jax.badge(key, features, logits, k, where))(keys)


badge_some = jax.jit(badge_many, static_argnums=3)
badge_thousands = jax.jit(badge_many, static_argnums=3, compiler_options=OPTIMIZED)


def many_keys(seed, number=4000):
    return jax.random.split(jax.random.key(seed), number)


def many_picks(seed, features, logits, where=(True,) * 6):
    """Three picks for each of thousands of keys; one program for all pools here."""
    features, logits, where = map(jnp.asarray, (features, logits, where))
    return np.asarray(badge_thousands(many_keys(seed), features, logits, 3, where))


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


def badge_pool(seed, pool=6, scale=1.0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(pool, 8)).astype(np.float32)
    logits = (scale * rng.normal(size=(pool, 4))).astype(np.float32)
    return features, logits


def test_oracle_embedding_is_the_gradient_by_autodiff():
    features, logits = badge_pool(0)

    def loss(change, feature, logits):  # of a kernel [classes, features]
        return -jax.nn.log_softmax(logits + change @ feature)[jnp.argmax(logits)]

    per_sample = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))
    arrays = jnp.zeros((4, 8)), jnp.asarray(features), jnp.asarray(logits)
    np.testing.assert_allclose(
        reference.badge_embedding(features, logits),
        np.reshape(per_sample(*arrays), (6, 32)),
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
    where = np.array([True, True, True, not masked, True, True])
    picks = many_picks(2, features, logits, where)
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
    picks = badge_some(many_keys(3, 500), *arrays, 7, jnp.asarray(where))
    assert_distinct(picks, where)
    # Three different points exist: the first three picks are one of each.
    kinds = np.sort(rows[np.asarray(picks)[:, :3]], axis=1)
    assert np.all(kinds == [0, 1, 2])


@pytest.mark.parametrize("pool", ["identical", "saturated"])
def test_badge_without_distances_left_is_uniform(pool):
    features, logits = badge_pool(4)
    if pool == "identical":
        features[:], logits[:] = features[3], logits[3]
    else:
        logits = 1e4 * np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0, 1]]
    where = np.array([False, True, True, True, False, True])
    picks = many_picks(4, features, logits, where)
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
    features = 1.0 + 3e-4 * rng.normal(size=(6, 8))
    logits = rng.normal(size=4) + 3e-4 * rng.normal(size=(6, 4))
    features, logits = features.astype(np.float32), logits.astype(np.float32)
    picks = many_picks(seed, features, logits)
    embedding = reference.badge_embedding(features, logits)
    assert_follows(picks[:, 1], reference.badge_law(embedding, [picks[0, 0]]))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in (1, 2))]
)
def test_badge_is_uniform_among_copies_of_its_picks(seed):
    rng = np.random.default_rng(seed)
    rows = np.array([0, 0, 1, 1, 1, 1])
    features = rng.normal(size=(2, 8)).astype(np.float32)[rows]
    logits = rng.normal(size=(2, 4)).astype(np.float32)[rows]
    picks = many_picks(seed, features, logits)
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
    plain = badge_some(many_keys(5, 50), *arrays, 5)
    masked = badge_some(many_keys(5, 50), *map(jnp.asarray, padded), 5, where)
    np.testing.assert_array_equal(masked, plain)


def test_badge_is_fixed_by_its_key():
    arrays = [jnp.asarray(array) for array in badge_pool(6, pool=40)]
    picks = [np.asarray(badge(jax.random.key(s), *arrays, 8)) for s in (0, 0, 1)]
    np.testing.assert_array_equal(picks[0], picks[1])
    assert np.any(picks[0] != picks[2])
    eager = iwps_jax.badge(jax.random.key(0), *arrays, 8)
    np.testing.assert_array_equal(eager, picks[0])
