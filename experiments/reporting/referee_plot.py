"""The referee's verdicts as a picture: settings on the left, rivals on the right."""

from collections.abc import Sequence

from experiments.reporting.difference_plots import draw_interval, style_panel
from experiments.reporting.plots import DPI, FAINT, INK, to_png
from experiments.reporting.referee import MARGIN, Comparison, Pooled
from experiments.reporting.styles import display_name

ROW, WIDTH = 0.24, 15  # inches
NAMES = 0.37  # of the width, for the longest name of a setting and its rival
COLOR = "#8B1A00"


def verdicts_png(
    ours: str,
    compared: Sequence[tuple[str, Comparison]],
    pooled: Sequence[Pooled],
) -> bytes:
    """Draws ours minus the named rival of each setting, and minus each rival pooled.

    A marker is filled if the difference is significant after Holm's correction. The
    band reaches down to the margin of non-inferiority.

    Args:
        ours: the method that is compared.
        compared: a setting in words, and its comparison.
        pooled: over all settings, one a rival.

    Returns:
        A PNG.
    """
    from matplotlib.figure import Figure

    height = 1.5 + ROW * max(len(compared), len(pooled))
    figure = Figure((WIDTH, height), dpi=DPI, facecolor="white")
    grid = figure.add_gridspec(
        *(1, 2),
        **{"left": NAMES, "right": 0.98, "wspace": 0.45},
        **{"bottom": 0.45 / height, "top": 1 - 0.95 / height},
    )
    left, right = (figure.add_subplot(grid[0, at]) for at in range(2))
    _draw(
        left,
        [f"{name}: {display_name(one.rival)}" for name, one in compared],
        [
            (one.paired.mean_difference, one.paired.low, one.paired.high)
            for _, one in compared
        ],
        [one.verdict in ("better", "worse") for _, one in compared],
    )
    left.axvspan(-100 * MARGIN, 0, color="#F1EDE2", zorder=0)
    pooled = sorted(pooled, key=lambda row: row.mean)
    _draw(
        right,
        [display_name(row.rival) for row in pooled],
        [(row.mean, row.low, row.high) for row in pooled],
        [row.p_value_holm < 0.05 for row in pooled],
    )
    left.set_title("the best rival of each setting", fontsize=10, color=INK)
    right.set_title("each rival, over all settings", fontsize=10, color=INK)
    place = {"x": 0.01, "ha": "left", "va": "top"}
    title = f"{display_name(ours)} minus rivals, with equal labels"
    figure.text(
        y=1 - 0.1 / height, s=title, fontsize=13, fontweight="bold", color=INK, **place
    )
    note = (
        "Balanced accuracy, percentage points, mean over rounds and seeds, 95 % "
        "intervals. Right of zero is better. Filled: significant after Holm's "
        "correction. Band: the margin of non-inferiority."
    )
    figure.text(y=1 - 0.4 / height, s=note, fontsize=8.5, color=FAINT, **place)
    return to_png(figure)


def _draw(axes, names, intervals, is_sure) -> None:
    axes.axvline(0, color="#55554F", linewidth=1, zorder=1)
    for y, (numbers, sure) in enumerate(zip(intervals, is_sure, strict=True)):
        draw_interval(axes, y, numbers, color=COLOR, is_sure=sure)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    style_panel(axes)
    axes.tick_params(axis="y", length=0)
