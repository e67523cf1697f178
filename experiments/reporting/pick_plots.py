"""The picks of runs, as PNG bytes: arrays in, bytes out, no files.

A pick is an image, or a line of text where samples are texts or rows of a table.

Matplotlib is imported inside the functions, as in `experiments.reporting.plots`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.data.kinds import training_samples
from experiments.reporting.plots import DPI, FAINT, INK, to_png
from experiments.reporting.records import Record
from experiments.reporting.styles import style_of
from iwps_jax.refusal import Refusal

WRONG, RIGHT = "#C62828", "#6B7B6E"
NUM_PICKS_SHOWN = 10
MAX_LABEL_CHARACTERS = 11  # of "predicted → true" on one line
LABEL_CHARACTERS = 22  # of a class before a text
LINE_HEIGHT = 0.235  # of a text, in units of a cell
CHARACTERS_PER_CELL, CAPITALS_PER_CELL = 14.5, 10.5  # of a text, of names of classes


class Picks(NamedTuple):
    """The first picks of one method, in order of acquisition."""

    samples: np.ndarray | Sequence[str]  # [picks, h, w, c] uint8, or texts
    predicted: np.ndarray  # [picks] class indices
    true: np.ndarray  # [picks]


class Row(NamedTuple):
    """A row of picks and its label."""

    label: str  # a comma in it may end a line
    strong: bool
    picks: Picks
    class_names: Sequence[str]


class Line(NamedTuple):
    """A pick that is a text."""

    predicted: str
    true: str
    text: str


class Lines(NamedTuple):
    """The first picks of one method as lines of text."""

    method: str
    lines: list[Line]


def first_picks(record: Record, dataset: Any) -> tuple[dict[str, Picks], str]:
    """Take each method's picks of round 0 in its lowest seed; name these seeds.

    Args:
        record: the run.
        dataset: its data, as for `write_report`.

    Returns:
        The first ten picks by method, in display order, and the seeds in words.

    Raises:
        ValueError: the picks do not belong to this dataset.
    """
    first = {}
    for line in sorted(record.picks, key=lambda p: p["seed"], reverse=True):
        if line["round"] == 0 and line["ids"]:
            first[line["method"]] = line
    methods = [*record.config.get("methods", ()), *(p["method"] for p in record.picks)]
    rows = {}
    for method in (m for m in dict.fromkeys(methods) if m in first):
        ids, predicted, true = (
            np.asarray(first[method][key][:NUM_PICKS_SHOWN])
            for key in ("ids", "predicted", "true")
        )
        labels = np.asarray(dataset.train_labels)
        if ids.max() >= len(labels) or (labels[ids] != true).any():
            raise Refusal(
                f"picks.jsonl must index this dataset: the labels of {method}'s picks "
                f"in round 0, seed {first[method]['seed']}, differ from the data's."
            )
        rows[method] = Picks(training_samples(dataset, ids), predicted, true)
    seeds = sorted({first[m]["seed"] for m in rows})
    return rows, " or ".join(map(str, seeds))


def lines(rows: Mapping[str, Picks], class_names: Sequence[str]) -> list[Lines]:
    """Picks that are texts, with the names of their classes; none of images."""
    return [
        Lines(
            method,
            [
                Line(class_names[predicted], class_names[true], text)
                for text, predicted, true in zip(*picks, strict=True)
            ],
        )
        for method, picks in rows.items()
        if not isinstance(picks.samples, np.ndarray)
    ]


def selected_png(
    rows: Mapping[str, Picks], class_names: Sequence[str], title: str
) -> bytes:
    """Draw a row of picks per method with "predicted → true" above each image.

    Texts stand below each other, with "predicted → true" before each.

    Args:
        rows: the picks by method, in the order of the rows; at least one.
        class_names: names of the class indices.
        title: what the picks are of.

    Returns:
        A PNG of 1650 pixels width; its height follows from the number of rows.
    """
    named = [
        Row(style_of(method).label, style_of(method).strong, picks, class_names)
        for method, picks in rows.items()
    ]
    return picks_png(named, title)


def picks_png(rows: Sequence[Row], title: str) -> bytes:
    """Draw rows of picks, also from several datasets; see `selected_png`."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    # Not every font has the letters of every script.
    names = [
        [n if n.isascii() else str(i) for i, n in enumerate(row.class_names)]
        for row in rows
    ]
    of_images = [isinstance(row.picks.samples, np.ndarray) for row in rows]
    longest = max(
        [
            len(known[i])
            for row, known, has_images in zip(rows, names, of_images, strict=True)
            for i in (*row.picks.predicted, *row.picks.true)
            if has_images
        ],
        default=0,
    )
    one_line = 2 * longest + 3 <= MAX_LABEL_CHARACTERS
    arrow = " → " if one_line else "\n→ "
    size = 9.5 if one_line else max(5.5, min(8.0, 90.0 / (longest + 2)))
    # Units: one cell is 1 wide; the image in it is 0.84, text stands above it.
    image, text = 0.84, 0.30 if one_line else 0.44
    titles, head, columns = 1.9, 0.62, max(len(r.picks.samples) for r in rows)
    heights = [
        image + text if has_images else LINE_HEIGHT * len(row.picks.samples) + 0.2
        for row, has_images in zip(rows, of_images, strict=True)
    ]
    tops = [head + sum(heights[:i]) for i in range(len(rows))]
    width, height = titles + columns, head + sum(heights) + 0.08
    scale = 11 / max(width, titles + 10)
    figure = Figure((11, height * scale), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 11 / scale)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    axes.text(0.12, 0.2, title, fontsize=13, fontweight="bold", color=INK, va="center")
    legend = "predicted → true;  red: the model was wrong"
    axes.text(0.12, 0.46, legend, fontsize=9.5, color=FAINT, va="center")
    for row, (label, strong, picks, _) in enumerate(rows):
        above = text if of_images[row] else 0.1
        top = tops[row] + above
        wrong = np.asarray(picks.predicted) != np.asarray(picks.true)
        middle = top + (heights[row] - above) / 2
        first, _, rest = label.partition(", ")  # a long name takes two lines
        axes.text(
            0.12,
            middle - 0.12,
            f"{first},\n{rest}" if rest else first,
            fontsize=10.5 if rest else 12,
            fontweight="bold" if strong else "normal",
            color=INK,
            va="bottom" if rest else "center",
        )
        share = f"{wrong.sum()} of {len(wrong)} wrong"
        axes.text(0.12, middle + 0.14, share, fontsize=10, color=FAINT, va="center")
        if not of_images[row]:
            _draw_lines(axes, (titles, top, titles + 9.85), picks, wrong, names[row])
            continue
        for column, pixels in enumerate(picks.samples):
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
                names[row][picks.predicted[column]]
                + arrow
                + names[row][picks.true[column]],
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
    return to_png(figure)


def _draw_lines(axes, place, picks, wrong, names) -> None:
    """Texts below each other; the font may lack letters, and $ is no formula."""
    left, top, right = place
    labels = [
        " → ".join(shortened(names[label], LABEL_CHARACTERS) for label in pair)
        for pair in zip(picks.predicted, picks.true, strict=True)
    ]
    begin = left + max(map(len, labels)) / CAPITALS_PER_CELL + 0.1
    for line, (label, sample) in enumerate(zip(labels, picks.samples, strict=True)):
        plain = " ".join(sample.split()).encode("ascii", "replace").decode()
        middle = top + (line + 0.5) * LINE_HEIGHT
        style = {"va": "center", "fontsize": 8, "parse_math": False}
        axes.text(left, middle, label, color=WRONG if wrong[line] else RIGHT, **style)
        content = shortened(plain, int((right - begin) * CHARACTERS_PER_CELL))
        axes.text(begin, middle, content, color=INK, **style)


def shortened(text: str, most: int) -> str:
    """The beginning of a text.

    Example:
        >>> shortened("a long text", 7), shortened("short", 7)
        ('a long…', 'short')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"
