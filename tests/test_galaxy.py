"""GALAXY: its picks are those of a plain loop, with and without the batch's labels."""

import jax
import numpy as np
import pytest
from some_lines import KINDS, LABELED, POOL, line_of, some_case

import iwps_jax
from iwps_jax.selection.galaxy import draws_of

K = 8


def brute_force(case, drawn, draws, how):
    """The picks, and how each was found: "run", "cut" or "random"."""
    logits, labeled_logits, labels, answers, where = case
    known = {POOL + i: labels[i] for i in range(LABELED) if labels[i] >= 0}
    picks = []
    for c in drawn:
        line = line_of(logits, labeled_logits, labels, where, c)
        places = [place for place, point in enumerate(line) if point in known]
        differ = [
            (right - left, left, right)
            for left, right in zip(places, places[1:], strict=False)
            if (known[line[left]] == c) != (known[line[right]] == c)
        ]
        runs = [pair for pair in differ if pair[0] > 1]
        cuts = [pair[1:] for pair in differ if pair[0] == 1]
        left = [place for place, point in enumerate(line) if point not in known]
        if runs:
            _, begin, end = min(runs)
            row = line[(begin + end) // 2]
        elif cuts:
            row = line[
                min(left, key=lambda p: min(abs(p - q) for x in cuts for q in x))
            ]
        else:
            row = max((line[place] for place in left), key=lambda row: draws[row])
        how.append("run" if runs else "cut" if cuts else "random")
        known[row] = answers[row]
        picks.append(row)
    return picks


def check(kind, seed, classes, how):
    """Both forms against the plain loop."""
    logits, labeled, labels, answers, where = some_case(kind, seed, classes)
    drawn, draws = map(np.asarray, draws_of(jax.random.key(seed), K, classes, POOL))
    picks = iwps_jax.galaxy(jax.random.key(seed), logits, labeled, labels, K, where)
    case = logits, labeled, labels, logits.argmax(1), where
    assert picks.tolist() == brute_force(case, drawn, draws, how)
    assert len({*picks.tolist()}) == K and where[picks].all()
    picks = iwps_jax.galaxy_sequential(
        jax.random.key(seed), logits, labeled, labels, answers, K, where
    )
    case = logits, labeled, labels, answers, where
    assert picks.tolist() == brute_force(case, drawn, draws, how)
    assert picks.dtype == np.int32
    others = np.setdiff1d(np.arange(POOL), picks)
    answers[others] = (answers[others] + 1) % classes
    again = iwps_jax.galaxy_sequential(
        jax.random.key(seed), logits, labeled, labels, answers, K, where
    )
    assert again.tolist() == picks.tolist()  # nobody looked at the other answers


@pytest.mark.parametrize("kind", KINDS)
def test_every_pick_is_that_of_the_plain_loop(kind):
    how = []
    for seed in range(6):
        check(kind, seed, 3, how)
    if kind in ("normal", "copies", "few left"):
        assert {*how} >= {"run", "cut"} and how.count("run") > how.count("random")
    if kind in ("one class", "nothing labeled"):
        assert "random" in how


def test_two_classes_have_one_line():
    how = []
    for seed in range(3):
        check("normal", seed, 2, how)
    assert not draws_of(jax.random.key(0), K, 2, POOL)[0].any()


def test_bisection_finds_a_change_of_class_in_logarithmic_time():
    """With the answers at hand; the predictions lead to the head's own boundary."""
    change, where = 11, np.ones(POOL, bool)
    logits = np.stack([np.linspace(2, -2, POOL), np.zeros(POOL)], 1).astype(np.float32)
    ends = np.float32([[9, 0], [-9, 0]])[np.arange(LABELED) % 2]
    labels = np.where(np.arange(LABELED) < 2, np.arange(LABELED), -1).astype(np.int32)
    answers = (np.arange(POOL) >= change).astype(np.int32)
    key, args = jax.random.key(0), (logits, ends, labels)
    found = iwps_jax.galaxy_sequential(key, *args, answers, K, where).tolist()
    assert {change - 1, change} <= {*found[:6]}
    found = iwps_jax.galaxy(jax.random.clone(key), *args, K, where).tolist()
    assert {POOL // 2 - 1, POOL // 2} <= {*found[:6]}


def test_the_order_of_the_pool_does_not_matter():
    logits, labeled, labels, _, where = some_case("normal", 5)
    order, how = np.random.default_rng(0).permutation(POOL), []
    check("normal", 5, 3, how)
    assert "random" not in how
    one = iwps_jax.galaxy(jax.random.key(5), logits, labeled, labels, K, where)
    other = iwps_jax.galaxy(
        jax.random.key(5), logits[order], labeled, labels, K, where[order]
    )
    assert order[other].tolist() == one.tolist()


def test_certain_predictions_keep_their_order():
    """Float32 rounds all these probabilities to zero and one."""
    steps = np.arange(POOL, dtype=np.float32)
    logits = np.stack([steps - 80, 0 * steps, 0 * steps - 200], 1)
    ends = np.float32([[30, 0, -200], [-95, 0, -200]])
    args = logits, ends, np.array([0, 1]), np.where(steps < 13, 1, 0)
    picks = iwps_jax.galaxy_sequential(jax.random.key(3), *args, 12)
    drawn = np.asarray(draws_of(jax.random.key(3), 12, 3, POOL)[0])
    assert (drawn < 2).sum() >= 6 and {12, 13} <= {*picks.tolist()}


def test_many_keys_at_once_are_those_one_by_one():
    cases = [some_case("normal", seed) for seed in range(2)]
    args = [np.stack(part) for part in zip(*cases, strict=True)]
    logits, labeled, labels, _, where = args

    def pick(key, logits, labeled, labels, where):
        return iwps_jax.galaxy(key, logits, labeled, labels, K, where)

    keys = jax.random.split(jax.random.key(2), 2)
    picks = jax.jit(jax.vmap(pick))(keys, logits, labeled, labels, where)
    keys = jax.random.split(jax.random.key(2), 2)
    for i in range(2):
        one = pick(keys[i], logits[i], labeled[i], labels[i], where[i])
        assert picks[i].tolist() == one.tolist()


def test_wrong_arguments_are_named(without_jaxtyping):
    logits, labeled, labels, answers, where = some_case("normal", 0)
    key = jax.random.key(0)
    for wrong, name in (
        ((logits, labeled[:, :2], labels, K, where), "labeled_logits"),
        ((logits, labeled, labels[:3], K, where), "labels"),
        ((logits, labeled, labels + 3, K, where), "labels"),
        ((logits, labeled, labels, 40, where), "k must be"),
    ):
        with pytest.raises(ValueError, match=name):
            iwps_jax.galaxy(jax.random.clone(key), *wrong)
    with pytest.raises(ValueError, match="answers"):
        iwps_jax.galaxy_sequential(key, logits, labeled, labels, answers + 3, K)


def test_without_a_labeled_sample_the_lines_hold_the_pool_alone():
    """An array of no samples does what one of empty places does, in all methods."""
    logits = np.random.default_rng(0).normal(size=(POOL, 3)).astype(np.float32)
    empty, none = (logits[:1], np.full(1, -1)), (logits[:0], np.zeros(0, np.int64))

    def flqmi(key, logits, labeled, labels, k):
        args = logits, logits, labeled, labeled, labels
        return iwps_jax.facility_location_mutual_information(key, *args, k)

    for method in (iwps_jax.galaxy, iwps_jax.direct, flqmi):
        picks, expected = (
            method(jax.random.key(0), logits, *samples, K) for samples in (none, empty)
        )
        assert picks.tolist() == expected.tolist()


def test_a_labeled_sample_without_a_softmax_is_refused_and_an_empty_place_is_not():
    logits = np.random.default_rng(0).normal(size=(POOL, 3)).astype(np.float32)
    labeled = np.full((1, 3), np.nan, np.float32)
    with pytest.raises(ValueError, match="labeled_logits must have a finite largest"):
        iwps_jax.galaxy(jax.random.key(0), logits, labeled, np.array([0]), K)
    picks = iwps_jax.galaxy(jax.random.key(0), logits, labeled, np.array([-1]), K)
    assert len({*picks.tolist()}) == K
