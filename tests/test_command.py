"""The command line and the display: promises, refusals, and in which words."""

import dataclasses
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_output import words
from kept_programs import Programs
from rich.console import Console

from experiments import mnist_imbalanced
from experiments.classification import command, run
from experiments.classification.config import Config
from experiments.classification.methods import METHODS
from experiments.data import datasets
from experiments.engine import rounds, run_folder
from experiments.engine.progress import Progress
from iwps_jax.refusal import Refusal

PROMISED = (
    "--methods",
    "--seeds",
    "--rounds",
    "--base-size",
    "--imbalance",
    "--acquire-size",
    "--holdout-per-class",
    "--steps",
    "--learning-rate",
    "--max-steps",
    "--network",
    "--dataset",
    "--data-dir",
    "--out",
    "--resume",
    "--no-resume",
    "--smoke",
)
COUNTS = (
    "seeds",
    "rounds",
    "base_size",
    "imbalance",
    "acquire_size",
    "holdout_per_class",
    "steps",
)


PROGRAMS = Programs()


def option(name):
    return "--" + name.replace("_", "-")


@pytest.fixture
def parsed(monkeypatch):
    """Calls main and returns the settings that would have been run."""

    def parse(*arguments):
        configs = []
        with monkeypatch.context() as patch:
            patch.setattr(command, "run", configs.append)
            patch.setattr(command, "print_table", lambda summary: None)
            mnist_imbalanced.main([*map(str, arguments)])
        (config,) = configs
        return config

    return parse


@pytest.fixture
def refused(capsys, tmp_path):
    """Calls main, which must refuse: exit code 2, a sentence, no folder made."""

    def refuse(*arguments):
        out = tmp_path / "never_made"
        with pytest.raises(SystemExit) as exit_:
            mnist_imbalanced.main([*map(str, arguments), "--out", str(out)])
        assert exit_.value.code == 2
        assert not out.exists()
        output = capsys.readouterr()
        assert "Traceback" not in output.out + output.err
        return words(output.out + output.err)

    return refuse


# What is promised.


def test_defaults_are_the_papers_setting(parsed):
    assert dataclasses.asdict(parsed()) == {
        "methods": METHODS,
        "seeds": 5,
        "first_seed": 0,
        "rounds": 6,
        "base_size": 20,
        "imbalance": 10,
        "distribution": "minority",
        "acquire_size": 50,
        "holdout_per_class": 5,
        "pool_per_class": None,
        "steps": 3,
        "learning_rate": None,
        "warm_start": False,
        "max_steps": 2000,
        "network": "mlp",
        "dataset": "mnist",
        "test_sets": ("official",),
        "data_dir": None,
        "out": Path("runs/mnist_imbalanced"),
        "resume": True,
    }
    assert parsed().look_ahead_rate == 1e-3
    assert parsed("--network", "resnet18").look_ahead_rate == 1e-4
    assert len(METHODS) == 11


def test_the_ratio_of_the_classes_chooses_its_own_settings(parsed):
    """At 1/20 the validation set is a tenth of the initial set, unless told."""
    config = parsed("--imbalance", 20)
    assert (config.base_size, config.holdout_per_class) == (40, 2)
    assert config.out == Path("runs/mnist_imbalanced_20")
    own = parsed("--imbalance", 20, "--base-size", 30, "--holdout-per-class", 3)
    assert (own.base_size, own.holdout_per_class) == (30, 3)
    assert parsed("--imbalance", 5) == dataclasses.replace(parsed(), imbalance=5)


def test_a_variant_that_asks_for_more_than_is_held_out_is_refused(refused):
    text = refused("--methods", "random", "iwps_holdout_10")
    assert "holdout_per_class must be at least 10 for iwps_holdout_10, got 5" in text


def test_help_lists_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as exit_:
        mnist_imbalanced.main(["--help"])
    assert exit_.value.code == 0
    text = words(capsys.readouterr().out)
    assert "python -m experiments.mnist_imbalanced --smoke" in text
    for name in PROMISED:
        assert name in text, name
    for value in ("mnist", "runs/mnist_imbalanced", "1e-3", "50", "mc_dropout"):
        assert value in text, value


def test_every_option_reaches_the_run(parsed, tmp_path):
    config = parsed(
        *("--methods", "iwps", "random", "--seeds", 3, "--rounds", 4),
        *("--base-size", 11, "--imbalance", 5, "--acquire-size", 7),
        *("--holdout-per-class", 2, "--steps", 1, "--learning-rate", 0.5),
        *("--dataset", "digits", "--data-dir", tmp_path / "data"),
        *("--network", "resnet18", "--max-steps", 77),
        *("--first-seed", 9, "--pool-per-class", 99),
        *("--distribution", "long_tailed", "--test-sets", "official", "pool"),
        *("--out", tmp_path / "out", "--no-resume", "--warm-start"),
    )
    assert dataclasses.astuple(config) == (
        *(("iwps", "random"), 3, 9, 4, 11, 5, "long_tailed", 7, 2, 99, 1, 0.5),
        *(True, 77, "resnet18", "digits", ("official", "pool")),
        *(tmp_path / "data", tmp_path / "out", False),
    )


def test_smoke_is_small_and_has_every_method(parsed):
    config = parsed("--smoke")
    assert (config.dataset, config.seeds, config.rounds) == ("digits", 2, 2)
    assert config.methods == METHODS
    assert config.out != Config().out


@pytest.mark.parametrize("last", [True, False])
def test_smoke_goes_with_other_options_in_any_order(parsed, last):
    others = ["--methods", "iwps", "badge", "--rounds", "3", "--no-resume"]
    config = parsed(*others, "--smoke") if last else parsed("--smoke", *others)
    assert (config.methods, config.rounds) == (("iwps", "badge"), 3)
    assert (config.dataset, config.seeds, config.resume) == ("digits", 2, False)


# What is refused.


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [
        ("--lerning-rate", "--learning-rate"),
        ("--method", "--methods"),
        ("--seed", "--seeds"),
        ("--acquire-sise", "--acquire-size"),
        ("--smok", "--smoke"),
        ("--resum", "--resume"),
        ("--data_dri", "--data-dir"),
    ],
)
def test_a_typo_in_an_option_is_refused_with_the_nearest(refused, typo, nearest):
    text = refused(typo, "1")
    assert typo in text
    assert re.search(rf"Perhaps you meant.* {nearest}\b", text)


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [
        ("iwsp", "iwps"),
        ("IWPS", "iwps"),
        ("iwps-app", "iwps_app"),
        ("core-set", "coreset"),
        ("mcdropout", "mc_dropout"),
        ("error_reductoin", "error_reduction"),
        ("badges", "badge"),
    ],
)
def test_a_typo_in_a_method_is_refused_with_the_nearest(refused, typo, nearest):
    text = refused("--methods", "random", typo)
    assert f"unknown method '{typo}': did you mean '{nearest}'?" in text


@pytest.mark.parametrize(
    ("typo", "nearest"),
    [("mnits", "mnist"), ("fashion-mnist", "fashion_mnist"), ("digit", "digits")],
)
def test_a_typo_in_a_dataset_is_refused_with_the_nearest(refused, typo, nearest):
    text = refused("--dataset", typo)
    assert f"unknown dataset '{typo}': did you mean '{nearest}'?" in text


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_a_count_below_one_is_refused(refused, name, value):
    assert f"{name} must be at least 1, got {value}" in refused(option(name), value)


@pytest.mark.parametrize("value", ["1.5", "many", ""])
def test_a_count_that_is_no_integer_is_refused(refused, value):
    assert "--rounds" in refused("--rounds", value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-0.001", "0"])
def test_a_learning_rate_that_is_no_step_is_refused(refused, value):
    text = refused("--learning-rate", value)
    assert "learning_rate must be positive and finite" in text


def test_fewer_steps_than_are_between_two_looks_are_refused(refused):
    assert "max_steps must be at least 5, got 4" in refused("--max-steps", 4)


def test_methods_named_twice_or_not_at_all_are_refused(refused):
    assert "must not repeat" in refused("--methods", "iwps", "random", "iwps")
    assert "at least one method" in refused("--methods")


def test_a_budget_above_the_pool_is_refused_with_both_numbers(refused):
    text = refused("--smoke", "--rounds", 7, "--acquire-size", 100)
    assert "at most the 630 unlabeled" in text
    assert "7 * 100 = 700" in text


def test_one_sample_more_than_the_pool_holds_is_refused(refused):
    text = refused("--smoke", "--rounds", 1, "--acquire-size", 631)
    assert "at most the 630 unlabeled" in text


def test_a_base_size_above_the_smallest_class_is_refused(refused):
    text = refused("--smoke", "--base-size", 136)
    assert "base_size must be at most 135" in text
    assert "got 136" in text


def test_a_holdout_that_takes_everything_is_refused(refused):
    text = refused("--smoke", "--holdout-per-class", 140)
    assert "holdout_per_class must be below 140" in text


def test_a_data_folder_that_is_not_there_is_refused(refused, tmp_path):
    text = refused("--data-dir", tmp_path / "nowhere")
    assert "there is no such folder" in text


@pytest.mark.parametrize("below", ["", "below"])
def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path, capsys, below):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(SystemExit) as exit_:
        mnist_imbalanced.main(["--smoke", "--out", str(file / below)])
    assert exit_.value.code == 2
    assert str(file) in words(capsys.readouterr().err).replace(" ", "")
    assert file.read_text() == "mine"


def test_the_module_is_a_program_and_a_refusal_its_exit_code():
    program = [sys.executable, "-m", "experiments.mnist_imbalanced"]
    done = subprocess.run(
        [*program, "--methods", "iwsp"],
        capture_output=True,
        text=True,
        cwd=Path(mnist_imbalanced.__file__).parents[1],
    )
    assert done.returncode == 2
    assert "did you mean 'iwps'" in words(done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


# Progress.


def some_lines(round_, accuracy, wrong_rate):
    return [
        {
            "round": round_,
            "num_labeled": 110,
            "test_accuracy": accuracy + seed / 100,
            "wrong_rate": wrong_rate,
        }
        for seed in range(2)
    ]


def show(console, **options):
    progress = Progress(("iwps", "mc_dropout"), 6, "mnist", console=console, **options)
    with progress:
        progress.say("data: [made] up.")
        progress.begin("iwps", 0, "fit")
        progress.show("iwps", some_lines(0, 0.81, 0.4))
        progress.begin("iwps", 6, "fit")
        progress.show("iwps", some_lines(6, 0.9, None))
        progress.begin("mc_dropout", 3, "score")
    return console.file.getvalue()


def test_in_a_log_every_round_is_one_plain_line():
    printed = show(Console(file=io.StringIO(), width=40))
    assert "\x1b" not in printed
    lines = printed.splitlines()
    assert lines[0] == "data: [made] up."
    assert lines[1:] == [
        "[0:00] IWPS round 0/6: 110 labels, accuracy 81.5 ± 0.7 %, "
        "wrong among picks 40 %",
        "[0:00] IWPS round 6/6: 110 labels, accuracy 90.5 ± 0.7 %",
    ]


def test_on_a_terminal_a_table_shows_method_stage_and_accuracy():
    file = io.StringIO()
    printed = show(Console(file=file, force_terminal=True, width=100, height=30))
    for shown in ("IWPS", "MC-Dropout", "round 3: score", "done", "110", "90.5 ± 0.7"):
        assert shown in printed, shown
    assert "round 0/6" not in printed


DEPTHS = [
    (command, "run"),
    (datasets, "load"),
    (run_folder, "prepare"),
    (run, "make_study"),
    (rounds, "_fit_and_test"),
]


@pytest.mark.parametrize(("module", "function"), DEPTHS)
def test_an_error_is_a_traceback_and_a_refusal_a_sentence(
    module, function, tmp_path, monkeypatch, capsys
):
    def study_ends_with(error):
        def fails(*_, **__):
            raise error

        with monkeypatch.context() as patch:
            PROGRAMS.install(patch)
            patch.setattr(module, function, fails)
            study = ("--smoke", "--max-steps", "50", "--methods", "random")
            mnist_imbalanced.main([*study, "--out", str(tmp_path / "out")])

    with pytest.raises(SystemExit) as exit_:
        study_ends_with(Refusal("this cannot be."))
    assert exit_.value.code == 2
    assert capsys.readouterr().err.endswith("error: this cannot be.\n")
    for kind in (ValueError, TypeError, KeyError, RuntimeError):
        with pytest.raises(kind, match="this is a bug"):
            study_ends_with(kind("this is a bug"))
