"""Real runs of the methods on digits: files, numbers, and what is done once.

The full form runs all eleven. Without it two are left out that a run treats like
others: BALD reads the draws of MC-Dropout, and error reduction takes the longest to
compile. `tests/test_methods.py` holds them to the contract of all.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import shutil
from collections import Counter
from types import SimpleNamespace
from typing import NamedTuple

import jax
import numpy as np
import pytest
from kept_programs import Programs

from experiments import mnist_imbalanced
from experiments.classification.config import Config
from experiments.classification.methods import METHODS
from experiments.data import datasets
from experiments.engine import checkpoint, rounds

SEEDS, ROUNDS, ACQUIRE_SIZE = 2, 2, 50
NUM_INITIAL = 5 * 20 + 5 * 2
SECONDS = ("fit_seconds", "score_seconds", "test_seconds", "compile_seconds")
LINE = (
    *("method", "seed", "round", "num_labeled", "test_accuracy"),
    *("balanced_accuracy", "wrong_rate", "minority_rate", *SECONDS),
)
FILES = {
    *("config.json", "splits.npz", "metrics.jsonl", "picks.jsonl"),
    *("summary.json", "curves.png", "selected.png", "report.html", "checkpoints"),
}


MAX_STEPS = 50  # of training: an accuracy of 75 %; training would stop after some 200
CONFIG = Config(dataset="digits", seeds=2, rounds=2, max_steps=MAX_STEPS)
PROGRAMS = Programs(optimized=("fit", "error_reduction"))
LEFT_TO_FULL = ("bald", "error_reduction")


def smoke(out, *options):
    short = ("--max-steps", MAX_STEPS)
    return ["--smoke", "--out", str(out), *map(str, (*short, *options))]


def run_main(*arguments, programs=PROGRAMS):
    """Runs the study with kept programs; returns what it printed."""
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        programs.install(patch)
        mnist_imbalanced.main(arguments)
    return output.getvalue()


def raw(out, kind):
    return (out / f"{kind}.jsonl").read_text().splitlines()


def read(out, kind):
    return [json.loads(line) for line in raw(out, kind)]


def without_seconds(lines):
    return [{k: v for k, v in line.items() if k not in SECONDS} for line in lines]


def hashes(out):
    """What is in the files that a run writes, checkpoints aside."""
    return {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest()
        for name in FILES - {"checkpoints"}
    }


def mean(finished, key, method, round_):
    """A metric's mean over the seeds."""
    place = method, round_
    chosen = [m for m in finished.metrics if (m["method"], m["round"]) == place]
    return np.mean([line[key] for line in chosen])


class Finished(NamedTuple):
    out: object
    options: list
    methods: tuple
    printed: str
    metrics: list
    picks: list
    splits: dict
    counts: dict


@pytest.fixture(scope="module")
def finished(request, tmp_path_factory):
    """The methods, two seeds, two rounds: run once for all tests."""
    out = tmp_path_factory.mktemp("run") / "out"
    is_full = any(item.get_closest_marker("full") for item in request.session.items)
    methods = tuple(m for m in METHODS if is_full or m not in LEFT_TO_FULL)
    options = smoke(out) if is_full else smoke(out, "--methods", *methods)
    before = Counter(PROGRAMS.counts)
    printed = run_main(*options)
    counts = {k: n - before[k] for k, n in PROGRAMS.counts.items()}
    with np.load(out / "splits.npz") as stored:
        splits = dict(stored)
    metrics, picks = read(out, "metrics"), read(out, "picks")
    return Finished(out, options, methods, printed, metrics, picks, splits, counts)


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


# The files.


def test_the_folder_holds_what_was_promised_and_nothing_else(finished):
    assert {path.name for path in finished.out.iterdir()} == FILES
    checkpoints = finished.out / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {*finished.methods}
    for method in finished.methods:
        # One after every round, the last three kept.
        assert {p.name for p in (checkpoints / method).iterdir()} == {"1", "2", "3"}


def test_config_says_settings_versions_source_and_hash(finished, digits):
    config = json.loads((finished.out / "config.json").read_text())
    settings = dataclasses.replace(CONFIG, methods=finished.methods).settings()
    assert {k: v for k, v in config.items() if k in settings} == settings
    assert config["data_source"] == digits.source
    assert config["data_sha256"] == digits.sha256
    assert config["versions"]["jax"] == jax.__version__


@pytest.mark.parametrize("kind", ["metrics", "picks"])
def test_there_is_a_line_per_method_seed_and_round_in_order(finished, kind):
    rounds = ROUNDS + (kind == "metrics")
    methods, seeds = finished.methods, range(SEEDS)
    assert [
        (line["method"], line["round"], line["seed"])
        for line in getattr(finished, kind)
    ] == [(m, r, s) for m in methods for r in range(rounds) for s in seeds]


def test_metrics_have_every_key_and_legal_values(finished):
    for line in finished.metrics:
        assert tuple(line) == LINE
        assert line["num_labeled"] == NUM_INITIAL + ACQUIRE_SIZE * line["round"]
        assert 0 <= line["test_accuracy"] <= 1
        assert 0 <= line["balanced_accuracy"] <= 1
        # The fit before the first picks is the same for all methods and done once.
        is_shared = line["round"] == 0 and line["method"] != finished.methods[0]
        assert line["fit_seconds"] > 0 or is_shared
        for name in ("wrong_rate", "minority_rate", "score_seconds"):
            if line["round"] == ROUNDS:
                assert line[name] is None
            else:
                assert line[name] >= 0
                assert name == "score_seconds" or line[name] <= 1


def test_summary_and_table_name_every_method(finished):
    summary = json.loads((finished.out / "summary.json").read_text())
    assert set(summary["methods"]) == {*finished.methods}
    assert (summary["seeds"], summary["rounds"]) == ([0, 1], ROUNDS)
    assert summary["notes"] == ["Two seeds: no interval, no verdict."]
    table = finished.printed.partition("Digits, 2 seeds, 2 rounds")[2]
    for shown in ("Random", "MC-Dropout", "IWPS-app", "IWPS "):
        assert shown in table
    is_run = "error_reduction" in finished.methods
    assert is_run == ("Err-Reduction" in table)
    for name in ("curves.png", "selected.png"):
        assert (finished.out / name).read_bytes().startswith(b"\x89PNG")


def test_every_finished_round_was_one_printed_line(finished):
    lines = [line for line in finished.printed.splitlines() if " round " in line]
    assert len(lines) == len(finished.methods) * (ROUNDS + 1)
    accuracy = np.mean([m["test_accuracy"] for m in finished.metrics[-SEEDS:]])
    said = f"IWPS-batch round 2/2: 210 labels, accuracy {100 * accuracy:.1f}"
    assert said in lines[-1]


# The numbers.


def test_picks_are_new_global_ids_of_the_seeds_pool(finished, digits):
    splits = finished.splits
    for method in finished.methods:
        for seed in range(SEEDS):
            lines = [
                line
                for line in finished.picks
                if (line["method"], line["seed"]) == (method, seed)
            ]
            ids = np.concatenate([line["ids"] for line in lines])
            assert len(set(ids)) == len(ids) == ROUNDS * ACQUIRE_SIZE
            pool = splits["pool_ids"][seed]
            labeled = splits["labeled"][seed]
            assert labeled.sum() == NUM_INITIAL
            assert set(ids) <= set(pool[~labeled])
            assert not set(ids) & set(splits["holdout_ids"][seed])
            true = np.concatenate([line["true"] for line in lines])
            np.testing.assert_array_equal(digits.train_labels[ids], true)


def test_rates_are_those_of_the_picks(finished):
    metrics = {(m["method"], m["seed"], m["round"]): m for m in finished.metrics}
    for line in finished.picks:
        entry = metrics[line["method"], line["seed"], line["round"]]
        true, predicted = np.array(line["true"]), np.array(line["predicted"])
        minority = finished.splits["minority_classes"][line["seed"]]
        assert entry["wrong_rate"] == pytest.approx(np.mean(true != predicted))
        assert entry["minority_rate"] == pytest.approx(np.mean(np.isin(true, minority)))


def test_all_methods_start_from_the_same_models(finished):
    first = [m for m in finished.metrics if m["round"] == 0]
    for seed in range(SEEDS):
        lines = [m for m in first if m["seed"] == seed]
        assert len({(m["test_accuracy"], m["balanced_accuracy"]) for m in lines}) == 1


def test_accuracy_is_that_of_the_checkpoint_and_the_last_model(finished, digits):
    """The last line's accuracy, recomputed in NumPy from the stored weights."""
    made = PROGRAMS.make_study(CONFIG)
    with checkpoint.open_folder(
        finished.out / "checkpoints" / finished.methods[-1]
    ) as manager:
        step, state, _ = checkpoint.restore_latest(manager, made.first_state)
    assert step == ROUNDS + 1
    assert (state.round == ROUNDS).all()
    pixels = digits.train_images.astype(np.float32) / 255
    inputs = digits.test_images.reshape(len(digits.test_images), -1) / 255
    inputs = (inputs - pixels.mean()) / pixels.std()
    layers = jax.tree.map(np.asarray, state.train_state.variables.params)
    for seed in range(SEEDS):

        def dense(inputs, name, seed=seed):
            return inputs @ layers[name]["kernel"][seed] + layers[name]["bias"][seed]

        hidden = np.maximum(dense(inputs, "hidden_0"), 0)
        logits = dense(np.maximum(dense(hidden, "hidden_1"), 0), "head")
        right = logits.argmax(-1) == digits.test_labels
        recalls = [right[digits.test_labels == c].mean() for c in range(10)]
        line = finished.metrics[-SEEDS + seed]
        # One of 355 test samples may sit on the fence between two classes.
        assert line["test_accuracy"] == pytest.approx(right.mean(), abs=0.003)
        assert line["balanced_accuracy"] == pytest.approx(np.mean(recalls), abs=0.003)


@pytest.mark.parametrize("method", ["entropy", "margin", "coreset", "badge", "iwps"])
def test_labels_help(finished, method):
    """A trend with room: three points from 110 to 210 labels, where 9 were seen."""
    first, last = (mean(finished, "test_accuracy", method, r) for r in (0, ROUNDS))
    assert first > 0.7
    assert last > first + 0.03


def test_uncertain_samples_are_wrong_more_often_than_random_ones(finished):
    random = mean(finished, "wrong_rate", "random", 0)
    for method in ("margin", "badge", "iwps"):
        assert mean(finished, "wrong_rate", method, 0) > random + 0.1


# Once, again, and side by side.


def test_everything_is_traced_and_compiled_once(finished):
    """Training for all methods, a score for all rounds; the seeds under vmap."""
    assert finished.counts["traced", "fit"] == 1
    for method in finished.methods:
        assert finished.counts["traced", method] == 1, method
        assert finished.counts["asked for", method] == 1, method


def test_the_same_run_elsewhere_picks_the_same(finished, tmp_path):
    """In another order and company: no method knows of the others."""
    methods = ("iwps", "badge", "mc_dropout", "random")
    run_main(*smoke(tmp_path / "out", "--methods", *methods))
    lines = raw(finished.out, "picks")
    assert raw(tmp_path / "out", "picks") == [
        line for method in methods for line in lines if f'"{method}"' in line
    ]
    metrics = without_seconds(read(tmp_path / "out", "metrics"))
    assert sorted(metrics, key=str) == sorted(
        (m for m in without_seconds(finished.metrics) if m["method"] in methods),
        key=str,
    )


def test_a_finished_run_started_again_does_nothing(finished, monkeypatch):
    def refuse(*_):
        raise AssertionError("a finished run must not train or score again")

    before = hashes(finished.out)
    monkeypatch.setattr(rounds, "_timed", refuse)
    monkeypatch.setattr(checkpoint, "save", refuse)
    printed = run_main(*finished.options)
    assert hashes(finished.out) == before
    table = "Digits, 2 seeds, 2 rounds"
    assert printed.partition(table)[2] == finished.printed.partition(table)[2] != ""


def test_starting_anew_runs_again(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    (out / "picks.jsonl").write_text("changed by hand\n")
    run_main(*smoke(out, "--methods", "margin", "--no-resume"))
    picks = [line for line in finished.picks if line["method"] == "margin"]
    assert read(out, "picks") == picks
    assert {p.name for p in (out / "checkpoints").iterdir()} == {"margin"}


@pytest.mark.full
def test_a_seed_alone_does_what_it_does_beside_others(finished, tmp_path):
    """Equal but for rounding: products are batched, and their sums reordered."""
    out = tmp_path / "out"
    run_main(*smoke(out, "--seeds", 1, "--methods", "random", "margin"))
    for method in ("random", "margin"):
        alone, beside = (
            [m for m in lines if (m["method"], m["seed"]) == (method, 0)]
            for lines in (read(out, "metrics"), finished.metrics)
        )
        for key, tolerance in (("num_labeled", 0), ("test_accuracy", 0.03)):
            np.testing.assert_allclose(
                [m[key] for m in alone], [m[key] for m in beside], atol=tolerance
            )
        alone, beside = (
            [m["ids"] for m in lines if (m["method"], m["seed"]) == (method, 0)]
            for lines in (read(out, "picks"), finished.picks)
        )
        if method == "random":
            assert alone == beside
        assert len(set(alone[0]) & set(beside[0])) >= 0.9 * ACQUIRE_SIZE


def test_training_does_not_see_labels_that_were_not_bought(finished):
    """Scores and selectors get no labels at all; training gets them with a mask."""
    del finished
    made = PROGRAMS.make_study(CONFIG)
    state = made.first_state
    lies = jax.numpy.where(state.labeled, made.pool_labels, (made.pool_labels + 1) % 10)
    train = made.compile_train()
    honest = train(made.keys, state, made.view, made.pool_labels)
    deceived = train(made.keys, state, made.view, lies)
    for one, other in zip(
        jax.tree.leaves(honest.train_state),
        jax.tree.leaves(deceived.train_state),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_scores_that_are_not_finite_stop_the_run(finished, tmp_path, monkeypatch):
    del finished

    def acquire(keys, state, view, pool_labels):
        info = SimpleNamespace(num_nonfinite=np.array([0, 3]))
        return state, info

    monkeypatch.setattr(PROGRAMS, "compile_acquire", lambda *_: acquire)
    error = io.StringIO()
    with pytest.raises(SystemExit) as exit_, contextlib.redirect_stderr(error):
        run_main(*smoke(tmp_path / "out", "--methods", "margin"))
    assert exit_.value.code == 2
    assert "margin gave 3 scores that are not finite in round 0" in error.getvalue()
    assert read(tmp_path / "out", "picks") == read(tmp_path / "out", "metrics") == []
