"""`iwps check`: what it finds in files, and what it advises, and why."""

import json
import re
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
import reference
from hypothesis import given as given_that
from hypothesis import strategies as st
from scipy import stats

from iwps_jax.__main__ import main
from iwps_jax.app.commands import advice, check, pool_check
from iwps_jax.app.files.picks import Answer
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.types import Head, Holdout

ROOT = Path(__file__).parents[1]
SIZE, CLASSES = 2500, ("cat", "dog", "owl", "eel")
PROBLEM = reference.head_problem(3, SIZE, 8, 4, 24, 2.0)
FILES = ("--pool", "pool.npy", "--head", "head.npz", "--holdout", "holdout.npz")
LABELS = np.arange(24) % 4
LABELS[:3] = 3


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with a pool, a head and a holdout set."""
    monkeypatch.chdir(tmp_path)
    np.save("pool.npy", PROBLEM["features"])
    np.savez("head.npz", kernel=PROBLEM["kernel"], bias=PROBLEM["bias"])
    np.savez("holdout.npz", features=PROBLEM["holdout_features"], labels=LABELS)
    return tmp_path


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(["check", *map(str, arguments)])
    return caught.value.code


def report(*arguments):
    assert run(*arguments, "--json", "report.json") == 0
    return json.loads(Path("report.json").read_text())


def logits_of(features):
    return reference.forward([(PROBLEM["kernel"], PROBLEM["bias"])], features)


def test_the_report_is_of_the_files(here, capsys):
    found = report(*FILES, "--classes", ",".join(CLASSES))
    assert found["pool"]["shapes"] == [[SIZE, 8]]
    assert found["pool"]["dtypes"] == ["float32"] and found["pool"]["bad_rows"] == 0
    counts = dict(zip(CLASSES, np.bincount(LABELS).tolist(), strict=True))
    assert found["holdout"]["counts"] == counts
    right = logits_of(PROBLEM["holdout_features"]).argmax(-1) == LABELS
    assert found["holdout"]["accuracy"] == pytest.approx(right.mean())
    rows = np.linspace(0, SIZE - 1, 2000).astype(int)
    predicted = np.bincount(logits_of(PROBLEM["features"][rows]).argmax(-1))
    assert list(found["predicted"]["counts"].values()) == predicted.tolist()
    judged = PROBLEM["holdout_features"], LABELS
    model = PROBLEM["features"][rows], [(PROBLEM["kernel"], PROBLEM["bias"])]
    exact = reference.look_ahead_changes(model[1], model[0], *judged).mean(axis=1)
    first_order = reference.iwps_app(model[1], model[0], *judged)
    expected = stats.spearmanr(exact, first_order).statistic
    assert found["agreement"]["spearman"] == pytest.approx(expected, abs=1e-4)
    best = set(np.argsort(-exact)[:200]) & set(np.argsort(-first_order)[:200])
    shared = found["agreement"]["overlap_of_best_tenth"]
    assert shared == pytest.approx(len(best) / 200, abs=0.01)
    told = " ".join(capsys.readouterr().out.split())
    assert "2,500 rows: 2,500 x 8 float32; all finite" in told
    assert "24 samples, 4 classes, from 5 (class cat) to 9 (class eel)" in told
    assert f"recommended {found['recommended']['method']}: " in told


def test_a_training_set_recommends_the_whole_batch(here, capsys):
    labels = np.arange(30) % 3
    np.savez("training.npz", features=np.eye(30, 8, dtype=np.float32), labels=labels)
    np.save("few.npy", PROBLEM["features"][:40])
    asked = ("--pool", "few.npy", *FILES[2:], "--training-set", "training.npz")
    found = report(*asked)
    assert found["recommended"]["method"] == "iwps_batch"
    assert list(found["training_set"]["counts"].values()) == [10, 10, 10, 0]
    assert "30 samples, 4 classes" in " ".join(capsys.readouterr().out.split())
    assert run("--classes", "a,b", "--training-set", "training.npz") == 2
    assert "training.npz" in capsys.readouterr().err


def test_draws_of_logits_are_looked_at(here):
    draws = np.zeros((9, 5, 4), np.float32)
    np.save("draws.npy", draws)
    found = report("--logits", "draws.npy")
    assert found["pool"]["shapes"] == [[9, 5, 4]]
    assert "bald" in found["recommended"]["reason"]
    draws[7, 2, 1] = np.nan
    np.save("draws.npy", draws)
    assert run("--logits", "draws.npy") == 2


@pytest.mark.parametrize("some", [FILES[:2], FILES[2:4], FILES[4:], FILES[:4]])
def test_any_of_the_files_alone_will_do(here, some):
    found = report(*some)
    assert {"pool", "head", "holdout"} & set(found) == {
        option.removeprefix("--") for option in some[::2]
    }
    method = "margin" if len(some) == 4 else None
    assert found["recommended"]["method"] == method


def test_logits_need_no_head(here):
    logits = np.float32(logits_of(PROBLEM["features"]))
    logits[:, 3] = -np.inf  # ruled out
    np.save("logits.npy", logits)
    found = report("--logits", "logits.npy", "--holdout", "holdout.npz")
    counts = list(found["predicted"]["counts"].values())
    assert sum(counts[:3]) == 2000 and counts[3] == 0
    assert found["recommended"]["method"] == "margin"
    logits[[5, 9], 0] = np.nan
    np.save("logits.npy", logits)
    assert run("--logits", "logits.npy") == 2


def test_rows_that_are_not_finite_are_named_at_the_end(here, capsys):
    bad = PROBLEM["features"].copy()
    bad[[3, 77], 1], bad[2400, 7] = np.nan, np.inf
    np.save("pool.npy", bad)
    assert run(*FILES, "--json", "report.json") == 2
    told = capsys.readouterr()
    assert "3 rows not finite" in told.out
    (sentence,) = told.err.strip().splitlines()
    assert sentence.startswith("pool.npy: ") and sentence.endswith(": 3, 77, 2400.")
    assert json.loads(Path("report.json").read_text())["pool"]["bad_rows"] == 3


NONE = pool_check.Rows(0, [])


@pytest.mark.parametrize("block_bytes", [1, 1000, 2**25])
def test_bad_rows_are_found_whatever_the_blocks(monkeypatch, block_bytes):
    monkeypatch.setattr(pool_check, "BLOCK_BYTES", block_bytes)
    pool = np.zeros((300, 4), np.float16)
    rows = list(range(7, 300, 13))
    pool[rows, 2] = np.inf
    assert pool_check.find_rows(pool, pool_check.are_bad) == [
        pool_check.Rows(len(rows), rows[:10])
    ]
    assert pool_check.find_rows(pool[8:20], pool_check.are_bad) == [NONE]


@pytest.mark.parametrize(
    ("numbers", "bad"),
    [
        (np.array([[1e300], [1e30], [np.nan]]), [0, 2]),
        (np.array([[2**40], [-5]]), [0]),
        (np.array([[2**32], [2**31]], np.uint64), [0]),
        (np.array([[255], [0]], np.uint8), []),
        (np.array([[np.inf], [1]], jax.numpy.bfloat16), [0]),
    ],
)
def test_numbers_must_fit_32_bits(numbers, bad):
    assert pool_check.find_rows(numbers, pool_check.are_bad)[0].first == bad


def test_a_large_pool_is_read_in_bounded_memory(here, monkeypatch):
    monkeypatch.setattr(pool_check, "BLOCK_BYTES", 2**20)
    np.lib.format.open_memmap("large.npy", "w+", np.float32, (4000, 1024))  # holes
    pool = np.load("large.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        assert pool_check.find_rows(pool, pool_check.are_bad) == [NONE]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * pool_check.BLOCK_BYTES < pool.nbytes / 4


# Answers


def test_answers_are_counted_and_held_to_pool_and_classes(here, capsys):
    Path("ids.txt").write_text("\n".join(f"r{row}" for row in range(SIZE)))
    lines = ["id,label", "r1,cat", "r2,eel", "r3,", "r4,SKIP", "r5,cat"]
    Path("answers.csv").write_text("\n".join(lines))
    asked = (*FILES[:4], "--ids", "ids.txt", "--labels", "answers.csv")
    found = report(*asked, "--classes", ",".join(CLASSES))["labels"]
    assert (found["labeled"], found["skipped"], found["open"]) == (3, 1, 1)
    assert found["counts"] == {"cat": 2, "dog": 0, "owl": 0, "eel": 1}
    for line, sentence in (
        (
            "r6,bird",
            "line 7: the label of 'r6' must be cat, dog, owl, eel, skip or unsure",
        ),
        ("x6,cat", "line 7: every id must be in the pool, got 'x6'"),
        ("r1,cat", "line 2 and line 7 both have r1"),
    ):
        Path("answers.csv").write_text("\n".join([*lines, line]))
        capsys.readouterr()
        assert run(*asked, "--classes", ",".join(CLASSES)) == 2
        told = capsys.readouterr()
        assert sentence in told.err and told.out == ""


def test_answers_without_names_are_class_numbers():
    answers = [Answer("a", "3", 2), Answer("b", "", 3), Answer("c", "skip", 4)]
    assert check.label_numbers("a.csv", answers, None, 4) == [3, None, -1]
    assert check.label_numbers("a.csv", answers, None, None) == [3, None, -1]
    with pytest.raises(
        FileError, match="line 2: .* must be 0, 1, 2, skip or unsure, got '3'"
    ):
        check.label_numbers("a.csv", answers, None, 3)
    with pytest.raises(FileError, match="line 2: .* must be a class number, skip"):
        check.label_numbers("a.csv", [Answer("a", "cat", 2)], None, None)


HUGE = (
    "labels must be class numbers below 1,000 if only 2 of them occur, got 2147483647"
)


def test_numbers_too_large_for_classes_take_no_memory(here, capsys):
    Path("a.csv").write_text(f"id,label\n1,3\n2,{2**31 - 1}\n")
    np.savez("h.npz", features=np.ones((2, 8)), labels=[1, 2**31 - 1])
    for option, where in (("--labels", "a.csv: line 3"), ("--holdout", "h.npz: row 1")):
        assert run(option, where.partition(":")[0]) == 2
        told = capsys.readouterr().err
        assert told == f"{where}: {HUGE}: if it is a class, give --classes.\n"
    Path("a.csv").write_text("id,label\n1,3\n2,999\n")
    assert report("--labels", "a.csv")["labels"]["labeled"] == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "check needs a file, such as --pool."),
        (("--pool", "no.npy"), "no.npy does not exist."),
        ((*FILES, "--pool", "wide.npy"), "must have 8 columns like the head's kernel"),
        ((*FILES, "--json", "none/r.json"), "--json must be in a folder that exists"),
        ((*FILES[:2], "--holdout", "head.npz"), "got bias, kernel."),
        ((*FILES[4:], "--classes", "a,b,c"), "labels must be in [0, 3) for 3 classes"),
    ],
)
def test_a_refusal_is_one_sentence(here, capsys, arguments, sentence):
    np.save("wide.npy", np.zeros((3, 9), np.float32))
    before = sorted(here.iterdir())
    assert run(*arguments) == 2
    told = capsys.readouterr()
    assert sentence in told.err and len(told.err.strip().splitlines()) == 1
    assert told.out == "" and sorted(here.iterdir()) == before


# Advice


EVEN, ENOUGH = [100] * 4, [5] * 4


def as_arrays(given):
    return {
        name: np.array(value) if isinstance(value, list) else value
        for name, value in given.items()
    }


@pytest.mark.parametrize(
    ("files", "method", "said"),
    [
        ({}, "iwps", "iwps_batch also needs the samples"),
        ({"has_labels": True}, "iwps_batch", "which classes are rare"),
        ({"holdout": None}, "margin", "nothing can judge"),
        ({"holdout": None, "has_labels": True}, "balanced_herding", "each class as"),
        ({"predicted": [300, 100, 100, 90]}, "iwps", "3.33 times as many rows"),
        ({"predicted": [500, 500, 500, 0]}, "iwps", "500 times as many rows"),
        ({"agreement": 0.995}, "iwps", "correlation 0.995) and is cheaper"),
        ({"predicted": None}, None, "give --pool with --head"),
        ({"predicted": None, "holdout": None}, None, "give --pool with --head"),
    ],
)
def test_advice_at_its_corners(files, method, said):
    given = {"predicted": EVEN, "holdout": ENOUGH, "classes": CLASSES, **files}
    told = advice.advise(**as_arrays(given))
    assert told.method == method and said in told.reason
    assert told.warnings == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"holdout": [5, 5, 5, 0]}, "has no sample of eel"),
        ({"holdout": [5, 1, 5, 5]}, "has fewer than 5 samples of dog (1)"),
    ],
)
def test_what_may_spoil_it_is_said(files, said):
    given = {"predicted": EVEN, "holdout": ENOUGH, "classes": CLASSES, **files}
    (warning,) = advice.advise(**as_arrays(given)).warnings
    assert said in warning


def one_hot_head(classes):
    """A head whose prediction is the largest feature."""
    eye = np.eye(classes, dtype=np.float32)
    return Head(eye, np.zeros(classes, np.float32))


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (
            1,
            r"right on only 0% .* 100% .* moved by -1: are the labels counted from 1\?",
        ),
        (-1, r"only 0% .* 100% .* moved by \+1: are the labels too low by 1"),
        (2, "counted from 1, or in another order than the features"),
        (0, None),
    ],
)
def test_a_head_that_is_near_chance_is_warned_of_with_causes(shift, said):
    predicted = np.arange(60) % 6 + 2
    eye = np.eye(10, dtype=np.float32)
    holdout = Holdout(eye[predicted], predicted + shift)
    warnings = advice.head_warnings(one_hot_head(10), holdout)
    assert len(warnings) == (said is not None)
    assert not warnings or re.search(said, warnings[0])


def test_labels_in_another_order_are_warned_of():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    holdout = Holdout(np.eye(4, dtype=np.float32)[rng.permutation(labels)], labels)
    (warning,) = advice.head_warnings(one_hot_head(4), holdout)
    assert "in another order" in warning


def test_many_missing_classes_are_counted():
    names = [str(c) for c in range(100)]
    (warning,) = advice.holdout_warnings(np.arange(100) // 50 * 5, names)
    assert "no sample of 0, 1, 2, 3, 4 and 45 more:" in warning


# Agreement of two scores


@given_that(
    st.lists(st.tuples(st.integers(0, 5), st.floats(-9, 9)), min_size=2, max_size=30)
)
def test_rank_correlation_is_spearmans(pairs):
    one, other = np.array(pairs).T
    found = advice.rank_correlation(one, other)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert np.isnan(found)
    else:
        expected = stats.spearmanr(one, other).statistic
        assert found == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(advice.average_ranks(one), stats.rankdata(one) - 1)


def test_overlap_counts_the_best_of_both():
    values = np.arange(100)
    assert advice.overlap_of_best(values, values**2) == 1.0
    moved = np.where(values >= 95, 0, values)
    assert advice.overlap_of_best(values, moved) == 0.5
    assert advice.overlap_of_best(values[:3], values[:3]) == 1.0
