"""k-center and BADGE read the pool a few times: the same picks, and the same law."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import stats

import iwps_jax
from benchmarks import plain_selection
from iwps_jax.selection import coreset, lazy, seeding, spaces

D = 24


@pytest.fixture(scope="module", autouse=True)
def small_sizes():
    """Sizes that make a small pool a large one, with many readings."""
    sizes = {
        coreset: {"ROWS_AT_HAND": 32},
        seeding: {"NUM_DRAWS": 2, "ROWS_PER_GROUP": 64},
        lazy: {"CENTERS_PER_BLOCK": 16, "ROWS_AT_ONCE": 64, "FEW_CENTERS": 2},
    }
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        for module, names in sizes.items():
            for name, size in names.items():
                patch.setattr(module, name, size)
        yield
    jax.clear_caches()


def some_pool(kind, rng, pool, dim):
    """Features [pool, dim] of this kind."""
    normal = rng.normal(size=(pool, dim))
    kinds = 3 * rng.normal(size=(7, dim))[rng.integers(0, 7, pool)]
    features = {
        "normal": normal,
        "clusters": kinds + 0.3 * normal,
        # No digit of the distances in a cluster survives the product.
        "tight clusters": kinds + 1e-4 * normal,
        "spectrum": normal / (1 + np.arange(dim)) ** 2,
        "copies": kinds,
        "some copies": np.where(rng.random((pool, 1)) < 0.5, kinds, normal),
        "equal": np.ones((pool, dim)),
        "far": 1e3 + normal,
        "grid": rng.integers(-1, 2, size=(pool, dim)),
        "corners": np.eye(dim)[np.arange(pool) % dim],
        "outliers": normal * np.where(np.arange(pool) % 50 == 7, 1e4, 1)[:, None],
    }
    return jnp.asarray(features[kind], jnp.float32)


def assert_same_picks(features, labeled, k):
    picks, _ = coreset.picks_and_passes(features, labeled, k=k)
    plain = plain_selection.k_center_greedy(features, labeled, k=k)
    np.testing.assert_array_equal(picks, plain)


KINDS = (
    *("normal", "clusters", "tight clusters", "spectrum", "copies", "some copies"),
    *("equal", "far", "grid", "corners", "outliers"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_k_center_picks_what_the_plain_form_picks(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    features = some_pool(kind, rng, 603, D)
    for share in (0, 0.1, 0.8):
        labeled = jnp.asarray(rng.random(603) < share)
        assert_same_picks(features, labeled, 90)


@pytest.mark.parametrize("dim", [1, 15, 16, 17])
def test_any_number_of_columns_gives_the_same_picks(dim):
    rng = np.random.default_rng(dim)
    features = some_pool("some copies", rng, 211, dim)
    labeled = jnp.asarray(rng.random(211) < 0.02)
    assert_same_picks(features, labeled, 60)


@pytest.mark.parametrize("pool", [1, 7, 9, 33, 65])
def test_every_row_of_a_small_pool_is_picked_in_the_plain_order(pool):
    features = some_pool("normal", np.random.default_rng(pool), pool, D)
    assert_same_picks(features, jnp.zeros(pool, bool), pool)


def test_64_bit_features_are_compared_in_64_bits():
    """Differences in the tenth digit."""
    rng = np.random.default_rng(0)
    near = 1 + 1e-10 * rng.normal(size=(203, D))
    labeled = np.arange(203) == 3
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        picks, _ = coreset.picks_and_passes(jnp.asarray(near), labeled, k=30)
    expected = reference.k_center_greedy(near, 30, labeled)
    np.testing.assert_array_equal(picks, expected)


def test_k_center_reads_a_pool_a_few_times():
    features = some_pool("normal", np.random.default_rng(1), 4003, D)
    _, passes = coreset.picks_and_passes(features, jnp.zeros(4003, bool), k=90)
    assert passes <= 45


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("are_logits", [False, True])
def test_a_product_of_many_centers_is_one_center_after_the_other(kind, are_logits):
    """Bit for bit for features, and to rounding for gradients."""
    rng = np.random.default_rng(3)
    features = some_pool(kind, rng, 403, D)
    logits = features[:, :5] if are_logits else None
    where = jnp.ones(403, bool)

    points = _geometry(spaces.Space(features, logits), where)
    rows = jnp.asarray(rng.permutation(403)[:150])
    found, expected = _at_once(points, rows), _one_by_one(points, rows)
    if not are_logits:
        np.testing.assert_array_equal(found, expected)
    # One row of outliers sets the scale, and all others are copies next to it.
    size = points.right_squares.max() if kind == "outliers" else expected.max()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * size)
    assert np.all(found[rows] == 0)


_geometry = jax.jit(spaces.geometry)


@jax.jit
def _at_once(points, rows):
    far, room = jnp.full(403, jnp.inf), lazy.room_for(rows)
    first, last = jnp.int32(0), jnp.int32(len(rows))
    return lazy.nearer_of_many(points, room, first, last, far)[0]


@jax.jit
def _one_by_one(points, rows):
    def add(i, nearest):
        return spaces.nearer(points, rows[i], nearest)

    return jax.lax.fori_loop(0, len(rows), add, jnp.full(403, jnp.inf))


# BADGE: the law of whole sequences.


def law_of_sequences(embedding, k, where):
    """The probability of every sequence of k rows, by the plain k-means++."""
    law = {}
    for picks in itertools.permutations(np.flatnonzero(where), k):
        law[picks] = np.prod(
            [
                reference.badge_law(embedding, list(picks[:i]), where)[row]
                for i, row in enumerate(picks)
            ]
        )
    assert np.isclose(sum(law.values()), 1)
    return law


@partial(jax.jit, static_argnames="k")
def badge_many(keys, features, logits, where, k):
    return jax.vmap(lambda key: iwps_jax.badge(key, features, logits, k, where))(keys)


@pytest.mark.parametrize("kind", ["random", "masked", "copies", "all equal"])
def test_badge_has_the_law_of_k_means_plus_plus(kind):
    """Two rows drawn at a time: a row may be refused, and the pool is read again."""
    rng, number, k = np.random.default_rng(5), 6000, 3
    features = rng.normal(size=(6, 3)).astype(np.float32)
    logits = 2 * rng.normal(size=(6, 4)).astype(np.float32)
    where = np.arange(6) != (2 if kind == "masked" else 6)
    if kind in ("copies", "all equal"):
        kinds = [0, 1, 0, 1, 0, 1] if kind == "copies" else [0] * 6
        features, logits = features[kinds], logits[kinds]
    keys = jax.random.split(jax.random.key(1), number)
    picks = np.asarray(badge_many(keys, features, logits, where, k))
    picks = [tuple(row) for row in picks.tolist()]
    law = law_of_sequences(reference.badge_embedding(features, logits), k, where)
    expected = {row: number * p for row, p in law.items() if p > 0}
    assert set(picks) <= set(expected)
    counts = {row: picks.count(row) for row in expected}
    often = [row for row in expected if expected[row] >= 5]
    rest = [row for row in expected if expected[row] < 5]
    groups = [[row] for row in often] + ([rest] if rest else [])
    seen = [sum(counts[row] for row in group) for group in groups]
    wanted = [sum(expected[row] for row in group) for group in groups]
    assert stats.chisquare(seen, wanted).pvalue > 1e-3


def test_draws_by_weight_follow_the_weights_in_every_group(key):
    """Of several groups, one of them without any weight."""
    size = seeding.ROWS_PER_GROUP
    weights = np.random.default_rng(0).random(3 * size + 5) ** 4
    weights[size : 2 * size] = 0
    weights[::7] = 0
    draw = jax.jit(seeding._rows_by, static_argnums=2)
    rows = np.asarray(draw(jnp.asarray(weights, jnp.float32), key, 40_000))
    assert np.all(weights[rows] > 0)
    bins = np.arange(len(weights)) // 4
    seen = np.bincount(bins[rows], minlength=bins[-1] + 1)
    wanted = np.bincount(bins, weights / weights.sum() * len(rows))
    assert stats.chisquare(seen[wanted > 0], wanted[wanted > 0]).pvalue > 1e-3
