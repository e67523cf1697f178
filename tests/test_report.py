"""Reports of made-up runs: files, numbers done by hand, and runs under way."""

import io
import itertools
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from experiments import plots, report

METHODS = tuple(plots.STYLES)


def some_dataset(size=8, channels=1, class_names=tuple("0123456789")):
    generator = np.random.default_rng(0)
    return SimpleNamespace(
        train_images=generator.integers(0, 256, (200, size, size, channels), np.uint8),
        train_labels=generator.integers(0, len(class_names), 200),
        class_names=class_names,
    )


def write_run(out, data, *, methods=METHODS, seeds=3, rounds=4, last=None, **config):
    """Write a finished run, or one where (method, seed) stopped after `last` rounds."""
    generator = np.random.default_rng(1)
    out.mkdir(parents=True, exist_ok=True)
    config = {
        "dataset": "mnist",
        "methods": list(methods),
        "num_seeds": seeds,
        "rounds": rounds,
        "acquire_size": 10,
        "base_size": 20,
        "imbalance": 0.1,
        "data_dir": "somewhere",
    } | config
    (out / "config.json").write_text(json.dumps(config))
    metrics, picks = [], []
    for method, seed in itertools.product(methods, range(seeds)):
        stop = rounds if last is None else last.get((method, seed), rounds)
        for r in range(stop + 1):
            key = {"method": method, "seed": seed, "round": r}
            picking = r < rounds
            accuracy = 0.5 + 0.05 * r + 0.1 * generator.random()
            metrics.append(
                key
                | {
                    "num_labeled": 30 + 10 * r,
                    "test_accuracy": accuracy,
                    "balanced_accuracy": accuracy,
                    "wrong_rate": generator.random() if picking else None,
                    "minority_rate": generator.random() if picking else None,
                    "fit_seconds": 1.0 + r,
                    "score_seconds": 0.25 if picking else None,
                }
            )
            if picking:
                ids = generator.choice(200, 12, replace=False)
                true = data.train_labels[ids]
                predicted = np.where(generator.random(12) < 0.5, (true + 1) % 10, true)
                lists = {"ids": ids, "predicted": predicted, "true": true}
                picks.append(key | {k: v.tolist() for k, v in lists.items()})
    write_lines(out / "metrics.jsonl", metrics)
    write_lines(out / "picks.jsonl", picks)
    return metrics


def write_lines(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def table_of(summary, width=100):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    report.print_table(summary, console)
    return console.file.getvalue()


def size_of(path):
    with Image.open(path) as image:
        image.load()
        return image.size


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The ten methods, three seeds and four rounds, reported once for all tests."""
    out = tmp_path_factory.mktemp("finished")
    dataset = some_dataset()
    metrics = write_run(out, dataset)
    return out, dataset, metrics, report.write_report(out, dataset)


def test_all_files_are_made_and_nothing_is_left_over(finished):
    out, _, _, summary = finished
    assert {p.name for p in out.iterdir()} == {
        *("config.json", "metrics.jsonl", "picks.jsonl"),
        *("summary.json", "curves.png", "selected.png"),
    }
    assert size_of(out / "curves.png") == (1800, 810)
    width, height = size_of(out / "selected.png")
    assert width == 1650
    assert 1600 < height < 1750
    assert json.loads((out / "summary.json").read_text()) == summary


def test_keys_of_the_summary_are_stable(finished):
    summary = finished[-1]
    assert list(summary) == ["dataset", "seeds", "rounds", "methods", "notes"]
    assert (summary["dataset"], summary["seeds"]) == ("mnist", [0, 1, 2])
    assert (summary["rounds"], summary["notes"]) == (4, [])
    assert tuple(summary["methods"]) == METHODS
    for method, values in summary["methods"].items():
        assert list(values) == [
            *("seeds", "final_accuracy_mean", "final_accuracy_sd", "aubc_mean"),
            *("aubc_se", "labels_to_random_final", "label_saving", "wrong_rate"),
            *("minority_rate", "fit_seconds", "score_seconds", "versus_random"),
        ]
        assert (values["versus_random"] is None) == (method == "random")


def test_numbers_match_a_computation_by_hand(finished):
    _, _, metrics, summary = finished

    def table(method, key):
        rows = [r for r in metrics if r["method"] == method and r[key] is not None]
        return np.array([[r[key] for r in rows if r["seed"] == s] for s in range(3)])

    random = table("random", "test_accuracy")
    for method, values in summary["methods"].items():
        accuracy = table(method, "test_accuracy")
        area = accuracy.mean(axis=1)
        assert values["final_accuracy_mean"] == pytest.approx(accuracy[:, 4].mean())
        assert values["final_accuracy_sd"] == pytest.approx(accuracy[:, 4].std(ddof=1))
        assert values["aubc_mean"] == pytest.approx(accuracy.mean())
        assert values["aubc_se"] == pytest.approx(area.std(ddof=1) / np.sqrt(3))
        rates = table(method, "wrong_rate").mean(axis=0)
        assert values["wrong_rate"] == pytest.approx(rates)
        rates = table(method, "minority_rate").mean(axis=0)
        assert values["minority_rate"] == pytest.approx(rates)
        assert (values["fit_seconds"], values["score_seconds"]) == (3.0, 0.25)
        if method != "random":
            gain = values["versus_random"]["mean_difference"]
            assert gain == pytest.approx((area - random.mean(axis=1)).mean())


def test_labels_needed_and_saving(tmp_path):
    dataset = some_dataset()
    metrics = write_run(tmp_path, dataset, methods=("random", "iwps", "bald"), seeds=1)
    curves = {
        "random": [0.5, 0.55, 0.6, 0.65, 0.7],
        "iwps": [0.5, 0.6, 0.8, 0.85, 0.9],  # 0.7 halfway between 40 and 50 labels
        "bald": [0.5, 0.5, 0.5, 0.6, 0.69],
    }
    for record in metrics:
        record["test_accuracy"] = curves[record["method"]][record["round"]]
    write_lines(tmp_path / "metrics.jsonl", metrics)
    summary = report.write_report(tmp_path, dataset)
    needed = {m: v["labels_to_random_final"] for m, v in summary["methods"].items()}
    saving = {m: v["label_saving"] for m, v in summary["methods"].items()}
    assert needed == {"random": 70.0, "iwps": pytest.approx(45.0), "bald": None}
    assert saving == {"random": 1.0, "iwps": pytest.approx(70 / 45), "bald": None}
    lines = table_of(summary).splitlines()
    assert "45 1.56×" in next(line for line in lines if line.startswith("IWPS"))


def test_table_is_sorted_and_fits(finished):
    summary = finished[-1]
    text = table_of(summary)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    rows = text.splitlines()[4:14]
    areas = sorted((v["aubc_mean"] for v in summary["methods"].values()), reverse=True)
    assert [float(row.split()[2].split("±")[0]) for row in rows] == pytest.approx(
        [100 * a for a in areas], abs=0.05
    )
    assert {row.split()[0] for row in rows} == {s.label for s in plots.STYLES.values()}


def test_table_of_wide_numbers_still_fits(finished):
    summary = json.loads(json.dumps(finished[-1]))
    for values in summary["methods"].values():
        values |= {"final_accuracy_mean": 0.45678, "final_accuracy_sd": 0.12345}
        values |= {"aubc_mean": 0.45678, "aubc_se": 0.12345, "fit_seconds": 321.0}
        values |= {"labels_to_random_final": 2750.0, "label_saving": 1.234}
        values["wrong_rate"] = [1.0, 1.0]
        if values["versus_random"]:
            values["versus_random"] |= {"mean_difference": -0.1234, "low": -0.2345}
            values["versus_random"] |= {"high": 0.1234, "verdict": "not separable"}
    text = table_of(summary)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    assert text.count("-12.3 [-23.4,+12.3]") == 9


def test_a_second_report_gives_the_same_bytes(finished, tmp_path):
    out, dataset, _, _ = finished
    for name in ("config.json", "metrics.jsonl", "picks.jsonl"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    report.write_report(tmp_path, dataset)
    for name in ("summary.json", "curves.png", "selected.png"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_a_run_under_way_reports_what_has_finished(tmp_path):
    dataset = some_dataset()
    methods = ("random", "entropy", "iwps", "badge")
    last = {("iwps", 1): 2, ("iwps", 2): -1} | {("badge", s): -1 for s in range(3)}
    write_run(tmp_path, dataset, methods=methods, last=last)
    summary = report.write_report(tmp_path, dataset)
    seeds = {m: v["seeds"] for m, v in summary["methods"].items()}
    assert seeds == {"random": [0, 1, 2], "entropy": [0, 1, 2], "iwps": [0]}
    assert summary["notes"] == ["Fewer than the planned 3 seeds: IWPS 1, BADGE 0."]
    assert summary["methods"]["iwps"]["aubc_se"] is None
    assert summary["methods"]["iwps"]["versus_random"]["verdict"] == "not separable"
    assert "IWPS 1, BADGE 0" in table_of(summary)


@pytest.mark.parametrize("reached", [0, 2])
def test_a_run_in_its_first_rounds_is_cut_to_them(tmp_path, reached):
    dataset = some_dataset()
    last = {("random", 0): reached, ("iwps", 0): reached + 1}
    write_run(tmp_path, dataset, methods=("random", "iwps"), seeds=1, last=last)
    summary = report.write_report(tmp_path, dataset)
    assert summary["rounds"] == reached
    assert len(summary["methods"]["iwps"]["wrong_rate"]) == reached
    assert f"No run has finished: round {reached} of 4." in summary["notes"]
    assert size_of(tmp_path / "curves.png") == (1800, 810)
    assert "IWPS" in table_of(summary)


def test_a_repeated_round_counts_once(tmp_path):
    dataset = some_dataset()
    metrics = write_run(tmp_path, dataset, methods=("random",), seeds=1)
    repeated = metrics[2] | {"test_accuracy": 0.99}
    write_lines(tmp_path / "metrics.jsonl", [*metrics, repeated])
    summary = report.write_report(tmp_path, dataset)
    expected = np.mean([r["test_accuracy"] for r in metrics if r["round"] != 2])
    area = summary["methods"]["random"]["aubc_mean"]
    assert area == pytest.approx((4 * expected + 0.99) / 5)


def test_one_seed_one_round_and_no_random(tmp_path):
    names = ("airplane", "automobile", *"abcdefgh")
    dataset = some_dataset(channels=3, class_names=names)
    config = {"seeds": 1, "rounds": 1, "dataset": "cifar10", "imbalance": 1}
    write_run(tmp_path, dataset, methods=("entropy", "mine"), **config)
    summary = report.write_report(tmp_path, dataset)
    for values in summary["methods"].values():
        assert values["versus_random"] is values["aubc_se"] is None
        assert values["labels_to_random_final"] is values["label_saving"] is None
        assert len(values["wrong_rate"]) == 1
    text = table_of(summary)
    assert "CIFAR-10, 1 seed, 1 round" in text
    assert "mine" in text
    assert "Verdict" not in text
    assert "No comparison with Random" in text
    assert "One seed" in text
    assert size_of(tmp_path / "selected.png")[0] == 1650


def test_no_rounds_and_no_picks(tmp_path):
    dataset = some_dataset()
    write_run(tmp_path, dataset, methods=("random", "iwps"), seeds=2, rounds=0)
    (tmp_path / "picks.jsonl").unlink()
    summary = report.write_report(tmp_path, dataset)
    assert summary["methods"]["iwps"]["wrong_rate"] == []
    assert not (tmp_path / "selected.png").exists()
    assert "selected.png is not drawn" in table_of(summary)


def test_balanced_data_may_have_no_minority(tmp_path):
    dataset = some_dataset()
    metrics = write_run(tmp_path, dataset, methods=("random",), seeds=2)
    write_lines(
        tmp_path / "metrics.jsonl", [m | {"minority_rate": None} for m in metrics]
    )
    summary = report.write_report(tmp_path, dataset)
    assert summary["methods"]["random"]["minority_rate"] == [None] * 4
    assert "Random" in table_of(summary)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"method": "iwps", "seed": 0, "rou', "must be one complete JSON record"),
        ("", "must be one complete JSON record"),
        ("7", "the record must have method"),
        ('{"method": "iwps", "seed": 0}', "the record must have round, num_labeled"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    dataset = some_dataset()
    write_run(tmp_path, dataset, methods=("random",), seeds=1)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=f"metrics.jsonl, line 6: {message}"):
        report.write_report(tmp_path, dataset)
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize("value", [None, float("nan")])
def test_an_accuracy_that_is_no_number_is_named(tmp_path, value):
    dataset = some_dataset()
    metrics = write_run(tmp_path, dataset, methods=("random",), seeds=1)
    metrics[1]["test_accuracy"] = value
    write_lines(tmp_path / "metrics.jsonl", metrics)
    with pytest.raises(ValueError, match="line 2"):
        report.write_report(tmp_path, dataset)


def test_missing_rounds_and_another_dataset_are_refused(tmp_path):
    dataset = some_dataset()
    write_run(tmp_path, dataset, methods=("random",), seeds=1)
    dataset.train_labels = (dataset.train_labels + 1) % 10
    with pytest.raises(ValueError, match="must index this dataset"):
        report.write_report(tmp_path, dataset)
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="must hold round 0"):
        report.write_report(tmp_path, dataset)


def test_the_command_redraws_a_run(tmp_path, monkeypatch, capsys):
    dataset = some_dataset()
    write_run(tmp_path, dataset, methods=("random", "iwps"), seeds=2)
    asked = []
    loader = SimpleNamespace(load=lambda *names: asked.append(names) or dataset)
    monkeypatch.setitem(sys.modules, "experiments.datasets", loader)
    report.main([str(tmp_path)])
    assert asked == [("mnist", "somewhere")]
    assert (tmp_path / "summary.json").exists()
    assert "MNIST, 2 seeds, 4 rounds" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        report.main([str(tmp_path / "absent")])
    assert "config.json" in capsys.readouterr().err


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-0.2, 1.2), max_size=12))
def test_labels_do_not_overlap_and_keep_their_order(heights):
    positions = plots.spread(heights, gap=0.05, low=0.0, high=1.0)
    assert len(positions) == len(heights)
    order = np.argsort(heights, kind="stable")
    assert (np.diff(positions[order]) >= 0.05 - 1e-9).all()
    assert all(-1e-9 <= p <= 1 + 1e-9 for p in positions)


def test_labels_stay_where_there_is_room_and_share_where_there_is_none():
    apart = plots.spread([0.9, 0.1, 0.5], gap=0.1, low=0.0, high=1.0)
    np.testing.assert_allclose(apart, [0.9, 0.1, 0.5])
    crowded = plots.spread([0.5] * 5, gap=0.5, low=0.0, high=1.0)
    np.testing.assert_allclose(crowded, [0.0, 0.25, 0.5, 0.75, 1.0])


# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab_of(color, vision):
    """Return a color's CIE Lab coordinates as an eye with that vision has them."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [
        [0.4124, 0.3576, 0.1805],
        [0.2126, 0.7152, 0.0722],
        [0.0193, 0.1192, 0.9505],
    ]
    xyz = to_xyz @ np.clip(vision @ linear, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_methods_stay_apart_by_color_and_by_marker(vision):
    styles = plots.STYLES.values()
    assert len({s.marker for s in styles}) == len(styles)
    labs = [lab_of(s.color, np.array(VISION[vision])) for s in styles]
    # 2.3 is a difference just noticed side by side; lines need several times that.
    for one, other in itertools.combinations(labs, 2):
        assert np.linalg.norm(one - other) > 15
