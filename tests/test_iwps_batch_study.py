"""The study over many settings: which they are, its numbers, its verdict."""

import contextlib
import io
import json

import numpy as np
import pytest
from made_up_run import write_lines

from experiments import iwps_batch_study
from experiments.engine.command_line import ConfigError
from experiments.reporting import iwps_batch_tables
from experiments.reporting.difference_plots import differences_png
from experiments.reporting.iwps_batch_headline import headline
from experiments.reporting.iwps_batch_study import Cell, read_cells, summarize


def cell(name, **areas):
    dataset, imbalance, acquire_size = name.split("-")
    by_seed = {m: dict(enumerate(values)) for m, values in areas.items()}
    return Cell(name, dataset, int(imbalance), int(acquire_size), by_seed)


BETTER = cell("mnist-1-10", ours=(0.6, 0.7, 0.8), random=(0.5, 0.59, 0.68))
UNSURE = cell("mnist-10-50", ours=(0.5, 0.6, 0.7), random=(0.4, 0.5, 0.3))
WORSE = cell("cifar10-1-50", ours=(0.5, 0.59, 0.68), random=(0.6, 0.7, 0.8))


# Which settings


def test_the_study_has_every_setting_once():
    configs = iwps_batch_study.settings(iwps_batch_study.Options())
    assert len(configs) == len({c.out for c in configs.values()}) == 27
    for name, config in configs.items():
        assert config.out.name == name
        rare = config.imbalance == 20
        assert (config.base_size, config.holdout_per_class) == (
            (40, 2) if rare else (20, 5)
        )
        assert config.rounds == (4 if config.acquire_size == 200 else 6)
        assert (config.seeds, config.first_seed) == (10, 1000)
        assert config.pool_per_class == 2000


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"datasets": ("mnits",)}, "did you mean 'mnist'"),
        ({"imbalances": ()}, "imbalances must name at least one"),
        ({"methods": ("margni",)}, "did you mean 'margin'"),
        ({"first_seed": -1}, "first_seed must be at least 0, got -1"),
        ({"pool_per_class": 10}, "pool_per_class must be at least base_size, 20, got"),
    ],
)
def test_what_makes_no_sense_is_refused(options, refusal):
    with pytest.raises(ConfigError, match=refusal):
        iwps_batch_study.settings(iwps_batch_study.Options(**options))


# Numbers, computed by hand


def test_differences_are_ours_minus_the_other_in_every_setting_and_over_all():
    result = summarize([BETTER, UNSURE], "ours", ["random"])["compared"]["random"]
    first, second = result["settings"]
    # 0.10, 0.11, 0.12 and 0.1, 0.1, 0.4; of 2 degrees of freedom p = 1 - t / √(2 + t²).
    assert first["mean_difference"] == pytest.approx(0.11)
    t = 0.11 / (0.01 / np.sqrt(3))
    assert first["p_value"] == pytest.approx(1 - t / np.sqrt(2 + t * t))
    assert (first["verdict"], second["verdict"]) == ("better", "not separable")
    assert second["standard_error"] == pytest.approx(0.1)
    assert second["low"] == pytest.approx(0.2 - 4.302653 * 0.1)
    pairs = np.array([0.10, 0.11, 0.12, 0.1, 0.1, 0.4])
    assert result["over_pairs"]["mean_difference"] == pytest.approx(pairs.mean())
    assert result["over_pairs"]["standard_error"] == pytest.approx(
        pairs.std(ddof=1) / np.sqrt(6)
    )
    means = np.array([0.1, 0.105, 0.26])
    assert result["over_seeds"]["standard_error"] == pytest.approx(
        means.std(ddof=1) / np.sqrt(3)
    )
    assert result["mean_over_settings"] == pytest.approx((0.11 + 0.2) / 2)
    assert result["counts"] == {"better": 1, "not separable": 1, "worse": 0}
    assert result["worst"] == "mnist-1-10"


def test_baselines_and_variants_are_corrected_apart():
    areas = BETTER.areas
    many = {f"variant_{i}": areas["random"] for i in range(20)}
    cells = [BETTER._replace(areas={**areas, **many})]
    compared = summarize(cells, "ours", ["random"])["compared"]
    p_value = compared["random"]["settings"][0]["p_value"]
    assert compared["random"]["settings"][0]["p_value_holm"] == p_value < 0.05 / 2
    of_variant = compared["variant_0"]["settings"][0]
    assert of_variant["p_value_holm"] == pytest.approx(20 * p_value)
    assert compared["variant_0"]["counts_holm"]["better"] == 0
    assert compared["variant_0"]["counts"]["better"] == 1


def test_only_shared_seeds_are_compared():
    short = {**BETTER.areas, "random": {1: 0.5, 7: 0.1}}
    result = summarize([BETTER._replace(areas=short)], "ours", ["random"])
    over_pairs = result["compared"]["random"]["over_pairs"]
    assert over_pairs["mean_difference"] == pytest.approx(0.2)
    assert over_pairs["verdict"] == "no verdict"


# The rule


def verdict(cells, baselines=("random",), **options):
    options = {"rivals": ("random",)} | options
    summary = summarize(cells, "ours", baselines, **options)
    return summary["rule"], iwps_batch_tables.verdict_in_words(summary)


def test_the_rule_is_met_where_ours_is_better_and_nowhere_worse():
    rule, words = verdict([BETTER])
    assert rule["met"] and rule["at_least_as_good"] and rule["better_in_most"]
    assert rule["better_in"] == {"random": [1, 1]}
    assert words.endswith("The rule is met.")


def test_without_rivals_half_of_the_rule_is_judged():
    _, words = verdict([BETTER], rivals=())
    assert words.endswith("2. Not judged: the methods it names did not run.")


def test_most_settings_are_more_than_half():
    assert verdict([BETTER, UNSURE])[0]["better_in"] == {"random": [1, 2]}
    assert not verdict([BETTER, UNSURE])[0]["better_in_most"]
    again = BETTER._replace(name="mnist-1-50")
    assert verdict([BETTER, again, UNSURE])[0]["better_in_most"]


def test_an_interval_below_zero_counts_also_where_holm_forgives_it():
    """-0.05, -0.1, -0.075: t = 5.196 and p = 0.035, of two baselines 0.070."""
    both = cell(
        "cifar10-1-50",
        ours=(0.5, 0.6, 0.7),
        random=(0.55, 0.7, 0.775),
        bald=(0.4, 0.7, 0.69),
    )
    rule, words = verdict([both], ("random", "bald"))
    assert rule["worse_in"] == [["cifar10-1-50", "random", "not separable"]]
    assert not rule["at_least_as_good"]
    assert "cifar10-1-50 against Random (not separable after Holm)" in words


def test_a_baseline_that_is_higher_but_not_surely_is_no_loss():
    near = WORSE._replace(
        areas={**WORSE.areas, "random": dict(enumerate((0.5, 0.7, 1.0)))}
    )
    assert verdict([near])[0]["worse_in"] == []
    assert verdict([near])[0]["at_least_as_good"]


@pytest.mark.parametrize(
    ("cells", "options", "says"),
    [
        ([BETTER, UNSURE, WORSE], {}, "lies below zero in cifar10-1-50 against Random"),
        ([UNSURE], {}, "2. Not met: ours is significantly better than Random in 0 of"),
        ([BETTER], {"rivals": ("random", "bald")}, "better than Random in 1 of 1"),
        (
            [BETTER],
            {"planned": {"mnist-1-10": ["random"], "mnist-1-50": ["random"]}},
            "missing: mnist-1-50.",
        ),
        ([BETTER], {"baselines": ("random", "bald")}, "missing: BALD in mnist-1-10"),
        ([BETTER], {"seeds": range(4)}, "missing: Random in mnist-1-10"),
        ([cell("mnist-1-10", random=(0.5, 0.6))], {}, "No verdict"),
        (
            [BETTER, cell("mnist-1-50", ours=(0.7, 0.8), random=(0.5, 0.61))],
            {},
            "No verdict: fewer than three shared seeds in mnist-1-50 against Random.",
        ),
        ([cell("mnist-1-10", ours=(0.5, 0.6))], {}, "No verdict"),
    ],
)
def test_the_rule_is_not_met(cells, options, says):
    rule, words = verdict(cells, **options)
    assert not rule["met"] and says in words


def test_a_baseline_that_lacks_a_setting_makes_it_preliminary():
    lacking = cell("mnist-20-10", ours=(0.6, 0.7, 0.8), bald=(0.5, 0.59, 0.68))
    areas = {**BETTER.areas, "bald": BETTER.areas["random"]}
    rule, words = verdict([BETTER._replace(areas=areas), lacking], ("random", "bald"))
    assert rule["better_in_most"] and not rule["is_complete"] and not rule["met"]
    assert "missing: Random in mnist-20-10" in words


def test_the_tables_hold_the_numbers():
    cells = [BETTER, UNSURE, WORSE]
    summary = summarize(cells, "ours", ["random"], rivals=["random", "bald"])
    text = iwps_batch_tables.to_markdown(summary)
    # 0.11 + 0.2 - 0.11 in three settings.
    assert "| Random | +6.67 |" in text and "1 / 1 / 1 (1 / 1 / 1)" in text
    assert "CIFAR-10, balanced, 50 a round: -11.00 [-13.48, -8.52], worse" in text
    assert "| setting | ours − Random |" in text
    row = "| CIFAR-10, balanced, 50 a round | **-11.0** [-13.5, -8.5] |"
    assert row in text.splitlines()
    assert "| **ours** | **70.0 ± 5.8** | **60.0 ± 5.8** |" in text
    assert differences_png(summary).startswith(b"\x89PNG")


def test_holm_is_also_over_all_comparisons_and_kinds_stand_apart():
    """By hand: p = 0.0027 for 0.11 and for -0.11, 0.18 for 0.2."""
    summary = summarize([BETTER, UNSURE, WORSE], "ours", ["random"])
    found = headline(summary)
    balanced, imbalanced = found["baselines"]["random"].values()
    assert found["num_comparisons"] == 3
    assert balanced == {
        **{"settings": 2, "mean": pytest.approx(0.0)},
        **{"better": 1, "worse": 1, "better_of_all": 1, "worse_of_all": 1},
    }
    assert imbalanced["settings"] == 1 and imbalanced["mean"] == pytest.approx(0.2)
    assert imbalanced["better"] == imbalanced["better_of_all"] == 0
    assert [loss["name"] for loss in found["below"]] == ["cifar10-1-50"]
    many = [BETTER._replace(name=f"mnist-1-{i}") for i in range(20)]
    of_all = headline(summarize(many, "ours", ["random"]))["baselines"]["random"]
    assert of_all["balanced"]["better"] == 20  # each p = 0.0027
    assert of_all["balanced"]["better_of_all"] == 0  # 20 times that is 0.055


def test_losses_stand_in_the_report():
    text = iwps_batch_tables.to_markdown(summarize([WORSE], "ours", ["random"]))
    loss = (
        "| CIFAR-10, balanced, 50 a round | Random | -11.00 [-13.48, -8.52] | worse |"
    )
    assert loss in text.splitlines()
    text = iwps_batch_tables.to_markdown(summarize([BETTER], "ours", ["random"]))
    assert "In no setting against any baseline." in text


# Folders


def write_run(out, accuracies, *, rounds=1, seeds=None, **config):
    """A run whose accuracy, the same in all rounds, is its mean over rounds."""
    out.mkdir(parents=True)
    config = {
        **{"dataset": "mnist", "imbalance": 10, "acquire_size": 50, "rounds": rounds},
        **{"methods": list(accuracies), **config},
    }
    (out / "config.json").write_text(json.dumps(config))
    lines = [
        {
            **{"method": method, "seed": seed, "round": round_},
            **{"num_labeled": 10 + round_, "test_accuracy": accuracy},
            **{"fit_seconds": 1.0, "score_seconds": None},
            **{"wrong_rate": None, "minority_rate": None},
        }
        for method, by_seed in accuracies.items()
        for seed, accuracy in by_seed.items()
        for round_ in range(config.get("stopped", rounds) + 1)
    ]
    write_lines(out / "metrics.jsonl", lines)
    return out


def test_folders_of_one_setting_are_read_as_one_run(tmp_path):
    folders = [
        write_run(tmp_path / "a", {"random": {0: 0.5}, "bald": {0: 0.6}}),
        write_run(tmp_path / "b", {"random": {1: 0.25}}),
        write_run(tmp_path / "c", {"iwps": {0: 0.75}}),
        write_run(tmp_path / "d", {"iwps": {0: 0.5}}, acquire_size=10),
        write_run(tmp_path / "e", {"iwps": {0: 0.5}}, dataset="cifar10"),
    ]
    cells, notes = read_cells(folders)
    assert [c.name for c in cells] == ["mnist-10-10", "mnist-10-50", "cifar10-10-50"]
    assert cells[1].areas == {
        "random": {0: 0.5, 1: 0.25},
        "bald": {0: 0.6},
        "iwps": {0: 0.75},
    }
    assert notes == []


def test_a_run_under_way_is_left_out_and_said(tmp_path):
    one = write_run(tmp_path / "a", {"iwps": {0: 0.5}}, rounds=3, stopped=1)
    cells, notes = read_cells([one])
    assert cells == [] and notes == ["a: No run has finished: round 1 of 3."]


@pytest.mark.parametrize(
    ("other", "config", "refusal"),
    [
        ({"iwps": {0: 0.5}}, {}, "seed 0 of iwps again in .*b"),
        ({"bald": {0: 0.5}}, {"rounds": 2}, "must agree in rounds, got 1 in .*a and 2"),
        ({"bald": {0: 0.5}}, {"base_size": 7}, "must agree in base_size, got None"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(tmp_path, other, config, refusal):
    folders = [
        write_run(tmp_path / "a", {"iwps": {0: 0.5, 1: 0.6}}),
        write_run(tmp_path / "b", other, **config),
    ]
    with pytest.raises(ValueError, match=refusal):
        read_cells(folders)


# The program


def call(*arguments):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        iwps_batch_study.main([*map(str, arguments)])
    return output.getvalue()


def picks(out):
    lines = map(json.loads, (out / "picks.jsonl").read_text().splitlines())
    return {(p["method"], p["seed"], p["round"]): p["ids"] for p in lines}


def test_seeds_that_are_run_apart_are_reported_together(tmp_path):
    few = ("--smoke", "--imbalances", 10, "--rounds", 1, "--max-steps", 10)
    few = (*few, "--ours", "margin", "--methods", "random", "margin")
    name = "digits-10-10"
    assert "95 % interval" in call(*few, "--out", tmp_path / "a")
    first = picks(tmp_path / "a" / name)
    assert {seed for _, seed, _ in first} == {0, 1, 2}
    # As many seeds again: the same programs.
    call(*few, "--first-seed", 2, "--out", tmp_path / "b")
    second = picks(tmp_path / "b" / name)
    assert {seed for _, seed, _ in second} == {2, 3, 4}
    # A seed is the same wherever it stands among the others.
    assert first["random", 2, 0] == second["random", 2, 0] != second["random", 3, 0]
    with np.load(tmp_path / "a" / name / "splits.npz") as a:
        with np.load(tmp_path / "b" / name / "splits.npz") as b:
            for key in ("pool_ids", "labeled", "holdout_ids", "minority_classes"):
                np.testing.assert_array_equal(a[key][2], b[key][0])
    with pytest.raises(SystemExit):  # seed 2 is in both
        call("--report", "--out", tmp_path)
    with pytest.raises(SystemExit):
        call("--report", "--out", tmp_path / "nothing")
    printed = call("--report", "--ours", "margin", "--out", tmp_path / "b")
    assert "Preliminary, missing: mnist-1-10, " in printed
    summary = json.loads((tmp_path / "b" / "beyond.json").read_text())
    assert summary["settings"][0]["methods"]["random"]["seeds"] == 3
    markdown = (tmp_path / "b" / "beyond.md").read_text()
    assert "### Verdict" in markdown
    file = tmp_path / "b" / "beyond.json"
    assert call("--summary", file, "--out", tmp_path / "c") == markdown
    assert (tmp_path / "c" / "beyond.md").read_text() == markdown
    for wrong in (tmp_path / "no.json", tmp_path / "b" / name / "config.json"):
        with pytest.raises(SystemExit) as end:
            call("--summary", wrong)
        assert end.value.code == 2
    assert (tmp_path / "b" / "beyond.png").read_bytes().startswith(b"\x89PNG")
