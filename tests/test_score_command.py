"""`iwps score` by one process: its picks, and what it refuses."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from score_runs import (
    FROM_FILES,
    MODEL,
    PICKED,
    WIDTH,
    model,
    picks,
    run,
    several,
)
from score_runs import files as files
from score_runs import here as here

import iwps_jax
from iwps_jax.__main__ import main

WRONG = """
number = lambda: 3
column = lambda: lambda rows: rows[:, :1]
counts = lambda: lambda rows: rows[:, 0].astype("int32")
score = lambda rows: rows[:, 0]
"""


def test_picks_are_those_of_the_library(here):
    assert run(*FROM_FILES) == 0
    score = partial(iwps_jax.iwps_last_layer, **model())
    top = iwps_jax.top_k_of_pool(score, np.load("features.npy"), PICKED)
    assert picks("picks.csv") == list(
        zip(top.rows.tolist(), top.scores.tolist(), strict=True)
    )


@pytest.mark.parametrize("score", ["entropy", "margin", "least_confidence"])
def test_scores_of_logits_need_no_model(here, score):
    logits = np.load("features.npy")[:100, :5]
    np.save("logits.npy", logits)
    asked = ("--method", score, "--k", 10, "--out", "some/p.csv")
    assert run("--logits", "logits.npy", *asked) == 0
    expected = iwps_jax.top_k(getattr(iwps_jax, score)(np.float32(logits)), 10)
    assert [row for row, _ in picks("some/p.csv")] == expected.tolist()


def test_labeled_rows_are_never_picked(here):
    assert run(*FROM_FILES) == 0
    first = [row for row, _ in picks("picks.csv")]
    np.save("labeled.npy", first[:10])
    Path("labeled.txt").write_text("\n".join(map(str, first[:10])))
    for name in ("labeled.npy", "labeled.txt"):
        assert run(*FROM_FILES, "--labeled", name, "--out", "next.csv") == 0
        assert [row for row, _ in picks("next.csv")][:15] == first[10:]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*FROM_FILES, "--seed", "-1"), "--seed must be at least 0"),
        ((*FROM_FILES, "--seed", str(2**32)), "--seed must be at least 0"),
        (
            ("--pool", "features.npy", "--training-set", "features.npy"),
            "features.npy must be an .npz or .safetensors file",
        ),
        ((*FROM_FILES, "--out", "/dev/null"), "must name a file that can be replaced"),
        ((*MODEL, "--pool", "huge.npy"), "huge.npy: numbers of float64 do not fit"),
        ((*MODEL, "--pool", "long.npy"), "long.npy must hold numbers of at most 64"),
        *[
            (
                ("--pool", "features.npy", "--method", f"wrong:{name}"),
                f"wrong:{name} must {sentence}",
            )
            for name, sentence in {
                "number": "return a function of rows, got int",
                "column": "return one floating-point number for each row, got float16[",
                "counts": "return one floating-point number for each row, got int32[8]",
                "score": "need no argument, and return a pool or a score: missing",
            }.items()
        ],
        (("--pool", "wrong:number", "--method", "random"), "wrong:number: "),
        (  # before the first scan, which would show its progress
            ("--pool", "features.npy", "--method", "random,wrong:number"),
            "wrong:number must return a function of rows",
        ),
        (("--pool", "features.npy", "--method", "margin"), "margin needs --head."),
        (("--pool", "few.txt", *MODEL), "must end in .npy, .npz or .safetensors"),
        (
            (*FROM_FILES, "--method", "blad"),
            "unknown method 'blad': did you mean 'bald'?",
        ),
        ((*FROM_FILES, "--method", "iwps,iwps"), "must name each method once, got"),
        ((*FROM_FILES, "--method", "iwps,"), "--method must name each method once"),
        ((*FROM_FILES, "--head", "features.npy"), "with kernel and bias"),
        ((*FROM_FILES, "--head", "no.npz"), "no.npz does not exist."),
        ((*FROM_FILES, "--head", "holdout.npz"), "bias, got features, labels."),
        ((*FROM_FILES, "--pool", "narrow.npy"), "narrow.npy must have 16 columns"),
        ((*FROM_FILES, "--holdout", "narrow.npz"), "narrow.npz must have 16 columns"),
        (
            (*FROM_FILES, "--holdout", "more.npz"),
            "[0, 5) for 5 classes, got 5 in row 5",
        ),
        ((*FROM_FILES, "--classes", "a,b"), "must name 5 classes, like the head or lo"),
        (
            (*FROM_FILES, "--ids", "few.txt"),
            "each of the 50,003 rows of the pool, got 2",
        ),
        (("--pool", "no_module:pool", *MODEL), "no_module:pool cannot be called"),
        (("--pool", "no.module:f", *MODEL), "there is no module no.module."),
        (("--pool", "json.no:f", *MODEL), "there is no module json.no."),
        (("--pool", "json:no", *MODEL), "json has no no."),
        (("--pool", "./x:y", *MODEL), "./x:y must be a file or module:function"),
        (("--pool", "C:\\x.npy", *MODEL), "C:\\x.npy does not exist"),
        ((*FROM_FILES, "--method", "no.module:f"), "there is no module no.module."),
        ((*FROM_FILES, "--labeled", "outside.npy"), "must hold rows in [0, 50003)"),
        (
            (*FROM_FILES, "--labeled", "outside.csv"),
            "line 3: every id must be in the pool, got",
        ),
        (
            (*FROM_FILES, "--labeled", "few.txt"),
            "few.txt: line 1: every id must be in the pool, got",
        ),
        (
            (*FROM_FILES, "--labeled", "a.json"),
            "a.json must be an .npy file of rows, or",
        ),
        ((*FROM_FILES, "--chunk-size", "0"), "--chunk-size must be at least 1"),
        ((*FROM_FILES, "--k", "0"), "--k must be at least 1"),
        ((*FROM_FILES, "--k", "50004"), "at most the 50003 that may be picked"),
        ((*FROM_FILES, "--steps", "0"), "steps must be at least 1, got 0"),
        ((*FROM_FILES, "--folder", "."), "other files"),
        ((*FROM_FILES, "--out", "."), "--out must name a file, got the folder"),
        ((*FROM_FILES, "--out", "few.txt/p.csv"), "must be in a folder that can be w"),
        ((*FROM_FILES, "--coordinator", "127.0.0.1:1"), "must be given together"),
        ((*FROM_FILES, *several("nonsense", 0)), "must be host:port: nonsense"),
        ((*FROM_FILES, *several("a:1", 2)), "--process must be in [0, 2), got 2"),
        ((*FROM_FILES, "--peer-timeout", "0"), "--peer-timeout must be at least 1"),
        ((*FROM_FILES, "--method", "entropy", "--steps", "4"), "not to entropy"),
        (
            (*FROM_FILES, "--explain", "--rarity", "0"),
            "--rarity applies only to balanced_herding, not to iwps",
        ),
        (("--pool", "csv:no_function", *MODEL), "csv has no no_function"),
        (
            ("--logits", "narrow.npy", "--method", "iwps"),
            "--method iwps needs --pool and --head and --ho",
        ),
        (
            ("--logits", "narrow.npy", "--head", "head.npz", "--method", "margin"),
            "--head needs features",
        ),
        (("--pool", "narrow.npy", "--method", "random", "--explain"), "needs a --head"),
    ],
)
def test_a_refusal_is_one_sentence_and_no_picks(here, capfd, arguments, sentence):
    np.save("outside.npy", [50_003])
    np.save("narrow.npy", np.zeros((9, 5), np.float32))
    np.savez("narrow.npz", features=np.zeros((9, 5)), labels=np.zeros(9, int))
    np.savez("more.npz", features=np.zeros((9, WIDTH)), labels=np.arange(9) % 7)
    np.save("huge.npy", np.full((9, WIDTH), 1e200))
    np.save("long.npy", np.zeros((9, WIDTH), np.longdouble))
    Path("wrong.py").write_text(WRONG)
    Path("few.txt").write_text("a\nb\n")
    Path("outside.csv").write_text("id,label\n3,1\n50003,\n")
    before = sorted(here.rglob("*"))
    k = () if "--k" in arguments else ("--k", 5)
    assert run(*arguments, *k) == 2
    *warnings, line = capfd.readouterr().err.strip().splitlines()
    assert sentence in line
    assert all("the head is right on only" in warning for warning in warnings)
    assert sorted(here.rglob("*")) == before


def some_probabilities(draws=None):
    shape = (300, 5) if draws is None else (300, draws, 5)
    weights = np.exp(np.random.default_rng(0).normal(size=shape))
    return weights / weights.sum(-1, keepdims=True)


PROBABILITIES = {
    "float32": some_probabilities().astype(np.float32),
    "float16": some_probabilities().astype(np.float16),
    "three decimals": some_probabilities().round(3),
    "draws": some_probabilities(draws=4),
    "one-hot": np.eye(5, dtype=np.int64)[np.arange(300) % 5],
}


@pytest.mark.parametrize("kind", PROBABILITIES)
def test_probabilities_are_no_logits(here, capfd, kind):
    np.save("p.npy", PROBABILITIES[kind])
    method = "bald" if kind == "draws" else "margin"
    before = {path.name for path in here.iterdir()}
    arguments = ("--logits", "p.npy", "--method", method, "--k", "3")
    with pytest.raises(SystemExit, match="2"):
        main(["score", *arguments, "--out", "new.csv"])
    with pytest.raises(SystemExit, match="2"):
        main(["check", "--logits", "p.npy"])
    for line in capfd.readouterr().err.splitlines():
        assert line.startswith("p.npy must hold logits, but its rows look like prob")
        assert line.endswith("Pass np.log(p).")
    assert {path.name for path in here.iterdir()} == before


def test_logits_that_only_resemble_probabilities_are_taken(here):
    one_is_not = some_probabilities()
    one_is_not[137, 2] += 0.1
    for logits in (np.log(some_probabilities()), one_is_not, -one_is_not):
        np.save("z.npy", logits)
        assert run("--logits", "z.npy", "--method", "margin", "--k", "3") == 0


def test_an_error_in_the_callers_code_is_shown_where_it_is(here, capfd):
    Path("my_code.py").write_text("def score():\n    return lambda rows: rows + 'a'\n")
    assert run("--pool", "features.npy", "--method", "my_code:score", "--k", 5) == 1
    assert "my_code.py" in capfd.readouterr().err


def test_nan_is_reported_and_nothing_is_picked(here, capfd):
    features = np.load("features.npy")
    features[[12_345, 45_678]] = np.nan
    np.save("damaged.npy", features)
    assert run(*FROM_FILES, "--pool", "damaged.npy") == 2
    assert ": 12345" in capfd.readouterr().err
    assert not Path("picks.csv").exists()
