"""Every runnable study, ablation and grid, by its real main on digits."""

import contextlib
import functools
import hashlib
import importlib
import io
import json
from types import SimpleNamespace

import pytest
from kept_programs import Programs

from experiments import grid, models
from experiments.ablations import (
    exact_vs_first_order,
    full_network,
    holdout_size,
    holdout_source,
)
from experiments.classification import command, run, series
from experiments.classification.config import Config
from experiments.data import datasets
from experiments.engine import command_line
from experiments.engine.command_line import ConfigError
from iwps_jax.backbones.efficientnet_weights import find_weights
from iwps_jax.backbones.published import BackboneError

DATASETS = ("mnist", "kmnist", "fashion_mnist", "svhn", "cifar10")
LARGE = ("svhn", "cifar10")
FEW = ("--methods", "random", "iwps")
FULL = pytest.mark.full
# Every module's own main is called below; these run to the end. Those of one kind and
# network differ in the dataset, which a smoke test replaces, and test_run.py runs the
# methods on rare classes. Features of the backbone with rare classes are not here.
RUN = [
    pytest.param("mnist", "balanced", marks=FULL),
    pytest.param("mnist", "imbalanced", marks=FULL),
    ("cifar10", "balanced"),
]
# Few steps, where it does not matter how much was learned. Runs of two tests with the
# same settings but methods share their programs.
SHORT, SHORTEST = ("--max-steps", 50), ("--max-steps", 10)
PROGRAMS = Programs()


def module_of(dataset, kind):
    return importlib.import_module(f"experiments.{dataset}_{kind}")


def configs_of(dataset, kind):
    return module_of(dataset, kind).SETTINGS


@pytest.fixture
def main(monkeypatch):
    """Calls a main with programs that are compiled once for all tests."""

    def call(module, *arguments):
        PROGRAMS.install(monkeypatch)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            module.main([*map(str, arguments)])
        return output.getvalue()

    return call


def read(out, name):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


# What is promised of the settings


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_study_has_the_papers_settings(dataset):
    (balanced,) = configs_of(dataset, "balanced")
    tenth, twentieth = configs_of(dataset, "imbalanced")
    for config, imbalance in ((balanced, 1), (tenth, 10), (twentieth, 20)):
        assert (config.dataset, config.imbalance) == (dataset, imbalance)
        assert config.methods == Config().methods and config.seeds == 5
        assert config.network == ("efficientnet_lite0" if dataset in LARGE else "mlp")
        assert config.acquire_size == (250 if dataset in LARGE else 50)
    # Supplement §5.5: a balanced validation set, a tenth of the initial set.
    base = twentieth.base_size
    initial = 5 * base + 5 * (base // 20)
    assert 10 * twentieth.holdout_per_class == round(initial / 10, -1)
    # Supplement §5.3: 200 initial samples.
    assert balanced.base_size * 10 == (1000 if dataset in LARGE else 200)


def test_every_run_has_a_folder_of_its_own():
    configs = [
        config
        for dataset in DATASETS
        for kind in ("balanced", "imbalanced")
        for config in configs_of(dataset, kind)
    ]
    assert len({config.out for config in configs}) == len(configs) == 15


def test_a_grid_without_a_cell_is_refused():
    with pytest.raises(ConfigError, match="at least one each"):
        grid.cells(Config(), base_sizes=())


# Real runs


def part_of_digits(*names):
    """A quarter of them: the backbone looks at every image."""
    whole = datasets.load(*names)
    return whole._replace(
        train_images=whole.train_images[:400],
        train_labels=whole.train_labels[:400],
        test_images=whole.test_images[:50],
        test_labels=whole.test_labels[:50],
        sha256=hashlib.sha256(whole.sha256.encode()).hexdigest(),
    )


@pytest.mark.parametrize(("dataset", "kind"), RUN)
def test_smoke(dataset, kind, main, tmp_path, monkeypatch):
    if dataset in LARGE:
        monkeypatch.setattr(run, "datasets", SimpleNamespace(load=part_of_digits))
        try:
            find_weights()
        except BackboneError as error:
            pytest.skip(f"the weights of the backbone cannot be had: {error}")
    out = tmp_path / "out"
    printed = main(module_of(dataset, kind), "--smoke", *FEW, *SHORT, "--out", out)
    assert "Random" in printed and "IWPS" in printed
    lines = read(out, "metrics.jsonl")
    assert len(lines) == 2 * 2 * 3
    assert max(line["test_accuracy"] for line in lines) > 0.5
    config = json.loads((out / "config.json").read_text())
    expected = "efficientnet_lite0" if dataset in LARGE else "mlp"
    assert config["network"] == expected
    assert (out / "report.html").stat().st_size > 10_000


@pytest.mark.full
def test_resnet_runs_from_end_to_end(main, tmp_path, monkeypatch):
    """An eighth of the width, five training steps and one round."""
    narrow = functools.partial(models.resnet18, width=8)
    monkeypatch.setattr(models, "resnet18", narrow)
    out = tmp_path / "out"
    options = ("--seeds", 1, "--rounds", 1, "--max-steps", 5, "--acquire-size", 10)
    methods = ("--methods", "random", "iwps", "iwps_app_full")
    main(
        module_of("cifar10", "balanced"),
        *("--smoke", "--network", "resnet18", "--base-size", 2),
        *(*options, *methods, "--out", out),
    )
    lines = read(out, "metrics.jsonl")
    assert [line["round"] for line in lines] == [0, 1] * 3
    picks = {line["method"]: set(line["ids"]) for line in read(out, "picks.jsonl")}
    assert all(len(ids) == 10 for ids in picks.values())
    assert len(set(map(frozenset, picks.values()))) == 3
    settings = json.loads((out / "config.json").read_text())
    assert settings["network"] == "resnet18" and settings["learning_rate"] == 1e-4


@pytest.mark.parametrize(
    "module, methods",
    [
        pytest.param(full_network, ("iwps_full", "iwps_app_full"), marks=FULL),
        pytest.param(
            holdout_size, ("iwps_holdout_1", "iwps_app_holdout_20"), marks=FULL
        ),
        # The grid's run is one of a series, too.
        pytest.param(holdout_source, ("iwps_on_training",), marks=FULL),
    ],
)
def test_an_ablation_runs_its_first_and_last_setting(module, methods, main, tmp_path):
    assert set(methods) < set(next(iter(module.RUNS.values())).methods)
    options = (*SHORTEST, "--methods", "random", *methods)
    main(module, "--smoke", *options, "--out", tmp_path)
    first, last = list(module.RUNS)[0], list(module.RUNS)[-1]
    assert {path.parent.name for path in tmp_path.glob("*/config.json")} == {
        first,
        last,
    }
    for name in (first, last):
        lines = read(tmp_path / name, "metrics.jsonl")
        assert {line["method"] for line in lines} == {"random", *methods}
    assert (tmp_path / "report.html").exists()


def test_the_grid_has_a_run_for_every_pair(main, tmp_path):
    sizes = ("--base-sizes", 10, 20, "--acquire-sizes", 50)
    options = ("--imbalance", 1, "--methods", "random")
    main(grid, "--smoke", *options, *SHORTEST, *sizes, "--out", tmp_path)
    for base in (10, 20):
        out = tmp_path / f"base{base}_acquire50"
        lines = read(out, "metrics.jsonl")
        assert {line["num_labeled"] for line in lines} == {
            10 * base + 50 * round_ for round_ in range(3)
        }
    assert (tmp_path / "report.html").exists()


def test_the_full_grid_is_the_papers():
    names = list(grid.cells(Config()))
    assert len(names) == 6
    assert {name.partition("_")[0] for name in names} == {"base10", "base20", "base40"}


@pytest.mark.parametrize(
    "module, options",
    [
        (grid, ("--base-sizes", "0")),
        (grid, ("--dataset", "mnits")),
        (holdout_source, ("--methods", "iwsp")),
        (exact_vs_first_order, ("--network", "resnet")),
    ],
)
def test_a_series_refuses_with_one_sentence(module, options, main, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(module, *options, "--out", tmp_path / "never")
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "never").exists()


def test_what_the_user_sets_holds_for_all_runs(tmp_path):
    options = series.Options(seeds=3, network="resnet18", resume=False)
    configs = series.configure(holdout_source.RUNS, options, tmp_path)
    assert list(configs) == ["balanced", "imbalanced"]
    for name, config in configs.items():
        assert (config.seeds, config.network, config.resume) == (3, "resnet18", False)
        assert config.out == tmp_path / name
        assert config.methods == holdout_source.METHODS


def test_exact_and_first_order_agree_for_tiny_steps(tmp_path, monkeypatch):
    short = functools.partial(Config, max_steps=SHORTEST[1])
    monkeypatch.setattr(exact_vs_first_order, "Config", short)
    PROGRAMS.install(monkeypatch, exact_vs_first_order)
    rates = ("--learning-rates", "1e-6", "1.0")
    arguments = ["--smoke", *rates, "--out", str(tmp_path)]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exact_vs_first_order.main(arguments)
    found = json.loads((tmp_path / "agreement.json").read_text())
    tiny, large = zip(
        *([min(rate) for rate in round_] for round_ in found["correlation"]),
        strict=True,
    )
    assert min(tiny) > 0.999 > max(large)
    for round_ in found["overlap"]:
        assert min(round_[0]) >= 0.96  # at most one or two of fifty on the edge
    assert (tmp_path / "agreement.png").read_bytes().startswith(b"\x89PNG")
    assert "1e-06" in printed.getvalue()


def test_only_a_program_keeps_its_compiled_programs(monkeypatch):
    """A call must not change the settings of the process that makes it."""
    kept = []
    monkeypatch.setattr(command_line, "keep_programs", lambda: kept.append(True))
    assert command_line.program_arguments(["--smoke"]) == ["--smoke"] and not kept
    monkeypatch.setattr(command_line.sys, "argv", ["program", "--seeds", "2"])
    assert command_line.program_arguments(None) == ["--seeds", "2"] and kept


def test_smokes_of_all_studies_stand_side_by_side(monkeypatch):
    """With the default folders, none is in the way of another."""
    outs = []
    monkeypatch.setattr(command, "run", lambda config: outs.append(config.out))
    monkeypatch.setattr(command, "print_table", lambda summary: None)
    for dataset in DATASETS:
        for kind in ("balanced", "imbalanced"):
            with contextlib.redirect_stdout(io.StringIO()):
                module_of(dataset, kind).main(["--smoke"])
    assert len(set(outs)) == 10
    assert {str(out.parent) for out in outs} == {"runs/smoke"}


def test_at_a_twentieth_the_grid_holds_out_a_tenth_of_the_initial_set():
    configs = grid.cells(Config(imbalance=20)).values()
    assert [grid.tenth_of_initial(c).holdout_per_class for c in configs] == [
        1,
        1,
        2,
    ] * 2
