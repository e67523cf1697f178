"""Studies on texts and on a table, by their real main at a tiny size."""

import contextlib
import hashlib
import importlib
import io
import json

import labeled_files
import numpy as np
import pytest
from made_up_run import write_run

from experiments import clinc150_imbalanced, dry_bean
from experiments.classification import networks
from experiments.classification.config import Config
from experiments.data.kinds import text_dataset
from experiments.engine.command_line import ConfigError
from experiments.frozen import features
from experiments.reporting.embedding_plot import Panel, Points, embedding_png
from experiments.reporting.merge import write_merged_report
from experiments.reporting.run_report import write_report

FEW = ("--methods", "random", "margin", "--rounds", 1, "--max-steps", 5)
HOSTILE = "pay <script>alert(1)</script> & $x_1$ for 5$ — “naïve”"


def run(module, *arguments):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        module.main([*map(str, arguments)])
    return output.getvalue()


def read(out, name):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def number_of(text):
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 2**32


def embed(dataset):
    """Features of texts, without a backbone: equal texts have equal ones."""

    def of(texts):
        rows = [np.random.default_rng(number_of(t)).normal(size=6) for t in texts]
        return np.array(rows, np.float32)

    return features.Features(of(dataset.train_texts), of(dataset.test_texts), "none.")


@pytest.fixture
def without_backbone(monkeypatch):
    monkeypatch.setattr(features, "embed", embed)
    for name in ("minilm", "minilm_linear"):
        recipe = networks.RECIPES[name]._replace(identity=lambda: "no backbone")
        monkeypatch.setitem(networks.RECIPES, name, recipe)


def test_clinc150_from_texts_to_the_report(without_backbone, tmp_path):
    folder = labeled_files.write(tmp_path / "data", labeled_files.clinc_files(20))
    out = tmp_path / "out"
    options = ("--data-dir", folder, "--out", out, *FEW)
    sizes = ("--base-size", 4, "--acquire-size", 10, "--holdout-per-class", 2)
    printed = run(clinc150_imbalanced, *options, *sizes, "--seeds", 2)
    assert "CLINC150, 2 seeds, 1 round" in printed
    config = json.loads((out / "config.json").read_text())
    assert config["distribution"] == "long_tailed" and config["imbalance"] == 10
    assert config["test_sets"] == ["official", "pool"]
    lines = read(out, "metrics.jsonl")
    assert len(lines) == 2 * 2 * 2
    assert all(0 <= line["pool_accuracy"] <= 1 for line in lines)
    page = (out / "report.html").read_text()
    assert "CLINC150, long-tailed 1/10" in page
    assert "final, classes of the pool" in page
    assert page.count('class="wide first-picks"') == 2
    dataset = text_dataset(
        "", labeled_files.some_texts(20, labeled_files.INTENTS), [], ""
    )
    picks = read(out, "picks.jsonl")
    for line in picks:
        if line["seed"] == 0:
            assert f"<td>{dataset.train_texts[line['ids'][0]]}</td>" in page
    summary = json.loads((out / "summary.json").read_text())
    assert summary["distribution"] == "long_tailed"
    assert 0 <= summary["methods"]["margin"]["pool_aubc_mean"] <= 1

    # The same folder is not another distribution's.
    with pytest.raises(SystemExit):
        run(
            clinc150_imbalanced,
            *options,
            *sizes,
            "--seeds",
            2,
            "--distribution",
            "minority",
        )


def test_dry_bean_on_wine(tmp_path):
    out = tmp_path / "out"
    few = ("--methods", "random", *FEW[3:])
    run(dry_bean, "--smoke", "--out", out, *few)
    page = (out / "report.html").read_text()
    assert "Wine, natural imbalance" in page and "alcohol " in page
    assert {line["num_labeled"] for line in read(out, "metrics.jsonl")} == {12, 22}
    assert (out / "selected.png").read_bytes().startswith(b"\x89PNG")
    with np.load(out / "splits.npz") as splits:
        assert splits["pool_ids"].shape == (2, 144 - 3 * 5)


# What is promised of the settings


@pytest.mark.parametrize("module", [clinc150_imbalanced, dry_bean])
def test_the_settings(module):
    (config,) = module.SETTINGS
    assert config.test_sets == ("official", "pool")
    bait = "bait_by_class" if module is clinc150_imbalanced else "bait"
    assert set(config.methods) == {
        *("random", "margin", "badge", "uncertainty_herding", bait),
        *("iwps", "iwps_batch"),
    }


@pytest.mark.parametrize(
    "options, words",
    [
        ({"dataset": "clinc150"}, "mlp reads images, but clinc150 is of texts; choose"),
        (
            {"network": "minilm"},
            "minilm reads texts, but mnist is of images; choose mlp",
        ),
        ({"distribution": "natural"}, "imbalance must be 1 with the natural"),
        ({"distribution": "long-tailed"}, "distribution"),
        ({"test_sets": ("pool",)}, "test_sets must be official or official pool"),
        ({"test_sets": ("pools",)}, "test set"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Config(**options)


def test_settings_as_before_are_written_as_before():
    assert not {"distribution", "test_sets"} & Config().settings().keys()


# Pictures and pages


def hostile_dataset():
    names = tuple(f"class_{i}$" for i in range(9)) + ("<b>niño</b>",)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    made = text_dataset("", [(f"{HOSTILE} {i}", "") for i in range(200)], [], "")
    return made._replace(train_labels=labels, class_names=names)


def test_texts_are_escaped(tmp_path):
    dataset = hostile_dataset()
    write_run(tmp_path, dataset, methods=("random", "iwps"), dataset="clinc150")
    write_report(tmp_path, dataset)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert(1)" not in page and "<b>niño" not in page
    assert (
        "pay &lt;script&gt;alert(1)&lt;/script&gt; &amp; $x_1$ for 5$ — “naïve” "
        in page
    )
    assert "&lt;b&gt;niño&lt;/b&gt;" in page
    first = (tmp_path / "selected.png").read_bytes()
    write_report(tmp_path, dataset)
    assert (tmp_path / "selected.png").read_bytes() == first


def test_images_and_texts_stand_in_one_picture(tmp_path):
    some_dataset = importlib.import_module("made_up_run").some_dataset
    data = {"mnist": some_dataset(), "clinc150": hostile_dataset()}
    for name, dataset in data.items():
        write_run(tmp_path / name, dataset, methods=("random", "iwps"), dataset=name)
    folders = [tmp_path / name for name in data]
    write_merged_report(folders, tmp_path, lambda config, path: data[config["dataset"]])
    assert (tmp_path / "selected.png").read_bytes().startswith(b"\x89PNG")


def test_a_map_of_many_classes_has_no_names():
    rng = np.random.default_rng(0)

    def some(size):
        labels = rng.integers(0, 30, size)
        return Points(rng.normal(size=(size, 2)), labels, labels < 9)

    names = [f"${i}$" for i in range(30)]
    png = embedding_png([Panel("Random", some(9))], some(40), some(40), names, "many")
    assert png.startswith(b"\x89PNG")
