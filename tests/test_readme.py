"""The README's promises, held to: its code runs, its commands are those of CI."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import iwps_jax
from experiments import iwps_batch_study
from experiments.linear_heads.groups import METHODS, OURS, RULE
from experiments.reporting import iwps_batch_tables, referee, referee_rule
from experiments.reporting.iwps_batch_headline import headline
from experiments.reporting.styles import display_name

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_it_is_short():
    assert len(README.split()) <= 900


def test_the_example_runs():
    scope = {}
    (block,) = blocks("python")
    exec(compile(block, "README.md", "exec"), scope)
    label_next = scope["label_next"].tolist()
    assert len(set(label_next)) == 20
    assert min(label_next) >= 100  # the first 100 rows are labeled


def test_the_test_command_is_what_ci_runs():
    setup, tests = [block for block in blocks("bash") if "pip install -e" in block]
    assert "python -m experiments.mnist_imbalanced" in setup
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    script = script.replace("--quiet --disable-pip-version-check ", "")
    for command in tests.strip().split(" && "):
        assert command in script.splitlines()


def test_every_public_function_has_a_row():
    public = {
        name for name in iwps_jax.__all__ if callable(getattr(iwps_jax, name))
    } - {"LoopState", "RoundInfo"}
    assert {name for name in public if f"`{name}" not in README} == set()


def test_files_it_shows_exist():
    paths = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(paths) > 20
    for path in paths:
        assert (ROOT / path).exists(), path


# Its headline, from the committed JSON


@pytest.fixture(scope="module")
def judged():
    """The settings of the verdict."""
    units = referee.read_units(ROOT / "experiments" / "results" / "referee")
    return [results for results in units if results.name in RULE.settings]


def test_the_headline_is_that_of_the_units(judged):
    def mean(kind, method):
        return 100 * np.mean(
            [
                referee.values_of(r, OURS, referee.JUDGING).mean()
                - referee.values_of(r, method, referee.JUDGING).mean()
                for r in judged
                if kind in ("all", referee_rule.kind_of(r.setting))
            ]
        )

    rows = [line for line in README.splitlines() if line.startswith("| ")]
    shown = {row.split(" | ")[0].strip("| "): row for row in rows}
    for method in ("random", "margin", "badge", "uncertainty_herding", "iwps_batch"):
        _, overall, *kinds = shown[display_name(method)].strip("| ").split(" | ")
        assert overall.startswith(f"{mean('all', method):+.2f} [")
        assert kinds == [f"{mean(kind, method):+.2f}" for kind in referee_rule.KINDS]


def test_the_count_of_settings_is_that_of_the_units(judged):
    rivals = [method for method in METHODS if not method.startswith("iwps")]
    compared = referee_rule.with_named_rivals(judged, OURS, rivals)
    good = sum(one.is_non_inferior for one in compared)
    worst = min(one.paired.mean_difference for one in compared)
    words = " ".join(README.split())
    assert len(judged) == len(RULE.settings) == 18
    assert f"In {good} of 18 settings" in words
    assert f"the worst difference is {100 * worst:+.2f}" in words


# The headline of docs/results.md


@pytest.fixture(scope="module")
def committed():
    path = ROOT / "experiments" / "results" / "beyond.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_headline_is_that_of_the_committed_numbers(committed):
    found = headline(committed)
    assert found["num_comparisons"] == 216
    assert len(committed["settings"]) == 27
    totals = {
        method: tuple(
            sum(numbers[key] for numbers in by_kind.values())
            for key in ("better", "better_of_all")
        )
        for method, by_kind in found["baselines"].items()
    }
    assert totals["iwps"] == (20, 6)
    assert totals["badge"] == (16, 5)
    assert totals["margin"] == (15, 4)
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    words = " ".join(page.split())
    assert "IWPS in 20 of 27 settings, than BADGE in 16 and than Margin in 15." in words
    assert "216 comparisons at once they are 6, 5 and 4." in words


def test_no_method_is_significantly_better_anywhere(committed):
    """Not even before a correction, and so not after one."""
    assert committed["rule"]["worse_in"] == []
    for by_kind in headline(committed)["baselines"].values():
        for numbers in by_kind.values():
            assert numbers["worse"] == numbers["worse_of_all"] == 0


def test_the_losses_are_those_of_the_committed_numbers(committed):
    """Three of Margin, four of BADGE, all on balanced pools; BALD's with old masks."""
    below = headline(committed)["below"]
    assert {loss["kind"] for loss in below} == {"balanced"}
    counts = Counter(loss["method"] for loss in below)
    assert counts == {"margin": 3, "badge": 4, "bald": 1}
    assert f"{100 * below[0]['mean_difference']:.2f}" == "-0.37"
    path = ROOT / "experiments" / "results" / "beyond_masks.json"
    masks = json.loads(path.read_text(encoding="utf-8"))["compared"]
    assert {*masks} == {"mc_dropout", "bald"}
    results = (ROOT / "experiments" / "RESULTS.md").read_text(encoding="utf-8")
    for one in (one for of_method in masks.values() for one in of_method["settings"]):
        numbers = (100 * one[key] for key in ("mean_difference", "low", "high"))
        mean, low, high = (f"{number:+.2f}" for number in numbers)
        assert f"{mean} [{low}, {high}], {one['verdict_holm']} |" in results
        assert one["mean_difference"] > 0


@pytest.mark.parametrize("page", ["docs/results.md", "experiments/RESULTS.md"])
def test_the_tables_of_the_results_are_what_the_command_prints(page, committed):
    text = (ROOT / page).read_text(encoding="utf-8")
    printed = iwps_batch_tables.to_markdown(committed)
    for heading in ("balanced and imbalanced apart", "is below another's"):
        section = printed[printed.index(heading) :].split("###")[0]
        rows = [line for line in section.splitlines() if line.startswith("|")]
        assert len(rows) > 4
        assert "\n".join(rows) in text
    if page == "experiments/RESULTS.md":
        assert printed in text


def test_scores_of_margin_did_as_well():
    """IWPS-batch minus the same on the scores of Margin, where both were run."""
    path = ROOT / "experiments" / "results" / "beyond_chosen_from.json"
    chosen_from = json.loads(path.read_text(encoding="utf-8"))
    results = chosen_from["compared"]["iwps_batch_margin"]["settings"]
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert len(results) == 2
    for result in results:
        assert result["verdict_holm"] == "not separable"
        numbers = [100 * result[key] for key in ("mean_difference", "low", "high")]
        mean, low, high = (f"{number:+.2f}" for number in numbers)
        assert f"{mean} [{low}, {high}]" in page


def test_pools_were_cut():
    options = iwps_batch_study.Options()
    assert options.pool_per_class == 2000
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert "cut to 2,000 samples of a frequent class" in " ".join(page.split())
