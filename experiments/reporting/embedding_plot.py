"""A map of the features with labels and picks, as PNG bytes: arrays in, bytes out.

One panel per method, all on the same map. The color is the class. Ten colors are hard
to distinguish, so each cluster of initial labels also has the name of its class. More
than twenty names would cover the map: then there are none.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.reporting.plots import DPI, FAINT, INK

# Of the sets of Okabe & Ito and of Paul Tol the ten that stay farthest apart under the
# common color vision deficiencies (the tests simulate them).
CLASS_COLORS = (
    "#332288",
    "#E69F00",
    "#CC3311",
    "#88CCEE",
    "#1A1A1A",
    "#661100",
    "#0077BB",
    "#DDCC77",
    "#AA3377",
    "#EE6677",
)
POOL = "#D9D9D9"
MOST_NAMES = 20


class Points(NamedTuple):
    """Samples on the map; arrays run along the samples."""

    coordinates: np.ndarray  # [n, 2]
    true: np.ndarray  # [n] class indices
    wrong: np.ndarray  # [n] whether the prediction is another class


class Panel(NamedTuple):
    """The picks of one method."""

    method: str  # as it is written
    picks: Points


def embedding_png(
    panels: Sequence[Panel],
    initial: Points,
    others: Points,
    class_names: Sequence[str],
    title: str,
) -> bytes:
    """Draw the picks of every method over the initial labels and the pool.

    Args:
        panels: one per method, from left to right.
        initial: labeled samples, as dots in the color of their class.
        others: samples of the pool, as faint dots; may be empty.
        class_names: names of the class indices.
        title: what is drawn.

    Returns:
        A PNG, 675 pixels wide for each panel; equal arguments give equal bytes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, head, foot = 4.5 * len(panels), 0.85, 0.72
    figure = Figure((width, 4.4 + head + foot), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    height = figure.get_figheight()
    everything = np.concatenate(
        [
            initial.coordinates,
            others.coordinates,
            *(p.picks.coordinates for p in panels),
        ]
    )
    low, high = everything.min(0), everything.max(0)
    margin = 0.03 * (high - low).max()
    for index, panel in enumerate(panels):
        axes = figure.add_axes(
            (
                (4.5 * index + 0.05) / width,
                foot / height,
                4.4 / width,
                4.4 / height,
            )
        )
        _draw_panel(axes, panel, initial, others, class_names)
        axes.set_xlim(low[0] - margin, high[0] + margin)
        axes.set_ylim(low[1] - margin, high[1] + margin)
    top = 1 - 0.28 / height
    figure.text(
        0.05 / width, top, title, fontsize=14, fontweight="bold", color=INK, va="center"
    )
    _draw_legend(figure, class_names, foot / height)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def color_of(label: int) -> str:
    """Color of a class; more than ten classes share them."""
    return CLASS_COLORS[label % len(CLASS_COLORS)]


def _draw_panel(axes, panel: Panel, initial: Points, others: Points, names) -> None:
    from matplotlib.patheffects import withStroke

    axes.scatter(*others.coordinates.T, s=7, c=POOL, linewidths=0, zorder=1)
    axes.scatter(
        *initial.coordinates.T,
        s=20,
        c=[color_of(label) for label in initial.true],
        linewidths=0.4,
        edgecolors="white",
        zorder=2,
    )
    named = np.unique(initial.true) if len(names) <= MOST_NAMES else ()
    for label in named:
        cluster = initial.coordinates[initial.true == label]
        from_middle = ((cluster - np.median(cluster, axis=0)) ** 2).sum(-1)
        axes.text(
            *cluster[from_middle.argmin()],
            names[label],
            fontsize=15 if len(names[label]) <= 2 else 9,
            fontweight="bold",
            color=color_of(label),
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=3.5, foreground="white")],
            parse_math=False,
            zorder=3,
        )
    picks = panel.picks
    colors = [color_of(label) for label in picks.true]
    # A white cross below each colored one keeps it apart from what it lies on.
    below, above = ({"marker": "x", "zorder": order} for order in (4, 6))
    axes.scatter(*picks.coordinates.T, s=42, c="white", linewidths=3.4, **below)
    axes.scatter(
        *picks.coordinates[picks.wrong].T,
        s=80,
        facecolors="none",
        edgecolors=FAINT,
        linewidths=0.7,
        zorder=5,
    )
    axes.scatter(*picks.coordinates.T, s=34, c=colors, linewidths=1.7, **above)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#BBBBBB")
    num_wrong, num_picks = int(picks.wrong.sum()), len(picks.wrong)
    axes.set_title(
        f"{panel.method}: {num_wrong} of {num_picks} picks wrongly predicted "
        f"({100 * num_wrong / num_picks:.0f} %)",
        fontsize=11,
        color=INK,
        pad=6,
    )


def _draw_legend(figure, names: Sequence[str], top: float) -> None:
    from matplotlib.lines import Line2D

    def mark(label, marker, color, size, **style):
        return Line2D(
            [], [], ls="", marker=marker, color=color, ms=size, label=label, **style
        )

    kinds = [
        mark("initial label", "o", FAINT, 5),
        mark("pick, in the color of its true class", "x", FAINT, 7, mew=2),
        mark("wrongly predicted", "o", FAINT, 9, fillstyle="none", mew=0.8),
        mark("pool", "o", POOL, 4),
    ]
    classes = [
        mark(name.replace("$", r"\$"), "o", color_of(i), 7)
        for i, name in enumerate(names)
    ]
    both = (kinds, top * 0.78), (classes, top * 0.34)
    for handles, height in both if len(names) <= MOST_NAMES else both[:1]:
        figure.legend(
            handles=handles,
            loc="center",
            bbox_to_anchor=(0.5, height),
            ncols=len(handles),
            frameon=False,
            fontsize=10,
            handletextpad=0.2,
            columnspacing=1.4,
        )
