"""The tables of the referee study as Markdown: verdicts, pooled differences, means."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.reporting import referee
from experiments.reporting.markdown import as_interval, as_points, markdown_table
from experiments.reporting.referee import NAMING, PRIMARY, Comparison, Pooled, Results
from experiments.reporting.referee_plot import verdicts_png
from experiments.reporting.statistics import standard_error
from experiments.reporting.styles import DATASETS, display_name

EQUAL_LABELS = "equal_labels"
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
        referee.pool(chosen, ours, rivals, of_verdict),
    )


def of_choice(seed: int) -> bool:
    """Whether methods may be chosen on a seed."""
    return seed < min(NAMING)


def to_markdown(
    all_results: Sequence[Results],
    ours: str,
    rivals: Sequence[str],
    *,
    naming: Sequence[int] = NAMING,
    counts: Callable[[int], bool] = of_verdict,
) -> str:
    """All tables, mode by mode, and then the means of the seeds that chose methods.

    Args:
        all_results: the settings, as `referee.read_units` has them.
        ours: the method that is compared.
        rivals: all others that may be named as the best.
        naming: seeds that name the best rival of a setting.
        counts: whether a seed counts for the verdicts.
    """
    judged, looked_at = (
        [r for r in all_results if any(map(are_in, r.areas.get(ours, {})))]
        for are_in in (counts, of_choice)
    )
    parts = []
    for mode in _modes(judged):
        chosen = [r for r in judged if r.setting["mode"] == mode]
        parts.append(f"## {_as_words(mode).capitalize()}\n\n")
        parts += _verdicts(chosen, ours, rivals, naming, counts)
        parts += _pooled(chosen, ours, rivals, counts)
        parts += _means(chosen, counts)
    for mode in _modes(looked_at):
        chosen = [r for r in looked_at if r.setting["mode"] == mode]
        parts.append(f"## Seen data, {_as_words(mode)}: no verdict\n\n")
        parts += _means(chosen, of_choice)
    return "".join(parts)


def _modes(all_results):
    return dict.fromkeys(results.setting["mode"] for results in all_results)


def _as_words(mode):
    return mode.replace("_", " ")


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
        f"{as_points(worst.paired.mean_difference)} points ({worst.setting})."
    )


def with_named_rivals(
    all_results: Sequence[Results],
    ours: str,
    rivals: Sequence[str],
    naming: Sequence[int] = NAMING,
    counts: Callable[[int], bool] = of_verdict,
) -> list[Comparison]:
    """Ours with the best rival of each setting, which other seeds have named."""
    others = [rival for rival in rivals if rival != ours]

    def named(results):
        return filter(None, [referee.best_rival(results, others, naming)])

    return referee.compare(all_results, ours, named, counts)


def _verdicts(chosen, ours, rivals, naming, counts):
    compared = with_named_rivals(chosen, ours, rivals, naming, counts)
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
    return [table, f"{rule_in_words(compared)}\n\n"]


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
