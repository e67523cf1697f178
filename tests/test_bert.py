"""BERT against plain NumPy in float64, one text, head and token at a time."""

import math

import jax
import numpy as np
import pytest

from iwps_jax.backbones import bert
from iwps_jax.backbones.bert import Sizes

SIZES = Sizes(layers=2, width=12, heads=3, hidden=20, vocabulary=30, positions=9)
LENGTHS = 1, 5, 7, 2


def some_state_dict(seed=0):
    """Random tensors; no bias is zero and no norm the identity."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, shape in bert.shapes(SIZES).items():
        around = 1 if "LayerNorm.weight" in name else 0
        found[name] = generator.normal(around, 0.4, shape).astype(np.float32)
    return found


def some_tokens(length=7, seed=0):
    """Tokens of texts, and noise behind their ends."""
    tokens = np.random.default_rng(seed).integers(0, 30, (len(LENGTHS), length))
    where = np.arange(length) < np.array(LENGTHS)[:, None]
    return tokens.astype(np.int32), where


def oracle(state_dict, tokens):
    tensors = {name: array.astype(np.float64) for name, array in state_dict.items()}

    def affine(name, x):
        return tensors[f"{name}.weight"] @ x + tensors[f"{name}.bias"]

    def norm(name, x):
        z = (x - x.mean()) / math.sqrt(x.var() + 1e-12)
        return tensors[f"{name}.weight"] * z + tensors[f"{name}.bias"]

    def gelu(x):
        return np.array([z / 2 * (1 + math.erf(z / math.sqrt(2))) for z in x])

    e = "embeddings"
    xs = [
        norm(
            f"{e}.LayerNorm",
            tensors[f"{e}.word_embeddings.weight"][token]
            + tensors[f"{e}.position_embeddings.weight"][position]
            + tensors[f"{e}.token_type_embeddings.weight"][0],
        )
        for position, token in enumerate(tokens)
    ]
    for i in range(SIZES.layers):
        name = f"encoder.layer.{i}"
        queries, keys, values = (
            [affine(f"{name}.attention.self.{part}", x) for x in xs]
            for part in ("query", "key", "value")
        )
        attended = []
        for query in queries:
            heads = []
            for head in range(SIZES.heads):
                own = slice(4 * head, 4 * head + 4)
                logits = np.array([query[own] @ key[own] / 2 for key in keys])
                weights = np.exp(logits) / np.exp(logits).sum()
                heads.append(weights @ np.array(values)[:, own])
            attended.append(np.concatenate(heads))
        output = f"{name}.attention.output"
        xs = [
            norm(f"{output}.LayerNorm", x + affine(f"{output}.dense", y))
            for x, y in zip(xs, attended, strict=True)
        ]
        for j, x in enumerate(xs):
            y = gelu(affine(f"{name}.intermediate.dense", x))
            y = affine(f"{name}.output.dense", y)
            xs[j] = norm(f"{name}.output.LayerNorm", x + y)
    mean = np.mean(xs, axis=0)
    return mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def network():
    return bert.fold(some_state_dict(), SIZES)


features = jax.jit(bert.features, static_argnames="heads")


def test_vectors_match_the_oracle(network):
    tokens, where = some_tokens()
    found = np.asarray(features(network, tokens, where, heads=3))
    expected = [
        oracle(some_state_dict(), row[own])
        for row, own in zip(tokens, where, strict=True)
    ]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
    assert np.abs(np.diff(expected, axis=0)).max() > 0.3


def test_padding_and_neighbors_do_not_show(network):
    tokens, where = some_tokens()
    found = np.asarray(features(network, tokens, where, heads=3))
    other = np.where(where, tokens, 7)
    noise_free = features(network, other, where, heads=3)
    np.testing.assert_array_equal(noise_free, found)
    longer = np.pad(tokens, [(1, 2), (0, 2)])
    wider = features(network, longer, np.pad(where, [(1, 2), (0, 2)]), heads=3)
    np.testing.assert_allclose(wider[1:5], found, atol=1e-6)
    np.testing.assert_array_equal(wider[0], 0)  # of no tokens


def test_wide_numbers_and_strict_types(network):
    tokens, where = some_tokens()
    expected = features(network, tokens, where, heads=3)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        wide = bert.fold(some_state_dict(), SIZES)
        found = features(wide, tokens.astype(np.int64), where, heads=3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_wrong_weights_are_named():
    state_dict = some_state_dict()
    name = "encoder.layer.1.output.dense.weight"
    wrong = state_dict | {name: np.zeros((20, 12), np.float32)}
    shape = r"\(12, 20\)"
    with pytest.raises(ValueError, match=rf"{name} of shape {shape}, got \(20, 12\)"):
        bert.fold(wrong, SIZES)
    del wrong[name]
    with pytest.raises(ValueError, match=f"{name} of shape {shape}, got nothing"):
        bert.fold(wrong, SIZES)
    state_dict[name][3, 4] = np.nan
    with pytest.raises(ValueError, match=f"{name} must hold finite numbers"):
        bert.fold(state_dict, SIZES)


def test_random_weights_are_those_of_an_untrained_network():
    state_dict = bert.random_state_dict(0, SIZES)
    assert state_dict.keys() == bert.shapes(SIZES).keys()
    assert set(state_dict["embeddings.LayerNorm.weight"]) == {1}
    assert set(state_dict["encoder.layer.0.output.dense.bias"]) == {0}
    assert 0.01 < state_dict["embeddings.word_embeddings.weight"].std() < 0.03
