"""The charts of a page, as figures of plotly.js: dicts in its schema, no HTML.

Numbers are rounded to visible digits, so that pages stay small. Colors, markers and
line styles are those of the pictures (`experiments.reporting.styles`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.reporting.plots import Curve
from experiments.reporting.styles import Style, display_name, styles_of
from experiments.reporting.summary import BASELINE, STAGES, has_bootstrap

INK, GRID, FAINT = "#222222", "#E6E6E3", "#6A6A66"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
SYMBOLS = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down"},
    **{"D": "diamond", "P": "cross", "X": "x", "<": "triangle-left", "p": "pentagon"},
    **{"*": "star", "d": "diamond-tall", "8": "octagon", ">": "triangle-right"},
    **{"h": "hexagon", "H": "hexagon2"},
}
STAGE_COLORS = {
    **{"fit": "#7C93A8", "score": "#C98B54"},
    **{"test": "#A9B8A0", "compile": "#D9D2C3"},
}
# From paper white to the ink of IWPS, one hue: more is darker.
MOST_CLASS_NAMES = 40  # beside a heat map
HEAT = [[0, "#FBFAF7"], [0.35, "#F3CDAE"], [0.7, "#DD7A35"], [1, "#8A3A00"]]
VERDICT_COLORS = {
    **{"better": "#1B7F4B", "worse": "#B3261E"},
    **{"not separable": "#8A8A86", "no verdict": "#8A8A86"},
}

Figure = dict[str, Any]


def curve_chart(
    curves: Mapping[str, Curve],
    order: Sequence[str],
    x_title: str,
    y_title: str,
    *,
    is_small: bool = False,
) -> Figure:
    """Lines with bands of one standard error and a value under the pointer.

    Args:
        curves: shares in [0, 1] by method.
        order: methods in the order of the legend.
        x_title: title of the horizontal axis.
        y_title: title of the vertical axis, in per cent.
        is_small: a panel of a grid, without legend.
    """
    styles = styles_of(dict.fromkeys([*order, *curves]))
    drawn = [m for m in styles if m in curves]
    bands = [
        _band(m, curves[m], styles[m])
        for m in drawn
        if curves[m].standard_error is not None
    ]
    lines = [_line(m, curves[m], styles[m], is_small) for m in drawn]
    layout = _layout(x_title, y_title, height=270 if is_small else 470)
    layout["showlegend"] = not is_small
    if is_small:
        layout["margin"] = {"l": 40, "r": 10, "t": 8, "b": 34}
        layout["hovermode"] = "closest"
    if all(len(c.x) < 12 for c in curves.values()):
        x = sorted({_number(v) for c in curves.values() for v in c.x})
        step = 2 if is_small and len(x) > 6 else 1
        layout["xaxis"] |= {"tickvals": x[::step]}
    return {"data": [*bands, *lines], "layout": layout}


def difference_chart(
    summary: Mapping[str, Any], key: str, order: Sequence[str]
) -> Figure:
    """Differences from a baseline, with a thin t interval and a thick bootstrap one.

    Args:
        summary: the summary of a run.
        key: "versus_random" or "versus_best_baseline".
        order: methods from top to bottom.
    """
    methods = [m for m in order if summary["methods"][m][key]]
    results = [summary["methods"][m][key] for m in methods]
    names = [display_name(m) for m in methods]
    data: list[dict[str, Any]] = []
    drawn = [("low", "high", 1.5)]
    if has_bootstrap(summary):
        drawn.append(("bootstrap_low", "bootstrap_high", 7))
    for name, result in zip(names, results, strict=True):
        color = VERDICT_COLORS[result["verdict"]]
        for low, high, width in drawn:
            if result[low] is not None:
                ends = [_percent(result[low]), _percent(result[high])]
                data.append(
                    {
                        "x": ends,
                        "y": [name, name],
                        "mode": "lines",
                        "line": {"color": color, "width": width},
                        "opacity": 1 if width < 2 else 0.35,
                        "hoverinfo": "skip",
                    }
                )
    data.append(
        {
            "x": [_percent(r["mean_difference"]) for r in results],
            "y": names,
            "mode": "markers",
            "marker": {
                "size": 11,
                "color": [VERDICT_COLORS[r["verdict"]] for r in results],
                "line": {"color": "white", "width": 1.5},
            },
            "text": [_difference_text(r, drawn) for r in results],
            "hovertemplate": "<b>%{y}</b><br>%{text}<extra></extra>",
        }
    )
    baseline = BASELINE if key == "versus_random" else summary["best_baseline"]
    title = f"Mean over rounds − {display_name(baseline)} (percentage points)"
    layout = _layout(title, "", height=92 + 30 * len(methods))
    layout |= {"showlegend": False, "hovermode": "closest"}
    layout["yaxis"] |= {
        **{"autorange": "reversed", "type": "category", "ticksuffix": "  "},
        **{"showgrid": False, "automargin": True},
    }
    ends = [r[k] for r in results for k in ("low", "high", "mean_difference")]
    known = [_percent(v) for v in ends if v is not None]
    pad = 0.05 * (max([*known, 0]) - min([*known, 0])) or 1
    layout["xaxis"] |= {
        "range": [min([*known, 0]) - pad, max([*known, 0]) + pad],
        **{"showgrid": True, "zeroline": True, "zerolinecolor": "#55554F"},
        **{"zerolinewidth": 1.5},
    }
    return {"data": data, "layout": layout}


def class_chart(
    summary: Mapping[str, Any], order: Sequence[str], class_names: Sequence[str]
) -> Figure:
    """True classes of the picks over the rounds, one heat map per method.

    If the classes of the pool are known, they are the first column of a map, which
    shows the expected classes of random picks. The names of many classes show up under
    the pointer alone.
    """
    pool = summary["pool_per_class"]
    methods = [m for m in order if np.sum(summary["methods"][m]["picks_per_class"])]
    columns = min(5, len(methods)) or 1
    rows = -(-len(methods) // columns)
    are_few = len(class_names) <= MOST_CLASS_NAMES
    line = 17 if are_few else 7
    layout = _layout("", "", height=52 + rows * (56 + line * len(class_names)))
    layout |= {"showlegend": False, "hovermode": "closest", "annotations": []}
    layout["margin"] = {"l": 10, "r": 10, "t": 28, "b": 2}
    plot_height = layout["height"] - 30
    del layout["xaxis"], layout["yaxis"]
    data: list[dict[str, Any]] = []
    for i, method in enumerate(methods):
        counts = np.array(summary["methods"][method]["picks_per_class"], dtype=float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        names = [str(r) for r in range(len(shares))]
        if pool is not None:
            shares = np.vstack([np.array(pool) / np.sum(pool), shares])
            names = ["pool", *names]
        axis = "" if i == 0 else str(i + 1)
        row, column = divmod(i, columns)
        left, width = column / columns, 1 / columns
        top, height = 1 - row / rows, 1 / rows
        gap = (56 if row < rows - 1 else 40) / plot_height
        data.append(
            {
                "type": "heatmap",
                "z": [[_percent(v) for v in line] for line in shares.T],
                "x": names,
                "y": list(class_names),
                "xaxis": f"x{axis}",
                "yaxis": f"y{axis}",
                "coloraxis": "coloraxis",
                "xgap": 1,
                "ygap": 1,
                "hovertemplate": (
                    f"{display_name(method)}, round %{{x}}<br>class %{{y}}: "
                    "%{z:.1f} %<extra></extra>"
                ),
            }
        )
        layout[f"xaxis{axis}"] = {
            **{"domain": [left + (0.03 if column else 0.02), left + width - 0.005]},
            **{
                "anchor": f"y{axis}",
                "type": "category",
                "ticks": "",
                "fixedrange": True,
            },
            **{"tickfont": {"size": 10}, "showline": False},
            **{"title": {"text": "round", "font": {"size": 11}, "standoff": 2}},
        }
        layout[f"yaxis{axis}"] = {
            **{"domain": [max(top - height + gap, 0), top], "anchor": f"x{axis}"},
            **{"type": "category", "autorange": "reversed", "ticks": "", "dtick": 1},
            **{"showticklabels": are_few and column == 0, "tickfont": {"size": 10}},
            **{"fixedrange": True, "automargin": True},
        }
        layout["annotations"].append(
            {
                "text": f"<b>{display_name(method)}</b>",
                "x": left + (0.03 if column else 0.02),
                **{"y": top, "xref": "paper", "yref": "paper", "showarrow": False},
                **{"xanchor": "left", "yanchor": "bottom", "font": {"size": 12.5}},
            }
        )
    layout["coloraxis"] = {
        **{"colorscale": HEAT, "cmin": 0},
        "colorbar": {
            **{"thickness": 10, "len": 0.5, "outlinewidth": 0, "ticksuffix": " %"},
            **{"tickfont": {"size": 10}, "nticks": 6},
        },
    }
    return {"data": data, "layout": layout}


def time_chart(summary: Mapping[str, Any], order: Sequence[str]) -> Figure:
    """Seconds per stage of each method, over all seeds and rounds, as stacked bars."""
    names = [display_name(m) for m in order]
    data = []
    for stage in STAGES:
        spent = [summary["methods"][m]["seconds"][stage] for m in order]
        if any(s is not None for s in spent):
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": stage,
                    "x": [None if s is None else round(s, 3) for s in spent],
                    "y": names,
                    "marker": {"color": STAGE_COLORS[stage]},
                    "hovertemplate": f"{stage} %{{x:.1f}} s<extra></extra>",
                }
            )
    layout = _layout("Seconds, all seeds and rounds", "", height=92 + 28 * len(order))
    layout |= {"barmode": "stack", "bargap": 0.35}
    layout["hovermode"] = "y unified"
    layout["legend"] |= {"traceorder": "normal"}
    layout["yaxis"] |= {
        **{"autorange": "reversed", "type": "category", "automargin": True},
        **{"showgrid": False, "ticksuffix": "  "},
    }
    layout["xaxis"] |= {"showgrid": True}
    return {"data": data, "layout": layout}


def _line(method: str, curve: Curve, style: Style, is_small: bool) -> dict[str, Any]:
    width = (2.8 if style.strong else 1.7) * (0.75 if is_small else 1)
    size = (10 if style.marker == "*" else 8.5) * (0.7 if is_small else 1)
    dash = "solid"
    if isinstance(style.line, tuple):  # Matplotlib counts in line widths
        dash = ",".join(f"{width * length:.1f}px" for length in style.line[1])
    value = "%{y:.1f}"
    line = {
        "name": style.label,
        "legendgroup": method,
        "x": [_number(v) for v in curve.x],
        "y": [_percent(v) for v in curve.mean],
        "mode": "lines+markers",
        "line": {"color": style.color, "width": width, "dash": dash},
        "marker": {
            "symbol": SYMBOLS[style.marker],
            "color": style.color,
            "size": size,
            "line": {"color": "white", "width": 0.8},
        },
    }
    if curve.standard_error is not None:
        line["customdata"] = [_percent(v) for v in curve.standard_error]
        value += " ± %{customdata:.1f}"
    hover = f"<b>{style.label}</b>, %{{x}}: " if is_small else ""
    return line | {
        "hovertemplate": hover + value + " %" + ("<extra></extra>" if is_small else "")
    }


def _band(method: str, curve: Curve, style: Style) -> dict[str, Any]:
    known = np.isfinite(curve.mean)
    x, mean, error = (
        np.asarray(values)[known]
        for values in (curve.x, curve.mean, curve.standard_error)
    )
    return {
        "legendgroup": method,
        "x": [_number(v) for v in (*x, *x[::-1])],
        "y": [_percent(v) for v in (*(mean + error), *(mean - error)[::-1])],
        "mode": "lines",
        "line": {"width": 0, "color": style.color},
        "fill": "toself",
        "fillcolor": style.color,
        "opacity": 0.16 if style.strong else 0.08,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _layout(x_title: str, y_title: str, height: int) -> dict[str, Any]:
    axis = {
        **{"gridcolor": GRID, "zeroline": False, "linecolor": "#B8B8B2"},
        **{"ticks": "outside", "tickcolor": "#B8B8B2", "ticklen": 4},
    }
    title = {"font": {"size": 13}, "standoff": 8}
    return {
        "height": height,
        "margin": {"l": 62, "r": 16, "t": 14, "b": 48},
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "white", "bordercolor": "#B8B8B2", "namelength": -1},
        "legend": {"itemsizing": "trace", "tracegroupgap": 0},
        "xaxis": {
            **axis,
            **{
                "showgrid": False,
                "showline": True,
                "title": {"text": x_title, **title},
            },
        },
        "yaxis": {**axis, **{"title": {"text": y_title, **title}, "ticks": ""}},
    }


def _difference_text(
    result: Mapping[str, Any], intervals: Sequence[tuple[str, str, float]]
) -> str:
    text = f"{100 * result['mean_difference']:+.2f}, {result['verdict']}"
    for low, high, _ in intervals:
        if result[low] is not None:
            name = "t interval" if low == "low" else "bootstrap"
            text += f"<br>{name} [{100 * result[low]:+.2f}, {100 * result[high]:+.2f}]"
    if result["low"] is not None:
        text += f"<br>p after Holm {result['p_value_holm']:.3g}"
    return text


def _percent(share: float) -> float | None:
    return round(100 * float(share), 3) if np.isfinite(share) else None


def _number(value: float) -> float | int:
    return int(value) if float(value).is_integer() else round(float(value), 3)
