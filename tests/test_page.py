"""The page of a run: what it says, and what a real browser makes of it."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects
import pytest
from made_up_run import METHODS, some_dataset, write_lines, write_run
from PIL import Image

from experiments import report
from experiments.reporting import styles

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
VARIANTS = ("iwps_full", "iwps_holdout_1", "iwps_holdout_20", "iwps_app_on_training")


class Elements(HTMLParser):
    """All start tags of a page with their attributes, and the text of its cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.in_cell = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self.cells.append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.cells[-1] += data

    def figures(self):
        return [
            json.loads(a["data-figure"]) for _, a in self.tags if "data-figure" in a
        ]


def read(path):
    html = path.read_text(encoding="utf-8")
    # plotly.js is one script of its own; the rest is ours.
    scripts = re.findall(r"<script>.*?</script>", html, flags=re.DOTALL)
    library = max(scripts, key=len)
    assert "plotly.js v" in library[:200]
    return Elements(html.replace(library, ""))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Eleven methods, three seeds, four rounds, a t-SNE picture, markup in a name."""
    out = tmp_path_factory.mktemp("finished")
    dataset = some_dataset()
    metrics = write_run(out, dataset, data_source="<b>five & six</b>")
    Image.new("RGB", (20, 10), "red").save(out / "tsne.png")
    Image.new("RGB", (20, 10), "blue").save(out / "zoo.png")
    summary = report.write_report(out, dataset)
    return SimpleNamespace(out=out, metrics=metrics, summary=summary)


def test_the_page_asks_for_nothing(finished):
    page = read(finished.out / "report.html")
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "video", "audio")
        for name in ("src", "srcset", "poster", "data"):
            assert attributes.get(name, "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
    policy = [a["content"] for _, a in page.tags if "http-equiv" in a]
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'")
    assert "http" not in policy[0]


def test_every_chart_is_one_that_plotly_knows(finished):
    figures = read(finished.out / "report.html").figures()
    # Two views of the accuracy and of the picks, each first one drawn at once, two
    # comparisons, the classes and the time.
    assert len(figures) == 2 + 1 + 2 + 1 + 2 + 1 + 1
    for figure in figures:
        assert plotly.graph_objects.Figure(figure).data


def test_curves_have_the_colors_and_the_values_of_the_run(finished):
    # The two views behind the buttons, then the one drawn at once.
    accuracy, balanced, first = read(finished.out / "report.html").figures()[:3]
    assert first == accuracy != balanced
    lines = {t["name"]: t for t in accuracy["data"] if "name" in t}
    assert len(lines) == len(METHODS)
    for method in METHODS:
        style = styles.STYLES[method]
        line = lines[style.label]
        assert line["line"]["color"] == line["marker"]["color"] == style.color
        values = np.array(
            [m["test_accuracy"] for m in finished.metrics if m["method"] == method]
        ).reshape(3, 5)
        assert line["x"] == [30, 40, 50, 60, 70]
        np.testing.assert_allclose(line["y"], 100 * values.mean(axis=0), atol=1e-3)
        error = 100 * values.std(axis=0, ddof=1) / np.sqrt(3)
        np.testing.assert_allclose(line["customdata"], error, atol=1e-3)
        (band,) = (
            t
            for t in accuracy["data"]
            if t["legendgroup"] == method and t.get("fill") == "toself"
        )
        upper = np.array(band["y"][:5]) - np.array(line["y"])
        np.testing.assert_allclose(upper, error, atol=2e-3)


def test_picks_per_class_are_those_of_the_file(finished):
    lines = (finished.out / "picks.jsonl").read_text().splitlines()
    picks = [p for p in map(json.loads, lines) if p["method"] == "iwps"]
    expected = np.zeros((4, 10))
    for line in picks:
        for label in line["true"]:
            expected[line["round"], label] += 1 / 3
    counts = finished.summary["methods"]["iwps"]["picks_per_class"]
    np.testing.assert_allclose(counts, expected)
    maps = [
        t
        for figure in read(finished.out / "report.html").figures()
        for t in figure["data"]
        if t.get("type") == "heatmap"
    ]
    assert len(maps) == len(METHODS)
    # Rows are classes, columns the pool and the rounds; shares in per cent.
    (drawn,) = (t for t in maps if t["hovertemplate"].startswith("IWPS,"))
    assert drawn["x"] == ["pool", "0", "1", "2", "3"]
    shares = 100 * expected.T / expected.sum(axis=1)
    np.testing.assert_allclose(np.array(drawn["z"])[:, 1:], shares, atol=1e-3)
    # The pool of the made-up splits is samples 30 to 199.
    pool = np.bincount(some_dataset().train_labels[30:], minlength=10)
    assert finished.summary["pool_per_class"] == pool.tolist()
    np.testing.assert_allclose(
        np.array(drawn["z"])[:, 0], 100 * pool / pool.sum(), atol=1e-3
    )


def test_the_page_holds_settings_tables_and_pictures(finished):
    page = read(finished.out / "report.html")
    cells = [cell.strip() for cell in page.cells]
    assert "<b>five & six</b>" in cells  # escaped, so it is text
    assert "acquire size" in cells
    assert "mnist" in cells
    verdicts = [
        m[key]["verdict"]
        for m in finished.summary["methods"].values()
        for key in ("versus_random", "versus_best_baseline")
        if m[key]
    ]
    for verdict in ("better", "worse", "not separable"):
        assert cells.count(verdict) == verdicts.count(verdict)
    images = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(images) == 4  # picks, t-SNE, the other picture, curves


def test_old_and_new_keys_of_the_metrics(tmp_path):
    dataset = some_dataset()
    metrics = write_run(tmp_path, dataset, methods=("random", "iwps"))
    summary = report.write_report(tmp_path, dataset)
    seconds = summary["methods"]["iwps"]["seconds"]
    assert seconds == {"fit": 45.0, "score": 3.0, "test": None, "compile": None}
    for line in metrics:
        del line["balanced_accuracy"]
        compile_seconds = 0.5 if line["round"] == 0 else None
        line |= {"test_seconds": 0.25, "compile_seconds": compile_seconds}
    write_lines(tmp_path / "metrics.jsonl", metrics)
    (tmp_path / "splits.npz").unlink()
    summary = report.write_report(tmp_path, dataset)
    values = summary["methods"]["iwps"]
    assert values["seconds"] == {
        "fit": 45.0,
        "score": 3.0,
        "test": 3.75,
        "compile": 1.5,
    }
    assert values["balanced_aubc_mean"] is summary["pool_per_class"] is None
    page = read(tmp_path / "report.html")
    names = [t.get("name") for f in page.figures() for t in f["data"]]
    assert {"test", "compile"} <= set(names)
    assert not any("balanced" in cell for cell in page.cells)


def rendered(path, tmp_path, width):
    """A browser's picture of a page, its elements when drawn, and its console."""
    browser = next((b for b in map(shutil.which, BROWSERS) if b), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on the PATH")
    png = tmp_path / f"{width}.png"
    command = [
        *(browser, "--headless=new", "--no-sandbox", "--disable-gpu"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000"),
        *("--enable-logging=stderr", f"--window-size={width},4000"),
        *(f"--screenshot={png}", "--dump-dom", path.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    with Image.open(png) as image:
        return np.asarray(image.convert("L")), done.stdout, console


def test_a_browser_draws_it_without_a_complaint(finished, tmp_path):
    path = finished.out / "report.html"
    pixels, dom, console = rendered(path, tmp_path, 1200)
    assert console == []  # neither errors nor refused requests
    assert pixels.shape == (4000, 1200)
    # Something is drawn in every stretch of the page, over its whole width.
    for top in range(0, 4000, 500):
        assert (pixels[top : top + 500] < 128).sum() > 500
    assert (pixels[:, 900:] < 128).sum() > 5000
    drawn = len(re.findall(r'<div class="chart[^"]*js-plotly-plot"', dom))
    assert drawn == 6
    for method in METHODS:
        assert f">{styles.display_name(method)}</text>" in dom
    assert dom.count('class="scatterlayer mlayer"') >= 4
    assert dom.count('class="hm"') == len(METHODS)


@pytest.mark.parametrize("width", [800])
def test_nothing_is_wider_than_a_narrow_window(tmp_path, width):
    dataset = some_dataset()
    write_run(tmp_path, dataset, methods=VARIANTS, seeds=2, rounds=2)
    report.write_report(tmp_path, dataset)
    path = tmp_path / "report.html"
    probe = "<script>document.title = document.documentElement.scrollWidth</script>"
    page = path.read_text(encoding="utf-8").replace("</body>", probe + "</body>")
    path.write_text(page, encoding="utf-8")
    _, dom, console = rendered(path, tmp_path, width)
    assert console == []
    assert f"<title>{width}</title>" in dom
    for method in VARIANTS:
        assert styles.display_name(method) in dom
