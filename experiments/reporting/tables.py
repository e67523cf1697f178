"""A run's summary as a table: in the terminal and in Markdown.

Measures and rates are in per cent here, and shares in [0, 1] in the summary.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from experiments.reporting.measures import (
    ACCURACY,
    MEASURES,
    POOL_ACCURACY,
    measure_of,
)
from experiments.reporting.styles import (
    display_name,
    setting_name,
    setting_of,
    style_of,
)
from experiments.reporting.summary import BASELINE, has_bootstrap, total_seconds
from iwps_jax.wording import plural

TABLE_WIDTH = 100
MISSING = "-"
PAIRED_T, BOOTSTRAP = ("low", "high"), ("bootstrap_low", "bootstrap_high")
ABOUT_VERDICTS = (
    "Verdicts: paired t-test over seeds after Holm's correction for all rows of the "
    "column. Intervals are not corrected."
)
ABOUT_BOOTSTRAP = "The bootstrap intervals beside them decide nothing."
ABOUT_PAIRS = (
    "Paired t-test over seeds of the mean over rounds, in each setting after Holm's "
    "correction for all of its pairs of methods."
)
ABOUT_BEST_BASELINE = (
    "The best baseline is the one with the highest mean over rounds on these very "
    "seeds. That is partly luck: the comparison is harder on IWPS than one with a "
    "baseline named beforehand, and no p-value accounts for the choice."
)


class Column(NamedTuple):
    """A measure in a table, and its keys in the summary of a method.

    Attributes:
        name: name of the column.
        spread: "se" or "sd".
        mean_key: key of its mean over seeds.
        spread_key: key of its spread.
    """

    name: str
    spread: str
    mean_key: str
    spread_key: str


def columns(summary: Mapping[str, Any]) -> list[Column]:
    """The measures of a run: mean over rounds and final value, then the others.

    Measures that no method has are left out.

    Example:
        >>> values = {"aubc_mean": 0.5, "final_miou_mean": 0.6}
        >>> run = {"measure": "miou", "methods": {"iwps": values}}
        >>> [column.name for column in columns(run)]
        ['mean over rounds', 'final mIoU']
    """
    main = measure_of(summary)
    found = [
        Column("mean over rounds", "se", "aubc_mean", "aubc_se"),
        Column(f"final {main.short}", "sd", *main.final_keys),
    ]
    if main is ACCURACY:
        area = ("se", "balanced_aubc_mean", "balanced_aubc_se")
        final = ("sd", "balanced_final_mean", "balanced_final_sd")
        name = "balanced mean over rounds"
        found += [Column(name, *area), Column("balanced final", *final)]
        area, final = ("pool_aubc_mean", "pool_aubc_se"), POOL_ACCURACY.final_keys
        name = "mean over rounds, classes of the pool"
        found += [
            Column(name, "se", *area),
            Column("final, classes of the pool", "sd", *final),
        ]
    else:
        found += [
            Column(f"final {other.short}", "sd", *other.final_keys)
            for other in MEASURES[main]
        ]
    methods = summary["methods"].values()
    return [c for c in found if any(m.get(c.mean_key) is not None for m in methods)]


def print_table(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print one row per method, highest mean over rounds first.

    Args:
        summary: as `write_report` returns it.
        console: where to print; by default standard output, 100 columns wide.
    """
    console = console or Console(width=TABLE_WIDTH)
    methods, measure = summary["methods"], measure_of(summary)
    compared = any(m["versus_random"] for m in methods.values())
    seeds, rounds = len(summary["seeds"]), summary["rounds"]
    dataset = setting_name(summary["dataset"])
    table = Table(
        title=f"{dataset}, {plural(seeds, 'seed')}, {plural(rounds, 'round')}",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    headers = ["Final %\n ", "Mean %\n ", "Labels\nneeded"]
    headers += (
        ["Wrong\npixels %"]
        if measure.of_pixels
        else ["Wrong\npicks %", "Minor-\nity %"]
    )
    headers += ["Fit/\nscore s"]
    if compared:
        headers += ["Mean - Random\n\\[95 % interval]"]
    # Names of variants are long and take a second line.
    table.add_column("Method\n ", max_width=16)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    if compared:
        table.add_column("Verdict\n ", min_width=9)
    for name in by_area(summary):
        values = methods[name]
        row = [
            display_name(name),
            percent(*(values[key] for key in measure.final_keys)),
            percent(values["aubc_mean"], values["aubc_se"]),
            labels_needed(values),
            first_to_last(values["wrong_rate"]),
            *(() if measure.of_pixels else (first_to_last(values["minority_rate"]),)),
            f"{seconds(values['fit_seconds'])}/{seconds(values['score_seconds'])}",
        ]
        table.add_row(*row, *(_colored(values["versus_random"]) if compared else ()))
    console.print(table)
    legend = (
        f"Final: mean ± sd. Mean: {measure.short}, mean over the rounds ± standard "
        f"error. {'Wrong: pixels' if measure.of_pixels else 'Wrong, minority: share'} "
        "of the picks, first → last round. Fit/score: median seconds per round."
    )
    if BASELINE in methods:
        legend += (
            f" Labels: number needed for Random's final {measure.short}; ×: Random's "
            "number divided by it."
        )
    if compared:
        legend += (
            " Interval: paired t-test over seeds, not corrected. Verdict: p-value "
            "after Holm's correction for all rows."
        )
    for line in [legend, *summary["notes"]]:
        console.print(line, style="dim", markup=False, highlight=False)


def to_markdown(summary: Mapping[str, Any], *, heading: str | None = None) -> str:
    """Write a run as a heading, a sentence on the setting and a Markdown table.

    Args:
        summary: as in `summary.json`, whole or rounded.
        heading: by default dataset and imbalance.

    Returns:
        Markdown that ends with a newline.
    """
    methods, best = summary["methods"], summary["best_baseline"]
    measure = measure_of(summary)
    headers = ["method", f"final {measure.short}, % ± sd", "mean over rounds, % ± se"]
    if BASELINE in methods:
        headers += ["labels to Random's final (saving)"]
    wrong = "wrong pixels of picks" if measure.of_pixels else "wrong among picks"
    headers += [f"{wrong}, %, first → last round"]
    bootstrap = has_bootstrap(summary)
    intervals = (PAIRED_T, BOOTSTRAP) if bootstrap else (PAIRED_T,)
    baselines = {}
    if BASELINE in methods:
        baselines["versus_random"] = BASELINE
    if best is not None and best != BASELINE:
        baselines["versus_best_baseline"] = best
    for key, baseline in baselines.items():
        name = display_name(baseline)
        name += ", the best baseline" if key == "versus_best_baseline" else ""
        kinds = "[paired t] [bootstrap] 95 %" if bootstrap else "[95 % paired t]"
        headers += [f"mean − {name} {kinds}", "verdict"]
    rows = []
    for name in by_area(summary):
        values, label = methods[name], display_name(name)
        row = [
            f"**{label}**" if style_of(name).strong else label,
            percent(*(values[key] for key in measure.final_keys), " ± "),
            percent(values["aubc_mean"], values["aubc_se"], " ± "),
        ]
        if BASELINE in methods:
            needed = labels_needed(values, "{:.0f} ({:.2f}×)")
            row += ["not reached" if needed == MISSING else needed]
        row += [first_to_last(values["wrong_rate"], " → ")]
        for key in baselines:
            row += difference(values[key], *intervals)
        rows.append(row)
    heading = heading or setting_of(summary)
    lines = [f"### {heading}", ""]
    lines += [describe(summary), ""]
    lines += [_markdown_row(headers), _markdown_row(["---"] * len(headers))]
    lines += [_markdown_row(row) for row in rows]
    if summary["notes"]:
        lines += ["", " ".join(summary["notes"])]
    return "\n".join(lines) + "\n"


def about_verdicts(summaries: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on the tests behind the verdicts of these runs."""
    if any(map(has_bootstrap, summaries)):
        return f"{ABOUT_VERDICTS} {ABOUT_BOOTSTRAP}"
    return ABOUT_VERDICTS


def about_markdown(summaries: Sequence[Mapping[str, Any]]) -> str:
    """A paragraph on the tests behind the verdicts of all these tables."""
    methods = [values for s in summaries for values in s["methods"].values()]
    notes = [
        note
        for key, note in (
            ("versus_random", about_verdicts(summaries)),
            ("versus_best_baseline", ABOUT_BEST_BASELINE),
        )
        if any(values[key] for values in methods)
    ]
    return f"\n{' '.join(notes)}\n" if notes else ""


def describe(summary: Mapping[str, Any]) -> str:
    """Describe the run in one sentence: settings, seeds, device and time."""
    parts = []
    labels_name = "labeled images" if measure_of(summary).of_pixels else "labels"
    for key, words in (
        ("network", "network {}"),
        ("base_size", "base size {}"),
        ("acquire_size", f"{{}} {labels_name} a round"),
        ("holdout_per_class", "{} held out per class"),
        ("holdout_size", "{} held out"),
        ("steps", "T = {}"),
        ("learning_rate", "η = {:g}"),
    ):
        if summary.get(key) is not None:
            parts.append(words.format(summary[key]))
    labels = summary["num_labeled"]
    parts.append(f"{labels[0]:.0f} → {labels[-1]:.0f} {labels_name}")
    parts.append(plural(summary["rounds"], "round"))
    parts.append(f"{plural(len(summary['seeds']), 'seed')} {ranges(summary['seeds'])}")
    if summary.get("device"):
        parts.append(f"device {summary['device']}")
    for package in ("jax", "commit"):
        if package in summary["versions"]:
            parts.append(f"{package} {summary['versions'][package]}")
    minutes = total_seconds(summary) / 60
    parts.append(f"{minutes:.1f} minutes over all methods and seeds")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def by_area(summary: Mapping[str, Any]) -> list[str]:
    """List the methods, highest mean over rounds first."""
    methods = summary["methods"]
    return sorted(methods, key=lambda m: -methods[m]["aubc_mean"])


def percent(mean: float, spread: float | None, sign: str = "±") -> str:
    """Write a share as per cent, with its spread if that is defined.

    Example:
        >>> percent(0.1234, 0.01), percent(0.1234, None)
        ('12.3±1.0', '12.3')
    """
    return f"{100 * mean:.1f}" + ("" if spread is None else f"{sign}{100 * spread:.1f}")


def labels_needed(values: Mapping[str, Any], form: str = "{:.0f} {:.2f}×") -> str:
    """Write the labels to Random's final value and the saving, or a dash."""
    needed, saving = values["labels_to_random_final"], values["label_saving"]
    return MISSING if needed is None else form.format(needed, saving)


def first_to_last(rates: Sequence[float | None], arrow: str = "→") -> str:
    """Write the first and the last of the rounds' shares in per cent.

    Example:
        >>> first_to_last([0.5, 0.4, 0.25]), first_to_last([])
        ('50→25', '-')
    """
    if not rates or rates[0] is None or rates[-1] is None:
        return MISSING
    return f"{100 * rates[0]:.0f}{arrow}{100 * rates[-1]:.0f}"


def seconds(value: float | None) -> str:
    """Write seconds, with one decimal if they are below ten.

    Example:
        >>> seconds(0.123), seconds(123.4), seconds(None)
        ('0.1', '123', '-')
    """
    if value is None:
        return MISSING
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def difference(
    result: Mapping[str, Any] | None, *intervals: tuple[str, str]
) -> tuple[str, str]:
    """Write a difference with its intervals in per cent, and its verdict.

    Args:
        result: a comparison of the summary; None gives two empty texts.
        intervals: the keys of each interval's ends.

    Example:
        >>> result = {"mean_difference": 0.1, "low": None, "verdict": "better"}
        >>> difference(result, PAIRED_T)
        ('+10.0', 'better')
    """
    if result is None:
        return "", ""
    text = f"{100 * result['mean_difference']:+.1f}"
    for low, high in intervals:
        if result[low] is not None:
            text += f" [{100 * result[low]:+.1f}, {100 * result[high]:+.1f}]"
    return text, result["verdict"]


def ranges(numbers: Sequence[int]) -> str:
    """Write ascending numbers, consecutive ones as a range.

    Example:
        >>> ranges([0, 1, 2, 5])
        '0-2, 5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)


def _colored(result: Mapping[str, Any] | None) -> tuple[str, str]:
    """Write a comparison for the terminal, with few blanks."""
    text, verdict = difference(result, PAIRED_T)
    if not verdict:
        return "", ""
    color = {"better": "green", "worse": "red"}.get(verdict, "dim")
    text = text.replace(", ", ",").replace("[", "\\[")
    return text, f"[{color}]{verdict}[/{color}]"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
