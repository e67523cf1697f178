"""Control rows: a random sample of the pool that no method touches."""

import numpy as np
import pytest
from scipy import stats
from some_campaigns import CLASSES

from iwps_jax.app.campaign import (
    add_class,
    ask,
    control,
    control_rows,
    labels_of,
    measure,
    next_batch,
    retire_class,
    start,
    tell,
)
from iwps_jax.app.campaign.learn import final_head
from iwps_jax.refusal import Refusal
from iwps_jax.scores.weights import class_balanced_weights


@pytest.fixture(scope="module")
def clouds():
    """Points of ten classes; a head tells most of them apart."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(700) % len(CLASSES))
    pool = 3 * np.eye(len(CLASSES))[truth] + rng.normal(size=(700, len(CLASSES)))
    return {"pool": pool.astype(np.float32), "truth": truth}


@pytest.fixture(scope="module")
def labeled(clouds):
    """After three batches, answered at once: so one head is fitted."""
    state, asked = start(clouds["pool"], classes=CLASSES), []
    for _ in range(3):
        state, ids = ask(state, 20)
        asked += ids
    truth = clouds["truth"]
    return tell(state, asked, [CLASSES[truth[int(id_)]] for id_ in asked])


def test_one_in_ten_and_at_least_two_are_control_rows(clouds):
    state = start(clouds["pool"])
    expected = {1: 0, 2: 1, 3: 1, 4: 2, 20: 2, 26: 3, 50: 5}
    assert {k: control.num_control(state, k) for k in expected} == expected
    without = start(clouds["pool"], control=0)
    assert control.num_control(without, 50) == 0
    assert not len(control_rows(ask(without, 18)[0]))


def test_the_rarity_of_a_campaign_is_that_of_its_batches(labeled):
    by_default, alike, named = (
        ask(labeled._replace(task=labeled.task._replace(**changed)), 20)[1]
        for changed in (
            {"method": "balanced_herding"},
            {"method": "balanced_herding", "rarity": 0.0},
            {"method": "pool_herding"},
        )
    )
    assert alike == named != by_default


def test_control_rows_are_the_first_of_the_order(labeled):
    order = control.order_of(labeled.task)
    assert sorted(order.tolist()) == list(range(len(labeled.task.pool)))
    assert control_rows(labeled).tolist() == order[:6].tolist()


def test_the_order_follows_from_the_seed_alone(clouds):
    orders = [
        control.order_of(start(clouds["pool"], seed=seed).task) for seed in (0, 0, 1)
    ]
    assert (orders[0] == orders[1]).all() and (orders[0] != orders[2]).any()
    # By whole numbers of Python, which no version of NumPy changes.
    size = len(clouds["pool"])
    expected = sorted(range(size), key=lambda row: mixed(mixed(1) + (row + 1) * GOLDEN))
    assert orders[2].tolist() == expected


GOLDEN = 0x9E3779B97F4A7C15


def mixed(number):
    """SplitMix64 of one number."""
    number %= 2**64
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
    return number ^ number >> 31


def test_the_order_favors_no_row():
    pool = np.arange(40, dtype=np.float32)[:, None]
    places = [control.order_of(start(pool, seed=seed).task)[:8] for seed in range(500)]
    counts = np.bincount(np.concatenate(places), minlength=40)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_methods_never_pick_a_kept_row(labeled):
    kept = {*control.order_of(labeled.task)[: -(-len(labeled.task.pool) // 10)]}
    batches = [event for event in labeled.events if hasattr(event, "purpose")]
    picks = [b.rows.tolist() for b in batches if b.purpose == "pick"]
    assert picks and not kept & {row for rows in picks for row in rows}


def test_no_control_row_trains_a_head_before_the_last(labeled, monkeypatch):
    labels, held = labels_of(labeled), {*control_rows(labeled).tolist()}
    training = control.training_labels(labeled)
    assert {*training} == {*labels} - held and len(held) == 6
    others = {row: (c + 1) % 10 if row in held else c for row, c in labels.items()}
    names = [CLASSES[c] for c in others.values()]
    changed = tell(labeled, [*map(str, others)], names)
    np.testing.assert_array_equal(changed.head.kernel, labeled.head.kernel)
    assert (final_head(changed).kernel != final_head(labeled).kernel).any()


def test_a_row_that_was_labeled_before_its_turn_moves_to_the_sample(clouds):
    state = start(clouds["pool"], classes=CLASSES)
    order = control.order_of(state.task)
    early = order[[1, 600]].tolist()
    state = tell(state, [*map(str, early)], CLASSES[:1] * 2)
    assert {*control.training_labels(state)} == {*early}
    state, ids = ask(state, 20)
    assert control_rows(state).tolist() == order[:3].tolist()
    assert str(order[1]) not in ids and {str(order[0]), str(order[2])} <= {*ids}
    assert {*control.training_labels(state)} == {early[1]}


def test_the_measure_is_that_of_the_sample(clouds, labeled):
    measured = measure(labeled)
    rows = control_rows(labeled)
    features = labeled.task.scaling.rows(labeled.task.pool, rows.tolist())
    logits = features @ labeled.head.kernel + labeled.head.bias
    is_right = logits.argmax(1) == clouds["truth"][rows]
    assert (measured.right, measured.total) == (is_right.sum(), 6)
    exact = stats.binomtest(measured.right, 6).proportion_ci(0.95, "exact")
    assert measured.interval == pytest.approx((exact.low, exact.high))
    assert measured.balanced is None  # a class has no control row
    assert measure(labeled._replace(head=None)) is None


def test_control_rows_judge_once_every_class_has_five(clouds):
    labels = clouds["truth"] // 5  # two classes
    state = start(clouds["pool"], classes=("low", "high"), method="iwps", control=0.5)
    methods = []
    for k in (40, 20):
        state, ids = ask(state, k)
        methods.append(state.events[-2].method)
        assert not {*state.events[-2].rows} & {*control.kept_rows(state)}
        names = [("low", "high")[labels[int(id_)]] for id_ in ids]
        state = tell(state, ids, names)
    assert methods[0] == "max_herding" and methods[-1] == "iwps"
    model = next_batch._model(state, next_batch.method_now(state))
    held = control.control_labels(state)
    assert model.holdout.labels.tolist() == [*held.values()]
    expected = class_balanced_weights(np.array([*held.values()]), 2)
    np.testing.assert_allclose(model.holdout_weights, expected)
    # A new class has no control row yet.
    assert not control.can_judge(add_class(state, "other"))


def test_at_the_end_all_rows_are_handed_out(clouds):
    pool = clouds["pool"][:30]
    state = start(pool, control=0.2)
    asked = []
    for k in (12, 13, 5):
        state, ids = ask(state, k)
        asked += ids
    assert sorted(map(int, asked)) == list(range(30))
    with pytest.raises(Refusal, match="no sample is left"):
        ask(state, 1)


def test_a_row_that_is_not_finite_is_no_control_row(clouds):
    pool = clouds["pool"].copy()
    state = start(pool)
    first = control.order_of(state.task)[0]
    pool[first] = np.nan
    state, ids = ask(state, 20)
    assert str(first) not in ids and len(ids) == 20


@pytest.mark.parametrize("share", [-0.1, 0.6, float("nan")])
def test_an_impossible_share_is_refused(clouds, share):
    with pytest.raises(Refusal, match=r"control must be in \[0, 0.5\]"):
        start(clouds["pool"], control=share)


def test_control_rows_stand_anywhere_in_the_file(labeled):
    places = [
        [batch.purpose for batch, _ in rows].index("control")
        for rows in control.handed_out(labeled)
    ]
    assert len({*places}) > 1
    purposes = [batch.purpose for batch, _ in control.handed_out(labeled)[-1]]
    assert purposes.count("control") == 2


def test_the_share_holds_for_batches_of_one(clouds):
    state = start(clouds["pool"][:100])
    for _ in range(30):
        state, _ = ask(state, 1)
    assert len(control_rows(state)) == 3


def test_samples_of_retired_classes_count_as_wrong(clouds, labeled):
    measured, labels = measure(labeled), control.control_labels(labeled)
    name = CLASSES[[*labels.values()][0]]
    after = measure(retire_class(labeled, name))
    assert after.total == measured.total and after.right < after.total
    rows = [str(row) for row in control_rows(labeled)[:2]]
    skipped = measure(tell(labeled, rows, ["skip", "unsure"]))
    assert (skipped.total, skipped.unclear) == (measured.total - 2, 2)


def test_a_class_of_control_rows_alone_is_learned_at_the_end(clouds):
    state, ids = ask(start(clouds["pool"], classes=("a", "b")), 20)
    held = {str(row) for row in control_rows(state)}
    state = tell(state, ids, ["b" if id_ in held else "a" for id_ in ids])
    assert state.head is None and measure(state) is None
    head = final_head(state)
    assert head.kernel.shape == (10, 2) and head.holdout_accuracy is not None


def test_where_only_damaged_rows_are_left_the_number_is_said(clouds):
    pool = clouds["pool"][:30].copy()
    state = start(pool, control=0.2)
    pool[control.order_of(state.task)[:4]] = np.nan
    with pytest.raises(Refusal, match="at most 26, got 30"):
        ask(state, 30)
    assert len(ask(state, 26)[1]) == 26
