"""The study's verdict in sentences and its numbers as Markdown tables.

The mean test accuracy over the rounds, and its differences, are in per cent here, and
shares in [0, 1] in the summary.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.reporting import tables
from experiments.reporting.iwps_batch_headline import KINDS, headline
from experiments.reporting.iwps_batch_study import VERDICTS
from experiments.reporting.styles import display_name, setting_name
from iwps_jax.wording import plural


def verdict_in_words(summary: Mapping[str, Any]) -> str:
    """The verdict of the rule, in sentences."""
    ours, rule = display_name(summary["ours"]), summary["rule"]
    baselines = [m for m, r in summary["compared"].items() if r["is_baseline"]]
    if not baselines:
        return f"No verdict: {ours} has not been compared with a baseline."
    undecided = rule.get("undecided", ())  # files of earlier versions have none
    if undecided:
        few = ", ".join(f"{name} against {display_name(m)}" for name, m in undecided)
        return f"No verdict: fewer than three shared seeds in {few}."
    count = plural(len(summary["settings"]), "setting")
    worse = "; ".join(
        f"{setting} against {display_name(method)} ({after_holm} after Holm)"
        for setting, method, after_holm in rule["worse_in"]
    )
    first = (
        f"1. Not met: the 95 % interval lies below zero in {worse}."
        if worse
        else f"1. Met: in none of {count} and against none of "
        f"{plural(len(baselines), 'baseline')}, of the settings in which they "
        "ran, does the 95 % interval lie below zero."
    )
    sentences = [first]
    if rule["better_in"]:
        wins = ", ".join(
            f"{display_name(rival)} in {wins} of {of}"
            for rival, (wins, of) in rule["better_in"].items()
        )
        met = "Met" if rule["better_in_most"] else "Not met"
        sentences.append(
            f"2. {met}: {ours} is significantly better than {wins} settings in which "
            "they ran."
        )
    if not rule["is_complete"]:
        gaps = ", ".join(
            f"{display_name(method[0])} in {name}" if method else name
            for name, *method in summary["missing"]
        )
        sentences.append(f"Preliminary, missing: {gaps}.")
    if not summary["rivals"]:
        return "\n".join(
            [*sentences, "2. Not judged: the methods it names did not run."]
        )
    met = "is met" if rule["met"] else "is not met"
    return "\n".join([*sentences, f"The rule {met}."])


def to_markdown(summary: Mapping[str, Any]) -> str:
    """The verdict, the differences and the means of all settings as Markdown."""
    lines = ["### Verdict", "", verdict_in_words(summary).replace("\n", "  \n"), ""]
    if summary["compared"]:
        lines += [*_differences_to_markdown(summary), ""]
    if any(r["is_baseline"] for r in summary["compared"].values()):
        lines += [*_headline_to_markdown(summary), ""]
    if summary["rivals"]:
        lines += [*_rivals_to_markdown(summary), ""]
    datasets = dict.fromkeys(s["dataset"] for s in summary["settings"])
    for dataset in datasets:
        lines += [*_areas_to_markdown(summary, dataset), ""]
    lines += summary["notes"]
    return "\n".join(lines).rstrip() + "\n"


def _differences_to_markdown(summary: Mapping[str, Any]) -> list[str]:
    names = {s["name"]: _title(s) for s in summary["settings"]}
    headers = [
        "other method",
        "mean over settings",
        "all pairs [95 %], p (Holm)",
        "verdict",
        "seed means [95 %], p (Holm)",
        "settings better / not separable / worse (uncorrected)",
        "worst setting [95 %]",
    ]
    ours = display_name(summary["ours"])
    lines = [f"### {ours} minus each method, mean over rounds, %", ""]
    lines += [_row(headers), _row(["---"] * len(headers))]
    for method, result in summary["compared"].items():
        worst = next(s for s in result["settings"] if s["name"] == result["worst"])
        holm, plain = (
            " / ".join(str(result[key][v]) for v in VERDICTS)
            for key in ("counts_holm", "counts")
        )
        cells = [
            display_name(method) + ("" if result["is_baseline"] else " (variant)"),
            f"{100 * result['mean_over_settings']:+.2f}",
            _with_p(result["over_pairs"]),
            result["over_pairs"]["verdict_holm"],
            _with_p(result["over_seeds"]),
            f"{holm} ({plain})",
            f"{names[result['worst']]}: {_interval(worst)}, {worst['verdict_holm']}",
        ]
        lines.append(_row(cells))
    about = (
        "Paired t-tests over seeds. In a setting p-values are corrected by Holm's "
        "method for its baselines, overall for the baselines; variants among "
        "themselves. Intervals are not corrected. All pairs: every seed of every "
        "setting is a pair. Seed means: one number a seed, the mean over settings."
    )
    return [*lines, "", about]


def _headline_to_markdown(summary: Mapping[str, Any]) -> list[str]:
    """Balanced and imbalanced settings, Holm over all comparisons, and the losses."""
    found, ours = headline(summary), display_name(summary["ours"])
    of_all = f"Holm over all {found['num_comparisons']}"
    headers = ["other method"]
    for kind in KINDS:
        headers += [f"{kind}: mean", "better / worse, Holm in the setting", of_all]
    lines = [f"### {ours} minus each method, balanced and imbalanced apart", ""]
    lines += [_row(headers), _row(["---"] * len(headers))]
    for method, by_kind in found["baselines"].items():
        cells = [display_name(method)]
        for kind in KINDS:
            numbers = by_kind[kind]
            if not numbers["settings"]:
                cells += [tables.MISSING] * 3
                continue
            of = f"of {numbers['settings']}"
            cells += [
                f"{100 * numbers['mean']:+.2f}",
                f"{numbers['better']} / {numbers['worse']} {of}",
                f"{numbers['better_of_all']} / {numbers['worse_of_all']} {of}",
            ]
        lines.append(_row(cells))
    about = (
        "In how many of the settings in which both ran the difference is significant. "
        f"The last correction is for all {found['num_comparisons']} comparisons of all "
        "settings at once."
    )
    lines += ["", about, "", f"### Where the mean of {ours} is below another's", ""]
    if not found["below"]:
        return [*lines, "In no setting against any baseline."]
    names = {s["name"]: _title(s) for s in summary["settings"]}
    headers = ["setting", "other method", "difference [95 %]", "verdict"]
    lines += [_row(headers), _row(["---"] * len(headers))]
    lines += [
        _row(
            [
                names[result["name"]],
                display_name(result["method"]),
                _interval(result),
                result["verdict_holm"],
            ]
        )
        for result in found["below"]
    ]
    return lines


def _rivals_to_markdown(summary: Mapping[str, Any]) -> list[str]:
    """Ours minus each rival, one line per setting; bold if separable."""
    rivals = summary["rivals"]
    of_rivals = {m: summary["compared"][m]["settings"] for m in rivals}
    found = {(m, s["name"]): s for m, of in of_rivals.items() for s in of}
    ours = display_name(summary["ours"])
    headers = ["setting", *(f"{ours} − {display_name(m)}" for m in rivals)]
    lines = [f"### {ours} minus its rivals in every setting, mean over rounds, %", ""]
    lines += [_row(headers), _row(["---"] * len(headers))]
    for setting in summary["settings"]:
        results = [found.get((m, setting["name"])) for m in rivals]
        cells = [_with_verdict(r) if r else tables.MISSING for r in results]
        lines.append(_row([_title(setting), *cells]))
    about = (
        "In brackets the 95 % interval. Bold: separable after Holm's correction for "
        "all baselines of the setting."
    )
    return [*lines, "", about]


def _with_verdict(result: Mapping[str, Any]) -> str:
    mean = f"{100 * result['mean_difference']:+.1f}"
    if result["verdict_holm"] in ("better", "worse"):
        mean = f"**{mean}**"
    if result["low"] is None:
        return mean
    return f"{mean} [{100 * result['low']:+.1f}, {100 * result['high']:+.1f}]"


def _areas_to_markdown(summary: Mapping[str, Any], dataset: str) -> list[str]:
    settings = [s for s in summary["settings"] if s["dataset"] == dataset]
    methods = dict.fromkeys(m for s in settings for m in s["methods"])
    lines = [f"### {setting_name(dataset)}: mean over rounds, % ± se", ""]
    headers = ["method", *(_title(s).partition(", ")[2] for s in settings)]
    lines += [_row(headers), _row(["---"] * len(headers))]
    for method in methods:
        found = [s["methods"].get(method) for s in settings]
        best = [max(m["aubc_mean"] for m in s["methods"].values()) for s in settings]
        cells = [_area(*pair) for pair in zip(found, best, strict=True)]
        name = display_name(method)
        lines.append(
            _row([f"**{name}**" if method == summary["ours"] else name, *cells])
        )
    seeds = sorted({m["seeds"] for s in settings for m in s["methods"].values()})
    return [
        *lines,
        "",
        f"{_counts(seeds)}. Bold: the highest of a column.",
    ]


def _area(numbers: Mapping[str, Any] | None, best: float) -> str:
    if numbers is None:
        return ""
    text = tables.percent(numbers["aubc_mean"], numbers["aubc_se"], " ± ")
    return f"**{text}**" if numbers["aubc_mean"] == best else text


def _title(setting: Mapping[str, Any]) -> str:
    name = setting_name(setting["dataset"], setting["imbalance"])
    return f"{name.replace('imbalance ', '')}, {setting['acquire_size']} a round"


def _with_p(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return tables.MISSING
    p_value, corrected = _p_value(result["p_value"]), _p_value(result["p_value_holm"])
    return f"{_interval(result)}, {p_value} ({corrected})"


def _p_value(p_value: float) -> str:
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def _interval(result: Mapping[str, Any]) -> str:
    text = f"{100 * result['mean_difference']:+.2f}"
    if result["low"] is not None:
        text += f" [{100 * result['low']:+.2f}, {100 * result['high']:+.2f}]"
    return text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _counts(seeds: Sequence[int]) -> str:
    return f"{tables.ranges(seeds)} seed{'' if seeds == [1] else 's'}"
