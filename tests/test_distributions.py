"""Pools whose classes follow a long tail, or that of the data; and the test sets."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_splits import counts, some_labels

from experiments.classification.splits import make_split
from experiments.classification.study import shares_in_pool

OPTIONS = {"base_size": 20, "imbalance": 100, "holdout_per_class": 5}


@st.composite
def problems(draw):
    """Shuffled labels with classes of any size, and settings that may not fit."""
    sizes = draw(st.lists(st.integers(4, 90), min_size=1, max_size=7))
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    np.random.default_rng(draw(st.integers(0, 99))).shuffle(labels)
    base_size = draw(st.integers(1, 30))
    return labels, {
        "base_size": base_size,
        "imbalance": draw(st.integers(1, 120)),
        "holdout_per_class": draw(st.integers(1, 6)),
        "pool_per_class": draw(st.none() | st.integers(base_size, 90)),
        "distribution": draw(st.sampled_from(("long_tailed", "natural", "minority"))),
    }


def split_or_assume(labels, seed, options):
    try:
        return make_split(labels, seed, **options)
    except ValueError:
        assume(False)


@given(problem=problems(), seeds=st.tuples(*[st.integers(0, 2**32)] * 2))
def test_a_split_is_what_it_says(problem, seeds):
    labels, options = problem
    split, other = (split_or_assume(labels, seed, options) for seed in seeds)
    for array, another in zip(split, other, strict=True):
        assert array.shape == another.shape and array.dtype == another.dtype
    assert split.labeled.sum() == other.labeled.sum()

    ids = np.concatenate([split.pool_ids, split.holdout_ids])
    assert len(np.unique(ids)) == len(ids) and (np.diff(split.pool_ids) > 0).all()
    assert (counts(labels, split.holdout_ids) == options["holdout_per_class"]).all()

    pool = counts(labels, split.pool_ids)
    initial = counts(labels, split.pool_ids[split.labeled])
    assert (initial >= 1).all() and (initial <= pool).all()
    assert initial.max() == options["base_size"]
    if options["pool_per_class"] is not None:
        assert pool.max() <= options["pool_per_class"]
    rare = np.isin(np.arange(len(pool)), split.minority_classes)
    assert rare.sum() in (0, len(pool) // 2)
    if rare.any():
        assert pool[rare].max() <= pool[~rare].min()


@pytest.mark.parametrize("ratio", [10, 50, 100])
def test_a_long_tail_is_the_exponential_profile(ratio):
    labels = some_labels(10, 505)
    options = OPTIONS | {"imbalance": ratio, "distribution": "long_tailed"}
    split = make_split(labels, 0, **options)
    exact = 500 * float(ratio) ** (-np.arange(10) / 9)
    pool = np.sort(counts(labels, split.pool_ids))[::-1]
    np.testing.assert_allclose(pool, exact, atol=1)
    assert pool[0] == 500 and pool[-1] == 500 // ratio
    initial = np.sort(counts(labels, split.pool_ids[split.labeled]))[::-1]
    assert initial[0] == 20 and initial[-1] == max(20 // ratio, 1)
    orders = {
        tuple(counts(labels, make_split(labels, seed, **options).pool_ids))
        for seed in range(20)
    }
    assert len(orders) == 20  # the tail is not always the same class


def test_a_tail_of_ratio_one_is_balanced():
    labels = some_labels()
    options = {"base_size": 4, "imbalance": 1, "holdout_per_class": 3}
    split = make_split(labels, 0, **options, distribution="long_tailed")
    assert (counts(labels, split.pool_ids) == 47).all()
    assert len(split.minority_classes) == 0


def test_the_natural_pool_is_all_that_is_not_held_out():
    labels = np.repeat(np.arange(4), [7, 30, 200, 65])
    options = {"base_size": 20, "imbalance": 1, "holdout_per_class": 5}
    split = make_split(labels, 3, **options, distribution="natural")
    np.testing.assert_array_equal(counts(labels, split.pool_ids), [2, 25, 195, 60])
    initial = counts(labels, split.pool_ids[split.labeled])
    np.testing.assert_array_equal(initial, [1, 2, 20, 6])
    assert split.minority_classes.tolist() == [0, 1]
    part = make_split(labels, 3, **options, distribution="natural", pool_per_class=39)
    np.testing.assert_array_equal(counts(labels, part.pool_ids), [1, 5, 39, 12])


def test_too_few_samples_are_refused_in_a_sentence():
    labels = np.repeat(np.arange(2), [7, 30])
    options = {"base_size": 26, "imbalance": 1, "distribution": "natural"}
    rule = "at most 25: the largest class has 30 samples and 5 of them are held out"
    with pytest.raises(ValueError, match=rule):
        make_split(labels, 0, **options, holdout_per_class=5)
    with pytest.raises(ValueError, match="holdout_per_class must be below 7"):
        make_split(labels, 0, **options, holdout_per_class=7)


def test_weighted_recalls_are_the_accuracy_on_resampled_test_sets():
    rng = np.random.default_rng(0)
    test_labels = rng.integers(0, 4, 400)
    is_right = rng.random(400) < np.array([0.9, 0.5, 0.2, 0.7])[test_labels]
    pool_labels = np.stack(
        [
            np.repeat(np.arange(5), sizes)
            for sizes in ([80, 5, 10, 3, 2], [2, 3, 10, 5, 80])
        ]
    )
    shares = shares_in_pool(pool_labels, test_labels, 5)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert not shares[:, 4].any()  # the test set has none
    recall = np.array(
        [is_right[test_labels == label].mean() for label in range(4)] + [0]
    )
    for row, share in zip(pool_labels, shares, strict=True):
        drawn = rng.choice(row[row < 4], 40_000)
        resampled = np.empty(len(drawn), bool)
        for label in range(4):
            ids = np.flatnonzero(test_labels == label)
            at = drawn == label
            resampled[at] = is_right[rng.choice(ids, at.sum())]
        assert abs(resampled.mean() - recall @ share) < 0.01
