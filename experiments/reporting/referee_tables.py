"""The tables of the referee study as Markdown: verdicts, pooled differences, means."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.reporting import referee
from experiments.reporting.referee import NAMING, PRIMARY, Comparison, Pooled, Results
from experiments.reporting.statistics import standard_error
from experiments.reporting.styles import DATASETS, display_name

KINDS = ("balanced", "imbalanced", "long-tailed", "natural")
MEASURES = {
    "balanced_accuracy": "balanced accuracy",
    "pool_accuracy": "accuracy with the classes of the pool",
    "macro_f1": "macro-F1",
}
LARGEST_LOSS = 0.015
"""No setting may be worse by more, on average."""
SHARE_OF_SETTINGS = 0.9
"""In which ours must be non-inferior to the named rival."""


def kind_of(setting: Mapping[str, Any]) -> str:
    """How the classes are distributed.

    Example:
        >>> kind_of({"distribution": "long_tailed", "imbalance": 10})
        'long-tailed'
    """
    if setting["distribution"] == "minority":
        return "balanced" if setting["imbalance"] == 1 else "imbalanced"
    return setting["distribution"].replace("_", "-")


def name_of(setting: Mapping[str, Any]) -> str:
    """A setting in words."""
    kind = kind_of(setting)
    if setting["imbalance"] > 1:
        kind += f" 1/{setting['imbalance']}"
    start = f"{setting['start']} a class" if setting["start"] else "no label"
    dataset = DATASETS.get(setting["dataset"], setting["dataset"])
    loss = ", balanced loss" * setting["balanced_loss"]
    return f"{dataset}, {kind}, {start}, then {setting['acquire_size']} a round{loss}"


def of_verdict(seed: int) -> bool:
    """Whether a seed counts for verdicts: not those that name rivals, or choose."""
    return seed > max(NAMING)


def to_markdown(
    all_results: Sequence[Results],
    ours: str,
    rivals: Sequence[str],
    *,
    seen: Sequence[str] = (),
    naming: Sequence[int] = NAMING,
    counts: Callable[[int], bool] = of_verdict,
) -> str:
    """All tables, mode by mode.

    Args:
        all_results: the settings, as `referee.read_units` has them.
        ours: the method that is compared.
        rivals: all others that may be named as the best.
        seen: datasets that methods were chosen on.
        naming: seeds that name the best rival of a setting.
        counts: whether a seed counts for the verdicts.
    """
    parts = []
    for mode in dict.fromkeys(results.setting["mode"] for results in all_results):
        chosen = [r for r in all_results if r.setting["mode"] == mode]
        parts.append(f"### {mode.replace('_', ' ').capitalize()}\n")
        parts += _verdicts(chosen, ours, rivals, seen, naming, counts)
        parts += _pooled(chosen, ours, rivals, counts)
        parts += _means(chosen, counts)
    return "\n".join(parts)


def rule_in_words(compared: Sequence[Comparison]) -> str:
    """Whether the comparisons with the named rivals meet the rule.

    Args:
        compared: with the named best rival of each setting.
    """
    good = sum(one.is_non_inferior for one in compared)
    worst = min(compared, key=lambda one: one.paired.mean_difference)
    is_met = (
        good >= SHARE_OF_SETTINGS * len(compared)
        and worst.paired.mean_difference >= -LARGEST_LOSS
    )
    return (
        f"{'Met' if is_met else 'Not met'}: non-inferior to the named rival in {good} "
        f"of {len(compared)} settings; the largest loss is "
        f"{_points(worst.paired.mean_difference)} points ({worst.setting})."
    )


def _verdicts(chosen, ours, rivals, seen, naming, counts):
    compared = referee.compare(
        chosen,
        ours,
        lambda results: filter(
            None,
            [referee.best_rival(results, [r for r in rivals if r != ours], naming)],
        ),
        counts,
    )
    if not compared:
        return []
    by_name = {results.name: results.setting for results in chosen}
    rows = [
        [
            name_of(by_name[one.setting]),
            "yes" if by_name[one.setting]["dataset"] in seen else "",
            display_name(one.rival),
            _interval(one.paired.mean_difference, one.paired.low, one.paired.high),
            "yes" if one.is_non_inferior else "no",
            one.verdict,
        ]
        for one in compared
    ]
    head = ("setting", "seen", "named rival", f"{display_name(ours)} minus rival")
    lines = _table((*head, "non-inferior", "verdict"), rows)
    return [*lines, "", rule_in_words(compared), ""]


def _pooled(chosen, ours, rivals, counts):
    found = {
        kind: {
            row.rival: row
            for row in referee.pool(
                [r for r in chosen if kind in ("all", kind_of(r.setting))],
                ours,
                rivals,
                counts,
            )
        }
        for kind in ("all", *KINDS)
    }
    kinds = [kind for kind, rows in found.items() if rows]
    if not kinds:
        return []

    def cell(row: Pooled | None) -> str:
        return "" if row is None else _interval(row.mean, row.low, row.high)

    rows = [
        [
            display_name(rival),
            *(cell(found[kind].get(rival)) for kind in kinds),
            f"{found['all'][rival].p_value_holm:.4f}",
        ]
        for rival in found["all"]
    ]
    return [*_table((f"{display_name(ours)} minus", *kinds, "p (Holm)"), rows), ""]


def _means(chosen, counts):
    """Every method's mean by measure, and in each setting."""
    methods = list(dict.fromkeys(name for r in chosen for name in r.areas))

    def values(results, method, measure=PRIMARY):
        seeds = [seed for seed in results.areas.get(method, {}) if counts(seed)]
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
    lines = [*_table(("method", *MEASURES.values()), rows), ""]
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
    return lines + [*_table(("setting", *map(display_name, order)), rows), ""]


def _table(head, rows):
    lines = [
        "| " + " | ".join(head) + " |",
        "| " + " | ".join("---" for _ in head) + " |",
    ]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _points(share):
    return f"{100 * share:+.2f}"


def _interval(mean, low, high):
    if low is None or high is None:
        return _points(mean)
    return f"{_points(mean)} [{_points(low)}, {_points(high)}]"
