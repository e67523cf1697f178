"""Texts to vectors: the published model by reference, the rest on a small network."""

import sys
import warnings

import minilm_reference
import numpy as np
import pytest
from some_encoders import SMALL, small_encoder

from iwps_jax.backbones import bert, minilm
from iwps_jax.backbones.published import BackboneError
from iwps_jax.cache import cache_root


@pytest.fixture
def encoder():
    return small_encoder()


@pytest.fixture
def few_shapes(monkeypatch):
    """Two programs in place of twelve."""
    monkeypatch.setattr(minilm, "LENGTHS", (32, 256))


def some_texts(count, longest, seed=0):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, longest + 1, count)
    return ["".join(generator.choice(list("abcdefgh "), n)) for n in lengths]


# The small network


def test_a_vector_depends_on_its_text_alone(encoder, few_shapes, monkeypatch):
    """Not on the others, on their order, or on the length that it is padded to."""
    texts = some_texts(40, 30) + some_texts(5, 250)
    found, num_truncated = minilm.encode(encoder, texts)
    assert found.dtype == np.float32 and num_truncated == 0
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    monkeypatch.setattr(minilm, "TEXTS_AT_ONCE", 7)
    order = np.random.default_rng(0).permutation(len(texts))
    again, _ = minilm.encode(encoder, [texts[row] for row in order])
    np.testing.assert_allclose(again, found[order], atol=1e-6)
    monkeypatch.setattr(minilm, "LENGTHS", (256,))
    padded, _ = minilm.encode(encoder, texts[:3])
    np.testing.assert_allclose(padded, found[:3], atol=1e-6)
    assert minilm.encode(encoder, []).features.shape == (0, 384)


def test_long_texts_are_cut_and_counted(encoder, few_shapes):
    long = "".join(some_texts(1, 0) + ["ab" * 500])
    texts = [long, long[:254], long[:253], "", long + "c"]
    found, num_truncated = minilm.encode(encoder, texts)
    assert num_truncated == 2
    np.testing.assert_allclose(found[[0, 4]], found[[1, 1]], atol=1e-6)
    assert np.abs(found[1] - found[2]).max() > 1e-5
    cut = minilm._cut(np.arange(300))
    assert len(cut) == 256 and cut[-2:].tolist() == [254, 299]


def test_what_is_no_text_is_refused(encoder, without_jaxtyping):
    with pytest.raises(ValueError, match=r"surrogate pair, got '\\ud83d' in text 1; "):
        minilm.encode(encoder, ["fine 🙂", "broken \ud83d"])
    with pytest.raises(TypeError, match="must be strings, got float as text 2"):
        minilm.encode(encoder, ["a", "b", float("nan")])
    with pytest.raises(TypeError, match="a sequence of strings, got one string"):
        minilm.encode(encoder, "one string")


@pytest.mark.parametrize("longest", [3, 20, 256])
@pytest.mark.parametrize("count", [1, 20, 2_000])
def test_batches_hold_every_text_once(count, longest):
    lengths = np.random.default_rng(count).integers(2, longest + 1, count)
    batches = list(minilm._batches(lengths.tolist()))
    assert sorted(row for _, rows in batches for row in rows) == list(range(count))
    work = 0
    for length, rows in batches:
        assert length in minilm.LENGTHS and lengths[rows].max() <= length
        assert 1 <= len(rows) <= minilm._batch_size(length)
        work += length * minilm._batch_size(length)
    rest = len(minilm.LENGTHS) * minilm.TOKENS["cpu"]
    assert work <= 1.5 * np.maximum(lengths, 8).sum() + rest


# Files


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A small network's files, which are not the published ones."""
    tokenizers = pytest.importorskip("tokenizers")
    from safetensors.numpy import save_file
    from tokenizers import pre_tokenizers

    monkeypatch.setattr(minilm, "SIZES", SMALL)
    words = {"[UNK]": 0, "cards": 1, "are": 2, "lost": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_truncation(2)  # as in the published file
    tokenizer.enable_padding(length=2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    path = tmp_path / "mine.safetensors"
    save_file(bert.random_state_dict(0, SMALL), path)
    return path


def test_named_files_are_used(weights, few_shapes, monkeypatch):
    texts = "cards are lost", "cards are", "lost"
    found, _ = minilm.embed(texts, weights=weights)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    monkeypatch.setenv(minilm.PUBLISHED.variable, str(weights))
    np.testing.assert_array_equal(minilm.embed(texts).features, found)
    identity = minilm.identity()
    assert identity == minilm.identity(weights)
    vocabulary = weights.parent / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text() + " ")
    assert minilm.identity(weights)["tokenizer"] != identity["tokenizer"]


def test_unusable_files_are_refused(weights, tmp_path, monkeypatch):
    page = tmp_path / "page.safetensors"
    page.write_bytes(b"<html>log in first</html>")
    with pytest.raises(BackboneError, match=r"page.safetensors cannot be used: "):
        minilm.load(page)
    monkeypatch.setattr(minilm, "SIZES", SMALL._replace(layers=2))
    with pytest.raises(BackboneError, match="must have encoder.layer.1.attention"):
        minilm.load(weights)
    monkeypatch.setattr(minilm, "SIZES", SMALL)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BackboneError, match="tokenizer.json cannot be used: "):
        minilm.load(weights)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(BackboneError, match="must stand beside their tokenizer.json"):
        minilm.load(weights)
    with pytest.raises(BackboneError, match=r"must be a file, and .*absent"):
        minilm.load(tmp_path / "absent.safetensors")


def test_a_vocabulary_must_fit_its_network(weights, monkeypatch):
    """An index beyond the table would silently become its last row."""
    fold = bert.fold
    monkeypatch.setattr(bert, "fold", lambda *rest: fold(rest[0], SMALL))
    monkeypatch.setattr(minilm, "SIZES", SMALL._replace(vocabulary=3))
    with pytest.raises(BackboneError, match="must have at most 3 tokens, got 4"):
        minilm.load(weights)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(BackboneError, match=r"pip install 'iwps-jax\[text\]'"):
        minilm.load()


# The published network


@pytest.fixture(scope="module")
def published():
    pytest.importorskip("tokenizers")
    try:
        return minilm.find_weights()
    except BackboneError as error:
        pytest.skip(f"the weights of the encoder cannot be had: {error}")


def test_published_model_gives_the_vectors_of_the_reference(published, monkeypatch):
    monkeypatch.setattr(minilm, "LENGTHS", (32, 128, 256))
    found, num_truncated = minilm.embed(minilm_reference.TEXTS, weights=published)
    expected = np.load(minilm_reference.FILE)["vectors"]
    assert expected.shape == (20, 384) and num_truncated == 1
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert cache_root() in published.parents


def test_the_reference_is_what_transformers_computes(published):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch")
        pytest.importorskip("transformers")
        found = minilm_reference.vectors(published.parent)
    expected = np.load(minilm_reference.FILE)["vectors"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
