"""Commands say and pick the same in 64-bit mode and under strict type promotion."""

import re

import jax
import numpy as np
import pytest
from some_campaigns import CLASSES, read_batch, run, some_digits, write_answers

from iwps_jax import methods
from iwps_jax.app.campaign import METHODS
from iwps_jax.heads.linear_probe import fit_linear_probe

NOT_EQUAL = re.compile(r"\d+\.\d+|\d+ samples/s")
"""Numbers that another order of sums moves in their last digits, and speeds."""
FILES = ("--pool", "pool.npy", "--head", "head.npz", "--holdout", "holdout.npz")
WEEK = (
    *("init", "--pool", "pool.npy", "--holdout", "holdout.npz"),
    *("--labels", "initial.csv", "--classes", ",".join(CLASSES)),
)


def write_files(folder):
    """A pool of 60 digits, a head, and labels; returns the true classes."""
    folder.mkdir()
    digits = some_digits(0)
    scale = np.float32(16)
    pool, truth = digits["pool"][:60] / scale, digits["truth"][:60]
    judging = digits["holdout"][0] / scale, digits["holdout"][1]
    training = pool[:30], truth[:30]
    head = fit_linear_probe(*training, *judging, num_classes=10)
    np.save(folder / "pool.npy", pool)
    np.savez(folder / "head.npz", kernel=head.kernel, bias=head.bias)
    np.savez(folder / "holdout.npz", features=judging[0], labels=judging[1])
    np.savez(folder / "training.npz", features=training[0], labels=training[1])
    draws = np.random.default_rng(0).normal(size=(60, 5, 10)).astype(np.float32)
    np.save(folder / "draws.npy", draws)
    write_answers(
        folder / "initial.csv", [(row, CLASSES[truth[row]]) for row in range(12)]
    )
    return truth


def told(capsys, command):
    assert run(*command) == 0
    return NOT_EQUAL.sub("#", capsys.readouterr().out)


def picked(path):
    return [(row["id"], row["predicted"]) for row in read_batch(path)]


def scored(name, capsys):
    """The picks of one method by `iwps score`."""
    needs = methods.ROWS[name].needs
    files = ("--logits", "draws.npy") if "draws" in needs else FILES
    files += ("--training-set", "training.npz") if "labels" in needs else ()
    command = ("score", *files, "--method", name, "--k", 6, "--out", f"{name}.csv")
    told(capsys, command)
    return [row["id"] for row in read_batch(f"{name}.csv")]


def a_week(name, capsys):
    """What `init`, `next`, `label`, `status` and `check` say and hand out."""
    answer = [(row, CLASSES[row % 10]) for row in range(60)]
    said = [told(capsys, (*WEEK, "--method", name, "--campaign", "week"))]
    of_week = ("--campaign", "week")
    said.append(told(capsys, ("next", "--k", 6, "--out", "1.csv", *of_week)))
    handed_out = {row["id"] for row in read_batch("1.csv")}
    answers = [each for each in answer if str(each[0]) in handed_out]
    write_answers("answers.csv", answers)
    label = ("label", "answers.csv", "--next", 6, "--out", "2.csv", *of_week)
    said += [told(capsys, c) for c in (label, ("status", *of_week), ("check", *FILES))]
    return said, picked("1.csv"), picked("2.csv")


@pytest.mark.parametrize(
    ("do", "name"),
    [
        (scored, "iwps"),
        (a_week, "iwps_batch"),
        *(pytest.param(scored, n, marks=pytest.mark.full) for n in methods.ROWS),
        *(pytest.param(a_week, n, marks=pytest.mark.full) for n in METHODS),
    ],
)
def test_every_mode_says_and_picks_the_same(do, name, tmp_path, monkeypatch, capsys):
    found = []
    for mode, is_wide, promotion in (("a", False, "standard"), ("b", True, "strict")):
        write_files(tmp_path / mode)
        monkeypatch.chdir(tmp_path / mode)
        with jax.enable_x64(is_wide), jax.numpy_dtype_promotion(promotion):
            found.append(do(name, capsys))
    assert found[0] == found[1]
