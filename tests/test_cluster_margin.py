"""Cluster-Margin: plain turns, the law of its draws, and its contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from iwps_jax import average_linkage, cluster_margin, margin, methods
from iwps_jax.method import Model
from iwps_jax.picking import pick
from iwps_jax.types import Head

POOL, K, PER_PICK = 203, 9, 4
RNG = np.random.default_rng(0)
SCORES = RNG.random(POOL).astype(np.float32)
CLUSTERS = RNG.integers(-1, 12, POOL, np.int32) // RNG.integers(1, 4, POOL, np.int32)
WHERE = np.arange(POOL) % 4 > 0


@jax.jit
def picks_of(seed, scores, clusters, where):
    key = jax.random.key(seed)
    return cluster_margin(key, scores, clusters, K, where, candidates_per_pick=PER_PICK)


def plain_clusters(scores, clusters, where, number):
    """The cluster of every pick, in order; and the candidates."""
    rows = sorted(np.flatnonzero(where), key=lambda row: (-scores[row], row))
    rows = rows[:number]
    left = {name: rows_of(rows, clusters, name) for name in {*clusters[rows].tolist()}}
    names = sorted(left, key=lambda name: (len(left[name]), name))
    turns = []
    for turn in range(len(rows)):
        turns += [name for name in names if turn < len(left[name])]
    return turns, rows


def rows_of(rows, clusters, name):
    return [row for row in rows if clusters[row] == name]


@pytest.mark.parametrize(
    "where", [WHERE, np.arange(POOL) % 9 == 0], ids=["some", "few"]
)
@pytest.mark.parametrize("kind", ["some", "one", "each its own"])
def test_the_turns_are_those_of_the_oracle(kind, where):
    clusters = {
        "some": CLUSTERS,
        "one": np.zeros_like(CLUSTERS),
        "each its own": np.arange(POOL, dtype=np.int32)[::-1],
    }[kind]
    picks = np.asarray(picks_of(0, SCORES, clusters, where))
    turns, candidates = plain_clusters(SCORES, clusters, where, K * PER_PICK)
    assert clusters[picks].tolist() == turns[:K]
    assert len({*picks.tolist()}) == K and np.isin(picks, candidates).all()


def test_a_cluster_gives_each_of_its_candidates_as_often():
    many = jax.vmap(picks_of, (0, None, None, None))(
        jnp.arange(2000), SCORES, np.zeros_like(CLUSTERS), WHERE
    )
    _, candidates = plain_clusters(SCORES, np.zeros_like(CLUSTERS), WHERE, K * PER_PICK)
    rows, counts = np.unique(np.asarray(many)[:, 0], return_counts=True)
    assert sorted(candidates) == rows.tolist()
    assert stats.chisquare(counts).pvalue > 1e-3


def test_all_rows_left_are_picked_whatever_their_scores():
    where = np.isin(np.arange(POOL), np.arange(5, 5 + K))
    for scores in (SCORES, np.zeros_like(SCORES), np.full_like(SCORES, -np.inf)):
        picks = np.asarray(picks_of(0, scores, CLUSTERS, where))
        assert sorted(picks.tolist()) == np.flatnonzero(where).tolist()


def test_a_permutation_of_the_pool_permutes_the_picks():
    order = RNG.permutation(POOL)
    picks = np.asarray(picks_of(0, SCORES, CLUSTERS, WHERE))
    again = np.asarray(picks_of(0, SCORES[order], CLUSTERS[order], WHERE[order]))
    assert order[again].tolist() == picks.tolist()  # keyed by the rank of the score


def test_under_vmap_each_seed_has_its_own_picks():
    scores = np.stack([SCORES, -SCORES])
    many = jax.vmap(picks_of, (0, 0, None, None))(
        jnp.arange(2), scores, CLUSTERS, WHERE
    )
    for seed, picks in enumerate(many):
        one = picks_of(seed, scores[seed], CLUSTERS, WHERE)
        assert picks.tolist() == one.tolist()


@pytest.mark.full  # as tests/test_modes.py for all rows
def test_every_mode_gives_the_same_picks():
    expected = picks_of(0, SCORES, CLUSTERS, WHERE).tolist()
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        clusters = CLUSTERS.astype(np.int64)
        picks = cluster_margin(
            jax.random.key(0),
            SCORES.astype(np.float64),
            clusters,
            K,
            WHERE,
            candidates_per_pick=PER_PICK,
        )
    assert picks.dtype == jnp.int32 and picks.tolist() == expected


def test_what_does_not_fit_is_refused(without_jaxtyping, key):
    with pytest.raises(ValueError, match="clusters must have length 203"):
        cluster_margin(key, SCORES, CLUSTERS[:3], K)
    with pytest.raises(ValueError, match="candidates_per_pick must be at least 1"):
        cluster_margin(key, SCORES, CLUSTERS, K, candidates_per_pick=0)
    with pytest.raises(TypeError, match="clusters must be integers"):
        cluster_margin(key, SCORES, SCORES, K)


def test_the_row_has_one_clustering_for_all_rounds():
    """Of the features of the pool alone: ten rows a cluster."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(POOL, 6)).astype(np.float32)
    head = Head(rng.normal(size=(6, 3)).astype(np.float32), np.zeros(3, np.float32))
    clusters = average_linkage(features, POOL // 10)
    scores = margin(features @ head.kernel)
    for batch, where in enumerate((WHERE, ~WHERE)):
        model = Model(head=head, batch=batch)
        top = pick(methods.CLUSTER_MARGIN, model, features, where, K)
        key = jax.random.fold_in(jax.random.key(0), batch)
        expected = cluster_margin(key, scores, clusters, K, where)
        assert top.rows.tolist() == expected.tolist()
        assert len({*top.rows.tolist()}) == K and where[top.rows].all()
    cold = Head(0 * head.kernel, head.bias)
    top = pick(methods.CLUSTER_MARGIN, Model(head=cold), features, None, K)
    assert len({*top.rows.tolist()}) == K
