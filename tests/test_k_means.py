"""k-means and average linkage: plain oracles in float64, and what all clusters keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, pdist
from sklearn.cluster import KMeans

import iwps_jax
from iwps_jax import average_linkage, blocks, k_means
from iwps_jax.selection.k_means import lloyd, nearest_center, start_rows

POOL, D, MOST = 203, 6, 9
FEATURES = np.random.default_rng(0).normal(size=(POOL, D)).astype(np.float32)
EVERYTHING = np.ones(POOL, bool)
SOME = np.arange(POOL) % 3 > 0


def plain_lloyd(features, where, centers, steps=100):
    """Lloyd's steps as a loop; a center without rows stays."""
    rows, centers = features[where].astype(float), centers.astype(float)
    for _ in range(steps):
        labels = cdist(rows, centers).argmin(1)
        means = [
            rows[labels == c].mean(0) if (labels == c).any() else center
            for c, center in enumerate(centers)
        ]
        moved, centers = ((means - centers) ** 2).sum(), np.array(means)
        if moved <= 1e-4 * rows.var(0).mean():
            break
    return centers, cdist(rows, centers).argmin(1)


def found(features, where=EVERYTHING, number=MOST, seed=0):
    key = jax.random.key(seed)
    return k_means(key, features, MOST, where, number=np.array(number, np.int32))


@pytest.mark.parametrize("number", [1, 4, MOST])
@pytest.mark.parametrize("where", [EVERYTHING, SOME], ids=["all", "some"])
@pytest.mark.parametrize("away", [0, 100])
def test_the_steps_are_those_of_the_oracle_from_the_same_centers(number, where, away):
    features = FEATURES + np.float32(away)
    first = features[where][:MOST]
    centers = lloyd(features, where, first, np.int32(number), steps=100)
    labels = np.asarray(nearest_center(features, where, centers, np.int32(number)))
    expected, expected_labels = plain_lloyd(features, where, first[:number])
    np.testing.assert_allclose(centers[:number], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(labels[where], expected_labels)
    assert (labels[~where] == -1).all() and not np.asarray(centers[number:]).any()


def test_the_steps_are_those_of_scikit_learn_in_several_blocks_of_rows_and_centers():
    """A CPU holds fewer rows in a block, and compares fewer centers at once."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(blocks.ROWS_PER_BLOCK + 300, 3)).astype(np.float32)
    first, where = features[:150], np.ones(len(features), bool)
    centers = lloyd(features, where, first, np.int32(150), steps=3)
    labels = nearest_center(features, where, centers, np.int32(150))
    theirs = KMeans(150, init=first, n_init=1, max_iter=3).fit(features)
    np.testing.assert_allclose(centers, theirs.cluster_centers_, atol=1e-4)
    assert (np.asarray(labels) == theirs.labels_).mean() > 0.999


def test_the_first_centers_follow_the_law_of_k_means_plus_plus():
    line = np.float32([[0], [1], [3], [9]])
    where = jnp.array([True, True, True, False])
    keys = jax.random.split(jax.random.key(0), 4000)
    start = jax.jit(
        jax.vmap(lambda key: start_rows(key, line, where, 2, num_clusters=2))
    )
    pairs, counts = np.unique(np.asarray(start(keys)), axis=0, return_counts=True)
    weights = (line[:3] - line[:3].T) ** 2
    law = weights / weights.sum(1, keepdims=True) / 3
    assert len(pairs) == 6
    np.testing.assert_allclose(counts / 4000, law[tuple(pairs.T)], atol=0.03)


def test_clusters_are_labels_of_the_nearest_center_and_their_means():
    centers, labels = map(np.asarray, found(FEATURES, SOME))
    assert (np.bincount(labels[SOME], minlength=MOST) > 0).all()
    np.testing.assert_array_equal(
        labels[SOME], cdist(FEATURES[SOME], centers).argmin(1)
    )
    means = [FEATURES[labels == c].mean(0) for c in range(MOST)]
    np.testing.assert_allclose(means, centers, atol=0.05)  # the last step may move them


def test_rows_beside_the_mask_and_the_size_of_numbers_change_nothing():
    labels = found(FEATURES, SOME).labels
    wild = np.where(SOME[:, None], FEATURES, np.float32(3e38) * np.sign(FEATURES))
    for features in (wild, FEATURES * np.float32(2.0**120), FEATURES / 2.0**120):
        centers, again = found(features.astype(np.float32), SOME)
        assert np.isfinite(centers).all()
        np.testing.assert_array_equal(again, labels)


def test_copies_have_one_label_and_equal_rows_one_cluster():
    copies = FEATURES[np.arange(POOL) % 5]
    labels = np.asarray(found(copies).labels)
    assert len({*labels.tolist()}) == 5
    np.testing.assert_array_equal(labels, labels[np.arange(POOL) % 5])
    assert not np.asarray(found(np.ones_like(FEATURES)).labels).any()


def test_under_vmap_each_seed_and_number_has_its_own_clusters():
    numbers = np.int32([3, MOST])
    keys = jax.random.split(jax.random.key(1), 2)
    many = jax.jit(
        jax.vmap(lambda key, n: k_means(key, FEATURES, MOST, SOME, number=n))
    )(keys, numbers)
    for i, key in enumerate(jax.random.split(jax.random.key(1), 2)):
        one = k_means(key, FEATURES, MOST, SOME, number=np.array(numbers[i]))
        np.testing.assert_array_equal(many.labels[i], one.labels)


def test_a_sample_makes_the_centers_of_a_large_pool():
    away = FEATURES + 50 * (np.arange(POOL) % 3)[:, None]
    centers, labels = k_means(
        jax.random.key(0), away.astype(np.float32), 3, SOME, most_rows=60
    )
    assert (np.asarray(labels) >= 0).tolist() == SOME.tolist()
    kinds = [{*np.asarray(labels)[SOME & (np.arange(POOL) % 3 == i)]} for i in (1, 2)]
    assert not kinds[0] & kinds[1]


@pytest.mark.parametrize(
    "dtype", [np.float64, pytest.param(np.float16, marks=pytest.mark.full)]
)
def test_every_mode_gives_the_same_clusters(dtype):
    features = FEATURES.astype(np.float16).astype(dtype)
    expected = found(features.astype(np.float32), SOME)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        centers, labels = found(features, SOME)
        linked = np.asarray(average_linkage(features, 7, most_rows=60))
    assert centers.dtype == (dtype if dtype == np.float64 else np.float32)
    np.testing.assert_array_equal(labels, expected.labels)
    if dtype == np.float16:
        again = average_linkage(features.astype(np.float32), 7, most_rows=60)
        np.testing.assert_array_equal(linked, again)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_clusters": 0}, "num_clusters must be at least 1"),
        ({"num_clusters": POOL + 1}, "num_clusters must be at most the number of rows"),
        ({"number": 10}, "number must be at most the number of num_clusters"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"where": SOME[:5]}, "where must have length"),
    ],
)
def test_what_makes_no_clusters_is_refused(changes, sentence, without_jaxtyping, key):
    given = {"features": FEATURES, "num_clusters": MOST, "where": SOME} | changes
    with pytest.raises(ValueError, match=sentence):
        iwps_jax.k_means(key, **given)


# Average linkage


def in_order(labels):
    """The same clusters, numbered in the order of their first rows."""
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[labels]


def plain_linkage(features, num_clusters):
    """The two clusters of the least mean squared distance merged, again and again."""
    between = cdist(features.astype(float), features.astype(float), "sqeuclidean")
    clusters = [[row] for row in range(len(features))]
    while len(clusters) > num_clusters:
        pairs = [(i, j) for i in range(len(clusters)) for j in range(i)]
        i, j = min(
            pairs, key=lambda p: between[np.ix_(*(clusters[c] for c in p))].mean()
        )
        clusters[j] += clusters.pop(i)
    labels = np.zeros(len(features), int)
    for name, rows in enumerate(clusters):
        labels[rows] = name
    return in_order(labels)


def test_clusters_are_those_of_the_plain_merges():
    few = FEATURES[:30]
    np.testing.assert_array_equal(average_linkage(few, 4), plain_linkage(few, 4))


def test_clusters_are_those_of_scipy():
    for features in (FEATURES + 50, FEATURES[:, :1], FEATURES * np.float32(2.0**120)):
        rows = features.astype(float) / np.abs(features).max()
        tree = linkage(pdist(rows, "sqeuclidean"), "average")
        labels = average_linkage(features, 20)
        np.testing.assert_array_equal(labels, in_order(fcluster(tree, 20, "maxclust")))


def test_a_permutation_of_the_pool_only_changes_the_numbers_of_clusters():
    order = np.random.default_rng(2).permutation(POOL)
    labels = np.asarray(average_linkage(FEATURES, 20))
    again = average_linkage(FEATURES[order], 20)
    np.testing.assert_array_equal(again, in_order(labels[order]))


def test_equal_rows_are_clustered_in_some_way():
    labels = np.asarray(average_linkage(np.ones_like(FEATURES), 20))
    assert sorted({*labels.tolist()}) == list(range(20))


def test_other_rows_go_to_the_cluster_of_the_least_mean_distance():
    drawn = np.array([i * POOL // 60 for i in range(60)])
    labels = np.asarray(average_linkage(FEATURES, 7, most_rows=60))
    among = labels[drawn]
    np.testing.assert_array_equal(in_order(among), among)
    tree = linkage(pdist(FEATURES[drawn].astype(float), "sqeuclidean"), "average")
    np.testing.assert_array_equal(among, in_order(fcluster(tree, 7, "maxclust")))
    between = cdist(FEATURES, FEATURES[drawn], "sqeuclidean")
    means = np.stack([between[:, among == c].mean(1) for c in range(7)], axis=1)
    others = np.setdiff1d(np.arange(POOL), drawn)
    np.testing.assert_array_equal(labels[others], means[others].argmin(1))


def test_linkage_of_rows_that_are_not_numbers_ends():
    link = jax.jit(lambda pool: average_linkage(pool, 20))
    assert len(link(np.where(SOME[:, None], FEATURES, np.nan))) == POOL


@pytest.mark.full
@pytest.mark.parametrize("name", ["k_means", "typiclust", "average_linkage"])
def test_memory_is_a_few_numbers_a_row_and_a_few_blocks(name):
    """Beside 64 features a row, whatever their type, and 2¹⁶ rows in the steps."""

    def temporary(pool):
        features = jax.ShapeDtypeStruct((pool, 64), jnp.bfloat16)
        rows = jax.ShapeDtypeStruct((pool,), jnp.int32)
        key = jax.eval_shape(lambda: jax.random.key(0))
        functions = {
            "k_means": lambda key, rows, features: k_means(
                key, features, 500, rows > 0, most_rows=2**16
            ),
            "typiclust": lambda key, rows, features: iwps_jax.typiclust(
                features, rows, 100, rows > 0
            ),
            "average_linkage": lambda key, rows, features: average_linkage(
                features, 204
            ),
        }
        lowered = jax.jit(functions[name]).lower(key, rows, features)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    small, large = 32 * blocks.ROWS_PER_BLOCK, 128 * blocks.ROWS_PER_BLOCK
    per_row = (temporary(large) - temporary(small)) / (large - small)
    assert per_row <= 20 * 4
    assert temporary(small) - per_row * small <= 2**16 * 64 * 2 + 2**24


def test_linkage_under_vmap_is_that_of_each_pool():
    pools = jnp.stack([FEATURES, FEATURES[::-1] ** 2])
    many = jax.jit(jax.vmap(lambda pool: average_linkage(pool, 20)))(pools)
    for labels, pool in zip(many, pools, strict=True):
        np.testing.assert_array_equal(labels, average_linkage(pool, 20))
