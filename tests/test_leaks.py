"""Copies of holdout samples among what is learned from, in arrays and in commands."""

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from some_campaigns import CLASSES, run, some_digits, write_answers, write_digits

from iwps_jax.app.leaks import NO_COPY, copies_of


@given(seed=st.integers(0, 2**31 - 1), rows_at_once=st.integers(1, 12))
def test_it_is_the_first_equal_row(seed, rows_at_once):
    rng = np.random.default_rng(seed)
    samples, features = (rng.integers(-1, 2, (n, 2)) / 2 * -1 for n in (6, 11))
    expected = [
        next((i for i, row in enumerate(features) if (row == sample).all()), NO_COPY)
        for sample in samples
    ]
    found = copies_of(samples, features, rows_at_once=rows_at_once)
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.uint8]
)
def test_types_may_differ(dtype):
    """Features on disk are often narrower than those they were made of."""
    samples = np.random.default_rng(0).uniform(0, 255, (20, 8)).astype(np.float32)
    samples = samples if dtype != np.uint8 else np.round(samples)
    features = np.concatenate([samples[:5] + 1, samples[::-1]]).astype(dtype)
    expected = 24 - np.arange(20)
    np.testing.assert_array_equal(copies_of(samples, features), expected)
    np.testing.assert_array_equal(copies_of(samples + 2, features), NO_COPY)


def test_other_columns_are_refused():
    with pytest.raises(ValueError, match="must have 2 axes and the same columns"):
        copies_of(np.ones((2, 3)), np.ones((2, 4)))


@pytest.fixture
def digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = some_digits(0)
    write_digits(tmp_path, digits)
    return digits


FILES = ("--pool", "pool.npy", "--holdout", "holdout.npz")
INIT = ("init", *FILES, "--labels", "initial.csv", "--classes", "classes.txt")


def hold_out(digits, rows):
    """A holdout set with these rows of the pool at its end."""
    features, labels = digits["holdout"]
    np.savez(
        "holdout.npz",
        features=np.concatenate([features, digits["pool"][rows]]),
        labels=np.concatenate([labels, digits["truth"][rows]]),
    )


def test_init_refuses_to_judge_by_what_is_labeled(digits, tmp_path, capsys):
    write_answers("initial.csv", [(r, CLASSES[digits["truth"][r]]) for r in (3, 8, 9)])
    hold_out(digits, [20, 9, 3])
    assert run(*INIT) == 2
    assert not (tmp_path / "campaign").exists()
    error = capsys.readouterr().err
    assert "holdout.npz" in error and "initial.csv" in error
    assert "sample 51 is a copy of '9'; copies in all: 2." in error


def test_init_takes_a_holdout_sample_that_is_not_labeled(digits, tmp_path):
    write_answers("initial.csv", [(r, CLASSES[digits["truth"][r]]) for r in (3, 8, 9)])
    hold_out(digits, [20])
    assert run(*INIT) == 0
    assert (tmp_path / "campaign" / "campaign.json").exists()


def test_check_names_the_rows_that_are_holdout_samples(digits, capsys):
    assert run("check", *FILES, "--json", "report.json") == 0
    assert "copies" not in capsys.readouterr().out
    hold_out(digits, [20, 9])
    assert run("check", *FILES, "--json", "report.json") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "2 holdout samples are copies of rows of the pool: 20, 9; do not" in said
    with open("report.json") as file:
        assert json.load(file)["copies"] == {"count": 2, "first_rows": [20, 9]}
