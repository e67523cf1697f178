"""`iwps check --campaign`, robust scaling, and warnings about heads and rows."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from some_campaigns import (
    CLASSES,
    files_of,
    read_batch,
    run,
    some_digits,
    write_answers,
    write_digits,
)

from iwps_jax.app.campaign import start, tell
from iwps_jax.app.campaign.scaling import CAP, OUTLYING, Scaling, scaling_of

GIVEN = ("--pool", "pool.npy", "--holdout", "holdout.npz", "--classes", "classes.txt")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    digits = some_digits(0)
    write_digits(tmp_path, digits)
    monkeypatch.chdir(tmp_path)
    return digits


def test_a_whole_campaign_is_verified(desk, capsys):
    given = (*GIVEN, "--labels", "initial.csv", "--method", "random")
    assert run("init", *given) == 0
    assert run("next", "--k", 5, "--out", "b.csv") == 0
    before = files_of(".")
    capsys.readouterr()
    assert run("check", "--campaign", "campaign", "--json", "report.json") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "format 2: 2 events, 25 answers, 25 labeled, 5 waiting" in said
    assert "all digests hold" in said and "warning" not in said
    told = json.loads(Path("report.json").read_text())["campaign"]
    assert (told["format"], told["events"], told["warnings"]) == (2, 2, [])
    Path("report.json").unlink()
    assert files_of(".") == before

    segment = Path("campaign/journal/00000001.jsonl")
    content = segment.read_text()
    segment.write_text(content.replace('"purpose":"pick"', '"purpose":"audit"'))
    assert run("check", "--campaign", "campaign") == 2
    assert "00000001.jsonl: event 2 is damaged: it was" in capsys.readouterr().err


def test_rows_far_out_are_named_by_init_and_check(desk, capsys):
    pool = desk["pool"].copy()
    pool[250, 7] = 65504
    np.save("pool.npy", pool)
    assert run("init", *GIVEN, "--labels", "initial.csv") == 0
    (warning,) = capsys.readouterr().err.strip().splitlines()
    assert warning.startswith("Warning: pool.npy: in 1 row a feature lies 1,000 times")
    assert ": 250. Are they damaged?" in warning
    for command in (("--campaign", "campaign"), ("--pool", "pool.npy")):
        assert run("check", *command) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "pool.npy: in 1 row a feature lies" in said and ": 250." in said


@pytest.mark.parametrize("value", [1e6, 65504, -1e30])
@pytest.mark.parametrize("row", [0, 7], ids=["labeled", "not labeled"])
def test_one_row_moves_the_head_by_a_point_at_most(desk, row, value):
    features, labels = desk["pool"][:300], desk["truth"][:300]
    judged = desk["test"]

    def accuracy(pool):
        state = start(pool, *judged, classes=CLASSES)
        rows = [*range(0, 300, 5)]
        return tell(
            state, [*map(str, rows)], [CLASSES[labels[row]] for row in rows]
        ).head.holdout_accuracy

    pool = features.copy()
    pool[row, 20] = value
    assert abs(accuracy(pool) - accuracy(features)) <= 0.01


def test_without_far_rows_the_scaling_is_mean_and_root_mean_square():
    pool = np.random.default_rng(0).gamma(2, size=(500, 6)).astype(np.float32)
    found = scaling_of(pool)
    mean = pool.astype(np.float64).mean(0)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    size = np.sqrt(np.mean((pool - mean) ** 2))
    assert found.factor == pytest.approx(1 / size, rel=1e-6)


def test_mostly_equal_rows_have_a_scale():
    pool = np.zeros((100, 3), np.float32)
    pool[:4] = np.eye(4, 3)
    assert 0 < scaling_of(pool).factor < np.inf


def test_a_feature_is_cut_off_at_the_cap_and_not_where_it_is_no_number():
    scaling = Scaling(np.zeros(2, np.float32), 1.0)
    scaled = scaling.of(np.array([[1e9, -1e9], [CAP / 2, np.nan], [np.inf, 0]]))
    np.testing.assert_array_equal(scaled, [[CAP, -CAP], [CAP / 2, np.nan], [np.nan, 0]])
    far = np.array([[OUTLYING, 0], [OUTLYING / 2, 0], [0, -1e300]])
    assert scaling.are_outlying(far).tolist() == [True, False, True]


SURPRISES = {
    "nothing new": ([0, 1], "has nothing new: all 2 answers are in the campaign"),
    "of another campaign": ([500, 501], "answers 0 of the 3 samples that wait"),
    "half of another": (["first", 500], "answers 1 of the 3 .* and 1 that nobody"),
}


@pytest.mark.parametrize("case", SURPRISES)
def test_a_file_that_surprises_is_refused_and_then_taken(desk, capsys, case):
    ids, said = SURPRISES[case]
    truth = desk["truth"]
    known = [(row, CLASSES[truth[row]]) for row in range(30)]
    write_answers("initial.csv", known)
    assert run("init", *GIVEN, "--labels", "initial.csv", "--method", "random") == 0
    assert run("next", "--k", 3, "--out", "b.csv") == 0
    first = read_batch("b.csv")[0]["id"]
    rows = [int(first) if id_ == "first" else id_ for id_ in ids]
    write_answers("a.csv", [(row, CLASSES[truth[row]]) for row in rows])
    before = files_of("campaign")
    assert run("label", "a.csv") == 2
    assert re.search(said, capsys.readouterr().err)
    assert files_of("campaign") == before
    assert run("label", "a.csv", "--overwrite-labels") == 0


def test_equal_features_of_samples_that_ids_tell_apart_are_a_warning(desk, capsys):
    """As rows of a table with few values have them."""
    desk["pool"][41] = desk["pool"][0]
    np.save("pool.npy", desk["pool"])
    truth = desk["truth"]
    write_answers("judges.csv", [(row, CLASSES[truth[row]]) for row in range(40, 60)])
    write_answers("few.csv", [(row, CLASSES[truth[row]]) for row in range(20)])
    given = ("--pool", "pool.npy", "--classes", "classes.txt", "--method", "random")
    assert run("init", *given, "--holdout", "judges.csv", "--labels", "few.csv") == 0
    assert (
        "judges.csv has samples with the features of labeled ones (1, the"
        in capsys.readouterr().err
    )


def test_labels_in_another_order_are_warned_of_at_the_start(desk, capsys):
    features, labels = desk["holdout"]
    rng = np.random.default_rng(0)
    np.savez("holdout.npz", features=features, labels=rng.permutation(labels))
    assert run("init", *GIVEN, "--labels", "initial.csv") == 0
    assert "in another order than the features" in capsys.readouterr().err


def test_labels_counted_from_1_are_warned_of_by_all_commands(desk, capsys):
    features, labels = desk["holdout"]
    is_low = labels < 9
    write_answers("all.csv", [(r, CLASSES[desk["truth"][r]]) for r in range(80)])
    assert run("init", *GIVEN, "--labels", "all.csv", "--method", "random") == 0
    assert run("status", "--judged-head", "head.npz") == 0
    np.savez("from_1.npz", features=features[is_low], labels=labels[is_low] + 1)
    files = ("--pool", "pool.npy", "--head", "head.npz", "--holdout", "from_1.npz")
    capsys.readouterr()
    assert run("score", *files, "--k", 3, "--method", "iwps") == 0
    assert "moved by -1: are the labels counted from 1?" in capsys.readouterr().err
    assert run("check", *files) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "moved by -1: are the labels counted from 1?" in said
