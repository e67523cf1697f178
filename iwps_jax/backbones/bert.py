"""BERT up to one vector a text, for inference.

    x = norm(E[token] + P[position] + S)
    layers times:  x = norm(x + attention(x)),  x = norm(x + W2 gelu(W1 x))
    vector = mean of x over the text's tokens, scaled to unit norm

Every text has the same segment S, so it is added to the positions once. The queries'
scale 1/sqrt(width of a head) is in their weights, and the three projections of the
attention are one product. The layers' weights are stacked: a compiled program holds one
layer and runs it repeatedly.

Axes: n texts, t tokens of a text, w width of the network.

References:
    Devlin et al. 2019, "BERT", Section 3. https://arxiv.org/abs/1810.04805
    Reimers and Gurevych 2019, "Sentence-BERT", Section 3 (the mean over tokens).
    https://arxiv.org/abs/1908.10084
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Int

from iwps_jax.numerics import PRECISION
from iwps_jax.types import AnyArray

EPSILON = 1e-12  # of the norms


class Sizes(NamedTuple):
    """What distinguishes one network of this kind from another."""

    layers: int
    width: int
    heads: int
    hidden: int  # units between W1 and W2
    vocabulary: int
    positions: int


class Affine(NamedTuple):
    """x W + b; in a norm, the elementwise scale and shift."""

    kernel: AnyArray
    bias: AnyArray


class Layer(NamedTuple):
    """The weights of a layer; those of all layers, stacked, in a `Network`."""

    projections: Affine  # queries, keys and values side by side
    mixture: Affine  # of the heads' outputs
    first_norm: Affine
    widen: Affine
    narrow: Affine
    last_norm: Affine


class Network(NamedTuple):
    """All weights that the vectors need."""

    tokens: AnyArray  # [vocabulary, w]
    positions: AnyArray  # [positions, w]
    norm: Affine
    layers: Layer


LINEAR = (
    *("attention.self.query", "attention.self.key", "attention.self.value"),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
)
NORMS = "attention.output.LayerNorm", "output.LayerNorm"


def shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that `fold` reads, by its name in the state dict."""
    width, hidden = sizes.width, sizes.hidden
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (sizes.vocabulary, width),
        "embeddings.position_embeddings.weight": (sizes.positions, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }

    def add(name: str, shape: tuple[int, ...]) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = shape, shape[:1]

    add("embeddings.LayerNorm", (width,))
    for i in range(sizes.layers):
        for name in LINEAR:
            rows = hidden if name == "intermediate.dense" else width
            columns = hidden if name == "output.dense" else width
            add(f"encoder.layer.{i}.{name}", (rows, columns))
        for name in NORMS:
            add(f"encoder.layer.{i}.{name}", (width,))
    return found


def random_state_dict(seed: int, sizes: Sizes) -> dict[str, np.ndarray]:
    """An untrained network's tensors, as PyTorch would name them.

    Tables and kernels are normal with deviation 0.02, as before BERT's training; norms
    are the identity.
    """
    generator = np.random.default_rng(seed)
    state_dict = {}
    for name, shape in shapes(sizes).items():
        if len(shape) == 2:
            state_dict[name] = generator.normal(0, 0.02, shape).astype(np.float32)
        else:
            state_dict[name] = np.full(shape, name.endswith("weight"), np.float32)
    return state_dict


def fold(state_dict: Mapping[str, np.ndarray], sizes: Sizes) -> Network:
    """The network from PyTorch's tensors.

    Args:
        state_dict: Arrays by name; kernels as [out, in]. More names than those of
            `shapes` are ignored.
        sizes: The network's.

    Returns:
        The network in float32; sums and products are formed in float64.

    Raises:
        ValueError: an array is missing, has another shape, or holds what is no finite
            number.
    """
    for name, shape in shapes(sizes).items():
        array = state_dict.get(name)
        if array is None or array.shape != shape:
            got = "nothing" if array is None else array.shape
            raise ValueError(f"it must have {name} of shape {shape}, got {got}.")
        if not np.isfinite(array.astype(np.float32)).all():
            raise ValueError(f"{name} must hold finite numbers.")

    def wide(name: str) -> np.ndarray:
        return state_dict[name].astype(np.float64)

    def affine(name: str) -> tuple[np.ndarray, np.ndarray]:
        return wide(f"{name}.weight").T, wide(f"{name}.bias")

    def layer(name: str) -> Layer:
        queries, keys, values = (affine(f"{name}.{part}") for part in LINEAR[:3])
        scale = 1 / math.sqrt(sizes.width // sizes.heads)
        kernels = scale * queries[0], keys[0], values[0]
        biases = scale * queries[1], keys[1], values[1]
        mixture, widen, narrow = (affine(f"{name}.{part}") for part in LINEAR[3:])
        first_norm, last_norm = (affine(f"{name}.{part}") for part in NORMS)
        parts = (
            (np.concatenate(kernels, 1), np.concatenate(biases)),
            *(mixture, first_norm, widen, narrow, last_norm),
        )
        return Layer(*(Affine(*part) for part in parts))

    segment = wide("embeddings.token_type_embeddings.weight")[0]
    layers = [layer(f"encoder.layer.{i}") for i in range(sizes.layers)]
    network = Network(
        state_dict["embeddings.word_embeddings.weight"],
        wide("embeddings.position_embeddings.weight") + segment,
        Affine(*affine("embeddings.LayerNorm")),
        jax.tree.map(lambda *arrays: np.stack(arrays), *layers),
    )
    return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), network)


def features(
    network: Network,
    tokens: Int[AnyArray, "n t"],
    where: Bool[AnyArray, "n t"],
    *,
    heads: int,
) -> Float[jax.Array, "n w"]:
    """One vector a text.

    Padding, where `where` is False, changes nothing. A text without tokens gets zeros.

    Args:
        network: Weights, from `fold`.
        tokens: Their numbers in the vocabulary.
        where: True for a text's own tokens, which come first; False for padding.
        heads: Number of the attention's heads.

    Returns:
        float32, of unit norm.
    """
    n, t = tokens.shape
    x = jnp.asarray(network.tokens)[tokens] + network.positions[None, :t]
    x = _normalize(network.norm, x.reshape(n * t, -1))

    def step(x, layer):
        return _layer(layer, x, where, heads), None

    x, _ = lax.scan(step, x, network.layers)
    x = jnp.where(where[..., None], x.reshape(n, t, -1), 0)
    # The mean over the tokens differs from their sum by its length alone.
    total = x.sum(1)
    square = jnp.square(total).sum(-1, keepdims=True)
    return total * lax.rsqrt(jnp.where(square > 0, square, 1))


def _layer(layer: Layer, x: jax.Array, where: AnyArray, heads: int) -> jax.Array:
    """One layer of tokens [n * t, w]."""
    projected = _apply(layer.projections, x)
    attended = _attend(projected.reshape(*where.shape, 3, heads, -1), where)
    x = _normalize(layer.first_norm, x + _apply(layer.mixture, attended))
    y = _apply(layer.narrow, _gelu(_apply(layer.widen, x)))
    return _normalize(layer.last_norm, x + y)


def _attend(projected: jax.Array, where: AnyArray) -> jax.Array:
    """softmax(Q K') V for every text and head, from [n, t, 3, heads, w of a head]."""
    n, t = where.shape
    queries, keys, values = projected.transpose(2, 0, 3, 1, 4)
    logits = jnp.matmul(queries, keys.mT, precision=PRECISION)
    # Finite, so that a text without tokens has no NaN; its exponential is zero.
    lowest = jnp.finfo(logits.dtype).min
    weights = jax.nn.softmax(jnp.where(where[:, None, None], logits, lowest), -1)
    y = jnp.matmul(weights, values, precision=PRECISION)
    return y.transpose(0, 2, 1, 3).reshape(n * t, -1)


def _apply(affine: Affine, x: jax.Array) -> jax.Array:
    return jnp.matmul(x, affine.kernel, precision=PRECISION) + affine.bias[None]


def _normalize(affine: Affine, x: jax.Array) -> jax.Array:
    x = x - x.mean(-1, keepdims=True)
    deviation = jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + EPSILON)
    return x / deviation * affine.kernel[None] + affine.bias[None]


def _gelu(x: jax.Array) -> jax.Array:
    """The product of x and the exact probability that a normal number is below it."""
    return x * (0.5 + 0.5 * lax.erf(math.sqrt(0.5) * x))
