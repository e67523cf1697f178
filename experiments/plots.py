"""The two pictures of a run, as PNG bytes: arrays in, bytes out, no files.

Every method has one color, marker and line style wherever it is drawn, so that plots of
several runs can be laid side by side. Colors are from the sets of Okabe & Ito and of
Paul Tol, chosen to stay apart under the common color vision deficiencies (the tests
simulate them); marker and line style carry the same information again.

Matplotlib is imported inside the functions, because everything that only wants the
numbers of a report should start fast, and is used through its object-oriented
interface, which keeps no global state.
"""

import io
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

DPI = 150
INK, FAINT = "#222222", "#555555"
WRONG, RIGHT = "#C62828", "#6B7B6E"
DASHED, DASH_DOTTED, DOTTED = (0, (5, 1.6)), (0, (6, 1.6, 1.2, 1.6)), (0, (1.2, 1.2))
MAX_TICKS = 11
MAX_LABEL_CHARACTERS = 11  # of "predicted → true" on one line of the picks


class Style(NamedTuple):
    """How a method is written and drawn."""

    label: str
    color: str
    marker: str
    line: str | tuple = "-"
    strong: bool = False


class Curve(NamedTuple):
    """A line with a band: mean over seeds, and its standard error if defined."""

    x: np.ndarray
    mean: np.ndarray
    standard_error: np.ndarray | None


class Picks(NamedTuple):
    """The first picks of one method, in order of acquisition."""

    images: np.ndarray  # [picks, h, w, c] uint8
    predicted: np.ndarray  # [picks] class indices
    true: np.ndarray  # [picks]


STYLES = {
    "random": Style("Random", "#1A1A1A", "o", DASHED),
    "entropy": Style("Entropy", "#56B4E9", "s", DASHED),
    "margin": Style("Margin", "#0072B2", "^"),
    "mc_dropout": Style("MC-Dropout", "#009E73", "v", DOTTED),
    "bald": Style("BALD", "#CC79A7", "D", DASH_DOTTED),
    "coreset": Style("Coreset", "#882255", "P"),
    "badge": Style("BADGE", "#332288", "X", DOTTED),
    "error_reduction": Style("Err-Reduction", "#BBBB66", "<", DASH_DOTTED),
    "iwps_app": Style("IWPS-app", "#E69F00", "p", strong=True),
    "iwps": Style("IWPS", "#D55E00", "*", strong=True),
}
DATASETS = {
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "svhn": "SVHN",
    "cifar10": "CIFAR-10",
    "digits": "Digits",
}
SPARE_COLORS = ("#117733", "#661100", "#6699CC", "#44AA99", "#AA4466")
SPARE_MARKERS = ("d", "8", ">", "h", "H", "1", "2")


def style_of(method: str) -> Style:
    """Return the style of a method; unknown names get one that depends on the name."""
    if method in STYLES:
        return STYLES[method]
    number = zlib.crc32(method.encode())  # hash() differs from process to process
    color = SPARE_COLORS[number % len(SPARE_COLORS)]
    return Style(method, color, SPARE_MARKERS[number % len(SPARE_MARKERS)], DASHED)


def display_name(method: str) -> str:
    """Return the name a method has in the literature; unknown names stay as they are.

    Example:
        >>> display_name("bald"), display_name("mine")
        ('BALD', 'mine')
    """
    return style_of(method).label


def setting_name(dataset: str, imbalance: float | None = None) -> str:
    """Name a dataset and the ratio of its smallest class to the others.

    Args:
        dataset: its short name; unknown ones stay as they are.
        imbalance: 1/10 and 10 are both "1/10"; None leaves the ratio out.

    Example:
        >>> setting_name("mnist", 0.1), setting_name("cifar10", 1)
        ('MNIST, imbalance 1/10', 'CIFAR-10, balanced')
    """
    name = DATASETS.get(dataset, dataset)
    if not imbalance:
        return name
    ratio = max(imbalance, 1 / imbalance)
    return f"{name}, imbalance 1/{ratio:.3g}" if ratio > 1 else f"{name}, balanced"


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Move labels apart: the positions nearest to `heights` that do not overlap.

    Minimizes sum_i (p_i - h_i)^2 subject to p_(i+1) - p_(i) >= gap in the order of the
    heights, inside [low, high]. With p_(i) = q_(i) + i * gap the q must only ascend,
    which is isotonic regression, and clipping q keeps the solution optimal. If there
    are too many labels for the room they are spaced evenly over it.

    Args:
        heights: where the labels would like to be; ties keep their order.
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


def curves_png(
    accuracy: Mapping[str, Curve], wrong_rate: Mapping[str, Curve], title: str
) -> bytes:
    """Draw test accuracy against labels, and the wrong-rate of the picks per round.

    Args:
        accuracy: test accuracy in [0, 1] by method; x = number of labels.
        wrong_rate: share in [0, 1] of picks the model predicted wrongly; x = round.
            Methods without a finished round may be missing.
        title: dataset, imbalance and seeds.

    Returns:
        A PNG, 1800 pixels wide and made to be read at 1200.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.4), dpi=DPI, facecolor="white")
    left = figure.add_axes((0.052, 0.115, 0.36, 0.775))
    right = figure.add_axes((0.592, 0.115, 0.285, 0.775))
    _draw_curves(left, accuracy)
    _draw_curves(right, wrong_rate)
    left.set_xlabel("Number of labels", fontsize=11.5)
    left.set_ylabel("Test accuracy (%)", fontsize=11.5)
    right.set_xlabel("Round", fontsize=11.5)
    right.set_ylabel("Wrongly predicted among the picks (%)", fontsize=11.5)
    figure.text(0.052, 0.945, title, fontsize=14, fontweight="bold", color=INK)
    if any(c.standard_error is not None for c in accuracy.values()):
        note = "Lines: mean over seeds. Bands: ± 1 standard error."
        figure.text(0.985, 0.947, note, fontsize=10, color=FAINT, ha="right")
    return _png(figure)


def selected_png(
    rows: Mapping[str, Picks], class_names: Sequence[str], title: str
) -> bytes:
    """Draw a row of picks per method with "predicted → true" above each image.

    Args:
        rows: the picks by method, in the order of the rows; at least one.
        class_names: names of the class indices.
        title: what the picks are of.

    Returns:
        A PNG of 1650 pixels width; its height follows from the number of rows.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    names = [n if n.isascii() else str(i) for i, n in enumerate(class_names)]
    used = {i for p in rows.values() for i in (*p.predicted, *p.true)}
    longest = max((len(names[i]) for i in used), default=1)
    one_line = 2 * longest + 3 <= MAX_LABEL_CHARACTERS
    arrow = " → " if one_line else "\n→ "
    size = 9.5 if one_line else max(5.5, min(8.0, 90.0 / (longest + 2)))
    # Units: one cell is 1 wide; the image in it is 0.84, text stands above it.
    image, text = 0.84, 0.30 if one_line else 0.44
    titles, head, columns = 1.9, 0.62, max(len(p.images) for p in rows.values())
    width, height = titles + columns, head + (image + text) * len(rows) + 0.08
    scale = 11 / max(width, titles + 10)
    figure = Figure((11, height * scale), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 11 / scale)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    axes.text(0.12, 0.2, title, fontsize=13, fontweight="bold", color=INK, va="center")
    legend = "predicted → true;  red: the model was wrong"
    axes.text(0.12, 0.46, legend, fontsize=9.5, color=FAINT, va="center")
    for row, (method, picks) in enumerate(rows.items()):
        top = head + row * (image + text) + text
        wrong = np.asarray(picks.predicted) != np.asarray(picks.true)
        style = style_of(method)
        middle = top + image / 2
        axes.text(
            0.12,
            middle - 0.12,
            style.label,
            fontsize=12,
            fontweight="bold" if style.strong else "normal",
            color=INK,
            va="center",
        )
        share = f"{wrong.sum()} of {len(wrong)} wrong"
        axes.text(0.12, middle + 0.14, share, fontsize=10, color=FAINT, va="center")
        for column, pixels in enumerate(picks.images):
            x = titles + column
            color = WRONG if wrong[column] else RIGHT
            gray = pixels.shape[-1] == 1
            axes.imshow(
                255 - pixels[..., 0] if gray else pixels,  # ink on paper
                extent=(x, x + image, top + image, top),
                cmap="gray",
                vmin=0,
                vmax=255,
                interpolation="nearest",
                aspect="auto",
            )
            frame = Rectangle((x, top), image, image, fill=False, ec=color)
            frame.set_linewidth(2.0 if wrong[column] else 0.9)
            axes.add_patch(frame)
            axes.text(
                x + image / 2,
                top - 0.045,
                names[picks.predicted[column]] + arrow + names[picks.true[column]],
                fontsize=size,
                fontweight="bold" if wrong[column] else "normal",
                color=color,
                ha="center",
                va="bottom",
                linespacing=0.95,
            )
    # imshow moves the limits to its last image.
    axes.set_xlim(0, 11 / scale)
    axes.set_ylim(height, 0)
    return _png(figure)


def _draw_curves(axes, curves: Mapping[str, Curve]) -> None:
    """Draw percent against x with a name at the right end of each line."""
    ends = {}
    # Strong methods last: on top of the others.
    for method in sorted(curves, key=lambda m: style_of(m).strong):
        curve, style = curves[method], style_of(method)
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
            linewidth=2.8 if style.strong else 1.5,
            marker=style.marker,
            markersize=(10 if style.marker == "*" else 7) if style.strong else 5,
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
    _label_ends(axes, ends)


def _label_ends(axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write each method's name beside the end of its line, moved apart if needed."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)  # freeze: labels must not move the lines
    heights = [(y - low) / (high - low) for _, y in ends.values()]
    positions = spread(heights, gap=0.052, low=0.01, high=0.99)
    for (method, end), height in zip(ends.items(), positions, strict=True):
        style = style_of(method)
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


def _png(figure) -> bytes:
    """Render a figure; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # Without the version of Matplotlib, which is the only metadata it writes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
