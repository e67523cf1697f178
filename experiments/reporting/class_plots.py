"""The IoU of every class over the rounds, as PNG bytes; small multiples.

Matplotlib is imported inside the functions, as in `experiments.reporting.plots`.
"""

from collections.abc import Sequence

import numpy as np

from experiments.reporting import plots
from experiments.reporting.plots import FAINT, INK, Curve
from experiments.reporting.records import Record
from experiments.reporting.styles import styles_of

MAX_COLUMNS = 5
MAX_NAME_CHARACTERS = 26


def hex_colors(colors: Sequence[Sequence[int]]) -> list[str]:
    """Write colors of three bytes in hexadecimal form.

    Example:
        >>> hex_colors([[0, 128, 255]])
        ['#0080FF']
    """
    return ["#" + "".join(f"{channel:02X}" for channel in color) for color in colors]


def curves_of_classes(record: Record) -> list[dict[str, Curve]]:
    """Average the IoU of each class over the seeds, by method; see `plots.curves_of`.

    Args:
        record: a run of images whose pixels have classes.

    Returns:
        One dict per class, without methods of which in every round some seed has no
        IoU of it.
    """
    curves = [
        plots.average(
            record, {m: run.class_iou[..., c] for m, run in record.runs.items()}
        )
        for c in range(len(record.config["class_names"]))
    ]
    return [
        {m: curve for m, curve in by_method.items() if np.isfinite(curve.mean).any()}
        for by_method in curves
    ]


def class_iou_png(record: Record, title: str) -> bytes:
    """Draw the IoU of every class against labels, one panel per class.

    Args:
        record: a run of images whose pixels have classes.
        title: dataset and seeds.

    Returns:
        A PNG of 2.6 in x 2 in a panel.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    names = record.config["class_names"]
    curves, colors = curves_of_classes(record), hex_colors(record.config["colors"])
    columns = _columns(len(names))
    rows = -(-len(names) // columns)
    styles = styles_of(record.runs)
    width = max(2.65 * columns + 0.5, 8.0)
    places, below = plots.legend_size(styles, width)
    height = 2.15 * rows + 0.95 + below
    figure = Figure((width, height), dpi=100, facecolor="white")
    grid = figure.add_gridspec(
        *(rows, columns),
        **{"left": 0.62 / width, "right": 1 - 0.15 / width, "wspace": 0.2},
        **{"bottom": below / height, "top": 1 - 1.02 / height, "hspace": 0.36},
    )
    for i, name in enumerate(names):
        row, column = divmod(i, columns)
        axes = figure.add_subplot(grid[row, column])
        if curves[i]:
            plots.draw_curves(axes, curves[i], styles, name_ends=False, scale=0.6)
            axes.tick_params(labelsize=8.5)
            axes.set_xticks(_few(axes.get_xticks()))
        else:
            axes.set_axis_off()
            place = {"transform": axes.transAxes, "color": FAINT, "fontsize": 9}
            axes.text(
                0, 0.8, "in some seed neither in\nthe test set nor predicted", **place
            )
        swatch = Rectangle((0, 1.045), 0.055, 0.085, fc=colors[i], ec=INK, lw=0.5)
        swatch.set(transform=axes.transAxes, clip_on=False)
        axes.add_patch(swatch)
        label = _shorten(name, i)
        axes.text(0.08, 1.088, label, transform=axes.transAxes, **PANEL_TITLE)
    plots.draw_legend(figure, styles, places)
    place = {"ha": "left", "va": "top"}
    y = 1 - 0.14 / height
    figure.text(0.15 / width, y, title, fontsize=13, fontweight="bold", **place)
    note = "IoU (%) of each class against number of labeled images, mean over seeds"
    if any(c.standard_error is not None for by in curves for c in by.values()):
        note += " ± 1 se"
    y -= 0.27 / height
    figure.text(0.15 / width, y, f"{note}.", fontsize=9.5, color=FAINT, **place)
    return plots.to_png(figure)


PANEL_TITLE = {"fontsize": 10, "color": INK, "va": "center"}


def _columns(num_classes: int) -> int:
    """As many columns as leave the fewest places empty, the more the better."""
    most = min(MAX_COLUMNS, num_classes)
    return min(range(most, max(most - 2, 0), -1), key=lambda n: -num_classes % n)


def _few(ticks: np.ndarray) -> np.ndarray:
    """Every other tick, or fewer: panels are small."""
    return ticks[:: -(-len(ticks) // 4)]


def _shorten(name: str, index: int) -> str:
    # Not every font has the letters of every script.
    name = name if name.isascii() else str(index)
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{name[:24]}…"
