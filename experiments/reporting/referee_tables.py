"""The tables of the referee study as Markdown: verdicts, pooled differences, means."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.reporting import referee
from experiments.reporting.markdown import as_interval, markdown_table
from experiments.reporting.referee import (
    CHOOSING,
    JUDGING,
    PRIMARY,
    Pooled,
    Results,
)
from experiments.reporting.referee_plot import verdicts_png
from experiments.reporting.referee_rule import (
    KINDS,
    Rule,
    is_judged,
    kind_of,
    verdict,
    with_named_rivals,
)
from experiments.reporting.statistics import standard_error
from experiments.reporting.styles import DATASETS, display_name

EQUAL_LABELS = "equal_labels"
MEASURES = {
    "balanced_accuracy": "balanced accuracy",
    "pool_accuracy": "accuracy with the classes of the pool",
    "macro_f1": "macro-F1",
}


def name_of(setting: Mapping[str, Any]) -> str:
    """A setting in words."""
    kind = kind_of(setting)
    if setting["imbalance"] > 1:
        kind += f" 1/{setting['imbalance']}"
    start = f"{setting['start']} a class" if setting["start"] else "no label"
    dataset = DATASETS.get(setting["dataset"], setting["dataset"])
    loss = ", balanced loss" * setting["balanced_loss"]
    return f"{dataset}, {kind}, {start}, then {setting['acquire_size']} a round{loss}"


def picture(
    all_results: Sequence[Results], ours: str, rivals: Sequence[str]
) -> bytes | None:
    """The verdicts with equal labels as a PNG; None without any."""
    chosen = [r for r in all_results if r.setting["mode"] == EQUAL_LABELS]
    compared = with_named_rivals(chosen, ours, rivals)
    if not compared:
        return None
    by_name = {results.name: results.setting for results in chosen}
    return verdicts_png(
        ours,
        [(name_of(by_name[one.setting]), one) for one in compared],
        referee.pool(chosen, ours, rivals, is_judged),
    )


def to_markdown(
    all_results: Sequence[Results], ours: str, rivals: Sequence[str], rule: Rule
) -> str:
    """All tables, mode by mode, and then the means of the seeds that chose methods.

    Args:
        all_results: the settings, as `referee.read_units` has them.
        ours: the method that is compared.
        rivals: all others that may be named as the best.
        rule: for the verdict with equal labels.
    """
    judged, looked_at = (
        [r for r in all_results if {*seeds} & r.areas.get(ours, {}).keys()]
        for seeds in (JUDGING, CHOOSING)
    )
    parts = []
    for mode in _modes(judged):
        chosen = [r for r in judged if r.setting["mode"] == mode]
        parts.append(f"## {_as_words(mode).capitalize()}\n\n")
        parts += _named(chosen, ours, rivals)
        if mode == EQUAL_LABELS:
            parts.append(verdict(chosen, ours, rivals, rule))
        parts += _pooled(chosen, ours, rivals)
        parts += _means(chosen, JUDGING)
    for mode in _modes(looked_at):
        chosen = [r for r in looked_at if r.setting["mode"] == mode]
        parts.append(f"## Seeds that chose methods, {_as_words(mode)}: no verdict\n\n")
        parts += _means(chosen, CHOOSING)
    return "".join(parts)


def _modes(all_results):
    return dict.fromkeys(results.setting["mode"] for results in all_results)


def _as_words(mode):
    return mode.replace("_", " ")


def _named(chosen, ours, rivals):
    compared = with_named_rivals(chosen, ours, rivals)
    if not compared:
        return []
    by_name = {results.name: results.setting for results in chosen}
    rows = [
        [
            name_of(by_name[one.setting]),
            display_name(one.rival),
            as_interval(one.paired.mean_difference, one.paired.low, one.paired.high),
            "yes" if one.is_non_inferior else "no",
            one.verdict,
        ]
        for one in compared
    ]
    head = ("setting", "named rival", f"{display_name(ours)} minus rival")
    table = markdown_table((*head, "non-inferior", "verdict"), rows)
    return [table]


def _pooled(chosen, ours, rivals):
    found = {
        kind: {
            row.rival: row
            for row in referee.pool(
                [r for r in chosen if kind in ("all", kind_of(r.setting))],
                ours,
                rivals,
                is_judged,
            )
        }
        for kind in ("all", *KINDS)
    }
    kinds = [kind for kind, rows in found.items() if rows]
    if not kinds:
        return []

    def cell(row: Pooled | None) -> str:
        return "" if row is None else as_interval(row.mean, row.low, row.high)

    rows = [
        [
            display_name(rival),
            *(cell(found[kind].get(rival)) for kind in kinds),
            f"{found['all'][rival].p_value_holm:.4f}",
        ]
        for rival in found["all"]
    ]
    return [markdown_table((f"{display_name(ours)} minus", *kinds, "p (Holm)"), rows)]


def _means(chosen, of):
    """Every method's mean by measure, and in each setting."""
    methods = list(dict.fromkeys(name for r in chosen for name in r.areas))

    def values(results, method, measure=PRIMARY):
        seeds = [seed for seed in results.areas.get(method, {}) if seed in of]
        return referee.values_of(results, method, seeds, measure)

    def mean_over_settings(method, measure):
        means = [values(r, method, measure) for r in chosen]
        means = [part.mean() for part in means if len(part)]
        return float(np.mean(means)) if len(means) == len(chosen) else None

    order = sorted(methods, key=lambda m: -(mean_over_settings(m, PRIMARY) or 0))
    rows = [
        [
            display_name(method),
            *(
                ""
                if (mean := mean_over_settings(method, measure)) is None
                else f"{100 * mean:.1f}"
                for measure in MEASURES
            ),
        ]
        for method in order
    ]
    over_all = markdown_table(("method", *MEASURES.values()), rows)
    rows = []
    for results in chosen:
        row = [name_of(results.setting)]
        for method in order:
            found = values(results, method)
            error = standard_error(found) if len(found) else None
            row.append(
                ""
                if not len(found)
                else f"{100 * found.mean():.1f}"
                + ("" if error is None else f" ± {100 * error:.1f}")
            )
        rows.append(row)
    return [over_all, markdown_table(("setting", *map(display_name, order)), rows)]
