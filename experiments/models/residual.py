"""The convolutional part of residual networks, shared by what is built on them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from experiments.models.normalization import BATCH_NORM_MOMENTUM


class Layer(NamedTuple):
    """A convolution of a block, relative to the block's width and stride."""

    widening: int
    size: int
    strides: bool  # whether it is the one that has the block's stride


BASIC = (Layer(1, 3, True), Layer(1, 3, False))
# Where a stage halves the image, the 3x3 convolution strides ("v1.5").
BOTTLENECK = (Layer(1, 1, False), Layer(1, 3, True), Layer(4, 1, False))


def convolution(
    width: int,
    size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    dtype: Any = jnp.float32,
    name: str | None = None,
) -> nn.Conv:
    """A convolution without a bias that keeps the grid in place.

    Padding is as in the originals: SAME would shift the grid at stride 2.

    Args:
        width: channels that come out.
        size: side of the kernel, odd.
        stride: positions from one output to the next.
        dilation: positions from one entry of the kernel to the next.
        dtype: type of the arithmetic; the kernel is float32 in any case.
        name: where its kernel is kept; by default that of the attribute it becomes.
    """
    return nn.Conv(
        width,
        (size, size),
        stride,
        padding=size // 2 * dilation,
        kernel_dilation=dilation,
        use_bias=False,
        kernel_init=nn.initializers.he_normal(),
        dtype=dtype,
        name=name,
    )


class ResidualBlock(nn.Module):
    """Convolutions, each followed by a batch norm, whose inputs are added at the end.

    The 3x3 convolutions are dilated. Where shapes differ, a strided 1x1 convolution
    brings the inputs to that of the outputs.
    """

    layers: Sequence[Layer]
    width: int
    stride: int = 1
    dilation: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, use_minibatch_statistics):
        """Outputs [n, h / stride, w / stride, channels]."""

        def normalized(name, inputs, width, size, stride):
            dilation = self.dilation if size > 1 else 1
            convolved = convolution(
                width,
                size,
                stride=stride,
                dilation=dilation,
                dtype=self.dtype,
                name=f"{name}_convolution",
            )(inputs)
            return nn.BatchNorm(
                use_running_average=not use_minibatch_statistics,
                momentum=BATCH_NORM_MOMENTUM,
                dtype=self.dtype,
                name=f"{name}_normalization",
            )(convolved)

        outputs = inputs
        for number, layer in enumerate(self.layers):
            outputs = nn.relu(outputs) if number else outputs
            outputs = normalized(
                ("first", "second", "third")[number],
                outputs,
                layer.widening * self.width,
                layer.size,
                self.stride if layer.strides else 1,
            )
        if inputs.shape != outputs.shape:
            width = outputs.shape[-1]
            inputs = normalized("shortcut", inputs, width, 1, self.stride)
        return nn.relu(outputs + inputs)


class Trunk(nn.Module):
    """A ResNet up to its last feature map.

    Stages have width, 2 width, 4 width, ... inner channels. Every stage but the first
    halves the image, or, if it is dilated, instead spaces its kernels twice as wide.
    The first block of a dilated stage still has the spacing of the stage before: its
    inputs were made with that one.

    Attributes:
        layers: of a block.
        counts: blocks of every stage.
        width: inner channels of the first stage.
        for_large_images: whether the stem is 7x7 with stride 2 and max-pooling, and
            not 3x3 with stride 1.
        dilated: for every stage, whether it is dilated; by default none is.
        dtype: type of the arithmetic; parameters and statistics are float32.

    References:
        He et al. 2016, "Deep Residual Learning for Image Recognition", Table 1 and
        Fig. 5. Yu et al. 2017, "Dilated Residual Networks".
    """

    layers: Sequence[Layer]
    counts: Sequence[int]
    width: int
    for_large_images: bool
    dilated: Sequence[bool] = (False, False, False, False)
    dtype: Any = jnp.float32

    def setup(self):
        """Makes the stem and the blocks."""
        size, stride = (7, 2) if self.for_large_images else (3, 1)
        self.stem_convolution = convolution(
            self.width, size, stride=stride, dtype=self.dtype
        )
        self.stem_normalization = nn.BatchNorm(
            momentum=BATCH_NORM_MOMENTUM, dtype=self.dtype
        )
        blocks, dilation = [], 1
        for stage, count in enumerate(self.counts):
            before = dilation
            dilation *= 2 if self.dilated[stage] else 1
            for number in range(count):
                halves = stage > 0 and number == 0 and not self.dilated[stage]
                blocks.append(
                    ResidualBlock(
                        self.layers,
                        self.width * 2**stage,
                        2 if halves else 1,
                        dilation if number else before,
                        self.dtype,
                    )
                )
        self.blocks = blocks

    def __call__(self, inputs, use_minibatch_statistics=False):
        """The last feature map [n, h, w, channels]."""
        hidden = self.stem_normalization(
            self.stem_convolution(inputs),
            use_running_average=not use_minibatch_statistics,
        )
        hidden = nn.relu(hidden)
        if self.for_large_images:
            around = ((1, 1), (1, 1))
            hidden = nn.max_pool(hidden, (3, 3), (2, 2), padding=around)
        for block in self.blocks:
            hidden = block(hidden, use_minibatch_statistics)
        return hidden
