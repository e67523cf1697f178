"""Reports of made-up runs: files, numbers done by hand, and runs under way."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_run import METHODS, some_dataset, write_lines, write_run
from PIL import Image
from rich.console import Console

from experiments import report
from experiments.data import datasets
from experiments.reporting import plots


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
    """The eleven methods, three seeds and four rounds, reported once for all tests."""
    out = tmp_path_factory.mktemp("finished")
    dataset = some_dataset()
    metrics = write_run(out, dataset)
    return out, dataset, metrics, report.write_report(out, dataset)


def test_all_files_are_made_and_nothing_is_left_over(finished):
    out, _, _, summary = finished
    assert {p.name for p in out.iterdir()} == {
        *("config.json", "splits.npz", "metrics.jsonl", "picks.jsonl"),
        *("summary.json", "curves.png", "selected.png", "report.html"),
    }
    assert size_of(out / "curves.png") == (1800, 810)
    width, height = size_of(out / "selected.png")
    assert width == 1650
    assert 1760 < height < 1925  # eleven rows
    assert json.loads((out / "summary.json").read_text()) == summary


def test_keys_of_the_summary_are_stable(finished):
    summary = finished[-1]
    assert list(summary) == [
        *("dataset", "network", "imbalance", "base_size", "acquire_size", "steps"),
        *("learning_rate", "holdout_per_class", "warm_start", "device", "versions"),
        *("seeds", "rounds", "num_labeled", "class_names", "pool_per_class"),
        *("best_baseline", "win_matrix", "methods", "notes"),
    ]
    assert (summary["dataset"], summary["seeds"]) == ("mnist", [0, 1, 2])
    assert (summary["rounds"], summary["notes"]) == (4, [])
    assert tuple(summary["methods"]) == METHODS
    for method, values in summary["methods"].items():
        assert list(values) == [
            *("seeds", "final_accuracy_mean", "final_accuracy_sd", "aubc_mean"),
            *("aubc_se", "balanced_final_mean", "balanced_final_sd"),
            *("balanced_aubc_mean", "balanced_aubc_se", "wrong_rate"),
            *("minority_rate", "fit_seconds", "score_seconds", "seconds"),
            *("labels_to_random_final", "label_saving", "picks_per_class"),
            *("versus_random", "versus_best_baseline"),
        ]
        assert (values["versus_random"] is None) == (method == "random")
        is_best = method == summary["best_baseline"]
        assert (values["versus_best_baseline"] is None) == is_best


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
    rows = text.splitlines()[4:15]
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
    assert text.count("-12.3 [-23.4,+12.3]") == 10


def test_a_second_report_gives_the_same_bytes(finished, tmp_path):
    out, dataset, _, _ = finished
    for name in ("config.json", "splits.npz", "metrics.jsonl", "picks.jsonl"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    report.write_report(tmp_path, dataset)
    for name in ("summary.json", "curves.png", "selected.png", "report.html"):
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
    assert summary["methods"]["iwps"]["versus_random"]["verdict"] == "no verdict"
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "must be that of a run"),
        ('{"rounds": 2}', "that of a run"),
    ],
)
def test_a_folder_that_is_not_a_runs_is_refused(tmp_path, capsys, text, message):
    write_run(tmp_path, some_dataset(), methods=("random",), seeds=1)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SystemExit):
        report.main([str(tmp_path)])
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_command_redraws_a_run(tmp_path, monkeypatch, capsys):
    dataset = some_dataset()
    write_run(tmp_path, dataset, methods=("random", "iwps"), seeds=2)
    asked = []
    load = lambda *names: asked.append(names) or dataset  # noqa: E731
    monkeypatch.setattr(datasets, "load", load)
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
