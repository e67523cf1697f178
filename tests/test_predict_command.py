"""`iwps predict`: whose label a row has, how sure the model is, and which files."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from some_blobs import (
    BROKEN,
    CLASSES,
    HOLDOUT,
    IDS,
    LABELED,
    SIZE,
    SKIPPED,
    UNSURE,
    begin,
    break_row,
    cell,
    read_lines,
    some_points,
)
from some_campaigns import files_of, run, write_answers

from iwps_jax.app.campaign import (
    add_class,
    fit_final_model,
    folder,
    merge_classes,
    predict,
    predictions,
    retire_class,
)
from iwps_jax.app.campaign.learn import final_head, refitted
from iwps_jax.app.commands.prediction_files import COLUMNS
from iwps_jax.app.files.tables import read_table, table_of
from iwps_jax.atomic_write import UNFINISHED

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    path = tmp_path_factory.mktemp("begun")
    begin(path)
    return path


@pytest.fixture
def here(begun, tmp_path, monkeypatch):
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def state(begun):
    return folder.read(begun / "campaign")


def test_people_label_their_rows_and_the_model_all_others(here, capsys):
    assert run("predict", "--out", "labels.csv") == 0
    _, truth = some_points()
    lines = [line for _, line in read_table("labels.csv", ("id", "label"))]
    assert [line["id"] for line in lines] == [*IDS]
    given = {*HOLDOUT, *LABELED}
    for row, line in enumerate(lines):
        assert line["by_person"] == ("true" if row in given else "false")
        if row in given:
            assert line["label"] == CLASSES[truth[row]]
        else:
            assert line["label"] in CLASSES[:3]
            assert float(line["margin"]) >= 0
        assert 0 <= float(line["confidence"]) <= 1
    right = [line["label"] == CLASSES[truth[row]] for row, line in enumerate(lines)]
    assert np.mean(right) > 0.7
    printed = " ".join(capsys.readouterr().out.split())
    assert f"60 rows in labels.csv: {len(given)} labeled by people, 30 pre" in printed
    assert "label of these classes, so none is predicted: fox" in printed


def test_numbers_are_those_of_the_final_head(here, state):
    assert run("predict", "--out", "labels.csv", "--probabilities") == 0
    lines = read_lines("labels.csv")
    assert [*lines[0]] == [
        *("id", "label", "confidence", "margin", "by_person"),
        *("p_cat", "p_=dog", "p_eel"),
    ]
    head, model = final_head(state), fit_final_model(state)
    scaling, pool = state.task.scaling, np.load("pool/pool.npy").astype(np.float64)
    scaled = np.clip((pool - scaling.mean) * scaling.factor, -100, 100)
    logits = (scaled @ head.kernel + head.bias)[:, :3] / model.temperature
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    contradicted = 0
    for line, p in zip(lines, probs, strict=True):
        found = [float(line[f"p_{name}"]) for name in CLASSES[:3]]
        np.testing.assert_allclose(found, p, atol=1e-5)
        label = CLASSES.index(line["label"].lstrip("'"))
        assert float(line["confidence"]) == pytest.approx(p[label], abs=1e-5)
        margin = p[label] - np.delete(p, label).max()
        assert float(line["margin"]) == pytest.approx(margin, abs=2e-5)
        contradicted += margin < 0
    assert contradicted  # by the model, of labels of people


def test_skipped_rows_are_predicted_and_broken_ones_have_no_label(
    here, monkeypatch, capsys
):
    # In a large pool, most rows are not compared with those at the start.
    monkeypatch.setattr(folder, "_require_same_pool", lambda *_: None)
    break_row()
    for file in ("labels.csv", "labels.parquet"):
        assert run("predict", "--out", file) == 0
        assert "features are not finite: 1." in capsys.readouterr().out
    lines = read_lines("labels.csv")
    for row in (SKIPPED, UNSURE):
        assert lines[row]["label"] and lines[row]["by_person"] == "false"
    assert lines[BROKEN] == {
        **{"id": IDS[BROKEN], "label": "", "confidence": "", "margin": ""},
        "by_person": "false",
    }
    from pyarrow import parquet

    broken = parquet.read_table("labels.parquet").slice(BROKEN, 1).to_pylist()[0]
    assert [broken[name] for name in ("label", "confidence", "margin")] == [None] * 3


def test_both_formats_hold_the_same(here):
    from pyarrow import parquet

    for file in ("labels.csv", "labels.parquet"):
        assert run("predict", "--out", file, "--probabilities") == 0
    lines = [line for _, line in read_table("labels.csv", ("id", "label"))]
    table = parquet.read_table("labels.parquet")
    assert table.column_names == [*lines[0]]
    for line, row in zip(lines, table.to_pylist(), strict=True):
        assert line.pop("by_person") == str(row.pop("by_person")).lower()
        for name, value in row.items():
            known = value if isinstance(value, str) else pytest.approx(value, abs=1e-6)
            cell = line[name] if isinstance(value, str) else float(line[name])
            assert cell == known


def test_blocks_of_any_size_give_the_same_file(here, monkeypatch):
    assert run("predict", "--out", "labels.csv") == 0
    monkeypatch.setattr(predictions, "CELLS", 35)  # seven rows
    assert run("predict", "--out", "parts.csv") == 0
    assert Path("parts.csv").read_bytes() == Path("labels.csv").read_bytes()


def test_no_merged_or_retired_class_is_predicted(state):
    changed = add_class(state, "gnu")
    changed = refitted(merge_classes(changed, "eel", "cat"))
    model = fit_final_model(changed)
    assert model.classes == ("cat", "=dog")
    (found,) = predict(changed, model)
    _, truth = some_points()
    cats = [row for row in (*HOLDOUT, *LABELED) if truth[row] != 1]
    assert (found.places[cats] == 0).all() and found.by_person[cats].all()
    model = fit_final_model(refitted(retire_class(state, "cat")))
    assert model.classes == ("=dog", "eel")
    (found,) = predict(refitted(retire_class(state, "cat")), model)
    retired = [row for row in (*HOLDOUT, *LABELED) if truth[row] == 0]
    assert not found.by_person[retired].any() and (found.places >= 0).all()


def test_holdout_features_of_another_place_are_no_labels_of_rows(state):
    """A campaign as a value may name rows in another order than the samples."""
    task = state.task._replace(holdout_rows=state.task.holdout_rows[::-1].copy())
    (found,) = predict(state._replace(task=task), fit_final_model(state))
    assert not found.by_person[[*HOLDOUT]].any()


def test_labels_at_random_make_a_model_that_is_sure_of_nothing(here, capsys):
    classes = np.random.default_rng(5).integers(0, 3, SIZE)
    told = [(cell(IDS[row]), CLASSES[classes[row]]) for row in LABELED]
    write_answers("wrong.csv", told)
    assert run("label", "wrong.csv", "--overwrite-labels") == 0
    assert run("predict", "--out", "labels.csv") == 0
    assert "the model is sure of nothing" in capsys.readouterr().err
    sure = [float(line["confidence"]) for line in read_lines("labels.csv")]
    assert np.median(sure) < 0.4  # of three classes


# Refusals


def test_two_classes_must_have_labels(tmp_path, monkeypatch, capsys):
    begin(tmp_path / "few", num_labeled=1)
    monkeypatch.chdir(tmp_path / "few")
    before = files_of(".")
    for command, out in (("predict", "labels.csv"), ("export", "model.npz")):
        assert run(command, "--out", out) == 2
        said = capsys.readouterr().err
        assert "two classes must have labels" in said and "got 1: label more" in said
    assert files_of(".") == before


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_that_may_hold_answers_is_not_replaced(here, capsys, suffix):
    out = f"labels.{suffix}"
    Path(out).write_text("id,label\n0,cat\n")
    assert run("predict", "--out", out) == 2
    assert f"{out} must be a new file, or one that iwps" in capsys.readouterr().err
    assert Path(out).read_text() == "id,label\n0,cat\n"
    Path(out).write_text("")
    for _ in range(2):  # an empty file, and an own one
        assert run("predict", "--out", out) == 0


def test_predictions_are_not_taken_for_answers(here, capsys):
    assert run("predict", "--out", "labels.csv") == 0
    before = files_of(".")
    assert run("label", "labels.csv") == 2
    assert files_of(".") == before


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("labels.xlsx", "labels.xlsx must end in .csv or .parquet"),
        ("pool", "must name a file, got the folder pool"),
        ("classes.txt/labels.csv", "must be in a folder that can be written"),
        ("pool/pool.npy", "--out must not replace pool/pool.npy"),
        ("campaign/labels.csv", "--out must not be in the folder of the campaign"),
    ],
)
def test_what_cannot_be_written_is_refused(here, capsys, out, said):
    before = files_of(".")
    assert run("predict", "--out", out) == 2
    assert said in capsys.readouterr().err
    assert files_of(".") == before


def test_without_pyarrow_the_extra_is_named(here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run("predict", "--out", "labels.parquet") == 2
    said = capsys.readouterr().err
    assert "pip install 'iwps-jax[embed]'" in said and "\n" not in said.strip()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_stops_it_leaves_the_file_as_it_was(here, monkeypatch, suffix, error):
    out = f"labels.{suffix}"
    assert run("predict", "--out", out) == 0
    before = files_of(".")
    monkeypatch.setattr(predictions, "CELLS", 35)
    real, calls = predictions._labeled, []

    def labeled(*parts):
        calls.append(parts)
        if len(calls) == 3:
            raise error(28, "No space left on device", out)
        return real(*parts)

    monkeypatch.setattr(predictions, "_labeled", labeled)
    assert run("predict", "--out", out) == (130 if error is KeyboardInterrupt else 2)
    assert files_of(".") == before and len(os.listdir()) == 6


KILLED = """
import os, signal
import numpy as np
from iwps_jax.__main__ import main
from iwps_jax.app.campaign import FinalModel, folder
from iwps_jax.app.commands import predict

def model_of(state):  # without learning, which would take long
    classes, d = state.task.classes[:3], state.task.pool.shape[1]
    numbers = np.zeros((d, 3)), np.zeros(3), 1.0
    return FinalModel(classes, np.arange(3), *numbers, state.task.scaling)

folder.read, predict.fit_final_model = folder.read_record, model_of
os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
main(["predict", "--out", "labels.csv"])
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_kill_before_the_last_step_leaves_the_older_file_whole(here):
    older = table_of([COLUMNS, ("id", "cat", "1", "1", "true")])
    Path("labels.csv").write_text(older)
    there = {*os.listdir()}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert killed.returncode == -signal.SIGKILL
    assert Path("labels.csv").read_text() == older
    (left,) = {*os.listdir()} - there
    assert left.startswith(".") and left.endswith(UNFINISHED)
    assert len(read_lines(left)) == SIZE  # it was all written, but for its name


def test_one_row_more_than_a_block_is_no_block_of_nothing(state, monkeypatch):
    monkeypatch.setattr(predictions, "MOST_ROWS", SIZE - 1)
    blocks = [*predict(state, fit_final_model(state))]
    assert [len(block.rows) for block in blocks] == [SIZE - 1, 1]
