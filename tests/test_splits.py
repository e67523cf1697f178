import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiments.classification.splits import make_split

DEFAULTS = {"base_size": 4, "imbalance": 5, "holdout_per_class": 3}


@st.composite
def problems(draw):
    """Shuffled labels with classes of any size, and settings that may not fit."""
    sizes = draw(st.lists(st.integers(4, 60), min_size=2, max_size=7))
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    np.random.default_rng(draw(st.integers(0, 99))).shuffle(labels)
    return labels, {
        "base_size": draw(st.integers(1, 30)),
        "imbalance": draw(st.integers(1, 30)),
        "holdout_per_class": draw(st.integers(1, 10)),
    }


def fits(labels, options):
    left = np.bincount(labels).min() - options["holdout_per_class"]
    return left >= options["base_size"]


def some_labels(num_classes=10, size=50):
    labels = np.repeat(np.arange(num_classes, dtype=np.int32), size)
    return np.random.default_rng(0).permutation(labels)


def counts(labels, ids):
    return np.bincount(labels[ids], minlength=labels.max() + 1)


@given(problem=problems(), seed=st.integers(0, 2**32), more=st.integers(0, 40))
def test_a_limited_pool_is_a_part_of_the_whole_one(problem, seed, more):
    labels, options = problem
    assume(fits(labels, options))
    limit = options["base_size"] + more
    whole = make_split(labels, seed, **options)
    split = make_split(labels, seed, **options, pool_per_class=limit)
    np.testing.assert_array_equal(split.holdout_ids, whole.holdout_ids)
    np.testing.assert_array_equal(split.minority_classes, whole.minority_classes)
    initial = (s.pool_ids[s.labeled] for s in (split, whole))
    np.testing.assert_array_equal(*initial)
    assert set(split.pool_ids) <= set(whole.pool_ids)
    pool, before = counts(labels, split.pool_ids), counts(labels, whole.pool_ids)
    is_rare = np.isin(np.arange(len(pool)), split.minority_classes)
    np.testing.assert_array_equal(pool[~is_rare], np.minimum(before[~is_rare], limit))
    rare = max(pool[~is_rare].min() // options["imbalance"], 1)
    at_first = max(options["base_size"] // options["imbalance"], 1)
    assert (pool[is_rare] == max(rare, at_first)).all()


def test_a_pool_below_the_initial_set_is_refused():
    with pytest.raises(
        ValueError, match="pool_per_class must be at least base_size, 4"
    ):
        make_split(some_labels(), 0, **DEFAULTS, pool_per_class=3)


@settings(max_examples=200)
@given(problem=problems(), seed=st.integers(0, 2**32))
def test_a_split_is_what_it_says_or_is_refused(problem, seed):
    labels, options = problem
    if not fits(labels, options):
        with pytest.raises(ValueError, match="base_size must|holdout_per_class must"):
            make_split(labels, seed, **options)
        return
    split = make_split(labels, seed, **options)
    num_classes = labels.max() + 1

    # Disjoint ids of the training set, none twice.
    ids = np.concatenate([split.pool_ids, split.holdout_ids])
    assert len(np.unique(ids)) == len(ids)
    assert ids.min() >= 0 and ids.max() < len(labels)
    assert (np.diff(split.pool_ids) > 0).all()
    assert split.labeled.shape == split.pool_ids.shape and split.labeled.dtype == bool

    # A balanced holdout, and half of the classes rare.
    assert (counts(labels, split.holdout_ids) == options["holdout_per_class"]).all()
    rare = np.isin(np.arange(num_classes), split.minority_classes)
    assert (np.diff(split.minority_classes) > 0).all()
    assert rare.sum() == (num_classes // 2 if options["imbalance"] > 1 else 0)

    # As many as the smallest class can give, and 1/imbalance of it, rounded down.
    most = np.bincount(labels).min() - options["holdout_per_class"]
    few = max(int(most / options["imbalance"]), 1)
    assert (counts(labels, split.pool_ids) == np.where(rare, few, most)).all()
    base = options["base_size"]
    few = max(int(base / options["imbalance"]), 1)
    initial = counts(labels, split.pool_ids[split.labeled])
    assert (initial == np.where(rare, few, base)).all()


@settings(max_examples=100)
@given(problem=problems(), seeds=st.tuples(*[st.integers(0, 2**32)] * 2))
def test_sizes_depend_on_the_settings_alone(problem, seeds):
    labels, options = problem
    if fits(labels, options):
        first, second = (make_split(labels, seed, **options) for seed in seeds)
        for array, other in zip(first, second, strict=True):
            assert array.shape == other.shape and array.dtype == other.dtype
        assert first.labeled.sum() == second.labeled.sum()


def test_exact_ratios():
    split = make_split(
        some_labels(4, 105), 0, base_size=20, imbalance=10, holdout_per_class=5
    )
    labels = some_labels(4, 105)
    assert sorted(counts(labels, split.pool_ids)) == [10, 10, 100, 100]
    assert sorted(counts(labels, split.pool_ids[split.labeled])) == [2, 2, 20, 20]


def test_an_odd_number_of_classes_has_the_smaller_half_rare():
    assert len(make_split(some_labels(5), 0, **DEFAULTS).minority_classes) == 2


def test_imbalance_one_is_balanced():
    labels = some_labels()
    split = make_split(labels, 0, **DEFAULTS | {"imbalance": 1})
    assert len(split.minority_classes) == 0
    assert (counts(labels, split.pool_ids) == 47).all()
    assert (counts(labels, split.pool_ids[split.labeled]) == 4).all()


def test_a_minority_never_vanishes():
    labels = some_labels()
    split = make_split(labels, 0, **DEFAULTS | {"imbalance": 10**6})
    minority = counts(labels, split.pool_ids)[split.minority_classes]
    assert (minority == 1).all() and split.labeled.sum() == 5 * 4 + 5


def test_the_same_seed_gives_the_same_split():
    first, again = (make_split(some_labels(), 7, **DEFAULTS) for _ in range(2))
    for array, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(array, other)


def test_other_seeds_give_other_ids_and_other_minorities():
    splits = [make_split(some_labels(), seed, **DEFAULTS) for seed in range(100)]
    for name in ("pool_ids", "holdout_ids"):
        assert len({tuple(getattr(split, name)) for split in splits}) == 100
    times_rare = np.bincount(np.concatenate([s.minority_classes for s in splits]))
    assert times_rare.sum() == 500 and (np.abs(times_rare - 50) < 25).all()
    times_held_out = np.bincount(np.concatenate([s.holdout_ids for s in splits]))
    assert len(times_held_out) == 500 and times_held_out.max() < 20  # mean 6


def test_other_labels_of_a_class_are_left_out_at_random():
    """Of the larger class no fixed part is missing from the pool."""
    labels = np.repeat(np.arange(2, dtype=np.int32), [20, 200])
    options = {"base_size": 1, "imbalance": 1, "holdout_per_class": 1}
    used = set()
    for seed in range(100):
        used |= set(make_split(labels, seed, **options).pool_ids.tolist())
    assert used == set(range(220))


@pytest.mark.parametrize(
    "options, rule",
    [
        ({"base_size": 48}, "base_size must be at most 47: the smallest"),
        ({"holdout_per_class": 50}, "holdout_per_class must be below 50: the smallest"),
        ({"holdout_per_class": 80}, "holdout_per_class must be below 50: the smallest"),
    ],
)
def test_too_few_samples_are_refused_in_a_sentence(options, rule):
    with pytest.raises(ValueError, match=rule):
        make_split(some_labels(), 0, **DEFAULTS | options)


def test_a_class_without_samples_is_refused():
    labels = some_labels()
    with pytest.raises(ValueError, match="with samples of each; class 3 has none"):
        make_split(labels[labels != 3], 0, **DEFAULTS)
