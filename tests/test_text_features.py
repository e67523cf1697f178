"""Features of texts: computed once, kept under what they depend on."""

import dataset_files
import numpy as np
import pytest
from some_encoders import SMALL, small_encoder

from experiments import backbone
from experiments.data import datasets, prepare
from experiments.data.kinds import table_dataset, text_dataset
from experiments.frozen import features
from experiments.frozen.features import embed
from iwps_jax.backbones import minilm
from iwps_jax.backbones.published import BackboneError
from iwps_jax.cache import cache_root
from iwps_jax.refusal import Refusal


@pytest.fixture(autouse=True)
def isolated(tmp_path, monkeypatch):
    dataset_files.isolate(tmp_path, monkeypatch)
    monkeypatch.delenv(minilm.PUBLISHED.variable, raising=False)
    monkeypatch.setattr(minilm, "SIZES", SMALL)
    monkeypatch.setattr(minilm, "LENGTHS", (16, 256))
    monkeypatch.setattr(features, "SHARD_SIZE", 4)
    monkeypatch.setattr(prepare, "say", lambda sentence: None)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Files of which only the hash counts; the network is the small one."""
    (tmp_path / "tokenizer.json").write_text("{}")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"weights")
    monkeypatch.setattr(minilm, "load", lambda weights: small_encoder())
    return path


@pytest.fixture
def computed(monkeypatch):
    """The texts of every call that computes."""
    calls, encode = [], minilm.encode

    def counting(encoder, texts):
        calls.append(list(texts))
        return encode(encoder, texts)

    monkeypatch.setattr(minilm, "encode", counting)
    return calls


def some_texts(num_train=10, num_test=5, prefix=""):
    rows = [(f"{prefix}{'ab'[i % 2] * 5} {i}", "xy"[i % 2]) for i in range(20)]
    return text_dataset("letters", rows[:num_train], rows[-num_test:], "this test.")


def test_features_are_computed_once(weights, computed):
    dataset = some_texts()
    first = embed(dataset, weights=weights)
    assert [len(call) for call in computed] == [4, 4, 2, 4, 1]
    expected = minilm.encode(small_encoder(), dataset.train_texts).features
    np.testing.assert_allclose(first.train, expected, atol=1e-6)
    assert first.test.shape == (5, 384)
    assert str(weights) in first.description and "256 tokens" in first.description
    computed.clear()
    second = embed(dataset, weights=weights)
    assert computed == [] and second.description == first.description
    assert second.train.tobytes() == first.train.tobytes()
    assert second.test.tobytes() == first.test.tobytes()


def test_damaged_files_are_computed_again(weights, computed):
    dataset = some_texts()
    first = embed(dataset, weights=weights)
    paths = sorted(cache_root().rglob("*.npy"))
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    np.save(paths[1], np.zeros((1, 1280), np.float32))
    computed.clear()
    again = embed(dataset, weights=weights)
    assert len(computed) == 2
    assert again.train.tobytes() == first.train.tobytes()


def test_what_differs_is_not_found_in_the_cache(weights, computed, monkeypatch):
    embed(some_texts(), weights=weights)

    def is_computed(dataset):
        computed.clear()
        embed(dataset, weights=weights)
        return bool(computed)

    assert not is_computed(some_texts())
    assert is_computed(some_texts(prefix="c"))
    for change in (
        lambda: weights.write_bytes(b"others"),
        lambda: (weights.parent / "tokenizer.json").write_text("{ }"),
        lambda: monkeypatch.setattr(minilm, "VERSION", minilm.VERSION + 1),
        lambda: monkeypatch.setattr(minilm, "MAX_LENGTH", 200),
    ):
        change()
        assert is_computed(some_texts())


def test_what_has_no_features_is_refused(weights):
    table = table_dataset("beans", ["area"], [(["1"], "a")] * 5, [], "this test.")
    with pytest.raises(Refusal, match="beans is a table: frozen networks see images"):
        embed(table)
    texts = some_texts()._replace(train_texts=("half \udc00",) * 10)
    with pytest.raises(Refusal, match="half of a surrogate pair"):
        embed(texts, weights=weights)
    with pytest.raises(BackboneError, match=r"must be a file, and .*absent"):
        embed(some_texts(), weights="absent.safetensors")


def test_cut_texts_are_counted(weights, monkeypatch):
    said = []
    monkeypatch.setattr(prepare, "say", said.append)
    texts = ["a" * 300, "b", "c" * 255]
    assert features.compute_of_texts(small_encoder(), texts).shape == (3, 384)
    assert said == ["2 of 3 texts are longer than 256 tokens; their ends are left out."]


def test_command(weights, monkeypatch, capsys):
    monkeypatch.setattr(features, "SHARD_SIZE", 2_000)
    rows = [(f"{'aB'[i % 2] * (5 + i % 7)}", "xy"[i % 2]) for i in range(240)]
    dataset = text_dataset("letters", rows[:200], rows[200:], "this test.")
    monkeypatch.setattr(datasets, "load", lambda name, data_dir: dataset)
    backbone.main(["letters", "--weights", str(weights), "--seeds", "2"])
    printed = capsys.readouterr().out
    assert printed.startswith("letters: MiniLM-L6 from ")
    row = next(line for line in printed.splitlines() if line.lstrip().startswith("100"))
    cells = [float(cell) for cell in row.replace("±", " ").split()]
    assert min(cells[1], cells[3]) > 90  # any features tell a from B
