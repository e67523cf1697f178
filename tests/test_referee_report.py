"""The referee's verdicts: who is named, who counts, pooled intervals, tables."""

import json

import numpy as np
import pytest
from scipy import stats

from experiments import referee as command
from experiments.linear_heads import groups
from experiments.linear_heads.settings import Setting
from experiments.reporting import (
    referee,
    referee_parts,
    referee_rule,
    referee_tables,
)
from experiments.reporting.referee_rule import Rule
from iwps_jax.refusal import Refusal

ROUNDS = 2
MEASURES = ("balanced_accuracy", "test_accuracy", "pool_accuracy", "macro_f1")


def write_unit(folder, setting, means, first_seed, seeds=10, spread=0.01):
    """A unit in which each method has this mean in every round after the start."""
    rng = np.random.default_rng(first_seed)
    shared = rng.normal(scale=0.02, size=seeds)

    def values(mean):
        own = rng.normal(scale=spread, size=(seeds, ROUNDS + 1))
        rows = mean + shared[:, None] + own
        rows[:, 0] = 0.1  # the start must not count
        return rows.round(4).tolist()

    content = {
        "name": setting.name,
        "setting": setting.__dict__,
        "seeds": list(range(first_seed, first_seed + seeds)),
        "num_labeled": [10, 20, 30],
        "minutes": 1.0,
        "methods": {
            method: {measure: values(mean) for measure in MEASURES}
            for method, mean in means.items()
        },
    }
    name = f"{setting.name}-seeds_{first_seed}.json"
    (folder / name).write_text(json.dumps(content))


BALANCED = Setting("fashion_mnist", rounds=ROUNDS)
TAILED = Setting("cifar10", "long_tailed", 50, rounds=ROUNDS)


@pytest.fixture
def folder(tmp_path):
    for setting, better in ((BALANCED, 0.0), (TAILED, 0.05)):
        named = {"balanced_herding": 0.7, "margin": 0.72, "badge": 0.6, "random": 0.5}
        write_unit(tmp_path, setting, named, 1000, spread=0.001)
        judged = {**named, "balanced_herding": 0.70 + better, "margin": 0.70}
        for first in (1010, 1020):
            write_unit(tmp_path, setting, judged, first)
    return tmp_path


def test_units_of_a_setting_are_one_and_the_start_does_not_count(folder):
    one, other = referee.read_units(folder)
    assert {one.name, other.name} == {BALANCED.name, TAILED.name}
    assert sorted(one.areas["margin"]) == list(range(1000, 1030))
    path = folder / f"{one.name}-seeds_1000.json"
    values = json.loads(path.read_text())["methods"]["margin"]["balanced_accuracy"]
    expected = np.mean(values[3][1:])
    assert one.areas["margin"][1003]["balanced_accuracy"] == pytest.approx(expected)
    assert one.minutes == 3.0


def test_a_seed_twice_or_another_file_is_refused(folder):
    write_unit(folder, BALANCED, {"margin": 0.5}, 1015)
    with pytest.raises(Refusal, match="holds seed 1015 of margin again"):
        referee.read_units(folder)
    (folder / "a-seeds_0.json").write_text("{}")
    with pytest.raises(Refusal, match="must be a unit's file of results"):
        referee.read_units(folder)


def test_the_rival_is_named_on_seeds_that_do_not_judge(folder):
    results = referee.read_units(folder)
    rivals = ("random", "margin", "badge")
    compared = referee.compare(
        results,
        "balanced_herding",
        lambda r: [referee.best_rival(r, rivals, referee.NAMING)],
        referee_rule.is_judged,
    )
    assert [one.rival for one in compared] == ["margin", "margin"]
    by_name = {one.setting: one for one in compared}
    # On the naming seeds margin is two points ahead; on the others it is not.
    assert abs(by_name[BALANCED.name].paired.mean_difference) < 0.01
    assert by_name[TAILED.name].paired.mean_difference == pytest.approx(0.05, abs=0.01)
    assert by_name[TAILED.name].verdict == "better"
    assert by_name[TAILED.name].is_non_inferior
    ours, margin = (
        referee.values_of(results[0], m, range(1010, 1030))
        for m in ("balanced_herding", "margin")
    )
    expected = (ours - margin).mean()
    assert by_name[results[0].name].paired.mean_difference == pytest.approx(expected)


def test_the_pooled_interval_is_as_wide_as_datasets_differ(folder):
    results = referee.read_units(folder)
    (row,) = referee.pool(
        results, "balanced_herding", ["margin"], referee_rule.is_judged
    )
    means = [
        np.subtract(
            *(
                referee.values_of(r, m, range(1010, 1030))
                for m in ("balanced_herding", "margin")
            )
        ).mean()
        for r in results
    ]
    assert row.num_settings == 2 and row.mean == pytest.approx(np.mean(means))
    # Two datasets, one without a difference: drawn twice, it says nothing is better.
    assert row.low < 0.01 and row.high > 0.04
    (random,) = referee.pool(
        results, "balanced_herding", ["random"], referee_rule.is_judged
    )
    assert random.low > 0.15 and random.p_value < 1e-6


def test_the_pooled_test_is_that_of_the_seeds_means(folder):
    """Two settings of opposite sign: the seeds agree on their mean, near zero."""
    results = referee.read_units(folder)
    rows = referee.pool(
        results, "balanced_herding", ["margin", "badge"], referee_rule.is_judged
    )
    for row in rows:
        means = np.mean(
            [
                np.subtract(
                    *(
                        referee.values_of(r, m, range(1010, 1030))
                        for m in ("balanced_herding", row.rival)
                    )
                )
                for r in results
            ],
            axis=0,
        )
        expected = stats.ttest_1samp(means, 0).pvalue
        assert row.p_value == pytest.approx(expected)


def test_the_tables_say_who_is_better_and_the_rule(folder, capsys):
    command.main(["--report", "--results", str(folder)])
    assert "referee.md" in capsys.readouterr().out
    text = (folder / "referee.md").read_text()
    assert "## Equal labels" in text
    line = next(line for line in text.splitlines() if "long-tailed 1/50" in line)
    assert "| Margin |" in line and "| yes | better |" in line
    assert "There is no verdict yet: 0 of 18 settings have all 40 seeds." in text
    assert "| Random |" in text and "long-tailed" in text
    assert "± " in text


def finished(tmp_path, ours, spread=0.01):
    """Two settings with all seeds; ours has these means."""
    for setting, mean in zip((BALANCED, TAILED), ours, strict=True):
        means = {"balanced_herding": mean, "margin": 0.70, "badge": 0.6, "random": 0.5}
        for first in range(1000, 1040, 10):
            write_unit(tmp_path, setting, means, first, spread=spread)
    return referee.read_units(tmp_path)


@pytest.mark.parametrize(
    ("ours", "both"),
    [
        ((0.71, 0.72), ("met", "met")),
        ((0.68, 0.75), ("not met", "met")),  # much worse in one setting
        ((0.71, 0.698), ("not met", "not met")),  # not surely within half a point
    ],
)
def test_the_rule_is_met_by_all_settings_or_by_kinds(tmp_path, ours, both):
    results = finished(tmp_path, ours)
    rule = Rule([BALANCED.name, TAILED.name], ("random", "margin", "badge"))
    rivals = ("margin", "badge", "random")
    text = referee_rule.verdict(results, "balanced_herding", rivals, rule)
    assert f"- all: **{both[0]}**." in text
    assert f"- long-tailed: **{both[1]}**." in text
    # A setting that is missing is not left out.
    more = Rule([*rule.settings, "another"], rule.must_beat)
    text = referee_rule.verdict(results, "balanced_herding", rivals, more)
    assert text.startswith("There is no verdict yet: 2 of 3 settings")


def test_ours_must_beat_all_that_the_rule_names(tmp_path):
    results = finished(tmp_path, (0.7001, 0.7001), spread=0.003)
    names = [BALANCED.name, TAILED.name]
    of_two, of_three = (
        referee_rule.verdict(
            results, "balanced_herding", ("margin", "badge", "random"), rule
        )
        for rule in (
            Rule(names, ("random", "badge")),
            Rule(names, ("random", "margin")),
        )
    )
    assert "- all: **met**." in of_two and "2 of the 2 that it must beat" in of_two
    assert "- all: **not met**." in of_three


def test_an_unknown_method_is_refused_and_nothing_is_written(folder, capsys):
    with pytest.raises(SystemExit):
        command.main(["--report", "--results", str(folder), "--ours", "badg"])
    assert "did you mean 'badge'" in capsys.readouterr().err
    assert not (folder / "referee.md").exists()


@pytest.mark.parametrize("factor", ["0", "-1", "inf", "nan"])
def test_a_factor_that_makes_no_penalty_is_refused(factor, capsys):
    with pytest.raises(SystemExit):
        command.main(["--smoke", f"--penalty-factor={factor}"])
    assert "penalty_factor must be positive" in capsys.readouterr().err


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main(["--report", "--results", str(tmp_path)])
    assert "holds no files of results" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (BALANCED, "Fashion-MNIST, balanced, 5 a class, then 50 a round"),
        (TAILED, "CIFAR-10, long-tailed 1/50, 5 a class, then 50 a round"),
        (
            Setting("hwu64", "natural", 1, 0, 64, 6, 80, 0, "no_holdout", True),
            "HWU64, natural, no label, then 64 a round, balanced loss",
        ),
    ],
)
def test_settings_have_names(setting, words):
    assert referee_tables.name_of(setting.__dict__) == words


# The other groups


def test_parts_are_worth_what_their_levels_differ_by(tmp_path):
    means = {
        "iwps_batch": 0.7,
        "batch-iwps-rare-off": 0.68,
        "batch-iwps-even-off": 0.64,
        "batch-none-rare-off": 0.66,
        "batch-none-even-off": 0.62,
    }
    for setting in (BALANCED, TAILED):
        write_unit(tmp_path, setting, means, 0, spread=0.0)
    results = referee.read_units(tmp_path)
    text = referee_parts.factorial_table(
        results, "iwps_batch", (("none", "iwps"), ("rare", "even"), ("all",))
    )
    assert "| none | -6.00 ± 0.00 |" in text and "| iwps | -4.00 ± 0.00 |" in text
    assert "| rare | -3.00 ± 0.00 |" in text and "| even | -7.00 ± 0.00 |" in text
    assert "| all |" not in text
    assert "| batch-iwps-rare-off (of the best five) | -2.00" in text
    text = referee_parts.variants_table(results, "iwps_batch", ["batch-none-rare-off"])
    assert "| batch-none-rare-off | -4.00 ± 0.00 | -4.00 to -4.00 |" in text
    assert "even" not in text


def test_first_batches_stand_in_columns_of_their_settings(tmp_path):
    small = Setting("mnist", "minority", 1, 0, 10, 1, 300, 0, "no_holdout")
    large = Setting("pendigits", "minority", 1, 0, 50, 1, 300, 0, "no_holdout")
    for setting in (small, large):
        write_unit(tmp_path, setting, {"random": 0.5, "coreset": 0.6}, 0, spread=0.0)
    text = referee_parts.first_batch_table(
        referee.read_units(tmp_path), "random", groups.FIRST_COLUMNS
    )
    assert "| Coreset | +10.00 |  |  | +10.00 |" in text


def test_the_report_holds_all_groups_and_a_picture(folder):
    for group, methods in (
        ("batch_parts", ("iwps_batch", "batch-none-rare-off")),
        ("herding_parts", ("balanced_herding", "herding-all-rare")),
        ("constants", ("balanced_herding", "herding-width-2")),
        ("first_batch", ("random", "coreset")),
    ):
        (folder / group).mkdir()
        means = dict.fromkeys(methods, 0.5)
        write_unit(folder / group, Setting("mnist", start=5, rounds=2), means, 0)
    seen = Setting("mnist", rounds=ROUNDS)
    both = {"balanced_herding": 0.9, "random": 0.8}
    write_unit(folder, seen, both, 0, spread=0.0)
    for factor in ("0.1", "10"):
        other = folder / f"penalty_{factor}"
        other.mkdir()
        write_unit(other, seen, {**both, "random": 0.7}, 0, spread=0.0)
    command.main(["--report", "--results", str(folder)])
    text = (folder / "referee.md").read_text()
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Equal labels",
        "## Seeds that chose methods, equal labels: no verdict",
        "## IWPS-batch by its parts",
        "## Balanced herding by its parts",
        "## Constants halved and doubled",
        "## The first batch, with nothing labeled",
        "## Other penalties",
    ]
    assert "| Balanced herding | +20.00 | +10.00 | +20.00 |" in text
    assert "herding-width-2" in text and "MNIST" in text
    assert (folder / "referee.png").read_bytes().startswith(b"\x89PNG")
