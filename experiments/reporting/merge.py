"""Several runs side by side: a grid of curves, one table per run, and counts of wins.

The rows of the grid are datasets with their imbalance. The columns are the other
settings: the sizes of the initial set and of a round, and all settings that differ
between the runs. The run folders are only read.

Paper: Aljundi et al. 2020, supplement, Figures 4 and 5 (grids), Figure 2 (picks).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.reporting import charts, html_page, pick_plots, plots, tables
from experiments.reporting.measures import Measure
from experiments.reporting.records import Record, read_record
from experiments.reporting.styles import display_name, setting_of
from experiments.reporting.summary import as_json, summarize
from iwps_jax import methods
from iwps_jax.atomic_write import write_atomically
from iwps_jax.refusal import Refusal
from iwps_jax.wording import plural

COLUMN_SETTINGS = {
    "base_size": "base size {}",
    "acquire_size": "{} labels a round",
    "initial_size": "{} labeled at first",
    "holdout_size": "{} held out",
    "network": "{}",
    "steps": "T = {}",
    "learning_rate": "η = {:g}",
    "holdout_per_class": "{} held out per class",
    "warm_start": "warm start {}",
    "rounds": "{} rounds",
}
ALWAYS_NAMED = ("base_size", "acquire_size")
DATASET_ORDER = ("mnist", "kmnist", "svhn", "cifar10")  # that of the paper's figures
SHOWN = methods.IWPS.name  # the method whose picks are shown for every dataset


def write_merged_report(
    folders: Sequence[Path],
    out: Path,
    load: Callable[[Mapping[str, Any], Path], Any],
) -> dict[str, Any]:
    """Write the report of several runs: `report.html`, `summary.json` and pictures.

    Each file is written completely or not at all; equal inputs give equal bytes.

    Args:
        folders: folders of finished or running runs.
        out: folder of the report; it is created if it does not exist.
        load: `load(config, folder)` returns the dataset of a run. If it cannot be
            loaded, its pictures are left out. Datasets of images whose pixels have
            classes are not loaded, and their pictures are left out.

    Returns:
        The summaries of all runs in the order of the grid, their names, and the counts
        of wins, as in `summary.json`.

    Raises:
        ValueError: `out` is the folder of a run, a run's files are not complete, or
            the runs differ in their main measure.
    """
    out = Path(out)
    if (out / "config.json").exists():
        raise Refusal(f"out must not be the folder of a run, got {out}.")
    loaded: dict[tuple[str, Any], Any] = {}
    entries, notes = [], []
    records = [read_record(path) for path in folders]
    measure = _common_measure(records)
    for record in records:
        key = (record.config["dataset"], record.config.get("data_sha256"))
        if measure.of_pixels:
            loaded[key] = None
        elif key not in loaded:
            try:
                loaded[key] = load(record.config, record.path)
            except (OSError, Refusal) as error:
                loaded[key] = None
                reason = str(error).splitlines()[0].removesuffix(" Tried:")
                notes.append(f"No pictures of {key[0]}: {reason}")
        entries.append((record, summarize(record, loaded[key]), loaded[key]))
    entries.sort(key=lambda entry: _place(entry[1]))
    records, summaries, datasets = (list(part) for part in zip(*entries, strict=True))
    titles, places = arrange(summaries, _short_names([r.path for r in records]))
    merged = {
        "names": [f"{row}, {column}" for row, column in titles],
        "win_counts": win_counts(summaries),
        "runs": summaries,
        "notes": notes,
    }
    cells = [
        plots.Cell(*place, *title, plots.curves_of(record, measure))
        for place, title, record in zip(places, titles, records, strict=True)
    ]
    out.mkdir(parents=True, exist_ok=True)
    png = plots.grid_png(cells, plural(len(records), "run"), measure=measure)
    write_atomically(out / "curves.png", png)
    pictures = []
    shown = _first_picks(records, datasets)
    if shown:
        title = f"First picks of round 0 by {display_name(SHOWN)}"
        picked = pick_plots.picks_png(shown, title)
        write_atomically(out / "selected.png", picked)
        pictures.append((f"{title}, predicted → true class.", picked))
    pictures.append(("The curves as a picture, for slides and papers.", png))
    order = merged["win_counts"]["methods"]
    num_rows, num_columns = (max(axis) + 1 for axis in zip(*places, strict=True))
    grid = [[None] * num_columns for _ in range(num_rows)]
    heights = plots.heights_of_rows(cells)
    for run, cell in enumerate(cells):
        chart = charts.curve_chart(cell.curves, order, "", "", is_small=True)
        if cell.row in heights:
            chart["layout"]["yaxis"] |= {"range": list(heights[cell.row])}
        panel = {"run": run, "title": cell.title, "subtitle": cell.subtitle}
        grid[cell.row][cell.column] = panel | {"figure": chart}
    html = html_page.merged_page(merged, grid, pictures)
    write_atomically(out / "summary.json", as_json(merged))
    write_atomically(out / "report.html", html.encode())
    return merged


def arrange(
    summaries: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None
) -> tuple[list[tuple[str, str]], list[tuple[int, int]]]:
    """Name runs and place them in a grid without two in one place.

    If there are several datasets, with one run for each imbalance, a row is a dataset
    and a column an imbalance. Otherwise a row is a dataset with its imbalance, and a
    column the other settings, so that equal settings are below one another. If that
    leaves more than half of the places empty, the runs of a row move together.

    Args:
        summaries: summaries of the runs, in the wanted order.
        names: distinct names of the runs.

    Returns:
        For every run the titles of its row and its column, and its (row, column). Runs
        with equal titles are distinguished by their names, or by a number if there are
        no names.

    Example:
        >>> first = {"dataset": "digits", "imbalance": 1, "base_size": 5}
        >>> arrange([first, first | {"imbalance": 10}, first | {"base_size": 10}])[1]
        [(0, 0), (1, 0), (0, 1)]
    """
    named = [
        key
        for key in COLUMN_SETTINGS
        if key in ALWAYS_NAMED or len({str(s.get(key)) for s in summaries}) > 1
    ]
    titles: list[tuple[str, str]] = []
    columns: dict[str, list[tuple[int, float, str]]] = {}
    settings = [
        (
            setting_of(summary),
            ", ".join(
                COLUMN_SETTINGS[key].format(summary[key])
                for key in named
                if summary.get(key) is not None
            ),
        )
        for summary in summaries
    ]
    for i, (summary, (row, column)) in enumerate(zip(summaries, settings, strict=True)):
        number = settings[: i + 1].count((row, column))
        if names and settings.count((row, column)) > 1:
            column = f"{column} ({names[i]})"
        elif number > 1:
            column = f"{column} ({number})"
        titles.append((row, column))
        order = [_sortable(summary.get(key)) for key in named]
        columns[column] = [*order, (0, number, "")]
    pairs = [(summary["dataset"], summary["imbalance"]) for summary in summaries]
    names = list(dict.fromkeys(name for name, _ in pairs))
    if len(names) > 1 and len(set(pairs)) == len(pairs):
        ratios = sorted({ratio for _, ratio in pairs}, key=_sortable)
        return titles, [(names.index(n), ratios.index(r)) for n, r in pairs]
    rows = list(dict.fromkeys(row for row, _ in titles))
    ordered = sorted(columns, key=columns.__getitem__)
    places = [(rows.index(row), ordered.index(column)) for row, column in titles]
    if 2 * len(places) < len(rows) * len(ordered):
        kept = [sorted(c for r, c in places if r == row) for row in range(len(rows))]
        places = [(r, kept[r].index(c)) for r, c in places]
    return titles, places


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Name folders by as few of their last parts as distinguish them all."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            break
    return names


def win_counts(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count in how many runs each method is significantly better than each other.

    Args:
        summaries: of the runs.

    Returns:
        `methods`, ordered by the mean rank of their mean over rounds; `wins[i][j]`, the
        number of runs in which i is better than j according to the win matrix; and
        `settings[i][j]`, the number of runs with a verdict on both.
    """
    ranks: dict[str, list[float]] = {}
    for summary in summaries:
        order = tables.by_area(summary)
        for rank, method in enumerate(order):
            ranks.setdefault(method, []).append(rank / max(len(order) - 1, 1))
    methods = sorted(ranks, key=lambda m: float(np.mean(ranks[m])))
    wins = np.zeros((len(methods), len(methods)), dtype=int)
    settings = np.zeros_like(wins)
    for summary in summaries:
        matrix = summary["win_matrix"]
        at = [methods.index(m) for m in matrix["methods"]]
        for i, row in zip(at, matrix["verdicts"], strict=True):
            for j, verdict in zip(at, row, strict=True):
                wins[i, j] += verdict == "better"
                settings[i, j] += verdict not in (None, "no verdict")
    return {"methods": methods, "wins": wins.tolist(), "settings": settings.tolist()}


def areas_to_markdown(names: Sequence[str], summaries: Sequence[Mapping]) -> str:
    """Write the mean over rounds of every method and run as one Markdown table."""
    methods = win_counts(summaries)["methods"]
    lines = ["### Mean over rounds, % ± se, of every run", ""]
    lines += [f"| method | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for method in methods:
        cells = [
            tables.percent(run["aubc_mean"], run["aubc_se"], " ± ") if run else ""
            for run in (summary["methods"].get(method) for summary in summaries)
        ]
        lines.append(f"| {display_name(method)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def win_counts_to_markdown(counts: Mapping[str, Any]) -> str:
    """Write the counts as a Markdown table: row better than column, of all settings."""
    names = [display_name(m) for m in counts["methods"]]
    lines = ["### In how many settings the row is significantly better", ""]
    lines.append("| better than | " + " | ".join(names) + " |")
    lines.append("|---" * (len(names) + 1) + "|")
    for i, name in enumerate(names):
        cells = [
            f"{counts['wins'][i][j]}/{n}" if n else ""
            for j, n in enumerate(counts["settings"][i])
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", tables.ABOUT_PAIRS]
    return "\n".join(lines) + "\n"


def _common_measure(records: Sequence[Record]) -> Measure:
    first = records[0]
    for other in records[1:]:
        if other.measure is not first.measure:
            raise Refusal(
                "runs side by side must have the same main measure, got "
                f"{first.measure.short} in {first.path} and {other.measure.short} in "
                f"{other.path}."
            )
    return first.measure


def _first_picks(
    records: Sequence[Record], datasets: Sequence[Any]
) -> list[pick_plots.Row]:
    """The picks of `SHOWN` in the first run of every dataset that has picks."""
    rows: dict[str, pick_plots.Row] = {}
    for record, dataset in zip(records, datasets, strict=True):
        name = record.config["dataset"]
        if dataset is None or name in rows:
            continue
        picks, _ = pick_plots.first_picks(record, dataset)
        if SHOWN in picks:
            label = setting_of(record.config)
            row = pick_plots.Row(label, False, picks[SHOWN], dataset.class_names)
            rows[name] = row
    return list(rows.values())


def _place(summary: Mapping[str, Any]) -> list[tuple[int, float, str]]:
    """Sort key: the paper's order of datasets, then imbalance, then the columns."""
    name, known = summary["dataset"], len(DATASET_ORDER)
    rank = DATASET_ORDER.index(name) if name in DATASET_ORDER else known
    settings = [_sortable(summary.get(k)) for k in ("imbalance", *COLUMN_SETTINGS)]
    return [(0, rank, name), *settings]


def _sortable(value: Any) -> tuple[int, float, str]:
    """Order numbers before words, and unknown last."""
    if value is None:
        return (2, 0.0, "")
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (1, 0.0, str(value))
