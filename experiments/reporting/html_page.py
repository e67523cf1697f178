"""A self-contained HTML page of one run or of several: no network, no other file.

Jinja fills the templates and escapes all values; plotly.js draws the charts and is part
of the page. The page's content security policy forbids every request, so a report looks
the same years from now or on a machine without network.
"""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from experiments.reporting import charts, plots, tables
from experiments.reporting.class_plots import curves_of_classes, hex_colors
from experiments.reporting.comparisons import is_ours
from experiments.reporting.measures import MEASURES, Measure, measure_of
from experiments.reporting.pick_plots import Lines
from experiments.reporting.records import Record
from experiments.reporting.styles import display_name, setting_of, styles_of
from experiments.reporting.summary import (
    BASELINE,
    STAGES,
    has_bootstrap,
    total_seconds,
)
from iwps_jax.wording import plural

FIRST_PICTURES = ("selected.png", "tsne.png", "class_iou.png")
LAST_PICTURES = ("curves.png",)
CAPTIONS = {
    "selected.png": "The first picks of round 0: predicted → true class.",
    "curves.png": "The curves as a picture, for slides and papers.",
    "tsne.png": "The picks among the features of the pool (t-SNE).",
}
CAPTIONS_OF_PIXELS = {
    **CAPTIONS,
    "selected.png": "The first picks of round 0: image, prediction, truth, and errors.",
    "class_iou.png": "IoU of every class on the test set over the rounds.",
}
NO_SETTINGS = ("colors",)  # in config.json for pictures alone


def run_page(
    record: Record, summary: Mapping[str, Any], first_picks: Sequence[Lines] = ()
) -> str:
    """Make the page of one run.

    Args:
        record: the run; the PNGs in its folder become part of the page.
        summary: its numbers, as in `summary.json`.
        first_picks: of every method, where samples are texts: a table of them takes
            the place of their picture.

    Returns:
        HTML; equal inputs give equal text.
    """
    order = tables.by_area(summary)
    setting = setting_of(summary)
    return _render(
        "run.html",
        title=setting,
        summary=summary,
        measure=record.measure,
        colors=hex_colors(record.config.get("colors", ())),
        order=order,
        styles=styles_of(order),
        sections=_charts(record, summary, order),
        baselines=_baselines(summary),
        headline=_headline(summary, order),
        first_picks=first_picks,
        pictures=_pictures(
            record.path, record.measure, {"selected.png"} if first_picks else set()
        ),
        settings=_settings(record.config),
        stages=[
            s
            for s in STAGES
            if any(m["seconds"][s] is not None for m in summary["methods"].values())
        ],
    )


def merged_page(
    summary: Mapping[str, Any],
    grid: Sequence[Sequence[Mapping[str, Any] | None]],
    pictures: Sequence[tuple[str, bytes]],
) -> str:
    """Make the page of several runs.

    Args:
        summary: the merged summary, see `experiments.reporting.merge`.
        grid: rows of panels with `title`, `subtitle`, `figure` and the number `run`
            of a run in the summary; None where there is no run.
        pictures: captions and PNG bytes.

    Returns:
        HTML; equal inputs give equal text.
    """
    runs = summary["runs"]
    return _render(
        "merged.html",
        title=f"{plural(len(runs), 'run')} side by side",
        summary=summary,
        measure=measure_of(runs[0]),
        runs=[
            {
                "name": name,
                "summary": run,
                "order": tables.by_area(run),
                "baselines": _baselines(run),
                "headline": _headline(run, tables.by_area(run)),
            }
            for name, run in zip(summary["names"], runs, strict=True)
        ],
        grid=grid,
        styles=styles_of(summary["win_counts"]["methods"]),
        pictures=[(caption, _data_url(png)) for caption, png in pictures],
    )


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"chart": _chart_json, "method": display_name}
    environment.tests["ours"] = is_ours
    environment.globals |= {
        "tables": tables,
        "has_bootstrap": has_bootstrap,
        "measure_of": measure_of,
        "plotlyjs": get_plotlyjs,
        "total_seconds": total_seconds,
    }
    return environment.get_template(template).render(**values)


def _chart_json(figure: Mapping[str, Any]) -> str:
    """Encode a figure as the text of an attribute; Jinja escapes it."""
    return json.dumps(
        figure, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def _charts(
    record: Record, summary: Mapping[str, Any], order: Sequence[str]
) -> dict[str, Any]:
    """Arrange the charts by section; a list of views is (name, figure) pairs."""
    main, rounds = record.measure, "Round"
    measured = [
        (m.name, charts.curve_chart(curves, order, main.x_name, f"{m.name} (%)"))
        for m in (main, *MEASURES[main])
        if (curves := plots.curves_of(record, m))
    ]
    picks = [
        (name, charts.curve_chart(curves, order, rounds, f"{y_title} (%)"))
        for name, y_title, curves in (
            (
                "Wrong pixels" if main.of_pixels else "Wrong predictions",
                main.wrong_name,
                plots.curves_of(record, "wrong_rate"),
            ),
            (
                "Rare classes",
                "Rare classes among the picks",
                plots.curves_of(record, "minority_rate"),
            ),
        )
        if curves
    ]
    differences = [
        (
            f"Mean over rounds − {display_name(b)}",
            charts.difference_chart(summary, key, order),
        )
        for key, b in _baselines(summary)
    ]
    picked = [m.get("picks_per_class") for m in summary["methods"].values()]
    num_classes = max((len(rows[0]) for rows in picked if rows), default=0)
    classes = None
    if num_classes and any(sum(map(sum, rows)) for rows in picked):
        names = summary["class_names"] or [str(i) for i in range(num_classes)]
        classes = charts.class_chart(summary, order, names)
    class_iou = None
    if main.of_pixels:
        names = summary["class_names"]
        class_iou = [
            (name, charts.curve_chart(curves, order, main.x_name, f"IoU of {name} (%)"))
            for name, curves in zip(names, curves_of_classes(record), strict=True)
            if curves
        ]
    return {
        "accuracy": measured,
        "class_iou": class_iou,
        "picks": picks,
        "differences": differences,
        "classes": classes,
        "time": charts.time_chart(summary, order),
    }


def _baselines(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List the existing comparisons: their key in the summary and the baseline."""
    best, pairs = summary["best_baseline"], []
    if BASELINE in summary["methods"] and len(summary["methods"]) > 1:
        pairs.append(("versus_random", BASELINE))
    if best not in (None, BASELINE) and len(summary["methods"]) > 1:
        pairs.append(("versus_best_baseline", best))
    return pairs


def _headline(
    summary: Mapping[str, Any], order: Sequence[str]
) -> list[tuple[str, str]]:
    """Write the main results in a few lines, from the verdicts alone."""
    methods, first = summary["methods"], order[0]
    area = tables.percent(methods[first]["aubc_mean"], methods[first]["aubc_se"], " ± ")
    lines = [("Highest mean over rounds:", f"{display_name(first)}, {area} %")]
    for key, baseline in _baselines(summary):
        parts = []
        for verdict in ("better", "not separable", "worse", "no verdict"):
            names = [
                display_name(m)
                for m in order
                if methods[m][key]
                and methods[m][key]["verdict"] == verdict
                and (key == "versus_random" or is_ours(m))
            ]
            if names:
                parts.append(f"{verdict}: {', '.join(names)}")
        if parts:
            best = "the best baseline, " if key == "versus_best_baseline" else ""
            name = f"Against {best}{display_name(baseline)}:"
            lines.append((name, "; ".join(parts)))
    return lines


def _settings(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write every entry of config.json as a row, nested ones joined."""
    rows = []
    for key, value in config.items():
        if key in NO_SETTINGS:
            continue
        if isinstance(value, Mapping):
            text = ", ".join(f"{name} {v}" for name, v in value.items())
        elif isinstance(value, list):
            text = ", ".join(map(str, value))
        else:
            text = "not set" if value is None else str(value)
        rows.append((key.replace("_", " "), text))
    return rows


def _pictures(
    path: Path, measure: Measure, without: Collection[str]
) -> list[tuple[str, str]]:
    """Read the PNGs of a run folder as captions and data URLs, the curves last."""
    others = {p.name for p in path.glob("*.png")} - {*FIRST_PICTURES, *LAST_PICTURES}
    captions = CAPTIONS_OF_PIXELS if measure.of_pixels else CAPTIONS
    names = [*FIRST_PICTURES, *sorted(others), *LAST_PICTURES]
    return [
        (captions.get(name, name), _data_url((path / name).read_bytes()))
        for name in names
        if name not in without and (path / name).is_file()
    ]


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
