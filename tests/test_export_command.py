"""`iwps export`: every form of the model says what `iwps predict` says."""

import json
import os
import shutil
import sys
from contextlib import chdir
from pathlib import Path

import joblib
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from some_blobs import CLASSES, FAR, SIZE, WIDTH, begin, read_lines
from some_campaigns import files_of, run

BACKBONE = {"name": "own:colors", "function": "own:colors", "module": "ab" * 32}
OF_TABLE = {"format": 1, "kind": "rows", "rows": SIZE, "source": {}}
ABOUT = {**OF_TABLE, "kind": "images", "backbone": BACKBONE}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A campaign with all its files, and what it predicts."""
    path = tmp_path_factory.mktemp("exported")
    begin(path)
    with chdir(path):
        Path("pool/source.json").write_text(json.dumps(ABOUT))
        export()
    return path


@pytest.fixture
def here(exported, tmp_path, monkeypatch):
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def export():
    for suffix in ("npz", "safetensors", "joblib"):
        assert run("export", "--out", f"model.{suffix}") == 0
    assert run("predict", "--out", "labels.csv", "--probabilities") == 0


def predicted():
    """Features, probabilities and most likely classes, as the command has them."""
    lines = read_lines("labels.csv")
    names = [name for name in lines[0] if name.startswith("p_")]
    probs = np.array([[float(line[name]) for name in names] for line in lines])
    classes = np.array([name.removeprefix("p_") for name in names])
    return np.load("pool/pool.npy"), probs, classes[probs.argmax(1)]


def read_npz(path):
    with np.load(path) as arrays:
        return dict(arrays)


def probabilities(model, features):
    features = np.clip(features, model["low"], model["high"])
    logits = (features @ model["kernel"] + model["bias"]) / model["temperature"]
    probs = np.exp(logits - logits.max(1, keepdims=True))
    return probs / probs.sum(1, keepdims=True)


def test_arrays_give_the_same_probabilities(here):
    features, probs, labels = predicted()
    model = read_npz("model.npz")
    assert model["classes"].tolist() == [*CLASSES[:3]]
    found = probabilities(model, features)
    np.testing.assert_allclose(found, probs, atol=1e-5)
    assert model["classes"][found.argmax(1)].tolist() == labels.tolist()
    assert (features[FAR] > model["high"]).all()  # the row at which the cut-off acts
    tensors = load_file("model.safetensors")
    assert {*tensors} == {"kernel", "bias", "low", "high", "temperature"}
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, model[name])


def test_the_pipeline_gives_the_same_probabilities(here):
    features, probs, labels = predicted()
    pipeline = joblib.load("model.joblib")
    np.testing.assert_allclose(pipeline.predict_proba(features), probs, atol=1e-5)
    assert pipeline.predict(features).tolist() == labels.tolist()
    assert pipeline.classes_.tolist() == [*CLASSES[:3]]
    assert pipeline.n_features_in_ == WIDTH


@pytest.mark.parametrize("classes", [CLASSES, ("no", "yes")], ids=len)
def test_features_far_from_zero_lose_no_digits(tmp_path, monkeypatch, classes):
    """Where the offset is ten thousand times the spread; of two classes as of more."""
    begin(tmp_path / "far", offset=1e4, classes=classes)
    monkeypatch.chdir(tmp_path / "far")
    export()
    features, probs, labels = predicted()
    found = probabilities(read_npz("model.npz"), features)
    pipeline = joblib.load("model.joblib")
    for one in (found, pipeline.predict_proba(features)):
        np.testing.assert_allclose(one, probs, atol=1e-5)
    assert pipeline.predict(features).tolist() == labels.tolist()
    assert 0.2 < probs.mean(0).max() < 0.9


def test_the_file_names_the_backbone_and_its_hash(here, capsys):
    model = read_npz("model.npz")
    assert str(model["backbone"]) == "own:colors"
    assert json.loads(str(model["backbone_identity"])) == BACKBONE
    with safe_open("model.safetensors", "numpy") as tensors:
        told = tensors.metadata()
    assert told["backbone"] == "own:colors"
    assert json.loads(told["backbone_identity"]) == BACKBONE
    assert json.loads(told["classes"]) == [*CLASSES[:3]]
    assert joblib.load("model.joblib").backbone_ == BACKBONE
    assert run("export", "--out", "model.npz") == 0
    assert "Model of 3 classes in model.npz, for 5 features of own:colors." in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("about", [None, OF_TABLE], ids=str)
def test_a_pool_of_another_origin_has_no_backbone(here, about):
    os.remove("pool/source.json")
    if about is not None:
        Path("pool/source.json").write_text(json.dumps(about))
    assert run("export", "--out", "model.npz") == 0
    model = read_npz("model.npz")
    assert str(model["backbone"]) == "" and str(model["backbone_identity"]) == "null"


@pytest.mark.parametrize("change", [{"backbone": 7}, {"rows": 7}, {"format": 2}, None])
def test_a_damaged_source_is_refused(here, capsys, change):
    text = "{" if change is None else json.dumps(ABOUT | change)
    Path("pool/source.json").write_text(text)
    before = files_of(".")
    assert run("export", "--out", "model.npz") == 2
    assert "pool/source.json" in capsys.readouterr().err
    assert files_of(".") == before


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_the_head_can_be_scored(here, suffix):
    given = ("--pool", "pool/pool.npy", "--ids", "pool/ids.txt", "--method", "margin")
    assert run("score", *given, "--head", f"model.{suffix}", "--k", 3) == 0
    picks = [line["id"] for line in read_lines("picks.csv")]
    assert len({*picks}) == 3


def test_a_model_replaces_the_one_before(here):
    before, first = files_of("."), read_npz("model.npz")
    Path("model.npz").write_bytes(b"another")
    assert run("export", "--out", "model.npz") == 0
    assert files_of(".").keys() == before.keys()
    second = read_npz("model.npz")
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("model.pt", "model.pt must end in .npz, .safetensors or .joblib"),
        ("pool", "must name a file, got the folder pool"),
        ("campaign/model.npz", "--out must not be in the folder of the campaign"),
    ],
)
def test_what_cannot_be_written_is_refused(here, capsys, out, said):
    before = files_of(".")
    assert run("export", "--out", out) == 2
    assert said in capsys.readouterr().err
    assert files_of(".") == before


def test_without_scikit_learn_the_extra_is_named(here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    before = files_of(".")
    assert run("export", "--out", "model.joblib") == 2
    said = capsys.readouterr().err
    assert "pip install 'iwps-jax[embed]'" in said and "\n" not in said.strip()
    assert files_of(".") == before
