"""The differences between one method and the others in all settings, as PNG bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.reporting.plots import DPI, FAINT, INK, to_png
from experiments.reporting.styles import display_name, setting_name, styles_of

MAX_COLUMNS = 6
MIN_WIDTH = 6.4  # inches, for the note above the panels
GAP = 0.8  # between datasets, in rows


def differences_png(summary: Mapping[str, Any]) -> bytes:
    """Draws one panel per method: ours minus it in all settings, with 95 % intervals.

    A marker is filled if the difference is significant after Holm's correction. All
    panels share the axis of settings; each has its own horizontal scale.

    Args:
        summary: the result of `iwps_batch_study.summarize`, with a comparison at least.

    Returns:
        A PNG.
    """
    from matplotlib.figure import Figure

    compared, settings = summary["compared"], summary["settings"]
    styles = styles_of(compared)
    columns = min(len(compared), MAX_COLUMNS)
    rows = -(-len(compared) // columns)
    places, headings = _places(settings)
    bottom = max(places.values()) + 0.6
    panel = 0.7 + 0.17 * bottom  # inches
    width, height = max(1.35 + 1.75 * columns, MIN_WIDTH), 0.9 + rows * (panel + 0.55)
    figure = Figure((width, height), dpi=DPI, facecolor="white")
    grid = figure.add_gridspec(
        *(rows, columns),
        **{"left": 1.3 / width, "right": 1 - 0.12 / width, "wspace": 0.12},
        **{"bottom": 0.5 / height, "top": 1 - 1.1 / height},
        hspace=0.55 / panel,
    )
    for i, (method, result) in enumerate(compared.items()):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        _draw_panel(axes, result["settings"], places, styles[method])
        axes.set_ylim(bottom, -1.4)
        axes.set_title(display_name(method), fontsize=10, color=INK)
        _name_settings(axes, settings, places, headings, is_first=i % columns == 0)
    ours = display_name(summary["ours"])
    place = {"x": 0.12 / width, "ha": "left", "va": "top"}
    title = f"{ours} minus each method: mean over rounds"
    figure.text(
        y=1 - 0.12 / height, s=title, fontsize=13, fontweight="bold", color=INK, **place
    )
    note = (
        "Test accuracy, percentage points. Settings: imbalance, labels per round. Mean "
        "over seeds, 95 % paired interval.\nRight of zero is better. Filled: "
        "significant after Holm's correction in the setting. Every panel has its own "
        "scale."
    )
    y = 1 - 0.38 / height
    figure.text(y=y, s=note, fontsize=8.5, color=FAINT, **place)
    return to_png(figure)


def _places(
    settings: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, float], dict[str, float]]:
    """Heights of the settings by name and of the headings of datasets."""
    places: dict[str, float] = {}
    headings: dict[str, float] = {}
    height = 0.0
    for setting in settings:
        if setting["dataset"] not in headings:
            height += (1 + GAP) * bool(headings)
            headings[setting["dataset"]] = height - 0.9
        places[setting["name"]] = height
        height += 1
    return places, headings


def _draw_panel(axes, results: Sequence[Mapping[str, Any]], places, style) -> None:
    axes.axvline(0, color="#55554F", linewidth=1, zorder=1)
    for result in results:
        draw_interval(
            axes,
            places[result["name"]],
            (result["mean_difference"], result["low"], result["high"]),
            color=style.color,
            is_sure=result["verdict_holm"] in ("better", "worse"),
        )
    style_panel(axes)


def draw_interval(axes, y, numbers, *, color: str, is_sure: bool) -> None:
    """Draws a mean with its 95 % interval, in percentage points; filled if sure.

    Args:
        axes: of Matplotlib.
        y: its height.
        numbers: mean and both ends, as shares; ends of None are not drawn.
        color: hexadecimal.
        is_sure: whether the difference is significant.
    """
    mean, low, high = numbers
    if low is not None:
        axes.plot([100 * low, 100 * high], [y, y], color=color, linewidth=1.3, zorder=2)
    axes.plot(
        [100 * mean],
        [y],
        marker="o",
        markersize=4.5,
        color=color,
        markerfacecolor=color if is_sure else "white",
        zorder=3,
    )


def style_panel(axes) -> None:
    """The grid, the frame and the ticks of a panel of intervals."""
    axes.grid(axis="x", color="#E4E4E4", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=INK)


def _name_settings(axes, settings, places, headings, *, is_first: bool) -> None:
    axes.set_yticks(list(places.values()))
    axes.tick_params(axis="y", length=0)
    labels = [
        f"{setting_name('', s['imbalance']).removeprefix(', imbalance ')}, "
        f"{s['acquire_size']}".removeprefix(", ")
        for s in settings
    ]
    axes.set_yticklabels(labels if is_first else [])
    if is_first:
        for dataset, y in headings.items():
            axes.annotate(
                setting_name(dataset),
                (0, y),
                xycoords=axes.get_yaxis_transform(),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=8.5,
                fontweight="bold",
                color=INK,
            )
