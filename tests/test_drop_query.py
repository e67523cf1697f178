"""DropQuery: its score, its plain picks in float64, and scikit-activeml's picks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import iwps_jax
from iwps_jax import drop_query, k_means, masks, methods, prediction_changes
from iwps_jax.method import Model
from iwps_jax.picking import pick
from iwps_jax.types import Head

POOL, D, CLASSES, K = 203, 6, 4, 9
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(POOL, D)).astype(np.float32)
HEAD = Head(
    RNG.normal(size=(D, CLASSES)).astype(np.float32),
    RNG.normal(size=CLASSES).astype(np.float32),
)
CHANGES = np.float32(RNG.integers(0, 4, POOL) / 3)
WHERE = np.arange(POOL) % 4 > 0


def keys_of(seed=1):
    return iwps_jax.sample_keys(jax.random.key(seed), jnp.arange(POOL))


def plain_changes(features, kernel, bias, num_draws=3, rate=0.75):
    """The share of masks that change a prediction, row by row."""
    features, kernel, bias = (x.astype(float) for x in (features, kernel, bias))
    shares = []
    draws = jax.vmap(jax.random.fold_in, (None, 0))
    masks_of = jax.vmap(lambda key: masks.kept(key, 1 - rate, (D,)))
    all_kept = jax.jit(
        jax.vmap(lambda key: masks_of(draws(key, jnp.arange(num_draws))))
    )
    for row, kept in zip(features, np.asarray(all_kept(keys_of())), strict=True):
        dropped = np.where(kept, row / (1 - rate), 0) @ kernel + bias
        shares.append((dropped.argmax(1) != (row @ kernel + bias).argmax()).mean())
    return shares


def plain_picks(changes, features, k, where):
    """The nearest candidate of each cluster; the clusters are those of `k_means`."""
    shares = np.where(where, changes, -1)
    candidates = shares > 0.5
    if candidates.sum() < k:
        candidates = shares >= np.sort(shares)[-k]
    centers, labels = map(
        np.asarray, k_means(jax.random.key(0), features, k, jnp.asarray(candidates))
    )
    distance = cdist(features.astype(float), centers.astype(float))
    own = np.where(candidates, distance[np.arange(len(labels)), labels], np.inf)
    picks = [
        min(np.flatnonzero(labels == c), key=lambda row: (own[row], row), default=None)
        for c in range(k)
    ]
    left = [row for row in np.flatnonzero(candidates) if row not in picks]
    left.sort(key=lambda row: (-own[row], row))
    return [left.pop(0) if row is None else row for row in picks]


def picks_of(changes=CHANGES, features=FEATURES, where=WHERE):
    return drop_query(jax.random.key(0), changes, features, K, where).tolist()


def test_scores_are_those_of_the_oracle():
    scores = prediction_changes(keys_of(), FEATURES, *HEAD)
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores, plain_changes(FEATURES, *HEAD), rtol=1e-6)
    assert len({*np.asarray(scores).tolist()}) == 4
    # Keys go with the rows, so that neither chunks nor their order change a mask.
    some = np.flatnonzero(WHERE)[::-1]
    part = prediction_changes(keys_of()[some], FEATURES[some], *HEAD)
    np.testing.assert_array_equal(part, np.asarray(scores)[some])


def test_a_head_that_knows_nothing_and_masks_that_drop_nothing_change_nothing():
    zeros = Head(*jax.tree.map(np.zeros_like, tuple(HEAD)))
    assert not prediction_changes(keys_of(), FEATURES, *zeros).any()
    assert not prediction_changes(keys_of(), FEATURES, *HEAD, dropout_rate=0.0).any()
    with pytest.raises(ValueError, match="dropout_rate must be in"):
        prediction_changes(keys_of(), FEATURES, *HEAD, dropout_rate=1.0)
    with pytest.raises(ValueError, match="num_draws must be at least 1"):
        prediction_changes(keys_of(), FEATURES, *HEAD, num_draws=0)


@pytest.mark.parametrize("share", [0, 1 / 3, 1])
def test_picks_are_those_of_the_oracle(share):
    """Many candidates; a few above the bound, and others at the next share; none."""
    few = np.where(np.arange(POOL) % 50 == 1, 1, np.minimum(CHANGES, share))
    changes = np.float32(CHANGES if share == 1 else few)
    picks = picks_of(changes)
    assert picks == plain_picks(changes, FEATURES, K, WHERE)
    assert len({*picks}) == K and WHERE[picks].all()


def test_one_key_for_all_rows_is_refused(without_jaxtyping):
    head = np.ones((FEATURES.shape[1], 2), np.float32), np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="made by sample_keys"):
        iwps_jax.prediction_changes(jax.random.key(0), FEATURES, *head)


def test_rows_that_are_left_are_all_picked():
    where = np.isin(np.arange(POOL), np.arange(3, 3 + 2 * K, 2))
    assert sorted(picks_of(where=where)) == np.flatnonzero(where).tolist()


def test_a_permutation_of_the_candidates_alone_permutes_the_clusters_given_a_start():
    """k-means draws by place, so only the part without draws can be permuted."""
    groups = np.float32(100 * (np.arange(POOL) % K))[:, None] + FEATURES
    order = RNG.permutation(POOL)
    picks = picks_of(features=groups)
    again = picks_of(CHANGES[order], groups[order], WHERE[order])
    if all(len({*(np.asarray(p) % K)}) == K for p in (picks, order[again])):
        assert sorted(order[again].tolist()) == sorted(picks)


def test_copies_are_picked_when_no_other_candidates_are_left():
    copies = FEATURES[np.arange(POOL) % 5]
    picks = picks_of(features=copies)
    assert len({*picks}) == K and (CHANGES[picks] > 0.5).all() and WHERE[picks].all()
    assert len({*np.mod(picks, 5).tolist()}) == 5
    equal = picks_of(np.zeros_like(CHANGES), np.ones_like(FEATURES))
    assert equal == np.flatnonzero(WHERE)[:K].tolist()


def test_the_size_of_numbers_changes_nothing():
    for scale in np.float32([2.0**120, 2.0**-120]):
        assert picks_of(features=FEATURES * scale) == picks_of()


def test_under_vmap_each_seed_has_its_own_picks():
    keys = jax.random.split(jax.random.key(3), 2)
    shares = np.stack([CHANGES, CHANGES[::-1]])
    many = jax.vmap(lambda key, share: drop_query(key, share, FEATURES, K, WHERE))
    for i, picks in enumerate(jax.jit(many)(keys, shares)):
        key = jax.random.split(jax.random.key(3), 2)[i]
        assert picks.tolist() == drop_query(key, shares[i], FEATURES, K, WHERE).tolist()


@pytest.mark.parametrize(
    "dtype", [np.float64, pytest.param(np.float16, marks=pytest.mark.full)]
)
@pytest.mark.full  # as tests/test_modes.py for all rows
def test_every_mode_gives_the_same_picks(dtype):
    features = FEATURES.astype(np.float16)
    expected = picks_of(features=features.astype(np.float32))
    shares = prediction_changes(keys_of(), features.astype(np.float32), *HEAD)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        picks = drop_query(
            jax.random.key(0), CHANGES.astype(dtype), features.astype(dtype), K, WHERE
        )
        again = prediction_changes(keys_of(), features.astype(dtype), *HEAD)
    assert picks.dtype == jnp.int32 and picks.tolist() == expected
    np.testing.assert_array_equal(again, shares)


def test_the_row_draws_new_masks_in_every_batch_and_for_every_seed():
    def rows(**changes):
        model = Model(head=HEAD, **changes)
        return pick(methods.DROP_QUERY, model, FEATURES, WHERE, K).scores.tolist()

    assert rows() == rows() != rows(batch=1) != rows(seed=1)
    zeros = Head(*jax.tree.map(np.zeros_like, tuple(HEAD)))
    cold = pick(methods.DROP_QUERY, Model(head=zeros), FEATURES, WHERE, K)
    assert len({*cold.rows.tolist()}) == K and not cold.scores.any()


def test_scikit_activeml_picks_the_same_rows_of_the_same_clusters():
    """The same predictions under dropout, and distances to the same centers."""
    pool = pytest.importorskip("skactiveml.pool")
    from skactiveml.base import SkactivemlClassifier

    changed = np.rint(3 * CHANGES).astype(int)

    class Given(SkactivemlClassifier):
        """Class 0 without dropout; class 1 in as many draws as are to change."""

        def fit(self, X, y, sample_weight=None):
            return self

        def predict_proba(self, X):
            pytest.fail("DropQuery asks for predictions alone")

        def predict(self, X):
            self.calls = getattr(self, "calls", -1) + 1
            return np.where(changed[WHERE] >= self.calls, np.sign(self.calls), 0)

    candidates = jnp.asarray(WHERE & (CHANGES > 0.5))
    groups = np.float32(100 * (np.arange(POOL) % K))[:, None] + FEATURES
    centers = k_means(jax.random.key(0), groups, K, candidates).centers

    class ToCenters:
        def __init__(self, n_clusters):
            assert n_clusters == K

        def fit_transform(self, rows, y=None):
            return cdist(rows, np.asarray(centers))

    query = pool.DropQuery(n_dropout_samples=3, cluster_algo=ToCenters, random_state=0)
    y = np.where(WHERE, np.nan, 0.0)
    theirs = query.query(groups, y, Given(classes=[0, 1]), fit_clf=False, batch_size=K)
    assert picks_of(features=groups) == theirs.tolist()
