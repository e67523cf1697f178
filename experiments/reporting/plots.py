"""The curves of runs, as PNG bytes: arrays in, bytes out, no files.

Matplotlib is imported inside the functions, because everything that only wants the
numbers of a report should start fast, and is used through its object-oriented
interface, which keeps no global state.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.reporting import statistics
from experiments.reporting.measures import ACCURACY, Measure
from experiments.reporting.records import Record
from experiments.reporting.styles import (
    DATASETS,
    STYLES,
    Style,
    display_name,
    setting_name,
    style_of,
    styles_of,
)

__all__ = [
    "DATASETS",
    "STYLES",
    "Curve",
    "Style",
    "curves_of",
    "curves_png",
    "display_name",
    "setting_name",
    "spread",
    "style_of",
    "styles_of",
]

DPI = 150
INK, FAINT = "#222222", "#555555"
MAX_TICKS = 11
MAX_PANEL_CHARACTERS = 54  # of a line above a panel of the grid


class Curve(NamedTuple):
    """A line with a band: mean over seeds, and its standard error if defined."""

    x: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray | None


class Cell(NamedTuple):
    """One panel of a grid of curves."""

    row: int
    column: int
    title: str
    subtitle: str
    curves: Mapping[str, Curve]


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Move labels apart: the positions nearest to `heights` without overlap.

    Minimizes sum_i (p_i - h_i)^2 subject to p_(i+1) - p_(i) >= gap in the order of the
    heights, inside [low, high]. With p_(i) = q_(i) + i * gap the q must only ascend,
    which is isotonic regression, and clipping q keeps the solution optimal. If there
    are too many labels for the room they are spaced evenly over it.

    Args:
        heights: the wanted positions; ties keep their order.
        gap: least distance between two labels.
        low: lower end of the room.
        high: upper end of the room.

    Returns:
        One position per height, in the order of `heights`.

    Example:
        >>> print(spread([0.5, 0.5], gap=0.2, low=0.0, high=1.0))
        [0.4 0.6]
    """
    from scipy.optimize import isotonic_regression

    heights = np.asarray(heights, dtype=float)
    if not heights.size:
        return heights
    gap = min(gap, (high - low) / max(len(heights) - 1, 1))
    offsets = gap * np.arange(len(heights))
    order = np.argsort(heights, kind="stable")
    ascending = isotonic_regression(heights[order] - offsets).x
    positions = np.empty_like(heights)
    positions[order] = np.clip(ascending, low, high - offsets[-1]) + offsets
    return positions


def curves_of(record: Record, what: Measure | str) -> dict[str, Curve]:
    """Average an array of each method over its seeds.

    Args:
        record: a run.
        what: a measure, or a field of `records.Runs`. What has an entry for the final
            evaluation is drawn against labels, the rest against rounds.

    Returns:
        By method; without those for which nothing is known.
    """
    by_method = {
        method: run.measured[what] if isinstance(what, Measure) else getattr(run, what)
        for method, run in record.runs.items()
    }
    return average(record, by_method)


def average(record: Record, by_method: Mapping[str, np.ndarray]) -> dict[str, Curve]:
    """Average arrays [seeds, rounds or rounds + 1] of methods, as `curves_of`."""
    curves = {}
    for method, values in by_method.items():
        run = record.runs[method]
        rounds = values.shape[1]
        is_final = rounds == record.rounds + 1
        x = run.num_labeled.mean(axis=0) if is_final else np.arange(rounds)
        if np.isfinite(values).any():
            error = statistics.standard_error(values)
            curves[method] = Curve(x, values.mean(axis=0), error)
    return curves


def curves_png(
    measured: Mapping[str, Curve],
    wrong_rate: Mapping[str, Curve],
    title: str,
    *,
    measure: Measure = ACCURACY,
) -> bytes:
    """Draw the main measure against labels, and the wrong-rate of the picks per round.

    Args:
        measured: the main measure, in [0, 1], by method; x = number of labels.
        wrong_rate: share in [0, 1] of picks, or of their pixels, the model predicted
            wrongly; x = round. Methods without a finished round may be missing.
        title: dataset, imbalance and seeds.
        measure: the main measure.

    Returns:
        A PNG, 1800 pixels wide and made to be read at 1200.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), dpi=DPI, facecolor="white")
    styles = styles_of(dict.fromkeys([*measured, *wrong_rate]))
    # Long names beside the lines take their room from both panels.
    longest = max((len(style.label) for style in styles.values()), default=0)
    names = max(longest - 13, 0) * 0.0058
    aside = 0.008 if measure.of_pixels else 0.0  # for a long name on the left
    left = figure.add_axes((0.052 + aside, 0.115, 0.36 - names - aside, 0.775))
    right = figure.add_axes((0.592, 0.115, 0.285 - names, 0.775))
    draw_curves(left, measured, styles)
    draw_curves(right, wrong_rate, styles)
    left.set_xlabel(measure.x_name, fontsize=11.5)
    left.set_ylabel(f"{measure.name} (%)", fontsize=11.5)
    right.set_xlabel("Round", fontsize=11.5)
    right.set_ylabel(f"{measure.wrong_name} (%)", fontsize=11.5)
    figure.text(0.052, 0.945, title, fontsize=14, fontweight="bold", color=INK)
    if any(c.standard_error is not None for c in measured.values()):
        note = "Lines: mean over seeds. Bands: ± 1 standard error."
        figure.text(0.985, 0.947, note, fontsize=10, color=FAINT, ha="right")
    return to_png(figure)


def grid_png(
    cells: Sequence[Cell], title: str, *, measure: Measure = ACCURACY
) -> bytes:
    """Draw the main measure against labels, one panel per run, with one legend.

    The panels of a row share the vertical axis.

    Args:
        cells: the panels; places without a panel stay empty.
        title: title of the picture.
        measure: the main measure of all runs.

    Returns:
        A PNG of 4 in x 3 in a panel.
    """
    from matplotlib.figure import Figure

    rows, columns = (1 + max(getattr(c, k) for c in cells) for k in ("row", "column"))
    styles = styles_of(dict.fromkeys(m for cell in cells for m in cell.curves))
    width = max(4.0 * columns + 0.5, 9.0)
    places, below = legend_size(styles, width)
    height = 3.1 * rows + 1.05 + below
    figure = Figure((width, height), dpi=100, facecolor="white")
    grid = figure.add_gridspec(
        *(rows, columns),
        **{"left": 0.75 / width, "right": 1 - 0.15 / width, "wspace": 0.18},
        **{"bottom": below / height, "top": 1 - 1.2 / height, "hspace": 0.42},
    )
    heights = heights_of_rows(cells)
    for cell in cells:
        axes = figure.add_subplot(grid[cell.row, cell.column])
        draw_curves(axes, cell.curves, styles, name_ends=False)
        if cell.row in heights:
            axes.set_ylim(heights[cell.row])
        subtitle = textwrap.fill(cell.subtitle, MAX_PANEL_CHARACTERS)
        axes.set_title(f"{cell.title}\n{subtitle}", fontsize=9.5)
    draw_legend(figure, styles, places)
    place = {"ha": "left", "va": "top"}
    y = 1 - 0.14 / height
    figure.text(0.15 / width, y, title, fontsize=14, fontweight="bold", **place)
    against = measure.x_name[0].lower() + measure.x_name[1:]
    note = f"{measure.name} (%) against {against}, mean over seeds ± 1 se."
    note += " A row has one vertical axis."
    y -= 0.26 / height
    figure.text(0.15 / width, y, note, fontsize=10, color=FAINT, **place)
    return to_png(figure)


def heights_of_rows(cells: Sequence[Cell]) -> dict[int, tuple[float, float]]:
    """The range in per cent of each row's vertical axis, from all its panels.

    Rows without values are left out.
    """
    ends: dict[int, list[float]] = {}
    for cell in cells:
        for curve in cell.curves.values():
            error = curve.standard_error
            margin = np.zeros_like(curve.mean) if error is None else error
            for bound in (curve.mean - margin, curve.mean + margin):
                known = 100 * bound[np.isfinite(bound)]
                ends.setdefault(cell.row, []).extend(known.tolist())
    return {
        row: (min(values) - pad, max(values) + pad)
        for row, values in ends.items()
        if values
        for pad in [0.04 * (max(values) - min(values)) or 1.0]
    }


def legend_size(styles: Mapping[str, Style], width: float) -> tuple[int, float]:
    """Names in a line of a legend below a figure, and the height for it, in inches."""
    longest = max(len(style.label) for style in styles.values())
    places = max(int(width // (0.75 + 0.085 * longest)), 1)
    return places, 0.65 + 0.22 * -(-len(styles) // places)


def draw_legend(figure, styles: Mapping[str, Style], places: int) -> None:
    """Write the methods below a figure, `places` of them in a line."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=s.color, linestyle=s.line, marker=s.marker, label=s.label)
        for s in styles.values()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=places, frameon=False)


def draw_curves(
    axes,
    curves: Mapping[str, Curve],
    styles: Mapping[str, Style],
    name_ends: bool = True,
    scale: float = 1.0,
) -> None:
    """Draw percent against x with a name at the right end of each line.

    Args:
        axes: of Matplotlib.
        curves: by method.
        styles: styles of these methods, and perhaps of others.
        name_ends: whether to write the names at the lines; otherwise add a legend.
        scale: scale of lines and markers; smaller for small panels.
    """
    ends = {}
    # Strong methods last: on top of the others.
    for method in sorted(curves, key=lambda m: styles[m].strong):
        curve, style = curves[method], styles[method]
        mean = 100 * curve.mean
        order = 4 if style.strong else 3
        if curve.standard_error is not None:
            error = 100 * curve.standard_error
            axes.fill_between(
                curve.x,
                mean - error,
                mean + error,
                color=style.color,
                alpha=0.2 if style.strong else 0.1,
                linewidth=0,
                zorder=order - 2,
            )
        axes.plot(
            curve.x,
            mean,
            color=style.color,
            linestyle=style.line,
            linewidth=scale * (2.8 if style.strong else 1.5),
            marker=style.marker,
            markersize=scale
            * ((10 if style.marker == "*" else 7) if style.strong else 5),
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=order,
        )
        drawn = np.flatnonzero(np.isfinite(mean))
        if drawn.size:
            ends[method] = (float(curve.x[drawn[-1]]), float(mean[drawn[-1]]))
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10, colors=INK)
    axes.margins(x=0.02, y=0.04)
    if not ends:
        axes.text(0.5, 0.5, "no data yet", transform=axes.transAxes, ha="center")
        return
    x = np.unique(np.concatenate([c.x for c in curves.values()]))
    axes.set_xticks(x[:: -(-len(x) // MAX_TICKS)])
    if len(x) == 1:
        axes.set_xlim(x[0] - 1, x[0] + 1)
    if name_ends:
        _label_ends(axes, ends, styles)


def _label_ends(
    axes, ends: Mapping[str, tuple[float, float]], styles: Mapping[str, Style]
) -> None:
    """Write each method's name beside the end of its line, moved apart if needed."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # freeze: labels must not move the lines
    heights = [(y - low) / (high - low) for _, y in ends.values()]
    positions = spread(heights, gap=0.052, low=0.01, high=0.99)
    for (method, end), height in zip(ends.items(), positions, strict=True):
        style = styles[method]
        axes.annotate(
            "",
            xy=end,
            xytext=(1.045, height),
            textcoords="axes fraction",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": style.color,
                "linewidth": 0.8,
                "shrinkA": 0,
                "shrinkB": 3,
            },
        )
        axes.plot(
            [1.05],
            [height],
            transform=axes.transAxes,
            clip_on=False,
            color=style.color,
            marker=style.marker,
            markersize=10 if style.marker == "*" else 6.5,
        )
        axes.text(
            1.08,
            height,
            style.label,
            transform=axes.transAxes,
            fontsize=11,
            fontweight="bold" if style.strong else "normal",
            color=INK,
            va="center_baseline",
        )


def to_png(figure) -> bytes:
    """Render a figure; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # Without the version of Matplotlib, which is the only metadata it writes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
