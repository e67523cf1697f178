"""The picks of a run whose pixels have classes, as PNG bytes.

Each pick is a block of four: image, prediction, truth, and their differences. The
predictions are those that the run left in `predictions/<method>/round0_<id>.png`.
Matplotlib is imported inside the functions, as in `experiments.reporting.plots`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from experiments.reporting.class_plots import hex_colors
from experiments.reporting.plots import DPI, FAINT, INK, to_png
from experiments.reporting.records import Record
from experiments.reporting.styles import style_of
from iwps_jax.refusal import Refusal

NUM_PICKS_SHOWN = 6
SEED, ROUND = 0, 0  # whose predictions are kept, and which are shown
IGNORE = 255  # in masks: no class
MAX_SIDE = 320  # pixels of a drawn image; larger ones are scaled down
ERROR, IGNORED = (211, 24, 24), (168, 168, 168)
PARTS = ("image", "prediction", "truth", "errors")
# In inches: of the figure, of the column of names, and of an image at most.
WIDTH, NAMES, WIDE, MAX_ASPECT = 14.0, 1.5, 0.955, 1.5
GAP, ASIDE, ABOVE, BELOW = 0.03, 0.13, 0.27, 0.1  # within a block and around it


class Pick(NamedTuple):
    """A pick as it is drawn.

    Attributes:
        image: [h, w, 3] uint8.
        predicted: [h, w] class indices.
        true: [h, w] class indices or `IGNORE`.
        wrong: share of wrongly predicted pixels; None if all are ignored.
    """

    image: np.ndarray
    predicted: np.ndarray
    true: np.ndarray
    wrong: float | None


def first_picks(record: Record, scenes: Any) -> tuple[dict[str, list[Pick]], str]:
    """Take the first picks of each method in round 0 of seed 0.

    Args:
        record: the run.
        scenes: its data; the function uses `image` and `mask` of `train[i]`.

    Returns:
        Up to six picks by method, in the order of the run, those with a stored
        prediction; and the seed in words.

    Raises:
        ValueError: a prediction does not belong to these scenes.
    """
    lines = {
        line["method"]: line
        for line in record.picks
        if (line["seed"], line["round"]) == (SEED, ROUND)
    }
    rows = {}
    for method in dict.fromkeys([*record.config.get("methods", ()), *lines]):
        line = lines.get(method, {"ids": (), "wrong": ()})
        shown = zip(line["ids"], line["wrong"], strict=True)
        picks = [
            _read_pick(path, scenes.train, i, wrong, len(record.config["class_names"]))
            for i, wrong in list(shown)[:NUM_PICKS_SHOWN]
            if (path := _prediction(record.path, method, i)).is_file()
        ]
        if picks:
            rows[method] = picks
    return rows, str(SEED)


def _prediction(out: Path, method: str, scene: int) -> Path:
    return out / "predictions" / method / f"round{ROUND}_{scene}.png"


def _read_pick(
    path: Path, train: Sequence[Any], scene: int, wrong: float | None, num_classes: int
) -> Pick:
    if not 0 <= scene < len(train):
        raise Refusal(f"picks.jsonl must index these {len(train)} scenes, got {scene}.")
    image, mask = np.asarray(train[scene].image), np.asarray(train[scene].mask)
    try:
        with Image.open(path, formats=["PNG"]) as file:
            if file.size != mask.shape[::-1]:  # a small file may hold a huge image
                raise Refusal(
                    f"{path} must have the scene's shape {mask.shape}, got "
                    f"{file.size[::-1]}."
                )
            predicted = np.asarray(file)
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise Refusal(f"{path} must be a PNG: {error}.") from error
    if predicted.shape != mask.shape:
        raise Refusal(
            f"{path} must have the scene's shape {mask.shape}, got {predicted.shape}."
        )
    if predicted.max() >= num_classes:
        raise Refusal(
            f"{path} must hold classes below {num_classes}, got {predicted.max()}."
        )
    if mask[mask != IGNORE].max(initial=0) >= num_classes:
        raise Refusal(
            f"scene {scene} must hold classes below {num_classes} and {IGNORE}, got "
            f"{mask[mask != IGNORE].max()}."
        )
    return Pick(*_scaled_down(image, predicted, mask), wrong)


def _scaled_down(image: np.ndarray, *maps: np.ndarray) -> list[np.ndarray]:
    """Scale an image by averaging and maps by sampling to the size that is drawn."""
    height, width = image.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    resized = [Image.fromarray(image).resize(size, Image.Resampling.BOX)]
    resized += [Image.fromarray(m).resize(size, Image.Resampling.NEAREST) for m in maps]
    return [np.asarray(picture) for picture in resized]


def class_map(classes: np.ndarray, colors: Sequence[Sequence[int]]) -> np.ndarray:
    """Color every pixel by its class; ignored ones are gray with stripes.

    Args:
        classes: [h, w] class indices or `IGNORE`.
        colors: three bytes per class.

    Returns:
        [h, w, 3] uint8.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return _with_stripes(table[classes], classes == IGNORE)


def error_map(pick: Pick) -> np.ndarray:
    """Paint the wrong pixels red over the dimmed image; ignored ones are gray.

    Returns:
        [h, w, 3] uint8.
    """
    gray = pick.image.mean(axis=-1, keepdims=True)
    dimmed = np.broadcast_to(150 + 0.35 * gray, pick.image.shape)
    where = (pick.true != IGNORE) & (pick.predicted != pick.true)
    painted = np.where(where[..., None], ERROR, dimmed).astype(np.uint8)
    return _with_stripes(painted, pick.true == IGNORE)


def _with_stripes(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Gray with diagonal stripes, which no class color looks like."""
    rows, columns = np.indices(where.shape)
    period = max(6, max(where.shape) // 24)
    stripe = (rows + columns) % period < period / 3
    gray = np.where(stripe[..., None], 110, np.array(IGNORED))
    return np.where(where[..., None], gray, picture).astype(np.uint8)


def selected_png(
    rows: Mapping[str, Sequence[Pick]],
    class_names: Sequence[str],
    colors: Sequence[Sequence[int]],
    title: str,
) -> bytes:
    """Draw a row of picks per method, with the share of wrong pixels above each.

    Args:
        rows: the picks by method, in the order of the rows; at least one.
        class_names: names of the class indices.
        colors: three bytes a class.
        title: what the picks are of.

    Returns:
        A PNG of 2100 pixels width; its height follows from rows and classes.
    """
    from matplotlib.figure import Figure

    shapes = [pick.true.shape for picks in rows.values() for pick in picks]
    tall = WIDE * max(min(h / w, MAX_ASPECT) for h, w in shapes)
    lines = _legend_lines(class_names, WIDTH - 0.3)
    head, row_height = 0.85 + 0.24 * len(lines), ABOVE + 2 * tall + GAP + BELOW
    height = head + row_height * len(rows) + 0.05
    figure = Figure((WIDTH, height), dpi=DPI, facecolor="white")
    canvas = np.full((round(DPI * height), round(DPI * WIDTH), 3), 255, np.uint8)
    axes = figure.add_axes((0, 0, 1, 1), facecolor="none")
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    axes.text(0.12, 0.24, title, fontsize=15, fontweight="bold", color=INK, va="center")
    key = (
        "Each pick: image and prediction, below them truth and errors (red; striped: "
        "ignored), above the share of wrongly predicted pixels."
    )
    axes.text(0.12, 0.53, key, fontsize=10.5, color=FAINT, va="center")
    _draw_legend(axes, lines, hex_colors(colors))
    for row, (method, picks) in enumerate(rows.items()):
        middle = head + row * row_height + ABOVE + tall + GAP / 2
        _name_row(axes, method, picks, middle)
        for column, pick in enumerate(picks):
            center = NAMES + WIDE + GAP / 2 + column * (2 * WIDE + GAP + ASIDE)
            corners = _draw_pick(axes, canvas, pick, (center, middle), tall, colors)
            if row == column == 0:
                _name_parts(axes, corners)
    figure.figimage(canvas, zorder=-1)  # below the axes, pixel by pixel
    return to_png(figure)


def _name_row(axes, method: str, picks: Sequence[Pick], middle: float) -> None:
    style, place = style_of(method), {"va": "center", "color": FAINT, "fontsize": 10.5}
    weight = "bold" if style.strong else "normal"
    place_of_name = place | {"fontsize": 13, "color": INK, "fontweight": weight}
    axes.text(0.12, middle - 0.12, style.label, **place_of_name)
    known = [pick.wrong for pick in picks if pick.wrong is not None]
    if known:
        axes.text(0.12, middle + 0.12, f"{100 * np.mean(known):.0f} % of", **place)
        axes.text(0.12, middle + 0.3, "pixels wrong", **place)


def _draw_pick(
    axes,
    canvas: np.ndarray,
    pick: Pick,
    center: tuple[float, float],
    tall: float,
    colors: Sequence[Sequence[int]],
) -> list[tuple[float, float]]:
    """Draw a pick's four images around a point; return their upper left corners."""
    wide, high = _fit(pick.true.shape, (WIDE, tall))
    x = (center[0] - GAP / 2 - wide, center[0] + GAP / 2)
    y = (center[1] - GAP / 2 - high, center[1] + GAP / 2)
    corners = [(left, top) for top in y for left in x]
    pictures = (
        *(pick.image, class_map(pick.predicted, colors)),
        *(class_map(pick.true, colors), error_map(pick)),
    )
    for picture, corner in zip(pictures, corners, strict=True):
        _paste(canvas, picture, corner, (wide, high))
    wrong = "all ignored" if pick.wrong is None else f"{100 * pick.wrong:.0f} % wrong"
    place = {"ha": "center", "va": "bottom", "fontsize": 10.5}
    axes.text(center[0], y[0] - 0.04, wrong, color=INK, **place)
    return corners


def _fit(shape: tuple[int, int], room: tuple[float, float]) -> tuple[float, float]:
    """Width and height of an image as large as the room allows."""
    scale = min(room[0] / shape[1], room[1] / shape[0])
    return scale * shape[1], scale * shape[0]


def _paste(
    canvas: np.ndarray,
    picture: np.ndarray,
    corner: tuple[float, float],
    size: tuple[float, float],
) -> None:
    """Draw a picture at a corner, scaled to a size in inches."""
    left, top = (round(DPI * inches) for inches in corner)
    width, height = (max(1, round(DPI * inches)) for inches in size)
    # Small scenes show their pixels; large ones keep thin lines.
    is_enlarged = width >= picture.shape[1]
    method = Image.Resampling.NEAREST if is_enlarged else Image.Resampling.BOX
    drawn = Image.fromarray(picture).resize((width, height), method)
    canvas[top : top + height, left : left + width] = np.asarray(drawn)


def _name_parts(axes, corners: Sequence[tuple[float, float]]) -> None:
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.2}
    place = {"fontsize": 7.5, "va": "top", "color": INK, "bbox": box}
    for name, (left, top) in zip(PARTS, corners, strict=True):
        axes.text(left + 0.03, top + 0.03, name, **place)


def _legend_lines(
    class_names: Sequence[str], width: float
) -> list[list[tuple[int, str, float]]]:
    """Break the names into lines: class, name and where it begins, in inches."""
    lines: list[list[tuple[int, str, float]]] = [[]]
    x = 0.12
    # Not every font has the letters of every script.
    names = [n if n.isascii() else str(i) for i, n in enumerate(class_names)]
    for i, name in enumerate([*names, "ignored"]):
        room = 0.45 + 0.082 * len(name)
        if x + room > width and lines[-1]:
            lines.append([])
            x = 0.12
        lines[-1].append((i, name, x))
        x += room
    return lines


def _draw_legend(
    axes, lines: Sequence[Sequence[tuple[int, str, float]]], colors: Sequence[str]
) -> None:
    from matplotlib.patches import Rectangle

    for number, line in enumerate(lines):
        y = 0.83 + 0.24 * number
        for i, name, x in line:
            swatch = Rectangle((x, y - 0.07), 0.2, 0.14, ec=INK, lw=0.5)
            if i < len(colors):
                swatch.set_facecolor(colors[i])
            else:
                swatch.set(facecolor="#A8A8A8", hatch="/////")
            axes.add_patch(swatch)
            axes.text(x + 0.26, y, name, fontsize=10, color=INK, va="center")
