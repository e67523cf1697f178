"""Reports of made-up segmentation runs: files, numbers, pictures, words, refusals."""

import io
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_run import some_dataset, write_lines, write_run
from made_up_segmentation import IGNORE, Scene, some_scenes, write_segmentation_run
from PIL import Image
from rich.console import Console
from test_page import read, rendered

from experiments import report
from experiments.reporting import class_plots, scene_plots, tables
from experiments.reporting.measures import ACCURACY, FOREGROUND_MIOU, MIOU, measure_of
from experiments.reporting.records import read_record

METHODS, SEEDS, ROUNDS = ("random", "badge", "iwps"), 3, 2
UNDEFINED = 4  # the class without an IoU in seed 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Eleven classes, scenes of uneven sizes; reported once for all tests."""
    out = tmp_path_factory.mktemp("segmentation") / "out"
    scenes = some_scenes(sizes=((64, 64), (40, 70), (70, 40)))
    metrics = write_segmentation_run(
        out, scenes, methods=METHODS, rounds=ROUNDS, undefined=(UNDEFINED,)
    )
    return out, scenes, metrics, report.write_report(out, scenes)


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def table_of(summary):
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    report.print_table(summary, console)
    return console.file.getvalue()


def is_color(pixels, color):
    return (pixels == np.array(color)).all(axis=-1)


# Files and numbers.


def test_all_files_are_made_and_a_second_report_gives_the_same_bytes(finished):
    out, scenes, _, summary = finished
    made = (
        "summary.json",
        "curves.png",
        "class_iou.png",
        "selected.png",
        "report.html",
    )
    assert {path.name for path in out.iterdir()} == {
        *("config.json", "metrics.jsonl", "picks.jsonl", "predictions"),
        *made,
    }
    before = {name: (out / name).read_bytes() for name in made}
    assert (
        json.loads(before["summary.json"])
        == summary
        == report.write_report(out, scenes)
    )
    assert {name: (out / name).read_bytes() for name in made} == before


def test_numbers_match_a_computation_by_hand(finished):
    _, scenes, metrics, summary = finished
    assert summary["measure"] == "foreground_miou"
    assert summary["class_names"] == list(scenes.class_names)
    assert (summary["initial_size"], summary["holdout_size"]) == (30, 20)

    def table(method, key):
        rows = [m for m in metrics if m["method"] == method]
        return np.array(
            [[m[key] for m in rows if m["seed"] == s] for s in range(SEEDS)], float
        )

    for method, values in summary["methods"].items():
        assert not any("accuracy" in k for k in values if "pixel_accuracy" not in k)
        assert "minority_rate" not in values
        main = table(method, "foreground_miou")
        assert values["aubc_mean"] == pytest.approx(main.mean())
        for key in ("foreground_miou", "miou", "pixel_accuracy"):
            last = table(method, key)[:, -1]
            assert values[f"final_{key}_mean"] == pytest.approx(last.mean())
            assert values[f"final_{key}_sd"] == pytest.approx(last.std(ddof=1))
        iou = table(method, "class_iou")
        assert np.isnan(iou[0, :, UNDEFINED]).all()
        assert np.shape(values["class_iou"]) == (ROUNDS + 1, 11)
        for label in range(11):
            found = [row[label] for row in values["class_iou"]]
            spread = values["final_class_iou_sd"][label]
            if label == UNDEFINED:
                assert found == [None] * (ROUNDS + 1)
                assert spread is None
            else:
                np.testing.assert_allclose(found, iou[:, :, label].mean(axis=0))
                assert spread == pytest.approx(iou[:, -1, label].std(ddof=1))
    gain = summary["methods"]["iwps"]["versus_random"]["mean_difference"]
    areas = [table(m, "foreground_miou").mean() for m in ("iwps", "random")]
    assert gain == pytest.approx(areas[0] - areas[1])


@pytest.mark.parametrize("measure", [MIOU, FOREGROUND_MIOU])
def test_the_main_measure_is_the_one_of_the_config(tmp_path, measure):
    scenes = some_scenes(12)
    options = {"methods": ("random", "iwps"), "seeds": 1, "rounds": 1}
    write_segmentation_run(tmp_path, scenes, measure=measure.key, **options)
    record = read_record(tmp_path)
    assert record.measure is measure
    summary = report.summarize(record)
    values = summary["methods"]["iwps"]
    assert values["final_class_iou_sd"] == [None] * 11  # one seed
    for shown in (table_of(summary), tables.to_markdown(summary)):
        assert ("without background" in shown) == (measure is FOREGROUND_MIOU)
    names = [column.name for column in tables.columns(summary)]
    assert names[:2] == ["AUBC", f"final {measure.short}"]
    assert names[-1] == "final pixel accuracy"


def test_measures_of_old_and_new_configs():
    assert measure_of({"dataset": "mnist"}) is ACCURACY
    assert measure_of({"measure": "miou"}) is MIOU
    with pytest.raises(ValueError, match="measure must be one of .*, got 'dice'"):
        measure_of({"measure": "dice"})


def test_words_follow_the_measure(finished):
    out, _, _, summary = finished
    for text in (table_of(summary), tables.to_markdown(summary)):
        assert "mIoU without background" in " ".join(text.split())
        assert "accuracy" not in text
        assert "inority" not in text
    assert "Digit scenes, 3 seeds, 2 rounds" in table_of(summary)
    assert "Wrong" in table_of(summary)
    assert "30 → 50 labeled images" in tables.to_markdown(summary)
    page = (out / "report.html").read_text(encoding="utf-8")
    shown = re.sub(r"<style>.*?</style>|<script>.*|<[^>]*>", " ", page, flags=re.DOTALL)
    assert "mIoU without background" in shown
    assert "accuracy" not in shown.lower().replace("pixel accuracy", "")
    assert "rare picks" not in shown


# The pictures.


def test_every_class_has_a_panel_with_its_color(finished, tmp_path):
    out, scenes, _, _ = finished
    pixels = pixels_of(out / "class_iou.png")
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


def test_class_curves_are_means_over_the_seeds(finished):
    out, _, metrics, _ = finished
    curves = class_plots.curves_of_classes(read_record(out))
    assert [sorted(by) for by in curves] == [
        [] if label == UNDEFINED else sorted(METHODS) for label in range(11)
    ]
    expected = np.zeros(ROUNDS + 1)
    for line in metrics:
        if line["method"] == "iwps":
            expected[line["round"]] += line["class_iou"][2] / SEEDS
    np.testing.assert_allclose(curves[2]["iwps"].mean, expected)
    np.testing.assert_array_equal(curves[2]["iwps"].x, [30, 40, 50])


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


def test_the_picture_has_six_picks_a_method_with_the_shares_of_the_file(finished):
    out, scenes, _, _ = finished
    record = read_record(out)
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


# The page.


def test_the_page_has_a_chart_and_a_row_for_every_class(finished, tmp_path):
    out, scenes, _, summary = finished
    page = read(out / "report.html")
    buttons = [a["data-figure"] for tag, a in page.tags if tag == "button"]
    titles = [json.loads(b)["layout"]["yaxis"]["title"]["text"] for b in buttons]
    for label, name in enumerate(scenes.class_names):
        assert titles.count(f"IoU of {name} (%)") == (label != UNDEFINED)
    cells = [cell.strip() for cell in page.cells]
    last = summary["methods"]["iwps"]
    for label, share in enumerate(last["class_iou"][-1]):
        if share is not None:
            spread = last["final_class_iou_sd"][label]
            assert f"{100 * share:.1f} ± {100 * spread:.1f}" in cells
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 3
    assert not any("[[" in cell for cell in cells)  # no colors among the settings
    _, dom, console = rendered(out / "report.html", tmp_path, 1200)
    assert console == []
    assert "mIoU without background" in dom


def test_nothing_is_wider_than_a_narrow_window(tmp_path):
    many = some_scenes(4, num_classes=19)
    options = {"methods": METHODS, "seeds": 2, "rounds": 1, "measure": "miou"}
    write_segmentation_run(tmp_path, many, **options)
    report.write_report(tmp_path, many)
    path = tmp_path / "report.html"
    probe = "<script>document.title = document.documentElement.scrollWidth</script>"
    page = path.read_text(encoding="utf-8").replace("</body>", probe + "</body>")
    path.write_text(page, encoding="utf-8")
    _, dom, console = rendered(path, tmp_path, 800)
    assert console == []
    assert "<title>800</title>" in dom


# Several runs, and what is refused.


def small_run(out, scenes, /, **options):
    options = {"methods": ("random", "iwps"), "seeds": 2, "rounds": 1} | options
    return write_segmentation_run(out, scenes, **options)


def refuse(*_):
    raise AssertionError("scenes must not be loaded")


def test_segmentation_runs_side_by_side_load_no_scenes(tmp_path, monkeypatch, capsys):
    scenes = some_scenes(12)
    small_run(tmp_path / "a", scenes)
    small_run(tmp_path / "b", scenes, learning_rate=0.1)
    monkeypatch.setattr(report, "_load", refuse)
    out = tmp_path / "merged"
    report.main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)])
    assert "η = 0.1" in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert [run["measure"] for run in summary["runs"]] == ["foreground_miou"] * 2
    assert summary["notes"] == []
    assert {p.name for p in out.iterdir()} == {
        *("summary.json", "curves.png", "report.html"),
    }
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Test mIoU without background against number of labeled images" in page


@pytest.mark.parametrize("other", ["miou", "test_accuracy"])
def test_runs_with_different_measures_are_not_put_side_by_side(
    tmp_path, monkeypatch, capsys, other
):
    small_run(tmp_path / "a", some_scenes(12))
    if other == "miou":
        small_run(tmp_path / "b", some_scenes(12), measure="miou")
    else:
        write_run(tmp_path / "b", some_dataset(), methods=("iwps",), rounds=1)
    monkeypatch.setattr(report, "_load", refuse)
    with pytest.raises(SystemExit) as exit_:
        report.main([str(tmp_path), "--out", str(tmp_path / "merged")])
    assert exit_.value.code == 1
    error = capsys.readouterr().err
    assert "must have one main measure, got mIoU without background" in error
    assert str(tmp_path / "b") in error
    assert not (tmp_path / "merged").exists()


def test_the_command_loads_the_scenes_that_the_run_names(tmp_path, monkeypatch, capsys):
    scenes = some_scenes(12)
    named = {"name": "folder", "images": "i", "masks": "m", "ignore": [0, 9]}
    small_run(tmp_path, scenes, scenes=named)
    asked = []
    loader = SimpleNamespace(load=lambda **options: asked.append(options) or scenes)
    package = SimpleNamespace(scenes=loader)
    monkeypatch.setitem(sys.modules, "experiments.segmentation.data", package)
    report.main([str(tmp_path)])
    assert asked == [named]
    assert "Digit scenes, 2 seeds, 1 round" in capsys.readouterr().out
    scenes.sha256 = "1" * 64
    with pytest.raises(SystemExit):
        report.main([str(tmp_path)])
    assert "was run on other data" in capsys.readouterr().err


def test_a_run_without_predictions_has_a_note_and_no_picture(tmp_path):
    scenes = some_scenes(12)
    small_run(tmp_path, scenes, rounds=0)
    summary = report.write_report(tmp_path, scenes)
    assert any("selected.png is not drawn" in note for note in summary["notes"])
    assert not (tmp_path / "selected.png").exists()


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"foreground_miou": None}, "line 2: foreground_miou must not be null"),
        ({"foreground_miou": ...}, "line 2: the record must have foreground_miou"),
        ({"class_iou": [0.5]}, r"class_iou must .* 11 classes, got \[0.5\] \(random"),
        ({"class_iou": None}, "class_iou must have an entry for each of the 11"),
    ],
)
def test_a_line_of_metrics_that_is_not_complete_is_named(tmp_path, change, message):
    metrics = small_run(tmp_path, some_scenes(12))
    metrics[1] = {k: v for k, v in (metrics[1] | change).items() if v is not ...}
    write_lines(tmp_path / "metrics.jsonl", metrics)
    with pytest.raises(ValueError, match=message):
        read_record(tmp_path)


def test_picks_and_configs_that_are_not_complete_are_named(tmp_path):
    small_run(tmp_path, some_scenes(12))
    path = tmp_path / "picks.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    write_lines(path, [lines[0] | {"wrong": [0.5]}])
    with pytest.raises(ValueError, match=r"wrong must have .* got \[0.5\] \(random"):
        read_record(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"colors": config["colors"][:3]}))
    with pytest.raises(ValueError, match="must have class_names, and colors for all"):
        read_record(tmp_path)
