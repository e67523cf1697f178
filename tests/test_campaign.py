"""Ask and tell as values: what is asked, taken and refused, and the outlook."""

import importlib

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_campaigns import CLASSES, some_digits

import iwps_jax
from iwps_jax.app.campaign import (
    AnswerError,
    Answers,
    Batch,
    ask,
    free_rows,
    labels_of,
    outlook,
    skipped_of,
    start,
    tell,
    unanswered_of,
)
from iwps_jax.app.campaign.stopping import wilson
from iwps_jax.picking import draw_rows
from iwps_jax.refusal import Refusal

BY_SCORE = ["iwps", "iwps_app", "entropy", "margin", "least_confidence"]


@pytest.fixture(scope="module")
def digits():
    return some_digits(0)


@pytest.fixture(scope="module")
def begun(digits):
    """Three labels a class, nothing asked."""
    return tell_truth(new(digits), digits, first_rows(digits["truth"]))


def new(digits, **options):
    return start(digits["pool"], *digits["holdout"], classes=CLASSES, **options)


def first_rows(truth):
    return np.concatenate([np.flatnonzero(truth == c)[:3] for c in range(10)]).tolist()


def tell_truth(state, digits, rows):
    labels = [CLASSES[digits["truth"][int(row)]] for row in rows]
    return tell(state, [str(row) for row in rows], labels)


@pytest.mark.parametrize("method", BY_SCORE)
def test_picks_are_the_best_by_the_score_on_scaled_features(begun, method):
    """Recomputed in one piece, outside of any pool."""
    state = begun._replace(task=begun.task._replace(method=method))
    asked, ids = ask(state, 20)
    task, head = state.task, state.head
    centered = task.pool - task.pool.mean(0)
    scale = np.sqrt((centered**2).mean())
    features = centered / scale
    if method.startswith("iwps"):
        score = getattr(iwps_jax, f"{method}_last_layer")
        holdout = (task.holdout_features - task.pool.mean(0)) / scale
        scores = score(features, head.kernel, head.bias, holdout, task.holdout_labels)
    else:
        logits = features @ head.kernel + head.bias
        scores = getattr(iwps_jax, method)(logits)
    best = iwps_jax.top_k(scores, 20, where=free_rows(state))
    # Other roundings may swap neighbors.
    assert len(set(ids) & {str(row) for row in best.tolist()}) >= 19
    batch = asked.events[-1]
    np.testing.assert_allclose(
        batch.scores, np.asarray(scores)[batch.rows], rtol=2e-3, atol=1e-6
    )
    probs = np.exp(features[batch.rows].astype(np.float64) @ head.kernel + head.bias)
    probs /= probs.sum(1, keepdims=True)
    np.testing.assert_array_equal(batch.predicted, probs.argmax(1))
    np.testing.assert_allclose(batch.confidence, probs.max(1), rtol=1e-3)


def test_a_whole_batch_is_picked_among_the_best_by_iwps(begun, digits):
    """The same call on arrays made here, without what was skipped or corrected."""
    state = begun._replace(task=begun.task._replace(method="iwps_batch"))
    first = first_rows(digits["truth"])
    passed = int(np.flatnonzero(free_rows(state))[0])
    state = tell(state, [first[0], first[1], passed], ["skip", CLASSES[2], "skip"])
    asked, ids = ask(state, 20)
    assert ids == ask(state, 20)[1]
    labels = {row: digits["truth"][row] for row in first[2:]} | {first[1]: 2}
    task, head = state.task, state.head
    mean = task.pool.mean(0)
    scale = np.sqrt(((task.pool - mean) ** 2).mean())
    features = (task.pool - mean) / scale
    judged = (task.holdout_features - mean) / scale, task.holdout_labels
    of_pool = iwps_jax.iwps_last_layer(features, head.kernel, head.bias, *judged)
    scores = np.asarray(of_pool)
    best = np.asarray(iwps_jax.top_k(scores, 200, where=free_rows(state)))
    evidence = iwps_jax.Evidence(
        features[best],
        head.kernel,
        head.bias,
        judged[0],
        features[sorted(labels)],
        np.array([labels[row] for row in sorted(labels)]),
        features[draw_rows(task.seed, 0, free_rows(state), 300)],
    )
    key = jax.random.key(0)  # draws nothing
    expected = best[np.asarray(iwps_jax.iwps_batch(key, scores[best], evidence, 20))]
    # Other roundings may swap neighbors.
    assert len(set(ids) & {str(row) for row in expected}) >= 19
    batch = asked.events[-1]
    assert batch.method == "iwps_batch" and list(map(int, ids)) == batch.rows.tolist()
    np.testing.assert_allclose(batch.scores, scores[batch.rows], rtol=2e-3, atol=1e-6)


def test_targets_are_drawn_by_the_seed(begun):
    """Of all free rows 300 are drawn: by another seed others."""
    of_batch = begun._replace(task=begun.task._replace(method="iwps_batch"))
    other = of_batch._replace(task=of_batch.task._replace(seed=1))
    k = 20  # as above: one program
    batches = [ask(state, k)[1] for state in (of_batch, of_batch, other)]
    assert batches[0] == batches[1] != batches[2]
    again, _ = ask(of_batch, k)
    assert not set(ask(again, k)[1]) & set(batches[0])


def test_nothing_is_asked_for_twice_and_no_holdout_sample_ever(digits):
    state = new(digits, holdout_rows=[5, 6, 7], method="random")
    state = tell(state, ["0", "1"], [CLASSES[0], "skip"])
    seen = {"0", "1", "5", "6", "7"}
    for _ in range(3):
        state, ids = ask(state, 100)
        assert len(set(ids)) == 100 and not seen & set(ids)
        seen |= set(ids)
    left = len(digits["pool"]) - len(seen)
    with pytest.raises(ValueError, match=rf"k must be in \[1, {left}\]"):
        ask(state, left + 1)
    state, ids = ask(state, left)
    assert seen.isdisjoint(ids) and not free_rows(state).any()


def test_ask_and_tell_change_nothing_they_are_given(begun):
    events = begun.events
    ask(begun, 5)
    tell(begun, ["3"], [0])
    assert begun.events is events


def test_a_later_answer_overrules_an_earlier_one(begun, digits):
    row = first_rows(digits["truth"])[0]
    state = tell(begun, [row], ["skip"])
    assert row not in labels_of(state) and skipped_of(state) == [row]
    state = tell(state, [row], [CLASSES[7]])
    assert labels_of(state)[row] == 7 and skipped_of(state) == []
    assert not free_rows(state)[row]


def test_the_head_depends_on_the_labels_not_on_their_history(begun, digits):
    """Told at once, or in parts with a mistake corrected."""
    rows = np.flatnonzero(free_rows(begun))[:30].tolist()
    at_once = tell_truth(begun, digits, rows)
    in_parts = tell(begun, rows[:10], [0] * 10)
    in_parts = tell_truth(in_parts, digits, rows[20:])
    in_parts = tell_truth(in_parts, digits, rows[:20])
    np.testing.assert_array_equal(at_once.head.kernel, in_parts.head.kernel)
    assert labels_of(at_once) == labels_of(in_parts)


def test_answers_may_be_partial_names_or_numbers(begun):
    state, ids = ask(begun, 4)
    told = tell(state, ids, [CLASSES[2], None, "", 3])
    assert unanswered_of(told) == [int(ids[1]), int(ids[2])]
    assert [labels_of(told)[int(ids[i])] for i in (0, 3)] == [2, 3]
    assert tell(state, ids, [None, "", None, None]) is state


@pytest.mark.parametrize(
    ("ids", "labels", "sentence"),
    [
        (["0", "99999"], [0, 0], "every id must be in the pool, got '99999'"),
        (["0", "-1"], [0, 0], "got '-1'"),
        (["0", "01"], [0, 0], "got '01'"),
        (["0", "1.5"], [0, 0], "got '1.5'"),
        (["0", "٣"], [0, 0], "got '٣'"),
        (["0", "0"], [0, 0], "ids must be distinct, got '0' 2 times"),
        (["0", "1"], [0, "digit"], "the label of '1' must be digit 0, .* got 'digit'"),
        (["0", "1"], [0, 10], "got 10"),
        (["0", "1"], [0, -1], "got -1"),
        (["0", "1"], [0, True], "got True"),
        (["0"], [0, 1], "labels must have one entry per id"),
    ],
)
def test_impossible_answers_are_refused(begun, ids, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        tell(begun, ids, labels)


def test_holdout_samples_cannot_be_labeled(digits):
    state = new(digits, holdout_rows=[5])
    with pytest.raises(AnswerError, match="not be holdout samples, got '5'") as caught:
        tell(state, ["4", "5"], [0, 1])
    assert caught.value.id == "5"


def test_ids_may_be_any_names(digits):
    names = [f"straße/{i:04}.png" for i in range(len(digits["pool"]))]
    by_name = new(digits, ids=names, method="random")
    by_row = new(digits, method="random")
    (_, named), (_, numbered) = ask(by_name, 7), ask(by_row, 7)
    assert named == [names[int(row)] for row in numbered]
    state = tell(by_name, named, [0] * 7)
    assert list(labels_of(state)) == sorted(map(int, numbered))


POOL = np.eye(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": ("a",)}, "two or more distinct names"),
        ({"classes": ("a", "a")}, "two or more distinct names"),
        ({"classes": ("a", "Skip")}, "must not contain Skip"),
        ({"ids": ["a", "b", "c"]}, "4 distinct names"),
        ({"ids": ["a", "b", "c", "a"]}, "4 distinct names"),
        ({"method": "bald"}, "method must be one of random, .* got bald"),
        ({"holdout_rows": [4]}, r"holdout_rows must be in \[0, 4\)"),
        ({"steps": 0}, "steps must be"),
        ({"learning_rate": -1.0}, "learning_rate must"),
        ({"rarity": -1.0}, "rarity must be at least 0"),
        ({"pool": np.ones((4, 4), np.float32)}, "differ from row to row"),
        ({"pool": np.full((4, 4), np.nan, np.float32)}, "those of row 0 are not"),
        ({"pool": POOL[:, :3]}, "holdout_features must"),
        ({"pool": POOL[0]}, "pool must have 2 axes"),
        ({"holdout_labels": np.array([0, 2])}, "holdout_labels must be in"),
        ({"holdout_labels": np.array([0])}, "holdout_labels must"),
    ],
)
def test_campaigns_that_cannot_be(changes, sentence):
    some = {
        "pool": POOL,
        "holdout_features": POOL[:2],
        "holdout_labels": np.array([0, 1]),
        "classes": ("a", "b"),
    }
    with pytest.raises(ValueError, match=sentence):
        start(**{**some, **changes})


def test_huge_offsets_and_scales_of_features_change_no_pick(digits):
    """Centered and scaled: float32 at an offset of a thousand keeps five digits."""
    picks = []
    for offset, factor in ((0.0, 1.0), (1000.0, 1.0), (0.0, 1e-4)):
        moved = {
            **digits,
            "pool": digits["pool"] * np.float32(factor) + np.float32(offset),
            "holdout": (
                digits["holdout"][0] * np.float32(factor) + np.float32(offset),
                digits["holdout"][1],
            ),
        }
        state = tell_truth(new(moved), moved, first_rows(digits["truth"]))
        picks.append(set(ask(state, 20)[1]))
    assert len(picks[0] & picks[1]) >= 19 and len(picks[0] & picks[2]) >= 19


def test_the_unscaled_head_gives_the_same_logits(begun, digits):
    scaling, head = begun.task.scaling, begun.head
    kernel, bias = scaling.unscaled(head.kernel, head.bias)
    np.testing.assert_allclose(
        digits["pool"] @ kernel + bias,
        scaling.of(digits["pool"]) @ head.kernel + head.bias,
        atol=1e-3,
    )


# Outlook


def events(*, rounds, k, wrong, accuracies):
    """Batches of k with so many wrong answers each, and accuracies after them."""
    told = [Answers(np.array([9000, 9001]), np.array([0, 1]), 2, 1.0, accuracies[0])]
    for r in range(rounds):
        rows = np.arange(r * k, (r + 1) * k)
        predicted = np.zeros(k, int)
        labels = np.where(np.arange(k) < wrong, 1, 0)
        told.append(Batch(rows, np.zeros(k), predicted, np.ones(k), "iwps"))
        told.append(Answers(rows, labels, 2 + (r + 1) * k, 1.0, accuracies[r + 1]))
    return tuple(told)


@pytest.fixture
def a_state():
    pool = np.random.default_rng(0).normal(size=(10_000, 2)).astype(np.float32)
    return start(pool, pool[:10], np.arange(10) % 2, classes=("a", "b"))


WRONG = "the model was wrong on"
LATER = "the first hint comes after 50 answered picks"


@pytest.mark.parametrize(
    ("rounds", "wrong", "accuracies", "begins"),
    [
        (
            4,
            20,
            (0.5, 0.6, 0.7, 0.8, 0.85),
            f"Keep labeling: {WRONG} 40 of the last 50",
        ),
        (
            4,
            1,
            (0.8, 0.9, 0.95, 0.951, 0.951),
            f"Consider stopping: {WRONG} 2 of the last 50",
        ),
        (4, 20, (0.8, 0.9, 0.9, 0.9, 0.9), "Undecided"),
        (1, 20, (0.5, 0.6), f"Keep labeling: {LATER}"),
        (0, 0, (0.5,), f"Keep labeling: {LATER}"),
    ],
)
def test_the_hint_follows_from_wrong_picks_and_the_curve(
    a_state, rounds, wrong, accuracies, begins
):
    told = events(rounds=rounds, k=25, wrong=wrong, accuracies=accuracies)
    now = outlook(a_state._replace(events=told))
    assert now.hint.startswith(begins)
    assert [(p.answered, p.wrong) for p in now.curve[1:]] == [(25, wrong)] * rounds
    assert now.labels_per_class.sum() == now.num_labeled == 2 + 25 * rounds


def test_wrong_picks_are_counted_by_the_labels_that_hold(a_state):
    """Five were wrong; then two of them turn out right, three others wrong."""
    told = events(rounds=1, k=25, wrong=5, accuracies=(0.5, 0.6))
    again = Answers(np.array([0, 1, 7, 8, 9]), np.array([0, 0, 1, 1, 1]), 27, 1.0, 0.6)
    now = outlook(a_state._replace(events=(*told, again)))
    assert [(p.answered, p.wrong) for p in now.curve] == [(0, 0), (25, 6), (0, 0)]
    skip = Answers(np.array([7]), np.array([-1]), 26, 1.0, 0.6)
    now = outlook(a_state._replace(events=(*told, again, skip)))
    assert [(p.answered, p.wrong) for p in now.curve][1] == (24, 5)
    assert now.recent == 24 and now.recent_wrong == 5


def test_skips_and_random_picks_are_no_wrong_picks(a_state):
    rows = np.arange(3)
    batches = [
        Batch(rows + 3 * i, np.zeros(3), np.zeros(3, int), np.ones(3), method)
        for i, method in enumerate(("iwps", "random"))
    ]
    told = Answers(np.arange(6), np.array([-1, 1, 0, 1, 1, 1]), 5, 1.0, 0.5)
    (point,) = outlook(a_state._replace(events=(*batches, told))).curve
    assert (point.answered, point.wrong) == (2, 1)


@given(count=st.integers(0, 60), more=st.integers(0, 60))
def test_the_interval_holds_the_share_and_stays_within_0_and_1(count, more):
    total = count + more or 1
    low, high = wilson(min(count, total), total)
    assert 0 <= low <= min(count, total) / total <= high <= 1


def test_the_interval_is_scipys():
    from scipy.stats import binomtest

    for count, total in ((0, 10), (3, 50), (50, 50)):
        other = binomtest(count, total).proportion_ci(method="wilson")
        np.testing.assert_allclose(wilson(count, total), other, atol=1e-4)


def test_a_head_too_large_for_the_method_is_refused(digits, monkeypatch):
    module = importlib.import_module("iwps_jax.selection.bait")
    monkeypatch.setattr(module, "MOST_WEIGHTS", 10)
    state = new(digits, method="bait")
    state = tell_truth(state, digits, first_rows(digits["truth"]))
    with pytest.raises(Refusal, match="take bait_by_class"):
        ask(state, 3)
