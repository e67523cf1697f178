"""Selectors on pools of several blocks: memory, borders, digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import stats

import iwps_jax
from iwps_jax import blocks, contrib
from iwps_jax.selection import lazy, spaces

BLOCK = blocks.ROWS_PER_BLOCK
D, CLASSES = 64, 10

k_center_greedy = jax.jit(iwps_jax.k_center_greedy, static_argnums=1)
badge = jax.jit(iwps_jax.badge, static_argnums=3)


def temporary_bytes(name, pool, dtype="float32", num_classes=CLASSES):
    """What the compiled selector needs beside its arguments and its result."""
    features = jax.ShapeDtypeStruct((pool, D), dtype)
    if name == "k_center_greedy":
        rest = features, 5, jax.ShapeDtypeStruct((pool,), bool)
        lowered = k_center_greedy.lower(*rest)
    else:
        key = jax.eval_shape(lambda: jax.random.key(0))
        logits = jax.ShapeDtypeStruct((pool, num_classes), dtype)
        lowered = badge.lower(key, features, logits, 5)
    return lowered.compile().memory_analysis().temp_size_in_bytes


# Labeled rows are data, not shape: memory cannot depend on their number.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("k_center_greedy", "bfloat16"),
        ("badge", "float32"),
        *(
            pytest.param(*other, marks=pytest.mark.full)
            for other in (("k_center_greedy", "float32"), ("badge", "bfloat16"))
        ),
    ],
)
def test_memory_is_a_few_numbers_a_row_and_a_few_blocks(name, dtype):
    small, large = 8 * BLOCK, 32 * BLOCK
    per_row = (
        temporary_bytes(name, large, dtype) - temporary_bytes(name, small, dtype)
    ) / (large - small)
    assert per_row <= 12 * 4  # where the features have 64 numbers a row
    of_blocks = temporary_bytes(name, small, dtype) - per_row * small
    assert of_blocks <= 4 * BLOCK * (D + lazy.CENTERS_PER_BLOCK) * 4


def test_many_classes_need_blocks_not_a_copy():
    pool = 8 * BLOCK
    few, many = (temporary_bytes("badge", pool, num_classes=n) for n in (10, 1000))
    assert many - few <= 2 * BLOCK * 1000 * 4  # the copy would be 8 blocks


def test_all_rows_as_candidates_are_not_copied():
    def temporary(pool):
        shapes = (pool,), (pool, D), (pool, CLASSES)
        key = jax.eval_shape(lambda: jax.random.key(0))
        arrays = (jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes)

        def select(key, scores, features, logits):
            space = iwps_jax.gradient_space(features, logits)
            return contrib.k_means_plus_plus(
                key, scores, space, 5, candidates_per_pick=pool
            )

        compiled = jax.jit(select).lower(key, *arrays).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = 8 * BLOCK, 32 * BLOCK
    per_row = (temporary(large) - temporary(small)) / (large - small)
    assert per_row <= 16 * 4  # a few numbers, where a row of the pool has 74
    assert temporary(small) - per_row * small <= 4 * BLOCK * (D + CLASSES) * 4


def pick_farthest(features, k, labeled):
    """Greedy k-center in float64 NumPy, from sums of squared differences."""
    features, picks = np.asarray(features, np.float64), []
    distance = np.full(len(features), np.inf)
    for center in np.flatnonzero(labeled):
        distance = np.minimum(distance, ((features - features[center]) ** 2).sum(1))
    distance[labeled] = -1.0
    for _ in range(k):
        picks.append(np.argmax(distance))
        to_pick = ((features - features[picks[-1]]) ** 2).sum(1)
        distance = np.minimum(distance, to_pick)
        distance[picks[-1]] = -1.0
    return picks


def test_the_fast_oracle_is_the_plain_one():
    rng = np.random.default_rng(0)
    features, labeled = rng.normal(size=(30, 3)), np.arange(30) % 7 == 2
    np.testing.assert_array_equal(
        pick_farthest(features, 9, labeled),
        reference.k_center_greedy(features, 9, labeled),
    )


@pytest.mark.parametrize("pool", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
@pytest.mark.parametrize("num_labeled", [0, 300])
def test_k_center_is_the_oracle_around_the_blocks_borders(pool, num_labeled):
    """Far from the origin as well: mean 1e3, spread 1."""
    rng = np.random.default_rng(pool)
    features = (1e3 + rng.normal(size=(pool, 8))).astype(np.float32)
    labeled = np.zeros(pool, bool)
    labeled[rng.permutation(pool)[:num_labeled]] = True
    # A border's rows are the farthest of all, so that losing one would show.
    for i, row in enumerate((0, pool - 1, min(BLOCK, pool) - 1, pool - BLOCK - 1)):
        features[row] += 10.0 + i
        labeled[row] = False
    picks = k_center_greedy(jnp.asarray(features), 40, jnp.asarray(labeled))
    np.testing.assert_array_equal(picks, pick_farthest(features, 40, labeled))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_features_keep_all_their_digits(dtype):
    rng = np.random.default_rng(1)
    features = jnp.asarray(3.0 + rng.normal(size=(BLOCK + 77, 16)), dtype)
    labeled = np.arange(len(features)) % 50 == 3
    picks = k_center_greedy(features, 30, jnp.asarray(labeled))
    exact = np.asarray(features.astype(jnp.float32))
    np.testing.assert_array_equal(picks, pick_farthest(exact, 30, labeled))


@pytest.mark.parametrize("pool", [5, 203, BLOCK + 203])
def test_norms_are_numpys_also_where_two_blocks_overlap(pool):
    rng = np.random.default_rng(pool)
    features = rng.normal(size=(pool, 37)).astype(np.float32)
    logits = rng.normal(size=(pool, 7)).astype(np.float32)
    space = iwps_jax.gradient_space(features, logits)
    points = jax.jit(spaces.geometry)(space, np.ones(pool, bool))
    scale = np.float64(points.left_scale * points.right_scale)
    probs = np.exp(logits - logits.max(1, keepdims=True)).astype(np.float64)
    residuals = probs / probs.sum(1, keepdims=True) - np.eye(7)[logits.argmax(1)]
    squares = (residuals**2).sum(1) * (1 + (np.float64(features) ** 2).sum(1))
    norms = jax.jit(spaces.squared_norms)(points)
    np.testing.assert_allclose(norms, scale**2 * squares, rtol=1e-5)


@pytest.mark.parametrize("pool", [203, BLOCK + 203])
def test_copies_anywhere_are_at_distance_zero_and_tie(pool):
    """Each kind once, its lowest row; then all others in order."""
    rng = np.random.default_rng(pool)
    kinds = rng.normal(size=(20, 37)).astype(np.float32)
    kind = rng.integers(0, 20, pool)
    lowest = [np.flatnonzero(kind == i)[0] for i in range(20)]
    none = jnp.zeros(pool, bool)
    picks = np.asarray(k_center_greedy(jnp.asarray(kinds[kind]), 30, none))
    np.testing.assert_array_equal(np.sort(picks[:20]), np.sort(lowest))
    others = np.setdiff1d(np.arange(pool), lowest)
    np.testing.assert_array_equal(picks[20:], others[:10])
    arrays = jnp.asarray(kinds[kind]), jnp.asarray(3 * kinds[kind][:, :7])
    for seed in range(3):
        picks = np.asarray(badge(jax.random.key(seed), *arrays, 20))
        assert np.array_equal(np.sort(kind[picks]), np.arange(20))


@pytest.mark.parametrize("scale", [1.0, pytest.param(20.0, marks=pytest.mark.full)])
def test_badge_follows_the_oracle_in_every_block(scale):
    """What the first picks leave is the oracle's, and the next picks follow it."""
    rng = np.random.default_rng(2)
    pool, k = 2 * BLOCK + 301, 6
    features = rng.normal(size=(pool, 6)).astype(np.float32)
    logits = (scale * rng.normal(size=(pool, 5))).astype(np.float32)
    where = rng.random(pool) < 0.9
    embedding = reference.badge_embedding(features, logits)
    arrays = [jnp.asarray(array) for array in (features, logits)]
    # Where each next pick lies in its law: uniform, if the law is the oracle's.
    heights = []
    for seed in range(40):
        picks = np.asarray(badge(jax.random.key(seed), *arrays, k, jnp.asarray(where)))
        free, distance = where.copy(), np.full(pool, np.inf)
        assert picks[0] == np.argmax(np.where(free, (embedding**2).sum(1), -1.0))
        for i, row in enumerate(picks):
            assert free[row]
            if i:
                sums = np.cumsum(np.where(free, distance, 0))
                heights.append((sums[row] - distance[row] / 2) / sums[-1])
            free[row] = False
            distance = np.minimum(distance, ((embedding - embedding[row]) ** 2).sum(1))
    assert stats.kstest(heights, "uniform").pvalue > 1e-3


def test_pools_of_several_blocks_run_under_vmap():
    rng = np.random.default_rng(3)
    features = rng.normal(size=(2, BLOCK + 9, 4)).astype(np.float32)
    labeled = rng.random((2, BLOCK + 9)) < 0.02
    many = jax.vmap(lambda h, is_center: iwps_jax.k_center_greedy(h, 5, is_center))
    picks = jax.jit(many)(jnp.asarray(features), jnp.asarray(labeled))
    for i in range(2):
        alone = k_center_greedy(jnp.asarray(features[i]), 5, jnp.asarray(labeled[i]))
        np.testing.assert_array_equal(picks[i], alone)
    keys = jax.random.split(jax.random.key(0), 2)
    draw = jax.vmap(lambda key, h: iwps_jax.badge(key, h, h[:, :3], 5))
    picks = jax.jit(draw)(keys, jnp.asarray(features))
    for i in range(2):
        alone = badge(
            keys[i], jnp.asarray(features[i]), jnp.asarray(features[i, :, :3]), 5
        )
        np.testing.assert_array_equal(picks[i], alone)


@pytest.mark.parametrize("largest", [3e38, 1e-30])
def test_features_of_any_size_neither_overflow_nor_vanish(largest):
    rng = np.random.default_rng(4)
    features = rng.normal(size=(BLOCK + 3, 4))
    features *= largest / np.abs(features).max()
    labeled = np.arange(len(features)) % 100 == 5
    features = features.astype(np.float32)
    picks = k_center_greedy(jnp.asarray(features), 8, jnp.asarray(labeled))
    np.testing.assert_array_equal(picks, pick_farthest(features, 8, labeled))
