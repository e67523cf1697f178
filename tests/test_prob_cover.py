"""ProbCover: brute force, the radius, bounds, contract."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import iwps_jax
from iwps_jax import methods
from iwps_jax.method import Model
from iwps_jax.picking import pick
from iwps_jax.selection import balls, cover
from iwps_jax.types import Head

POOL, WIDTH, K = 64, 5, 8
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(POOL, WIDTH)).astype(np.float32) + 0.5
LABELED = np.arange(POOL) % 8 == 1
NONE = np.zeros(POOL, bool)
DELTA = 0.7


def covering(features=FEATURES, labeled=LABELED, k=K, delta=DELTA):
    return np.asarray(iwps_jax.prob_cover(features, k, labeled, delta=delta))


# The oracle, from the paper's formula.


def distances(features):
    wide = np.asarray(features, float)
    points = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def cover_step_by_step(features, labeled, delta, k):
    """Always the lowest row with most rows in its ball that no ball has yet."""
    is_near = distances(features) < delta
    covered = labeled | is_near[labeled].any(0)
    picks, may = [], ~labeled
    for _ in range(k):
        counts = [int((is_near[i] & ~covered).sum()) for i in range(len(features))]
        best = max((i for i in range(len(features)) if may[i]), key=lambda i: counts[i])
        picks.append(best)
        may = may & (np.arange(len(features)) != best)
        covered = covered | is_near[best]
    return picks


@pytest.mark.parametrize("delta", [0.3, 0.7, 1.2])
@pytest.mark.parametrize("labeled", [LABELED, NONE], ids=["labeled", "cold"])
def test_every_pick_covers_the_most_new_rows(labeled, delta):
    picks = covering(labeled=labeled, delta=delta)
    assert picks.tolist() == cover_step_by_step(FEATURES, labeled, delta, K)


@pytest.mark.parametrize("rows", [8, 24])
def test_lazy_picks_are_those_of_the_plain_form(monkeypatch, rows):
    monkeypatch.setattr(cover, "ENTRIES_AT_HAND", rows * POOL)
    lazy = partial(balls.cover_by_balls.__wrapped__, k=K)
    program = jax.jit(lambda *arrays: lazy(*arrays, DELTA))
    picks, turns = program(jnp.asarray(FEATURES), jnp.asarray(NONE))
    assert picks.tolist() == covering(labeled=NONE).tolist()
    assert POOL // rows < turns < K * POOL // rows


@pytest.mark.filterwarnings("ignore:The maximum purity was -1")
def test_prob_cover_picks_what_scikit_activeml_picks():
    pool = pytest.importorskip("skactiveml.pool")
    points = FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True)
    # It settles ties by chance: it is asked for its counts, given our picks so far.
    labeled = LABELED.copy()
    for row in covering():
        rival = pool.ProbCover(n_classes=2, deltas=[DELTA], random_state=0)
        classes = np.where(labeled, 0.0, np.nan)
        _, counts = rival.query(points, classes, return_utilities=True)
        assert row == np.nanargmax(counts[0])
        labeled[row] = True


# The radius.


def purity(features, clusters, delta):
    is_near = distances(features) < delta
    is_other = clusters[:, None] != clusters[None]
    counts = clusters >= 0
    return 1 - (is_near & is_other & counts[None]).any(1)[counts].mean()


def test_the_radius_is_the_largest_with_pure_balls():
    clusters = (FEATURES[:, 0] > 0.5).astype(np.int32) + (FEATURES[:, 1] > 0.7)
    clusters[:4] = -1
    for share in (0.95, 0.5, 1.0):
        delta = float(
            iwps_jax.ball_radius(jax.random.key(0), FEATURES, clusters, purity=share)
        )
        assert 0 < delta < 2
        assert purity(FEATURES, clusters, delta * (1 - 1e-4)) >= share
        assert purity(FEATURES, clusters, delta * (1 + 1e-4)) < share


def test_some_balls_stand_for_all():
    clusters = (FEATURES[:, 0] > 0.5).astype(np.int32)
    everywhere, ones = jnp.ones(POOL, bool), jnp.ones(POOL)
    targets = cover.draw_targets(jax.random.key(1), FEATURES, ones, everywhere, 40)
    is_other = clusters[:, None] != clusters[None]
    nearest = np.where(is_other, distances(FEATURES), np.inf).min(1)
    delta = iwps_jax.ball_radius(jax.random.key(1), FEATURES, clusters, num_rows=40)
    # Two of 40 balls may be impure, 0.05 of them.
    expected = np.sort(nearest[np.asarray(targets.rows)])[2]
    np.testing.assert_allclose(delta, expected, rtol=1e-4)


def test_the_radius_at_the_corners():
    key = jax.random.key(0)
    one = np.zeros(POOL, np.int32)
    assert iwps_jax.ball_radius(key, FEATURES, one) == 2
    same = np.ones_like(FEATURES)
    clusters = np.arange(POOL, dtype=np.int32)
    delta = iwps_jax.ball_radius(jax.random.key(0), same, clusters)
    assert delta == 0
    none = jnp.full(POOL, -1)
    assert iwps_jax.ball_radius(jax.random.key(0), FEATURES, none) == 2


# The contract.


def test_picks_are_distinct_unlabeled_rows_to_the_last():
    picks = covering(labeled=~np.isin(np.arange(POOL), range(40, 40 + K)))
    assert picks.dtype == np.int32 and sorted(picks) == [*range(40, 40 + K)]


def test_equal_rows_tie_to_the_lower_one_and_copies_come_last():
    same = np.ones((POOL, WIDTH), np.float32)
    assert covering(same, NONE).tolist() == [*range(K)]
    few = np.tile(FEATURES[:4], (POOL // 4, 1))
    picks = covering(few, NONE, delta=1e-6)
    assert picks.tolist() == [*range(K)]


def test_the_length_of_a_row_does_not_matter():
    scale = np.where(np.arange(POOL) % 2, 1e30, 1e-30)[:, None]
    assert covering((FEATURES * scale).astype(np.float32)).tolist() == (
        covering().tolist()
    )


def test_the_order_of_the_pool_permutes_the_balls():
    order = np.random.default_rng(2).permutation(POOL)
    permuted = order[covering(FEATURES[order], LABELED[order])]
    is_near = distances(FEATURES) < DELTA
    sizes = [
        (LABELED | is_near[[*np.flatnonzero(LABELED), *picks]].any(0)).sum()
        for picks in (permuted[:1], covering()[:1])
    ]
    assert sizes[0] == sizes[1]


def test_a_batch_of_seeds_is_each_by_itself():
    features = np.stack([FEATURES, FEATURES[::-1]])
    labeled = np.stack([LABELED, NONE])
    together = jax.vmap(partial(balls.cover_by_balls, k=K), (0, 0, None))(
        features, labeled, DELTA
    )[0]
    for i in range(2):
        expected = covering(features[i], labeled[i])
        assert together[i].tolist() == expected.tolist()


def test_the_method_covers_by_balls_that_k_means_leaves_pure():
    head = Head(np.zeros((WIDTH, 3), "f"), np.zeros(3, "f"))
    row, model = methods.PROB_COVER, Model(head=head)
    group = np.arange(POOL) // 22
    pool = 9 * np.eye(3, WIDTH)[group] + RNG.normal(size=(POOL, WIDTH))
    picks = pick(row, model, pool.astype(np.float32), None, K).rows
    assert sorted(group[picks[:3]]) == [0, 1, 2]


def test_what_does_not_fit_is_refused():
    for options, sentence in (
        ({"k": 0}, "k must be at least 1"),
        ({"k": POOL}, "k must be at most"),
        ({"delta": 0.0}, "delta must be positive"),
        ({"features": FEATURES * np.inf}, "features must be finite"),
    ):
        with pytest.raises(ValueError, match=sentence):
            covering(**options)
    clusters = np.zeros(POOL, np.int32)
    for options in ({"purity": 0.0}, {"num_rows": 0}):
        with pytest.raises(ValueError, match=f"{[*options][0]} must be"):
            iwps_jax.ball_radius(jax.random.key(0), FEATURES, clusters, **options)
