"""Several runs side by side: the grid, the counts, the tables, what is refused."""

import json

import numpy as np
import pytest
from made_up_run import some_dataset, write_run
from PIL import Image
from test_page import read, rendered

from experiments import report
from experiments.data import datasets
from experiments.reporting import merge, plots, records, summary, tables
from iwps_jax.refusal import Refusal

METHODS = ("random", "margin", "iwps")


@pytest.fixture
def loader(monkeypatch):
    """Stands in for the loaders of real data; KMNIST is not to be had."""

    def load(name, data_dir):
        if name == "kmnist":
            raise Refusal("kmnist could not be loaded. Tried:\n - a long list")
        return some_dataset()

    monkeypatch.setattr(datasets, "load", load)


def write_grid(path):
    """Two datasets by two acquire sizes, nested, without one of the four."""
    for dataset, size in (("mnist", 10), ("mnist", 25), ("kmnist", 25)):
        out = path / dataset / f"acquire{size}"
        write_run(out, some_dataset(), methods=METHODS, rounds=2, dataset=dataset)
        config = json.loads((out / "config.json").read_text())
        config |= {"acquire_size": size, "device": "1 x cpu"}
        (out / "config.json").write_text(json.dumps(config))


def files_below(path):
    return {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_runs_below_a_folder_make_one_report(tmp_path, loader, capsys):
    write_grid(tmp_path / "grid")
    before = files_below(tmp_path / "grid")
    out, numbers = tmp_path / "merged", tmp_path / "numbers.json"
    markdown = tmp_path / "results.md"
    command = [str(tmp_path / "grid"), "--out", str(out), "--json", str(numbers)]
    report.main([*command, "--markdown", str(markdown)])
    assert files_below(tmp_path / "grid") == before  # runs are only read
    names = {"report.html", "summary.json", "curves.png", "selected.png"}
    assert {p.name for p in out.iterdir()} == names
    merged = json.loads((out / "summary.json").read_text())
    assert merged["names"] == [
        "MNIST, imbalance 1/10, base size 20, 10 labels a round",
        "MNIST, imbalance 1/10, base size 20, 25 labels a round",
        "KMNIST, imbalance 1/10, base size 20, 25 labels a round",
    ]
    assert [run["dataset"] for run in merged["runs"]] == ["mnist", "mnist", "kmnist"]
    assert merged["notes"] == ["No pictures of kmnist: kmnist could not be loaded."]
    page = read(out / "report.html")
    assert len(page.figures()) == 3
    assert sum(tag == "img" for tag, _ in page.tags) == 2
    with Image.open(out / "curves.png") as image:
        assert image.width == 900
        assert image.height > 2 * 300  # two rows
    text = markdown.read_text()
    assert [line[4:] for line in text.splitlines() if line.startswith("### MN")] == (
        merged["names"][:2]
    )
    assert "In how many settings" in text
    assert str(tmp_path) not in text + numbers.read_text()
    assert json.loads(numbers.read_text()) == summary.rounded(merged)
    printed = capsys.readouterr().out
    assert all(name in printed for name in merged["names"])
    again = files_below(out)
    report.main(command)
    assert files_below(out) == again


def test_a_browser_draws_the_grid(tmp_path, loader):
    write_grid(tmp_path / "grid")
    report.main([str(tmp_path / "grid"), "--out", str(tmp_path / "merged")])
    pixels, dom, console = rendered(tmp_path / "merged/report.html", tmp_path, 1200)
    assert console == []
    assert dom.count("js-plotly-plot") >= 3
    assert (pixels[:900] < 128).sum() > 2000


def some_summary(verdicts, areas, **settings):
    methods = list(areas)
    return {
        **{"dataset": "mnist", "imbalance": 10, "base_size": 20, "acquire_size": 50},
        "methods": {m: {"aubc_mean": a} for m, a in areas.items()},
        "win_matrix": {"methods": methods, "verdicts": verdicts},
        **settings,
    }


def test_wins_are_counted_over_the_runs_that_compare_both():
    tie = "not separable"
    first = some_summary(
        [[None, "better"], ["worse", None]], {"iwps": 0.8, "random": 0.5}
    )
    second = some_summary(
        [[None, tie, "better"], [tie, None, "better"], ["worse", "worse", None]],
        {"random": 0.6, "iwps": 0.7, "bald": 0.3},
    )
    counts = merge.win_counts([first, second])
    assert counts["methods"] == ["iwps", "random", "bald"]
    assert counts["wins"] == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert counts["settings"] == [[0, 2, 1], [2, 0, 1], [1, 1, 0]]
    lines = merge.win_counts_to_markdown(counts).splitlines()
    assert lines[4] == "| IWPS |  | 1/2 | 1/1 |"


def test_no_two_runs_share_a_place():
    settings = [
        {"dataset": "svhn"},
        {"dataset": "svhn", "steps": 3},
        {"dataset": "mnist", "steps": 10, "imbalance": 1},
        {"dataset": "mnist", "steps": 3, "imbalance": 1},
        {"dataset": "mnist", "steps": 3, "imbalance": 1},
    ]
    summaries = [some_summary([], {}, **s) for s in settings]
    titles, places = merge.arrange(summaries)
    sizes = "base size 20, 50 labels a round"
    assert titles == [
        ("SVHN, imbalance 1/10", sizes),
        ("SVHN, imbalance 1/10", f"{sizes}, T = 3"),
        ("MNIST, balanced", f"{sizes}, T = 10"),
        ("MNIST, balanced", f"{sizes}, T = 3"),
        ("MNIST, balanced", f"{sizes}, T = 3 (2)"),
    ]
    # Columns: T = 3, T = 3 once more, T = 10, unknown.
    assert places == [(0, 3), (0, 0), (1, 2), (1, 0), (1, 1)]


def test_a_grid_that_would_be_mostly_empty_moves_together():
    names = ("mnist", "kmnist", "svhn", "cifar10")
    runs = [some_summary([], {}, dataset=d, base_size=i) for i, d in enumerate(names)]
    runs.append(some_summary([], {}, dataset="svhn", base_size=9))
    _, places = merge.arrange(runs)
    assert places == [(0, 0), (1, 0), (2, 0), (3, 0), (2, 1)]
    full = [
        some_summary([], {}, dataset=d, acquire_size=size)
        for d in names
        for size in (10, 25, 50)
    ]
    _, places = merge.arrange(full)
    assert places == [(row, column) for row in range(4) for column in range(3)]


def test_folders_are_found_once_and_in_order(tmp_path):
    for name in ("b/deep/er", "a", "b/first"):
        write_run(tmp_path / name, some_dataset(), methods=("random",), seeds=1)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.json").write_text("{}")
    (begun / "metrics.jsonl").touch()
    found = records.find_run_folders([tmp_path / "b", tmp_path, tmp_path / "a"])
    names = [str(p.relative_to(tmp_path)) for p in found]
    assert names == ["b/deep/er", "b/first", "a"]
    for path in (begun, tmp_path / "absent"):
        with pytest.raises(ValueError, match="must be the folder of a run"):
            records.find_run_folders([path])


def test_what_is_refused_is_refused_with_a_sentence(tmp_path, loader, capsys):
    write_grid(tmp_path / "grid")
    run = tmp_path / "grid/mnist/acquire10"
    before = files_below(tmp_path)
    for arguments, words in (
        ([tmp_path / "grid", tmp_path / "absent"], "must be the folder of a run"),
        ([tmp_path / "grid", "--out", run], "out must not be the folder of a run"),
    ):
        with pytest.raises(SystemExit) as stop:
            report.main([str(a) for a in arguments])
        assert stop.value.code == 2
        message = capsys.readouterr().err
        assert words in message
        assert len(message.splitlines()) == 1
    assert files_below(tmp_path) == before


def test_markdown_says_what_the_summary_says(tmp_path):
    dataset = some_dataset()
    write_run(tmp_path, dataset, steps=3, device="1 x cpu", versions={"jax": "0.10.1"})
    numbers = report.write_report(tmp_path, dataset)
    lines = tables.to_markdown(numbers).splitlines()
    assert lines[0] == "### MNIST, imbalance 1/10"
    for words in (
        "Network mlp",
        "T = 3",
        "30 → 70 labels",
        "3 seeds 0-2",
        "jax 0.10.1",
    ):
        assert words in lines[2]
    # 11 methods, 3 seeds: fits of 1 to 5 s and four scores of 0.25 s.
    assert f"{11 * 3 * (15 + 1) / 60:.1f} minutes" in lines[2]
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in lines[4:17]]
    assert {len(row) for row in rows} == {9}
    order = tables.by_area(numbers)
    assert "the best baseline" in rows[0][7]
    for method, row in zip(order, rows[2:], strict=True):
        values = numbers["methods"][method]
        strong = method in ("iwps", "iwps_app", "iwps_batch")
        assert row[0].startswith("**") == strong
        mean, error = 100 * values["aubc_mean"], 100 * values["aubc_se"]
        assert row[2] == f"{mean:.1f} ± {error:.1f}"
        for cell, key in ((5, "versus_random"), (7, "versus_best_baseline")):
            result = values[key]
            if result is None:
                assert row[cell] == row[cell + 1] == ""
            else:
                low, high = (f"{100 * result[key]:+.1f}" for key in ("low", "high"))
                difference = f"{100 * result['mean_difference']:+.1f}"
                assert row[cell] == f"{difference} [{low}, {high}]"  # no bootstrap of 3
                assert row[cell + 1] == result["verdict"]


def test_the_committed_numbers_give_the_same_markdown(tmp_path):
    dataset = some_dataset()
    write_run(tmp_path, dataset, methods=METHODS)
    numbers = report.write_report(tmp_path, dataset)
    small = json.loads(json.dumps(summary.rounded(numbers)))
    assert tables.to_markdown(small) == tables.to_markdown(numbers)


def test_several_datasets_are_rows_and_their_imbalances_columns():
    settings = [("mnist", 1), ("mnist", 10), ("cifar10", 1), ("cifar10", 20)]
    summaries = [
        {"dataset": name, "imbalance": ratio, "base_size": ratio}
        for name, ratio in settings
    ]
    assert merge.arrange(summaries)[1] == [(0, 0), (0, 1), (1, 0), (1, 2)]


def test_areas_of_all_runs_stand_in_one_table():
    def run(**areas):
        methods = {m: {"aubc_mean": a, "aubc_se": 0.01} for m, a in areas.items()}
        matrix = {"methods": list(areas), "verdicts": [[None] * 2] * 2}
        return {"methods": methods, "win_matrix": matrix}

    runs = [run(random=0.5, iwps=0.7), run(iwps=0.8, margin=0.6)]
    lines = merge.areas_to_markdown(["first", "second"], runs).splitlines()
    assert lines[2:] == [
        "| method | first | second |",
        "|---|---|---|",
        "| IWPS | 70.0 ± 1.0 | 80.0 ± 1.0 |",
        "| Random | 50.0 ± 1.0 |  |",
        "| Margin |  | 60.0 ± 1.0 |",
    ]


def test_two_runs_of_one_setting_have_the_names_of_their_folders():
    summaries = [
        some_summary([], {}),
        some_summary([], {}),
        some_summary([], {}, steps=3),
    ]
    sizes = "base size 20, 50 labels a round"
    titles, places = merge.arrange(summaries, ["a/run", "b/run", "c/run"])
    assert [column for _, column in titles] == [
        *(f"{sizes} (a/run)", f"{sizes} (b/run)", f"{sizes}, T = 3")
    ]
    assert len(set(places)) == 3


def test_reports_of_one_setting_say_which_run_is_which(tmp_path, loader):
    for parent in ("a", "b"):
        write_run(tmp_path / parent / "mnist", some_dataset(), methods=METHODS)
    report.main([str(tmp_path), "--out", str(tmp_path / "merged")])
    merged = json.loads((tmp_path / "merged" / "summary.json").read_text())
    assert [name[-9:] for name in merged["names"]] == ["(a/mnist)", "(b/mnist)"]
    charts = read(tmp_path / "merged" / "report.html").figures()[:2]
    first, second = (chart["layout"]["yaxis"]["range"] for chart in charts)
    assert first == second


def test_the_panels_of_a_row_share_an_axis():
    def curve(*heights):
        return plots.Curve(np.arange(len(heights)), np.array(heights), None)

    cells = [
        plots.Cell(0, 0, "", "", {"iwps": curve(0.2, 0.4)}),
        plots.Cell(0, 1, "", "", {"iwps": curve(0.6, np.nan)}),
        plots.Cell(1, 0, "", "", {}),
    ]
    (low, high) = plots.heights_of_rows(cells)[0]
    assert low == pytest.approx(20 - 1.6) and high == pytest.approx(60 + 1.6)
    assert list(plots.heights_of_rows(cells)) == [0]


def test_a_committed_file_gives_the_tables_of_its_run(tmp_path, capsys):
    dataset = some_dataset()
    write_run(tmp_path / "run", dataset, methods=METHODS)
    numbers = report.write_report(tmp_path / "run", dataset)
    file = tmp_path / "numbers.json"
    file.write_bytes(summary.as_json(summary.rounded(numbers)))
    report.main([str(file), "--markdown", "-"])
    assert capsys.readouterr().out.startswith(tables.to_markdown(numbers))
    for text in ("{", "{}", "[]"):
        file.write_text(text)
        with pytest.raises(SystemExit) as stop:
            report.main([str(file)])
        assert stop.value.code == 2
        assert "numbers.json must" in capsys.readouterr().err
