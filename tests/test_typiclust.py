"""TypiClust: the plain picks in float64, its contract, and scikit-activeml's picks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import iwps_jax
from iwps_jax import methods, typiclust
from iwps_jax.method import Model
from iwps_jax.picking import pick
from iwps_jax.selection.typiclust import CPU_ROWS

POOL, D, K = 303, 6, 9  # more rows than a CPU compares at once
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(POOL, D)).astype(np.float32)
LABELED = RNG.random(POOL) < 0.05
SIZES = {"few": 7, "many": 80}  # clusters; of many, most have fewer than five rows
CLUSTERS = {name: RNG.integers(-1, n, POOL, np.int32) for name, n in SIZES.items()}


def plain_order(features, clusters, labeled, neighbors=20, least_size=5):
    """All rows in the order in which they are picked."""
    features = features.astype(float)

    def rows_of(name):
        rows = np.flatnonzero(clusters == name)
        distance = cdist(features[rows], features[rows])
        np.fill_diagonal(distance, np.inf)
        number = min(neighbors, len(rows) - 1)
        mean = np.sort(distance, axis=1)[:, :number].sum(1) / max(number, 1)
        return [row for _, row in sorted(zip(mean, rows, strict=True))]

    def place(name):
        is_member = clusters == name
        return (is_member & labeled).sum(), -is_member.sum(), name

    picks = []
    names = sorted({*clusters[clusters >= 0].tolist()}, key=place)
    for is_large in (True, False):
        group = [n for n in names if ((clusters == n).sum() >= least_size) == is_large]
        rows = [[row for row in rows_of(name) if not labeled[row]] for name in group]
        for turn in range(max(map(len, rows), default=0)):
            picks += [of_one[turn] for of_one in rows if turn < len(of_one)]
    return picks + np.flatnonzero((clusters < 0) & ~labeled).tolist()


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("has_labels", [False, True])
def test_picks_are_those_of_the_oracle(name, has_labels):
    assert POOL > CPU_ROWS
    clusters, labeled = CLUSTERS[name], LABELED & has_labels
    order = plain_order(FEATURES, clusters, labeled)
    assert typiclust(FEATURES, clusters, K, labeled).tolist() == order[:K]


def test_all_rows_left_are_picked_in_the_plain_order():
    clusters, labeled = CLUSTERS["many"], LABELED
    order = plain_order(FEATURES, clusters, labeled)
    picks = typiclust(FEATURES, clusters, int((~labeled).sum()), labeled)
    assert picks.tolist() == order
    known = ~np.isin(np.arange(POOL), order[-K:])
    assert sorted(typiclust(FEATURES, clusters, K, known).tolist()) == sorted(
        order[-K:]
    )


def test_numbers_of_neighbors_and_rows_are_options():
    clusters, labeled = CLUSTERS["many"], LABELED
    picks = typiclust(FEATURES, clusters, K, labeled, neighbors=5, least_size=1)
    assert picks.tolist() == plain_order(FEATURES, clusters, labeled, 5, 1)[:K]
    with pytest.raises(ValueError, match="neighbors must be at least 1"):
        typiclust(FEATURES, clusters, K, labeled, neighbors=0)
    with pytest.raises(ValueError, match="clusters must be below 303"):
        typiclust(FEATURES, clusters + POOL, K, labeled)


def test_a_permutation_of_the_pool_permutes_the_picks():
    order = RNG.permutation(POOL)
    picks = np.asarray(typiclust(FEATURES, CLUSTERS["few"], K, LABELED))
    permuted = FEATURES[order], CLUSTERS["few"][order]
    again = typiclust(*permuted, K, LABELED[order])
    assert order[np.asarray(again)].tolist() == picks.tolist()


def test_copies_are_the_most_typical_and_ties_go_to_the_lower_row():
    copies = FEATURES[np.arange(POOL) % 30]
    clusters = np.int32(np.arange(POOL) % 30 // 10)
    picks = np.asarray(typiclust(copies, clusters, K, LABELED))
    assert picks.tolist() == plain_order(copies, clusters, LABELED)[:K]
    equal = typiclust(np.ones_like(copies), np.zeros(POOL, np.int32), K, LABELED)
    assert equal.tolist() == np.flatnonzero(~LABELED)[:K].tolist()


def test_the_size_of_numbers_changes_nothing():
    expected = typiclust(FEATURES, CLUSTERS["few"], K, LABELED).tolist()
    for scale in np.float32([2.0**120, 2.0**-120]):
        assert (
            typiclust(FEATURES * scale, CLUSTERS["few"], K, LABELED).tolist()
            == expected
        )


def test_under_vmap_each_pool_has_its_own_picks():
    both = np.stack(list(CLUSTERS.values()))
    labeled = np.stack([LABELED, ~LABELED])
    many = jax.jit(jax.vmap(partial(typiclust, FEATURES, k=K)))(both, labeled=labeled)
    for picks, clusters, known in zip(many, both, labeled, strict=True):
        assert picks.tolist() == typiclust(FEATURES, clusters, K, known).tolist()


@pytest.mark.parametrize(
    "dtype", [np.float64, pytest.param(np.float16, marks=pytest.mark.full)]
)
@pytest.mark.full  # as tests/test_modes.py for all rows
def test_every_mode_gives_the_same_picks(dtype):
    features = FEATURES.astype(np.float16).astype(dtype)
    clusters = CLUSTERS["few"]
    expected = plain_order(features, clusters, LABELED)[:K]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        picks = typiclust(features, clusters.astype(np.int64), K, LABELED)
        assert picks.dtype == jnp.int32 and picks.tolist() == expected


def test_the_row_makes_a_cluster_for_every_label_and_pick():
    """Groups far apart: nothing labeled, and then rows of the pool."""
    features = (FEATURES + 50 * (np.arange(POOL) % K)[:, None]).astype(np.float32)
    cold = pick(methods.TYPICLUST, Model(), features, None, K).rows
    assert len({*cold.tolist()}) == K
    assert len({*(cold % K).tolist()}) >= K - 1  # k-means may join two of the groups
    top = pick(methods.TYPICLUST, Model(), features, ~LABELED, K).rows
    assert len({*top.tolist()}) == K and not LABELED[top].any()


def test_scikit_activeml_picks_the_same_rows_of_the_same_clusters():
    """It takes clusters of all sizes, and adds the row itself at distance zero."""
    pool = pytest.importorskip("skactiveml.pool")

    class Given:
        def __init__(self, labels, n_clusters):
            self.labels = labels

        def fit_predict(self, rows):
            return self.labels

    sizes = [*range(19, 30), 39]  # no two clusters of one size
    clusters = np.repeat(np.arange(12), sizes).astype(np.int32)
    labeled = np.isin(np.arange(POOL), [3, 20, 60])
    y = np.where(labeled, 0.0, np.nan)
    query = pool.TypiClust(
        random_state=0, cluster_algo=Given, cluster_algo_dict={"labels": clusters}, k=5
    )
    theirs = query.query(FEATURES, y, batch_size=K)
    ours = typiclust(FEATURES, clusters, K, labeled, neighbors=5, least_size=1)
    assert ours.tolist() == theirs.tolist()
    assert iwps_jax.typiclust is typiclust
