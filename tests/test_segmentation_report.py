"""Reports of made-up segmentation runs: files, numbers, pictures, words, refusals."""

import io
import json
import re

import numpy as np
import pytest
from made_up_run import some_dataset, write_lines, write_run
from made_up_segmentation import small_run, some_scenes, write_segmentation_run
from rich.console import Console
from test_page import read, rendered

from experiments import report
from experiments.reporting import tables
from experiments.reporting.measures import ACCURACY, FOREGROUND_MIOU, MIOU, measure_of
from experiments.reporting.records import read_record
from experiments.reporting.summary import summarize
from experiments.segmentation.data import datasets

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


def table_of(summary):
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    report.print_table(summary, console)
    return console.file.getvalue()


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
    summary = summarize(record)
    values = summary["methods"]["iwps"]
    assert values["final_class_iou_sd"] == [None] * 11  # one seed
    for shown in (table_of(summary), tables.to_markdown(summary)):
        assert ("without background" in shown) == (measure is FOREGROUND_MIOU)
    names = [column.name for column in tables.columns(summary)]
    assert names[:2] == ["mean over rounds", f"final {measure.short}"]
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
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert "must have the same main measure, got mIoU without background" in error
    assert str(tmp_path / "b") in error
    assert not (tmp_path / "merged").exists()


def test_the_command_loads_the_scenes_that_the_run_names(tmp_path, monkeypatch, capsys):
    scenes = some_scenes(12)
    named = {"name": "folder", "images": "i", "masks": "m", "ignore": [0, 9]}
    small_run(tmp_path, scenes, scenes=named)
    asked = []
    load = lambda **options: asked.append(options) or scenes  # noqa: E731
    monkeypatch.setattr(datasets, "load", load)
    report.main([str(tmp_path)])
    assert asked == [named]
    assert "Digit scenes, 2 seeds, 1 round" in capsys.readouterr().out
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"scenes": None}))
    with pytest.raises(SystemExit):
        report.main([str(tmp_path)])
    assert "must say under scenes what to load, got None" in capsys.readouterr().err
    path.write_text(json.dumps(config))
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
