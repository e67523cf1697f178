"""The pictures of made-up segmentation runs: what is where, and in which color."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_run import write_lines
from made_up_segmentation import (
    IGNORE,
    Scene,
    small_run,
    some_scenes,
    write_segmentation_run,
)
from PIL import Image

from experiments import report
from experiments.reporting import class_plots, scene_plots
from experiments.reporting.records import read_record

METHODS, SEEDS, ROUNDS = ("random", "badge", "iwps"), 3, 2
UNDEFINED = 4  # the class without an IoU in seed 0


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """Eleven classes, scenes of uneven sizes."""
    out = tmp_path_factory.mktemp("segmentation")
    scenes = some_scenes(sizes=((64, 64), (40, 70), (70, 40)))
    metrics = write_segmentation_run(
        out, scenes, methods=METHODS, rounds=ROUNDS, undefined=(UNDEFINED,)
    )
    return read_record(out), scenes, metrics


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def is_color(pixels, color):
    return (pixels == np.array(color)).all(axis=-1)


# The IoU of classes.


def test_every_class_has_a_panel_with_its_color(made_up, tmp_path):
    record, scenes, _ = made_up
    pixels = pixels_of(io.BytesIO(class_plots.class_iou_png(record, "title")))
    for color in scenes.colors:
        # A swatch of 0.055 x 0.085 of a panel, its edge aside.
        assert 60 < is_color(pixels, color).sum() < 400
    many = some_scenes(4, num_classes=19)
    options = {"methods": METHODS, "seeds": 1, "rounds": 1}
    write_segmentation_run(tmp_path, many, **options)
    record = read_record(tmp_path)
    with Image.open(io.BytesIO(class_plots.class_iou_png(record, "title"))) as image:
        width, height = image.size
        assert width <= 1500
        assert height > 4 * 200
        assert np.unique(np.asarray(image)[:, -5:]).tolist() == [255]  # nothing cut


def test_class_curves_are_means_over_the_seeds(made_up):
    record, _, metrics = made_up
    curves = class_plots.curves_of_classes(record)
    assert [sorted(by) for by in curves] == [
        [] if label == UNDEFINED else sorted(METHODS) for label in range(11)
    ]
    expected = np.zeros(ROUNDS + 1)
    for line in metrics:
        if line["method"] == "iwps":
            expected[line["round"]] += line["class_iou"][2] / SEEDS
    np.testing.assert_allclose(curves[2]["iwps"].mean, expected)
    np.testing.assert_array_equal(curves[2]["iwps"].x, [30, 40, 50])


# Picks.


def test_error_map_is_red_where_the_truth_is_known_and_another():
    image = np.full((8, 8, 3), 100, np.uint8)
    true = np.zeros((8, 8), np.uint8)
    true[:, 5:] = IGNORE
    predicted = np.ones((8, 8), np.uint8)
    predicted[4:] = 0
    errors = scene_plots.error_map(scene_plots.Pick(image, predicted, true, 0.5))
    red = is_color(errors, scene_plots.ERROR)
    expected = np.zeros((8, 8), bool)
    expected[:4, :5] = True
    np.testing.assert_array_equal(red, expected)
    # Ignored pixels are gray, and neither plain nor like the dimmed image.
    ignored = errors[:, 5:].reshape(-1, 3)
    assert (ignored == ignored[:, :1]).all()
    assert len(np.unique(ignored[:, 0])) == 2
    assert not set(ignored[:, 0]) & set(errors[4:, :5, 0].flat)


def test_class_maps_have_the_colors_of_the_classes_and_stripes():
    colors = [(1, 2, 3), (250, 0, 9)]
    classes = np.array([[0, 1, IGNORE, IGNORE], [1, 1, 0, IGNORE]], np.uint8)
    drawn = scene_plots.class_map(classes, colors)
    for label, color in enumerate(colors):
        np.testing.assert_array_equal(is_color(drawn, color), classes == label)


def one_color(color, shape):
    return np.full((*shape, 3), color, np.uint8)


@pytest.mark.parametrize("shape", [(8, 8), (8, 16), (600, 1200)])
def test_a_pick_is_a_block_of_four_of_one_size_in_the_order_of_the_methods(
    tmp_path, shape
):
    """Every pixel is wrong, so that each part of a block is of one color."""
    images = {"random": (10, 200, 30), "iwps": (200, 10, 230)}
    colors = [(5, 90, 250), (250, 190, 5)]
    scenes = SimpleNamespace(
        name="digit_scenes",
        class_names=("a", "b"),
        colors=np.array(colors, np.uint8),
        sha256="",
        train=[
            Scene(one_color(c, shape), np.zeros(shape, np.uint8))
            for c in images.values()
        ],
    )
    picks = []
    for i, method in enumerate(images):
        folder = tmp_path / "predictions" / method
        folder.mkdir(parents=True)
        Image.fromarray(np.ones(shape, np.uint8)).save(folder / f"round0_{i}.png")
        picks.append({"method": method, "seed": 0, "round": 0, "ids": [i, 1 - i]})
        picks[-1]["wrong"] = [1.0, 0.5]
    config = {
        **{"dataset": "x", "rounds": 1, "measure": "miou", "methods": list(images)},
        **{"class_names": ["a", "b"], "colors": colors},
    }
    record = SimpleNamespace(path=tmp_path, picks=picks, config=config)
    rows, seed = scene_plots.first_picks(record, scenes)
    # The second pick has no stored prediction.
    assert {method: len(row) for method, row in rows.items()} == {
        "random": 1,
        "iwps": 1,
    }
    assert seed == "0"
    assert max(rows["iwps"][0].image.shape) <= 320
    png = scene_plots.selected_png(rows, ("a", "b"), colors, "title")
    pixels = pixels_of(io.BytesIO(png))
    assert pixels.shape[1] == 2100
    areas, tops = {}, {}
    for method, color in images.items():
        y, x = np.nonzero(is_color(pixels, color))
        areas[method], tops[method] = len(y), y.min()
        assert (np.ptp(x) + 1) / (np.ptp(y) + 1) == pytest.approx(
            shape[1] / shape[0], rel=0.03
        )
    assert tops["random"] < tops["iwps"]
    # Names of the parts cover some of the first block alone.
    assert 0 < areas["iwps"] - areas["random"] < 0.2 * areas["iwps"]
    below = pixels[tops["iwps"] :]
    for color in (*colors, scene_plots.ERROR):
        assert is_color(below, color).sum() == areas["iwps"]


def test_the_picture_has_six_picks_a_method_with_the_shares_of_the_file(made_up):
    record, scenes, _ = made_up
    rows, _ = scene_plots.first_picks(record, scenes)
    assert list(rows) == list(METHODS)
    for method, picks in rows.items():
        (line,) = (
            p
            for p in record.picks
            if (p["method"], p["seed"], p["round"]) == (method, 0, 0)
        )
        assert [pick.wrong for pick in picks] == line["wrong"][:6]
        for pick, i in zip(picks, line["ids"], strict=False):
            np.testing.assert_array_equal(pick.image, scenes.train[i].image)
            np.testing.assert_array_equal(pick.true, scenes.train[i].mask)
            known = pick.true != IGNORE
            share = (pick.predicted != pick.true)[known].mean()
            assert share == pytest.approx(pick.wrong)


def test_a_pick_of_which_everything_is_ignored_has_no_share(tmp_path):
    scenes = some_scenes(12)
    small_run(tmp_path, scenes, seeds=1)
    path = tmp_path / "picks.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["wrong"][0] = None
    write_lines(path, lines)
    rows, _ = scene_plots.first_picks(read_record(tmp_path), scenes)
    assert [pick.wrong is None for pick in rows["iwps"]] == [True] + [False] * 5
    colors, names = scenes.colors, scenes.class_names
    with_six = scene_plots.selected_png(rows, names, colors, "title")
    alone = {"iwps": rows["iwps"][:1]}
    with_none = scene_plots.selected_png(alone, names, colors, "title")
    assert pixels_of(io.BytesIO(with_six)).shape[1] == 2100
    assert pixels_of(io.BytesIO(with_none)).shape[1] == 2100


# What is refused.


def corrupt(path):
    path.write_bytes(path.read_bytes()[:40])


def save(array):
    return lambda path: Image.fromarray(array).save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (corrupt, "must be a PNG"),
        (
            save(np.zeros((9, 64), np.uint8)),
            r"the scene's shape \(64, 64\), got \(9, 64",
        ),
        (save(np.zeros((64, 64, 3), np.uint8)), r"scene's shape .* got \(64, 64, 3\)"),
        (save(np.full((64, 64), 11, np.uint8)), "classes below 11, got 11"),
    ],
)
def test_a_prediction_that_is_not_the_scenes_is_named(tmp_path, change, message):
    scenes = some_scenes(12)
    small_run(tmp_path, scenes)
    path = next((tmp_path / "predictions" / "iwps").glob("round0_*.png"))
    change(path)
    with pytest.raises(ValueError, match=message) as raised:
        report.write_report(tmp_path, scenes)
    assert str(path) in str(raised.value)
    assert not (tmp_path / "summary.json").exists()


def test_picks_of_other_scenes_are_refused(tmp_path):
    scenes = some_scenes(12)
    small_run(tmp_path, scenes)
    scenes.train = scenes.train[:2]
    with pytest.raises(ValueError, match="must index these 2 scenes, got"):
        report.write_report(tmp_path, scenes)
