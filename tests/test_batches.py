"""Batch selectors: brute force on formed gradients, the law of the draws, contracts."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from iwps_jax import blocks, contrib, selection

SELECTORS = {
    name: getattr(contrib, name)
    for name in (
        "farthest_first",
        "score_weighted",
        "k_means_plus_plus",
        "greedy_volume",
    )
}
FIXED = [name for name in SELECTORS if name != "k_means_plus_plus"]
KEY = jax.random.key(0)


@cache
def jitted(name, k, candidates_per_pick=4):
    """`select(key, scores, features, logits or None, where)` as one program."""

    def select(key, scores, features, logits, where):
        space = (
            selection.feature_space(features)
            if logits is None
            else selection.gradient_space(features, logits)
        )
        options = dict(candidates_per_pick=candidates_per_pick, where=where)
        return SELECTORS[name](key, scores, space, k, **options)

    return jax.jit(select)


def some_pool(seed, pool=8, features=3, classes=4):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=pool).astype(np.float32),
        rng.normal(size=(pool, features)).astype(np.float32),
        rng.normal(size=(pool, classes)).astype(np.float32),
        rng.random(pool) < 0.8,
    )


# The oracle


def points_of(features, logits=None):
    """The points of a space, formed: features, or gradients of kernel and bias."""
    features = reference.wide(features)
    if logits is None:
        return features
    ones = np.ones((len(features), 1))
    return reference.badge_embedding(np.hstack([features, ones]), logits)


def outside_span(points, picks):
    """Squared lengths of what the span of the picks leaves of each point."""
    basis = np.zeros((points.shape[1], 0))
    for row in picks:
        rest = points[row] - basis @ (basis.T @ points[row])
        rest = rest - basis @ (basis.T @ rest)
        if np.linalg.norm(rest) > 1e-9 * np.linalg.norm(points[row]):
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
    rest = points - points @ basis @ basis.T
    squares = (rest**2).sum(1)
    return np.where(squares > 1e-9 * (points**2).sum(1), squares, 0.0)


def brute_force(name, scores, points, k, candidates_per_pick, where):
    """Every pick by all of its distances, in float64."""
    best = reference.top_k(scores, candidates_per_pick * k, where)
    picks = []
    for _ in range(k):
        if name == "greedy_volume":
            value = outside_span(points, picks)
        elif picks:
            gaps = points[:, None] - points[picks]
            value = np.sqrt((gaps**2).sum(-1).min(1))
        else:
            value = np.zeros(len(points))
        if name == "score_weighted":
            value = np.maximum(reference.wide(scores), 0.0) * value
        free = [row for row in best if row not in picks]
        picks.append(max(free, key=lambda row: value[row]))  # the first of them
    return np.array(picks)


def assert_is_brute_force(name, pool, k, candidates_per_pick, *, in_gradients):
    scores, features, logits, where = pool
    logits = logits if in_gradients else None
    select = jitted(name, k, candidates_per_pick)
    picks = select(KEY, scores, features, logits, where)
    assert picks.dtype == jnp.int32
    np.testing.assert_array_equal(
        picks,
        brute_force(
            name, scores, points_of(features, logits), k, candidates_per_pick, where
        ),
    )


@pytest.mark.parametrize(
    ("candidates_per_pick", "in_gradients"),
    [
        *[(2, False), (3, False), (3, True)],
        pytest.param(2, True, marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("name", FIXED)
def test_every_pick_is_the_brute_force_argmax(name, candidates_per_pick, in_gradients):
    """Six candidates of eight rows, in order of score, then all, in their places."""
    for seed in range(15):
        pool = some_pool(seed)
        if pool[3].sum() >= 3:
            assert_is_brute_force(
                name, pool, 3, candidates_per_pick, in_gradients=in_gradients
            )


@pytest.mark.parametrize("name", FIXED)
def test_what_the_picks_span_goes_by_score(name):
    """Five picks in two dimensions, among them copies and points of no length."""
    for seed in range(10):
        scores, features, logits, _ = some_pool(seed, features=2)
        features[3], features[5] = features[1], 0.0
        pool = np.abs(scores), features, logits, np.ones(8, bool)
        assert_is_brute_force(name, pool, 5, 4, in_gradients=False)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("pool", [blocks.ROWS_PER_BLOCK + 203])
def test_a_pool_of_several_blocks_is_the_oracle(name, pool):
    pool = some_pool(1, pool)
    assert_is_brute_force(name, pool, 5, 2000, in_gradients=True)


def test_many_picks_keep_their_digits_far_from_the_origin():
    """Twenty dimensions of features about (10, ..., 10), then picks by score alone."""
    rng = np.random.default_rng(0)
    features = (10 + rng.normal(size=(240, 20))).astype(np.float32)
    features[100:130] = features[:30]
    scores = rng.permutation(240).astype(np.float32)
    pool = scores, features, None, np.ones(240, bool)
    assert_is_brute_force("greedy_volume", pool, 60, 4, in_gradients=False)


@pytest.mark.parametrize("size", [1e-30, 1e18, 3e38])
@pytest.mark.parametrize("name", FIXED)
def test_features_of_any_size_neither_overflow_nor_vanish(name, size):
    scores, features, logits, where = some_pool(3)
    features = (features * (size / np.abs(features).max())).astype(np.float32)
    pool = scores, features, logits, where
    assert_is_brute_force(name, pool, 3, 3, in_gradients=False)
    assert_is_brute_force(name, pool, 3, 3, in_gradients=True)


@pytest.mark.parametrize("name", FIXED)
def test_confident_rows_keep_their_digits(name):
    """Gradients as small as 1e-12, where p - 1 in float32 has no digits left."""
    scores, features, logits, where = some_pool(4)
    logits += 28 * np.eye(4, dtype=np.float32)[np.arange(8) % 4]
    pool = np.abs(scores), features, logits, where
    assert_is_brute_force(name, pool, 3, 3, in_gradients=True)


# Random draws


@cache
def draws_of_k_means_plus_plus():
    """One draw for each key, as one program."""
    select = jitted("k_means_plus_plus", 3, 2)
    return jax.jit(jax.vmap(select, in_axes=(0, None, None, None, None)))


@pytest.mark.parametrize("in_gradients", [False, True])
def test_k_means_plus_plus_draws_by_squared_distance(in_gradients):
    scores, features, logits, _ = some_pool(5)
    where = np.arange(8) != 2
    space = features, logits if in_gradients else None
    keys = jax.random.split(jax.random.key(1), 4000)
    draw = draws_of_k_means_plus_plus()
    picks = np.asarray(draw(keys, scores, *space, where))
    best = reference.top_k(scores, 6, where)
    assert np.all(np.isin(picks, best)) and np.all(picks[:, 0] == best[0])
    is_candidate, points = np.isin(np.arange(8), best), points_of(*space)
    law = reference.badge_law(points, [best[0]], is_candidate)
    assert_follows(picks[:, 1], law)
    second = np.argmax(law)
    third = picks[picks[:, 1] == second, 2]
    assert_follows(third, reference.badge_law(points, [best[0], second], is_candidate))


def assert_follows(picks, law):
    """The frequencies of the picks lie within 4 sigma of the law; zeros stay zero."""
    counts = np.bincount(picks, minlength=len(law))
    assert np.all(counts[law == 0.0] == 0)
    sigma = np.sqrt(len(picks) * law * (1.0 - law))
    assert np.all(np.abs(counts - len(picks) * law) <= 4.0 * sigma + 1.0), (counts, law)


def test_k_means_plus_plus_without_distances_left_is_uniform():
    scores, features, logits, _ = some_pool(6)
    features[:], where = features[0], np.ones(8, bool)
    keys = jax.random.split(jax.random.key(2), 4000)
    draw = draws_of_k_means_plus_plus()
    picks = np.asarray(draw(keys, scores, jnp.asarray(features), None, where))
    law = np.zeros(8)
    law[reference.top_k(scores, 6)[1:]] = 1 / 5
    assert_follows(picks[:, 1], law)
    assert_follows(picks[:, 2], law)


# Contracts of all


@pytest.mark.parametrize("name", SELECTORS)
def test_one_candidate_a_pick_gives_the_rows_of_top_k(name):
    for seed in range(5):
        scores, features, logits, where = some_pool(seed, 12)
        picks = jitted(name, 4, 1)(KEY, scores, features, logits, where)
        assert set(picks.tolist()) == set(reference.top_k(scores, 4, where).tolist())


@pytest.mark.parametrize(
    "in_gradients", [pytest.param(False, marks=pytest.mark.full), True]
)
@pytest.mark.parametrize("name", SELECTORS)
def test_copies_are_picked_after_everything_else(name, in_gradients):
    """Constant scores, four kinds of points: the first four picks are one of each."""
    for seed in range(5):
        _, features, logits, _ = some_pool(seed, 4, features=5)
        kinds = np.random.default_rng(seed).permutation(np.arange(12) % 4)
        logits = logits[kinds] if in_gradients else None
        select = jitted(name, 7)
        ones = np.ones(12, np.float32), np.ones(12, bool)
        picks = select(KEY, ones[0], features[kinds], logits, ones[1])
        picks = np.asarray(picks)
        assert len(set(picks.tolist())) == 7
        np.testing.assert_array_equal(np.sort(kinds[picks[:4]]), np.arange(4))
        if name in FIXED:  # ties of equal scores go to the lower row
            lowest = [np.flatnonzero(kinds == kind)[0] for kind in range(4)]
            assert set(picks[:4].tolist()) == set(lowest)
            rest = np.setdiff1d(np.arange(12), lowest)
            np.testing.assert_array_equal(picks[4:], rest[:3])


@pytest.mark.parametrize("name", FIXED)
def test_selection_is_equivariant(name):
    scores, features, logits, where = some_pool(7, 12)
    order = np.random.default_rng(7).permutation(12)
    select = jitted(name, 4, 2)
    picks = np.asarray(select(KEY, scores, features, logits, where))
    mixed = [a[order] for a in (scores, features, logits, where)]
    np.testing.assert_array_equal(order[np.asarray(select(KEY, *mixed))], picks)


@pytest.mark.parametrize("name", SELECTORS)
def test_a_batch_of_pools_is_one_at_a_time(name):
    pools = [some_pool(seed, 12)[:3] for seed in range(3)]
    keys = jax.random.split(jax.random.key(3), 3)
    select = jitted(name, 4, 2)
    many = jax.jit(jax.vmap(partial(select, where=np.arange(12) != 5)))
    stacked = [np.stack(arrays) for arrays in zip(*pools, strict=True)]
    picks = many(keys, *stacked)
    for key, pool, found in zip(keys, pools, picks, strict=True):
        alone = select(key, *pool, np.arange(12) != 5)
        np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float64") for name in SELECTORS), ("score_weighted", "bfloat16")],
)
def test_every_float_type_is_taken(name, dtype):
    scores, features, logits, where = some_pool(8)
    scores, features = (a.astype(jnp.dtype(dtype)) for a in (scores, features))
    with jax.enable_x64(dtype == "float64"):
        picks = np.asarray(jitted(name, 3, 4)(KEY, scores, features, logits, where))
    assert picks.dtype == jnp.int32 and np.all(where[picks])
    assert len(set(picks.tolist())) == 3


def test_scores_that_are_not_positive_are_ordered_and_infinite_ones_come_first():
    scores = np.float32([-1.0, 0.0, np.inf, -3.0, 2.0, np.inf])
    line = np.arange(6, dtype=np.float32)[:, None]
    picks = jitted("score_weighted", 6)(KEY, scores, line, None, np.ones(6, bool))
    np.testing.assert_array_equal(picks, [2, 5, 4, 1, 0, 3])


@pytest.mark.parametrize("name", SELECTORS)
def test_what_cannot_be_selected_is_named(without_jaxtyping, name):
    select, scores = SELECTORS[name], np.arange(6, dtype=np.float32)
    space = selection.feature_space(np.ones((6, 2), np.float32))
    with_a_nan = np.where(scores == 3, np.float32(np.nan), scores)
    with pytest.raises(ValueError, match=r"\bk\b"):
        select(KEY, scores, space, 7)
    with pytest.raises(ValueError, match=r"\bk\b"):
        select(KEY, scores, space, 3, where=np.arange(6) < 2)
    with pytest.raises(ValueError, match="candidates_per_pick must be at least 1"):
        select(KEY, scores, space, 2, candidates_per_pick=0)
    with pytest.raises(ValueError, match="scores"):
        select(KEY, with_a_nan, space, 2)
    with pytest.raises(ValueError, match=r"space\.features"):
        select(KEY, scores[:5], space, 2)
    with pytest.raises(TypeError, match="key"):
        select(0, scores, space, 2)


def test_spaces_that_do_not_fit_are_named(without_jaxtyping):
    with pytest.raises(ValueError, match="features must be finite"):
        selection.feature_space(jnp.full((3, 2), jnp.nan))
    with pytest.raises(ValueError, match="logits must have length 3"):
        selection.gradient_space(jnp.ones((3, 2)), jnp.ones((4, 2)))
