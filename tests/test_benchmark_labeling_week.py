"""Weeks of labeling, small: the parts, and both benchmarks as a user runs them."""

import csv

import numpy as np
import pytest
from benchmark_runs import run
from some_campaigns import some_digits

from benchmarks import embedded_pools, from_nothing, labeling_week, played_week
from benchmarks.embedded_pools import Embedded
from benchmarks.labeling_week import Plan, drawn_rows, pool_of, summary
from experiments.data import datasets
from iwps_jax.app.campaign import labels_of


@pytest.fixture(scope="module")
def digits():
    found = some_digits(0)
    pool = Embedded(found["pool"], found["truth"])
    return pool, Embedded(*found["test"])


def test_rare_classes_of_a_pool_are_rare(digits):
    rng = np.random.default_rng(0)
    samples = Embedded(rng.normal(size=(400, 2)), np.repeat(np.arange(4), 100))
    pool = pool_of(samples, Plan(0, 0, 10, 0, 5), seed=1)
    assert sorted(np.bincount(pool.labels).tolist()) == [10, 10, 100, 100]
    assert len(pool_of(samples, Plan(0, 0, 1, 50, 5), seed=1).labels) == 50
    other = pool_of(samples, Plan(0, 0, 10, 0, 5), seed=2)
    assert (other.features != pool.features).any()


def test_rows_to_embed_are_the_first_of_each_class():
    dataset = datasets.load("digits")
    rows = drawn_rows(dataset, Plan(3, 2, 1, 0, 5))
    labels = np.concatenate([dataset.train_labels, dataset.test_labels])
    is_train = rows < len(dataset.train_labels)
    assert np.bincount(labels[rows[is_train]]).tolist() == [3] * 10
    assert np.bincount(labels[rows[~is_train]]).tolist() == [2] * 10


@pytest.mark.parametrize("arm", played_week.ARMS)
def test_both_arms_buy_as_many_labels(digits, arm, monkeypatch):
    pool, test = digits
    seen = []
    judged = played_week._judged
    monkeypatch.setattr(
        played_week,
        "_judged",
        lambda state, *rest: seen.append(len(labels_of(state))) or judged(state, *rest),
    )
    names = tuple("abcdefghij")
    days = played_week.play(pool, test, names, arm, 0, days=1, labels_a_day=20)
    assert seen == [20] and len(days) == 1
    assert all(0.1 < day.balanced_accuracy < 1 for day in days)
    assert (days[-1].covered is None) == (arm == "random")


def test_the_summary_is_that_of_the_means():
    def week(*values):
        return [
            {"balanced_accuracy": v, "covered": True, "half_width": 0.1} for v in values
        ]

    weeks = {
        "recommended": [week(0.6, 0.8), week(0.5, 0.7)],
        "random": [week(0.5, 0.5), week(0.4, 0.6)],
    }
    found = summary({"weeks": weeks})
    assert found["recommended"] == "65.0" and found["random"] == "50.0"
    assert found["difference"] == "+15.0 ± 7.1"
    half = 12.706 * 5  # the quantile of one degree of freedom, times the error
    assert found["95 % interval"] == f"{15 - half:+.1f} to {15 + half:+.1f}"
    assert found["control intervals that hold"] == "4 of 4"


def test_a_table_and_texts_become_files_with_their_places(tmp_path):
    dataset = datasets.load("wine")
    words = embedded_pools.WRITERS["table"](dataset, np.array([2, 0]), tmp_path)
    with open(words[0], newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["number"], second["number"]) == ("2", "0")
    assert float(first["alcohol"]) == dataset.train_rows["alcohol"][2]


@pytest.mark.full
def test_the_weeks_are_played_and_timed(tmp_path):
    options = ("--seeds", 1, "--days", 1, "--folder", tmp_path / "files")
    written = run(labeling_week, tmp_path, *options)
    assert written["summary"]["control intervals that hold"].endswith("of 1")
    written = run(from_nothing, tmp_path / "other", "--smoke")
    assert [row["kind"] for row in written["results"]] == ["images", "texts"]
