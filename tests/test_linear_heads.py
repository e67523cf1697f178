"""The referee study: features, heads, who learns which labels, and its files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import linear_model, metrics

import iwps_jax
from experiments import referee
from experiments.engine.method import Method
from experiments.linear_heads import (
    competitors,
    heads,
    penalties,
    samples,
    settings,
    study,
)
from experiments.linear_heads.competitors import Competitor
from experiments.linear_heads.samples import Samples
from experiments.linear_heads.settings import (
    EQUAL_LABELS,
    MODES,
    NO_HOLDOUT,
    SEEN,
    SETTINGS,
    SHARED_HOLDOUT,
    Setting,
)
from iwps_jax.methods import row_of
from iwps_jax.refusal import Refusal

NUM_CLASSES, NUM_FEATURES = 4, 5


def some_samples(seed=0, per_class=80):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(NUM_CLASSES, NUM_FEATURES))
    labels = np.repeat(np.arange(NUM_CLASSES), per_class).astype(np.int32)
    rows = centers[labels] + rng.normal(size=(len(labels), NUM_FEATURES))
    rows = rows.astype(np.float32)
    order = rng.permutation(len(labels))
    half = len(labels) // 2
    train, test = order[half // 2 :], order[: half // 2]
    return Samples(
        *(rows[train], labels[train], rows[test], labels[test]),
        *(tuple("abcd"), "drawn", "0" * 64),
    )


def a_setting(**changes):
    values = {"acquire_size": 4, "rounds": 2, "start": 2, "pool_per_class": 40}
    return Setting("drawn", **{**values, "holdout_per_class": 3, **changes})


# Settings


def test_the_settings_are_few_and_of_different_names():
    names = [setting.name for setting in SETTINGS]
    assert len({*names}) == len(names) <= 40
    assert {setting.mode for setting in SETTINGS} == {*MODES}
    assert {setting.start for setting in SETTINGS} == {0, 1, 5, 20}
    unseen = {s.dataset for s in SETTINGS} - {*SEEN}
    assert unseen == {"fashion_mnist", "cifar10", "banking77", "hwu64", "pendigits"}
    assert all(competitors.named(name) for name in referee.METHODS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mode": "all"}, "mode and distribution must be of"),
        ({"holdout_per_class": 0}, "holdout_per_class must be 0 with no_holdout"),
        ({"mode": NO_HOLDOUT}, "holdout_per_class must be 0 with no_holdout"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, sentence):
    with pytest.raises(Refusal, match=sentence):
        a_setting(**changes)


def test_no_more_than_three_tenths_of_the_pool_are_labeled():
    with pytest.raises(Refusal, match="at the end 60 rows are labeled, more than 30%"):
        samples.divide(some_samples(), a_setting(rounds=13), 0)


# Samples


def test_principal_components_are_those_of_the_decomposition():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)) + 3
    train, test = samples.principal_components(rows, rows[:7])
    centered = rows - rows.mean(0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    want = left * sizes
    want = want / np.sqrt((want**2).mean())
    np.testing.assert_allclose(np.abs(train), np.abs(want), atol=1e-5)
    np.testing.assert_array_equal(test, train[:7])
    assert train.dtype == np.float32


def test_only_the_leading_components_are_kept(monkeypatch):
    monkeypatch.setattr(samples, "MOST_FEATURES", 2)
    rows = np.random.default_rng(0).normal(size=(50, 6)) * [1, 2, 3, 4, 5, 9]
    train, _ = samples.principal_components(rows, rows)
    assert train.shape == (50, 2) and abs(train.var(0).mean() - 1) < 1e-5


@pytest.mark.parametrize("mode", MODES)
def test_who_is_held_out_and_who_is_labeled(mode):
    changes = {} if mode != NO_HOLDOUT else {"holdout_per_class": 0}
    division = samples.divide(some_samples(), a_setting(mode=mode, **changes), 1)
    assert len({*division.pool_ids.tolist()}) == len(division.pool_ids)
    held = division.pool_ids[division.held]
    if mode == EQUAL_LABELS:
        assert {*held.tolist()} == {*division.holdout_ids.tolist()}
        assert division.labeled[division.held].all()
    else:
        assert not len(held)
        assert not np.isin(division.holdout_ids, division.pool_ids).any()
    assert (division.labeled & ~division.held).sum() == 2 * NUM_CLASSES
    assert len(division.holdout_ids) == (mode != NO_HOLDOUT) * 3 * NUM_CLASSES


def test_the_order_of_the_pool_tells_nothing_of_the_classes():
    """A file sorted by class: equal scores must not pick one class alone."""
    data = some_samples(per_class=200)
    order = np.argsort(data.train_labels, kind="stable")
    data = data._replace(train=data.train[order], train_labels=data.train_labels[order])
    labels = data.train_labels[samples.divide(data, a_setting(), 0).pool_ids]
    assert {*labels[:20].tolist()} == {*range(NUM_CLASSES)}
    assert np.abs(np.diff(labels)).mean() > 0.5


def test_a_cold_start_has_no_label():
    setting = a_setting(start=0, mode=NO_HOLDOUT, holdout_per_class=0)
    assert not samples.divide(some_samples(), setting, 0).labeled.any()


# Heads


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_heads_are_those_of_scikit_learn(penalty, balanced):
    data = some_samples()
    where = np.arange(len(data.train)) % 3 == 0
    where &= (data.train_labels != 1) | (np.arange(len(where)) % 2 == 0)
    fitted = jax.jit(heads.fit, static_argnames=("num_classes", "balanced"))(
        *map(jnp.asarray, (data.train, data.train_labels, where)),
        jnp.float32(penalty),
        num_classes=NUM_CLASSES,
        balanced=balanced,
    )
    extended = np.pad(data.train, ((0, 0), (0, 1)), constant_values=1)[where]
    labels = data.train_labels[where]
    counts = np.bincount(labels)[labels] if balanced else np.ones(len(labels))
    weights = 1 / counts / (1 / counts).sum()
    reference = linear_model.LogisticRegression(
        C=1 / penalty, fit_intercept=False, tol=1e-9, max_iter=10_000
    ).fit(extended, labels, sample_weight=weights)
    got = np.concatenate([fitted.kernel, np.asarray(fitted.bias)[None]])
    np.testing.assert_allclose(got, reference.coef_.T, atol=2e-2)


def test_without_a_label_the_head_is_zero():
    data = some_samples()
    nothing = jnp.zeros(len(data.train), bool)
    fitted = heads.fit(
        *map(jnp.asarray, (data.train, data.train_labels)),
        nothing,
        jnp.float32(0.1),
        num_classes=NUM_CLASSES,
        balanced=True,
    )
    assert not np.asarray(fitted.kernel).any() and not np.asarray(fitted.bias).any()


def test_measures_are_those_of_scikit_learn():
    data = some_samples()
    rng = np.random.default_rng(3)
    head = rng.normal(size=(NUM_FEATURES, NUM_CLASSES)), rng.normal(size=NUM_CLASSES)
    head = heads.Head(*(jnp.asarray(part, jnp.float32) for part in head))
    predicted = (data.test @ np.asarray(head.kernel) + np.asarray(head.bias)).argmax(1)
    shares = np.array([0.5, 0.25, 0.15, 0.1], np.float32)
    got = heads.measure(
        head,
        shares,
        *map(jnp.asarray, (data.test, data.test_labels)),
        num_classes=NUM_CLASSES,
    )
    labels = data.test_labels
    recall = metrics.recall_score(labels, predicted, average=None)
    want = (
        metrics.accuracy_score(labels, predicted),
        metrics.balanced_accuracy_score(labels, predicted),
        recall @ shares,
        metrics.f1_score(labels, predicted, average="macro"),
    )
    np.testing.assert_allclose(got, want, rtol=1e-5)


# Penalties


def test_the_penalty_is_that_of_the_lowest_loss(monkeypatch):
    monkeypatch.setattr(penalties, "PER_CLASS", (5, 1000))
    monkeypatch.setattr(penalties, "NUM_SEEDS", 1)
    (row,) = penalties.choose(some_samples(), 0)
    assert row["labels"] == 5 * NUM_CLASSES and len(row["losses"]) == len(
        penalties.PENALTIES
    )
    best = int(np.argmin(row["losses"]))
    assert row["penalty"] == pytest.approx(10 ** (1 - best / 2))


# A unit


def first_rounds(setting, names, data=None):
    """States after the first fit and after the first round of each method."""
    data = data or some_samples()
    seeds = range(3, 5)
    rounds = study.as_rounds(
        data,
        setting,
        samples.divide_all(data, setting, seeds),
        seeds,
        lambda number: 0.01,
    )
    fitted = rounds.train(rounds.first_state)
    after = {}
    for name in names:
        rounds.compile(name, True)
        after[name] = rounds.acquire(name, fitted)[0]
    return rounds, fitted, after


@pytest.mark.parametrize("mode", [EQUAL_LABELS, SHARED_HOLDOUT])
def test_heads_learn_the_holdout_set_only_with_equal_labels(mode):
    setting, data = a_setting(mode=mode), some_samples()
    other = samples.divide(data, setting, 3).holdout_ids
    changed = data.train_labels.copy()
    changed[other] = (changed[other] + 1) % NUM_CLASSES
    _, before, _ = first_rounds(setting, ())
    # The division stays: the labels change after it.
    divisions = samples.divide_all(data, setting, range(3, 5))
    rounds = study.as_rounds(
        data._replace(train_labels=changed), setting, divisions, range(3, 5),
        lambda number: 0.01,
    )  # fmt: skip
    after = rounds.train(rounds.first_state)
    is_same = np.array_equal(before.train_state.kernel[0], after.train_state.kernel[0])
    assert is_same == (mode == SHARED_HOLDOUT)


def test_a_setting_without_a_holdout_has_no_method_that_needs_one():
    setting = a_setting(mode=NO_HOLDOUT, holdout_per_class=0)
    taking = referee.taking_part(referee.METHODS, setting, 4_000)
    larger = referee.taking_part(referee.METHODS, setting, 4_001)
    assert {*taking} - {*larger} == {"bait"}
    assert not {"iwps", "iwps_app", "iwps_batch", "glister"} & {*taking}
    assert {"uncertainty_herding", "bait"} <= {*taking}


def test_picks_are_unlabeled_rows_of_the_pool():
    _, fitted, after = first_rounds(a_setting(), ("random", "margin", "iwps"))
    for name, state in after.items():
        new = np.asarray(state.labeled & ~fitted.labeled)
        assert (new.sum(1) == 4).all(), name


def test_two_units_run_to_their_files_and_again_to_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = ("random", "iwps", "margin", "batch-none-even-off", "iwps_cross_fitted")
    arguments = ["--smoke", "--methods", *some]
    referee.main(arguments)
    folder = tmp_path / "runs/smoke/referee"
    found = {path.name: path.read_text() for path in (folder / "results").iterdir()}
    assert len(found) == 3  # two units, and the penalties
    results = json.loads(found["wine-natural-start_0-batch_3-no_holdout-seeds_0.json"])
    assert list(results["methods"]) == ["random", "margin"]
    assert results["num_labeled"] == [0, 3, 6]
    with np.load(next(folder.glob("wine-natural*/predictions/random-2.npz"))) as kept:
        assert kept["probabilities"].dtype == np.float16
        assert kept["labeled"].sum() == 2 * 6
    referee.main(arguments)
    for name in found:
        again = json.loads((folder / "results" / name).read_text())
        assert {**again, "minutes": 0} == {**json.loads(found[name]), "minutes": 0}


def test_methods_choose_by_heads_that_the_holdout_set_can_judge(monkeypatch):
    """Who asks the holdout set has not learned it, even where all labels are equal."""
    seen = []

    def fit(features, labels, where, penalty, **options):
        # A head that tells how many samples it has learned.
        number = where.sum().astype(jnp.float32)
        return heads.Head(
            jnp.full((NUM_FEATURES, NUM_CLASSES), number), jnp.zeros(NUM_CLASSES)
        )

    def telling(sizes, row):
        def score(key, head, view):
            known = (view.known_labels >= 0).sum()
            return head.kernel.mean() + 100.0 * known + 0.0 * view.pool_ids

        def select(key, scores, where):
            jax.debug.callback(lambda one: seen.append(float(one)), scores[0])
            return iwps_jax.top_k(scores, sizes.acquire_size, where)

        return Method(score, select)

    monkeypatch.setattr(heads, "fit", fit)
    monkeypatch.setattr(
        competitors, "named", lambda name: Competitor(row_of(name), telling)
    )
    setting, data = a_setting(), some_samples()
    division = samples.divide(data, setting, 3)
    number = {"margin": division.labeled.sum()}
    number["iwps"] = number["margin"] - division.held.sum()
    for name, learned in number.items():
        first_rounds(setting, (name,), data)
        jax.effects_barrier()
        assert {*seen} == {101.0 * learned}, name
        seen.clear()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("bald", "bald needs dropout"), ("margn", "did you mean 'margin'")],
)
def test_a_method_that_cannot_take_part_is_refused(name, sentence, capsys):
    with pytest.raises(SystemExit):
        referee.main(["--smoke", "--methods", name])
    assert sentence in capsys.readouterr().err


def test_a_wrong_name_of_a_unit_is_refused(capsys):
    with pytest.raises(SystemExit):
        referee.main(["mnist-balanced-start_5-batch_50-equal_label"])
    assert "did you mean" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        referee.main([])
    assert "name at least one unit" in capsys.readouterr().err


def test_the_units_are_listed(capsys):
    referee.main(["--list"])
    listed = capsys.readouterr().out.split()
    assert listed == [setting.name for setting in settings.SETTINGS]
