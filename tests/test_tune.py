"""Tuning on the initial set: folds, the rule, what is looked at, and a real run."""

import contextlib
import dataclasses
import functools
import io
import json
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import tune
from experiments.data import datasets
from experiments.tune import Options, assign_folds, recommend, wrong_among_picks

SMALL = Options(
    dataset="digits", seeds=2, folds=2, learning_rates=(1e-3, 0.1), steps=(1, 3)
)


@given(seed=st.integers(0, 1000), num_folds=st.integers(2, 6))
def test_folds_are_even_overall_and_in_every_class(seed, num_folds):
    labels = np.random.default_rng(seed).integers(0, 4, 37)
    folds = assign_folds(labels, num_folds, seed)
    sizes = np.bincount(folds, minlength=num_folds)
    assert sizes.sum() == 37 and sizes.max() - sizes.min() <= 1
    for label in range(4):
        of_class = np.bincount(folds[labels == label], minlength=num_folds)
        assert of_class.max() - of_class.min() <= 1


def test_recommends_the_cheapest_of_those_within_one_standard_error():
    # Means .5, .7 / .72, .60; behind the best by .02 at every seed: no error.
    base = np.array([[[0.5, 0.7], [0.72, 0.6]]])
    shift = np.array([0.0, 0.1, 0.2])[:, None, None]
    assert recommend(base + shift) == (1, 0)
    # Now the runner-up is behind by .02 on average, give or take .04 a seed.
    noisy = base + shift
    noisy[:, 0, 1] += [0.04, -0.04, 0.0]
    assert recommend(noisy) == (0, 1)


def test_one_initial_set_has_no_error():
    assert recommend(np.array([[[0.1, 0.3], [0.3, 0.2]]])) == (0, 1)


def test_the_highest_quarter_of_the_left_out_is_counted():
    scores = np.arange(20.0)
    wrong = np.arange(20) >= 14
    where = np.arange(20) < 16
    # Four of sixteen: rows 15, 14, 13, 12, of which two are wrong.
    assert wrong_among_picks(scores, wrong, where) == (2, 4)


@pytest.fixture(scope="module", autouse=True)
def short_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "Config", functools.partial(tune.Config, max_steps=50))
        yield


class Run(NamedTuple):
    tuning: tune.Tuning
    printed: str
    written: dict


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The command with the options of SMALL, run once for all tests."""
    out, found, tune_ = (
        tmp_path_factory.mktemp("tune") / "new" / "tune.json",
        [],
        tune.tune,
    )

    def kept(options):
        assert options == dataclasses.replace(SMALL, smoke=True, out=out)
        found.append(tune_(options))
        return found[0]

    options = ("--folds", "2", "--steps", "1", "3", "--learning-rates", "0.001", "0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune, "tune", kept)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            tune.main(["--smoke", *options, "--out", str(out)])
    return Run(*found, printed.getvalue(), json.loads(out.read_text()))


@pytest.fixture(scope="module")
def tuned(run):
    return run.tuning


def test_rates_are_shares_of_the_picks(tuned):
    assert tuned.wrong_rate.shape == (2, 2, 2)
    assert tuned.first_order.shape == tuned.everywhere.shape == (2,)
    for rates in tuned:
        assert ((rates >= 0) & (rates <= 1)).all()


def test_iwps_finds_more_wrong_predictions_than_chance(tuned):
    assert tuned.wrong_rate[:, -1, -1].mean() > tuned.everywhere.mean() + 0.1


def test_only_initial_and_holdout_labels_are_looked_at(tuned, monkeypatch):
    """With every other label of the data changed, the same rates come out."""
    honest = datasets.load("digits")
    config = tune.Config(dataset="digits", seeds=2)
    used = np.concatenate(
        [
            np.append(split.pool_ids[split.labeled], split.holdout_ids)
            for split in tune.make_splits(config, honest)
        ]
    )
    assert len(set(used)) < len(honest.train_labels) / 2
    splits = tune.make_splits(config, honest)
    changed = (honest.train_labels + 1) % 10
    changed[used] = honest.train_labels[used]
    dataset = honest._replace(
        train_labels=changed, test_labels=(honest.test_labels + 1) % 10
    )
    monkeypatch.setattr(tune.datasets, "load", lambda *_: dataset)
    # Who is in the initial set is drawn by class, from the honest labels.
    monkeypatch.setattr(tune, "make_splits", lambda *_: splits)
    deceived = tune.tune(SMALL)
    for rates, expected in zip(deceived, tuned, strict=True):
        np.testing.assert_array_equal(rates, expected)


def test_the_command_prints_and_writes_the_grid(run):
    assert run.written["settings"]["learning_rates"] == [0.001, 0.1]
    assert run.written["wrong_rate"] == run.tuning.wrong_rate.round(4).tolist()
    best = run.written["recommended"]
    option = f"--steps {best['steps']} --learning-rate {best['learning_rate']:g}"
    assert f"recommended (*): {option}" in run.printed


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"folds": 1}, "folds must be at least 2, got 1"),
        ({"learning_rates": ()}, "learning_rates must be positive, ascending"),
        ({"steps": (3, 1)}, "steps must be positive, ascending"),
        ({"learning_rates": (0.0, 1.0)}, "learning_rates must be positive"),
    ],
)
def test_grids_that_make_no_sense_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        tune.check(dataclasses.replace(SMALL, **changes))


def test_an_unknown_dataset_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as exit_:
        tune.main(["--dataset", "mnits"])
    assert exit_.value.code == 2
    assert "did you mean 'mnist'" in capsys.readouterr().err
