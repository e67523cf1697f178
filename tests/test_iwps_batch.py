"""IWPS-batch: its formula in float64, with A formed and inverted after every pick."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from some_evidence import brute_force, select, some_case, usefulness, values

from iwps_jax import Evidence, iwps_batch, selection


@pytest.mark.parametrize(("k", "candidates_per_pick"), [(4, 1), (6, 4), (10, 10)])
def test_every_pick_is_that_of_the_formula(k, candidates_per_pick):
    differ = 0
    for seed in range(20):
        case = some_case(seed)
        picks = select(*case, k, candidates_per_pick)
        expected = brute_force(*case, k, candidates_per_pick)
        np.testing.assert_array_equal(picks, expected, f"seed {seed}")
        assert picks.dtype == jnp.int32
        scores, evidence, where = case
        plain = reference.top_k(usefulness(scores, evidence), k, where)
        differ += picks.tolist() != plain.tolist()
    assert differ > 10  # else the gain would not be tested


@pytest.mark.parametrize("size", [1.0, 30.0])
@pytest.mark.parametrize("k", [3, 4, 5, 6, 200])
def test_picks_may_outnumber_the_dimensions(k, size):
    """The head has 5 dimensions, which 200 picks fill over and over.

    In long features the first picks take nearly all that there is to learn: what
    remains is 1e5 times less, and its order is still that of the formula.
    """
    for seed in range(2):
        scores, evidence, where = some_case(seed, 300, features=4)
        kernel = evidence.kernel / np.float32(size)
        features = evidence.features * np.float32(size)
        evidence = evidence._replace(features=features, kernel=kernel)
        scores = np.abs(scores)
        picks = select(scores, evidence, where, k, 2)
        expected = brute_force(scores, evidence, where, k, 2)
        np.testing.assert_array_equal(picks, expected, f"seed {seed}")


def test_of_two_copies_the_earlier_comes_first():
    """In pools that fill the last vector of a CPU and that do not."""
    for pool in (40, 67):
        scores, evidence, _ = some_case(pool, pool, features=4)
        twice = evidence._replace(features=np.tile(evidence.features, (2, 1)))
        scores, everywhere = np.tile(np.abs(scores), 2), np.ones(2 * pool, bool)
        # All of it is drawn by any key; given, it stands in one order.
        twice = twice._replace(pool_sample=evidence.features)
        picks = select(scores, twice, everywhere, 2 * pool, 1)
        place = np.argsort(picks)
        assert np.all(place[:pool] < place[pool:])


def test_a_pool_of_several_blocks_is_the_formula():
    """9,000 rows, 290 of them eligible, so that all of these are targets."""
    scores, evidence, _ = some_case(1, 9_000, features=16)
    where = np.isin(np.arange(9_000), np.random.default_rng(1).permutation(9_000)[:290])
    picks = select(scores, evidence, where, 50, 1)
    expected = brute_force(scores, evidence, where, 50, 1)
    np.testing.assert_array_equal(picks, expected)


def test_drawn_targets_stand_for_the_whole_pool():
    """Of 4,500 rows 300 are drawn: the first pick is among the best by all targets."""
    scores, evidence, _ = some_case(2, 4_500)
    everywhere = np.ones(4_500, bool)
    value = values(scores, evidence, everywhere, [])
    firsts = set()
    for seed in range(10):
        picks = select(scores, evidence, everywhere, 1, 4_500, seed)
        firsts.add(int(picks[0]))
        assert value[picks[0]] > 0.9 * value.max()
    assert len(firsts) < 5


def test_candidates_of_a_large_pool_are_the_best_by_score_and_rarity():
    scores, evidence, where = some_case(3, 9_000, features=16)
    picks = select(scores, evidence, where, 50, 1)
    expected = reference.top_k(usefulness(scores, evidence), 50, where)
    assert set(picks.tolist()) == set(expected.tolist())


# One candidate a pick, and ties


def test_one_candidate_a_pick_is_top_k_where_all_classes_are_alike():
    """The head predicts all classes alike and each is labeled twice."""
    for seed in range(5):
        scores, evidence, where = some_case(seed)
        evidence = evidence._replace(
            kernel=0 * evidence.kernel,
            bias=0 * evidence.bias,
            labels=np.array([0, 0, 1, 1, 2, 2, 3, 3, -1, -1, -1, -1]),
        )
        picks = select(scores, evidence, where, 4, 1)
        expected = selection.top_k(scores, 4, where)
        assert set(picks.tolist()) == set(expected.tolist())


def test_certain_predictions_are_ordered_by_score_and_rarity():
    """Probabilities of exactly zero and one: no label tells anything, v = 0."""
    scores, evidence, where = some_case(4, 9_000, features=16)
    evidence = evidence._replace(kernel=1e8 * evidence.kernel)
    picks = select(scores, evidence, where, 50, 1)
    expected = reference.top_k(usefulness(scores, evidence), 50, where)
    np.testing.assert_array_equal(picks, expected)


def test_scores_of_no_use_come_last():
    for seed in range(5):
        scores, evidence, where = some_case(seed)
        useful = np.flatnonzero(where)[[9, 5, 1]]
        scores = -np.abs(scores)
        scores[useful] = 1.0, 0.1, 1e-6
        picks = select(scores, evidence, where, 6)
        assert set(picks[:3].tolist()) == set(useful.tolist())
        assert np.all(where[picks]) and len(set(picks.tolist())) == 6


def test_infinite_scores_come_first():
    scores, evidence, where = some_case(5)
    scores[np.flatnonzero(where)[[3, 7, 11]]] = np.inf, np.inf, -np.inf
    picks = select(scores, evidence, where, 6)
    assert np.all(np.isposinf(scores[picks[:2]]))
    assert np.all(where[picks]) and len(set(picks.tolist())) == 6


def test_without_useful_scores_there_are_picks():
    scores, evidence, where = some_case(6)
    picks = select(-np.abs(scores), evidence, where, 6)
    expected = reference.top_k(-np.abs(scores), 6, where)
    np.testing.assert_array_equal(picks, expected)


# What it is for


def test_another_point_comes_before_a_copy_of_a_pick():
    """Five copies score 0.9, the other point 0.5; their classes are as likely."""
    scores, evidence, _ = some_case(0)
    features = np.zeros_like(evidence.features)
    features[:5, 0], features[5, 1] = 3.0, 3.0
    evidence = evidence._replace(
        features=features,
        kernel=0 * evidence.kernel,
        bias=0 * evidence.bias,
        holdout_features=np.eye(8, 5, dtype=np.float32),
        labels=np.full(12, -1),
    )
    scores[:6] = *([0.9] * 5), 0.5
    picks = select(scores, evidence, np.arange(40) < 6, 6)
    np.testing.assert_array_equal(picks, [0, 5, 1, 2, 3, 4])


def test_a_class_that_nobody_labeled_comes_first():
    """Alike but for their class; all labels so far are of class 0."""
    _, evidence, _ = some_case(0)
    sign = np.where(np.arange(40) % 2, 1, -1)
    evidence = evidence._replace(
        features=(sign[:, None] * np.eye(1, 5)).astype(np.float32),
        kernel=np.outer(np.eye(5)[0], [1, -1, 0, 0]).astype(np.float32),
        bias=np.array([0, 0, -30, -30], np.float32),
        holdout_features=np.outer([1, -1] * 4, np.eye(5)[0]).astype(np.float32),
        labeled_features=0 * evidence.labeled_features,
        labels=np.zeros(12, int),
    )
    picks = select(np.ones(40, np.float32), evidence, np.ones(40, bool), 6)
    assert np.all(sign[picks[:2]] == -1)  # class 1 is predicted there


# Contracts


def test_rows_of_the_mask_and_empty_places_are_not_looked_at():
    scores, evidence, where = some_case(7)
    picks = select(scores, evidence, where, 6)
    features, labeled = evidence.features.copy(), evidence.labeled_features.copy()
    features[~where], labeled[evidence.labels < 0] = -50.0, -1e9
    scores = np.where(where, scores, np.inf).astype(np.float32)
    changed = evidence._replace(features=features, labeled_features=labeled)
    np.testing.assert_array_equal(select(scores, changed, where, 6), picks)
    assert np.all(where[picks])


def test_no_order_matters():
    """Of the pool, of the holdout set, of the buffer, of the classes."""
    for seed in range(5):
        scores, evidence, where = some_case(seed)
        rng = np.random.default_rng(seed)
        pool, holdout, buffer, classes = map(rng.permutation, (40, 8, 12, 4))
        labels = evidence.labels[buffer]
        mixed = Evidence(
            features=evidence.features[pool],
            kernel=evidence.kernel[:, classes],
            bias=evidence.bias[classes],
            holdout_features=evidence.holdout_features[holdout],
            labeled_features=evidence.labeled_features[buffer],
            labels=np.where(labels < 0, -1, np.argsort(classes)[labels]),
        )
        picks = select(scores[pool], mixed, where[pool], 6)
        np.testing.assert_array_equal(pool[picks], select(scores, evidence, where, 6))


@pytest.mark.parametrize("scale", [1e-15, 1e15, 1e-6, 2.0**100])
def test_features_of_any_size_neither_overflow_nor_vanish(scale):
    for seed in range(5):
        scores, evidence, where = some_case(seed)
        features, kernel, bias, holdout, labeled, labels = evidence[:6]
        scaled = Evidence(
            *(np.float32(scale) * features, kernel / np.float32(scale), bias),
            *(np.float32(scale) * holdout, np.float32(scale) * labeled, labels),
        )
        expected = brute_force(scores, scaled, where, 6, 4)
        np.testing.assert_array_equal(select(scores, scaled, where, 6, 4), expected)


def test_one_huge_row_of_the_pool_leaves_the_others_in_order():
    """A row a 1e15 times as long as others, of which the head is not sure."""
    for seed in range(5):
        scores, evidence, where = some_case(seed)
        evidence.kernel[0], evidence.features[5] = 0, 0
        evidence.features[5, 0], where[5], scores[5] = 1e15, True, -1.0
        picks = select(scores, evidence, where, 6)
        expected = brute_force(scores, evidence, where, 6, 4)
        np.testing.assert_array_equal(picks, expected)


def test_a_batch_of_pools_is_one_at_a_time():
    cases = [some_case(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *cases)
    many = jax.jit(jax.vmap(lambda seed, case: select(*case, 6, seed=seed)))
    for seed, picks in enumerate(np.asarray(many(np.arange(3), stacked))):
        np.testing.assert_array_equal(picks, select(*cases[seed], 6, seed=seed))


@pytest.mark.parametrize(
    ("dtype", "k"), [("bfloat16", 6), ("float64", 4), ("float64", 6)]
)
def test_every_float_type_is_taken(dtype, k):
    scores, evidence, where = some_case(8)
    with jax.enable_x64(dtype == "float64"):
        evidence = evidence._replace(features=jnp.asarray(evidence.features, dtype))
        with jax.numpy_dtype_promotion("strict"):
            picks = select(scores, evidence, where, k)
    rounded = evidence._replace(features=np.asarray(evidence.features, np.float64))
    np.testing.assert_array_equal(picks, brute_force(scores, rounded, where, k, 4))


def test_what_cannot_be_selected_is_named(without_jaxtyping):
    scores, evidence, where = some_case(9)
    for changes, error, match in (
        ({"k": 41}, ValueError, r"\bk\b"),
        ({"where": where & (np.arange(40) < 2)}, ValueError, r"\bk\b"),
        ({"candidates_per_pick": 0}, ValueError, "candidates_per_pick must be at"),
        ({"scores": np.where(where, scores, np.nan)}, ValueError, "scores"),
        ({"scores": scores[1:]}, ValueError, "features must have length 39"),
        ({"key": 0}, TypeError, "key"),
    ):
        arguments = dict(
            key=jax.random.key(0), scores=scores, evidence=evidence, k=3, where=where
        )
        with pytest.raises(error, match=match):
            iwps_batch(**{**arguments, **changes})
    for wrong, error, match in (
        ({"labels": np.full(12, 4)}, ValueError, "labels"),
        ({"labels": np.zeros(12)}, TypeError, "labels"),
        ({"labels": np.zeros(12, bool)}, TypeError, "labels must be integers"),
        ({"labels": np.zeros(11, int)}, ValueError, "labels must have length 12"),
        ({"holdout_features": np.ones((3, 2))}, ValueError, "holdout_features"),
        ({"labeled_features": np.ones((12, 2))}, ValueError, "labeled_features"),
        ({"kernel": np.full((5, 4), np.nan)}, ValueError, "kernel"),
    ):
        with pytest.raises(error, match=match):
            iwps_batch(jax.random.key(0), scores, evidence._replace(**wrong), 3)


def test_what_is_of_no_use_goes_by_its_score():
    """Half of the pool scores less than zero, and all of it is asked for."""
    scores, evidence, _ = some_case(6)
    everywhere = np.ones(40, bool)
    picks = select(scores, evidence, everywhere, 40)
    last = picks[(scores > 0).sum() :]
    np.testing.assert_array_equal(last, np.argsort(-scores)[(scores > 0).sum() :])


def test_an_empty_place_of_the_buffer_may_hold_anything():
    scores, evidence, where = some_case(7)
    is_empty = evidence.labels[:, None] < 0
    assert is_empty.any()
    rubbish = np.where(is_empty, np.nan, evidence.labeled_features)
    changed = evidence._replace(labeled_features=rubbish)
    picks = iwps_batch(jax.random.key(0), scores, changed, 6, where=where)
    expected = iwps_batch(jax.random.key(0), scores, evidence, 6, where=where)
    np.testing.assert_array_equal(picks, expected)


def test_a_sample_of_the_pool_that_is_given_takes_the_place_of_the_draw():
    """Of few rows all are drawn; given, they count as they are, whatever the key."""
    scores, evidence, where = some_case(5)
    drawn = select(scores, evidence, where, 6)
    given = evidence._replace(pool_sample=evidence.features[where])
    for seed in (0, 1):
        np.testing.assert_array_equal(select(scores, given, where, 6, seed=seed), drawn)
    alone = given._replace(features=evidence.features[where])
    everywhere = np.ones(where.sum(), bool)
    picks = select(scores[where], alone, everywhere, 6)
    np.testing.assert_array_equal(np.flatnonzero(where)[picks], drawn)
