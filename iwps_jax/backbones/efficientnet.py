"""EfficientNet-Lite0 up to its pooled features or inner maps, for inference.

    stem 3x3/2 -> 16 inverted bottlenecks -> 1x1 to 1280 channels -> mean over pixels

An inverted bottleneck widens its input by a 1x1 convolution, filters every channel by
itself (k x k, "depthwise"), and narrows it by a 1x1 convolution without an activation;
where shapes allow, the input is added. Each convolution is followed by a batch norm,
here folded into it: at inference both are one affine map.

Axes: n images, h height, w width, c channels (always last), k side of a kernel.

References:
    Tan and Le 2019, "EfficientNet", Table 1. https://arxiv.org/abs/1905.11946
    The Lite variants drop squeeze-and-excitation and use ReLU6.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from iwps_jax.types import AnyArray

VERSION = 2  # raised when the features of the same image change
EPSILON = 1e-3  # of the batch norms
NUM_FEATURES = 1280
ENLARGEMENT = 4  # of the image's sides; the network expects objects of some 100 pixels


EXACT = lax.Precision.HIGHEST  # without it a GPU rounds the factors to 10 bits


class Stage(NamedTuple):
    """A row of Table 1: `repeats` bottlenecks; only the first one has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM_CHANNELS = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STRIDES = tuple(
    stage.stride if i == 0 else 1 for stage in STAGES for i in range(stage.repeats)
)
FINE_STAGE, COARSE_STAGE = 2, 4  # rows of `STAGES` whose outputs are feature maps
NUM_MAP_CHANNELS = STAGES[FINE_STAGE].channels + STAGES[COARSE_STAGE].channels


class Convolution(NamedTuple):
    """A convolution with its batch norm folded in."""

    kernel: jax.Array  # [k, k, c_in, c_out]; depthwise [k, k, c]; 1x1 [c_in, c_out]
    bias: jax.Array  # [c_out]


class Bottleneck(NamedTuple):
    """The three convolutions of an inverted bottleneck; the first may be absent."""

    expand: Convolution | None
    depthwise: Convolution
    project: Convolution


class Network(NamedTuple):
    """All weights that the features need."""

    stem: Convolution
    blocks: tuple[Bottleneck, ...]
    head: Convolution


def shapes() -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that `fold` reads, by its name in the state dict."""
    found: dict[str, tuple[int, ...]] = {}

    def add(convolution: str, norm: str, shape: tuple[int, ...]) -> None:
        found[f"{convolution}.weight"] = shape
        for name in ("weight", "bias", "running_mean", "running_var"):
            found[f"{norm}.{name}"] = shape[:1]

    add("_conv_stem", "_bn0", (STEM_CHANNELS, 3, 3, 3))
    incoming, block = STEM_CHANNELS, 0
    for stage in STAGES:
        for _ in range(stage.repeats):
            name, wide = f"_blocks.{block}", incoming * stage.expansion
            if stage.expansion > 1:
                shape = (wide, incoming, 1, 1)
                add(f"{name}._expand_conv", f"{name}._bn0", shape)
            side = stage.kernel
            add(f"{name}._depthwise_conv", f"{name}._bn1", (wide, 1, side, side))
            shape = (stage.channels, wide, 1, 1)
            add(f"{name}._project_conv", f"{name}._bn2", shape)
            incoming, block = stage.channels, block + 1
    add("_conv_head", "_bn1", (NUM_FEATURES, incoming, 1, 1))
    return found


def random_state_dict(seed: int) -> dict[str, np.ndarray]:
    """An untrained network's tensors, as PyTorch would name them.

    Kernels are normal with variance 2 / (inputs of an output); norms are the identity.
    """
    generator = np.random.default_rng(seed)
    state_dict = {}
    for name, shape in shapes().items():
        if len(shape) == 4:
            scale = np.sqrt(2 / np.prod(shape[1:]))
            state_dict[name] = generator.normal(0, scale, shape).astype(np.float32)
        else:
            is_one = name.endswith(("weight", "running_var"))
            state_dict[name] = np.full(shape, float(is_one), np.float32)
    return state_dict


def fold(state_dict: Mapping[str, np.ndarray]) -> Network:
    """The network from PyTorch's tensors.

        a = gamma / sqrt(variance + EPSILON)
        norm(W x) = (a W) x + (beta - a mean)

    Args:
        state_dict: Arrays by name; kernels as [c_out, c_in, k, k]. More names than
            those of `shapes` are ignored.

    Returns:
        The network in float32; the products are formed in float64.

    Raises:
        ValueError: an array is missing or has another shape.
    """
    for name, shape in shapes().items():
        if name not in state_dict or state_dict[name].shape != shape:
            got = state_dict[name].shape if name in state_dict else "nothing"
            raise ValueError(
                f"EfficientNet-Lite0 must have {name} of shape {shape}, got {got}."
            )

    def convolution(name: str, norm: str) -> Convolution:
        weight, gamma, beta, mean, variance = (
            state_dict[key].astype(np.float64)
            for key in (
                f"{name}.weight",
                f"{norm}.weight",
                f"{norm}.bias",
                f"{norm}.running_mean",
                f"{norm}.running_var",
            )
        )
        scale = gamma / np.sqrt(variance + EPSILON)
        kernel = weight.transpose(2, 3, 1, 0) * scale
        if kernel.shape[:2] == (1, 1):
            kernel = kernel[0, 0]
        elif name.endswith("_depthwise_conv"):
            kernel = kernel[:, :, 0]
        bias = beta - scale * mean
        return Convolution(
            jnp.asarray(kernel, jnp.float32), jnp.asarray(bias, jnp.float32)
        )

    def bottleneck(name: str) -> Bottleneck:
        has_expand = f"{name}._expand_conv.weight" in shapes()
        return Bottleneck(
            convolution(f"{name}._expand_conv", f"{name}._bn0") if has_expand else None,
            convolution(f"{name}._depthwise_conv", f"{name}._bn1"),
            convolution(f"{name}._project_conv", f"{name}._bn2"),
        )

    return Network(
        convolution("_conv_stem", "_bn0"),
        tuple(bottleneck(f"_blocks.{i}") for i in range(len(STRIDES))),
        convolution("_conv_head", "_bn1"),
    )


def features(
    network: Network, images: AnyArray, *, enlargement: int = ENLARGEMENT
) -> jax.Array:
    """The mean over the pixels of the last feature map.

    Args:
        network: Weights, from `fold`.
        images: uint8 [n, h, w, c] with one or three channels. Gray ones are repeated
            to three; all are enlarged bicubically, within the range of pixels.
        enlargement: Factor of their sides; 1 for images of some 200 pixels.

    Returns:
        float32 [n, NUM_FEATURES], in [0, 6].

    Raises:
        ValueError: the images have another number of channels.
    """
    *_, last = _outputs_of_blocks(network, _enlarge(images, enlargement))
    return _relu6(_mix(network.head, last)).mean((1, 2))


def feature_maps(
    network: Network, images: AnyArray, *, enlargement: int = ENLARGEMENT
) -> jax.Array:
    """What two inner stages make of every place of an image.

    The last block of the stage with 8 enlarged pixels a position (40 channels), and
    the last of those with 16 (112 channels), bilinearly enlarged to the same grid.
    Both end in a batch norm, without an activation. The blocks behind are not run.

    Args:
        network: Weights, from `fold`.
        images: As for `features`.
        enlargement: Factor of their sides, in place of `ENLARGEMENT`.

    Returns:
        float32 [n, h enlargement / 8, w enlargement / 8, NUM_MAP_CHANNELS].

    Raises:
        ValueError: the images have another number of channels, or an enlarged side
            is no multiple of 16.
    """
    n, h, w, _ = images.shape
    if h * enlargement % 16 or w * enlargement % 16:
        raise ValueError(
            f"sides of images times {enlargement} must be multiples of 16, got "
            f"{h}x{w} images."
        )
    outputs = _outputs_of_blocks(network, _enlarge(images, enlargement))
    walked = list(itertools.islice(outputs, _end_of_stage(COARSE_STAGE)))
    fine, coarse = walked[_end_of_stage(FINE_STAGE) - 1], walked[-1]
    shape = (*fine.shape[:3], coarse.shape[-1])
    coarse = jax.image.resize(coarse, shape, "bilinear", precision=EXACT)
    return jnp.concatenate([fine, coarse], -1)


def _end_of_stage(stage: int) -> int:
    """How many blocks there are up to the end of a stage."""
    return sum(row.repeats for row in STAGES[: stage + 1])


def _enlarge(images: AnyArray, factor: int) -> jax.Array:
    """The network's inputs, in [-1, 1]."""
    n, h, w, c = images.shape
    if c not in (1, 3):
        raise ValueError(f"images must have one or three channels, got {c}.")
    x = images.astype(jnp.float32)
    x = jnp.broadcast_to(x, (n, h, w, 3)) if c == 1 else x
    x = jax.image.resize(x, (n, factor * h, factor * w, 3), "bicubic", precision=EXACT)
    return (jnp.clip(x, 0, 255) - 127) / 128


def _outputs_of_blocks(network: Network, x: jax.Array) -> Iterator[jax.Array]:
    """What every bottleneck returns; those that are not asked for never run."""
    x = _relu6(_convolve(network.stem, x, 2))
    for block, stride in zip(network.blocks, STRIDES, strict=True):
        x = _bottleneck(block, x, stride)
        yield x


def _bottleneck(block: Bottleneck, x: jax.Array, stride: int) -> jax.Array:
    y = x if block.expand is None else _relu6(_mix(block.expand, x))
    y = _relu6(_filter(block.depthwise, y, stride))
    y = _mix(block.project, y)
    return x + y if x.shape == y.shape else y


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0, 6)


def _mix(convolution: Convolution, x: jax.Array) -> jax.Array:
    """1x1 convolution."""
    n, h, w, c = x.shape
    y = jnp.matmul(x.reshape(n * h * w, c), convolution.kernel, precision=EXACT)
    return (y + convolution.bias[None]).reshape(n, h, w, -1)


def _convolve(convolution: Convolution, x: jax.Array, stride: int) -> jax.Array:
    y = lax.conv_general_dilated(
        x,
        convolution.kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=EXACT,
    )
    return y + convolution.bias[None, None, None]


def _filter(convolution: Convolution, x: jax.Array, stride: int) -> jax.Array:
    """Depthwise convolution, as a sum of shifted copies."""
    n, h, w, c = x.shape
    k = convolution.kernel.shape[0]
    rows, columns = -(-h // stride), -(-w // stride)
    pads = [
        max((out - 1) * stride + k - size, 0) for out, size in ((rows, h), (columns, w))
    ]
    padding = [(0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)]
    x = jnp.pad(x, padding)
    y = convolution.bias[None, None, None]
    for i in range(k):
        for j in range(k):
            shifted = x[
                :,
                i : i + (rows - 1) * stride + 1 : stride,
                j : j + (columns - 1) * stride + 1 : stride,
            ]
            y = y + shifted * convolution.kernel[i, j][None, None, None]
    return y
