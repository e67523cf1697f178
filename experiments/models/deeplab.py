"""DeepLabv3: what class every place of an image has.

    backbone -> atrous spatial pyramid pooling -> dropout -> 1x1 -> upsampling

The pyramid looks at a feature map with kernels spaced differently ("atrous"), so that
it sees a place within surroundings of several sizes, up to the whole map. Upsampling
is the caller's: everything before it is linear in the last layer at every position.

Axes: n images, h height, w width, c channels (always last), d features of a position.

References:
    Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation".
    https://arxiv.org/abs/1706.05587
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models.normalization import BatchNorm, Shift, normalize
from experiments.models.residual import BOTTLENECK, Trunk, convolution
from iwps_jax.types import Variables

OUTPUT_STRIDE = 8  # pixels from one position of ResNet-50's last map to the next


class Segmenter(NamedTuple):
    """A network whose last layer is a 1x1 convolution.

    Attributes:
        init: `init(key) -> variables`.
        features: `features(variables, images) -> [n, h', w', d]`, the inputs of the
            last layer, float32, in inference mode: no dropout, batch normalization by
            its running statistics.
        features_train: `features_train(key, variables, images) -> (features,
            statistics)`, in training mode: with dropout, normalized by the
            minibatch's own statistics, and the running statistics that follow.
        dropout_rate: share of the features dropped in training; draws of the
            network come from masks on `features`.
        head: `head(variables) -> (kernel [d, classes], bias [classes])`; the logits of
            a position are `features @ kernel + bias`.
        stride: pixels of a label from one position to the next: what the logits are
            to be upsampled by.
    """

    init: Callable[[jax.Array], Variables]
    features: Callable[[Variables, jax.Array], jax.Array]
    features_train: Callable[[jax.Array, Variables, jax.Array], tuple[jax.Array, Any]]
    dropout_rate: float
    head: Callable[[Variables], tuple[jax.Array, jax.Array]]
    stride: int


def deeplabv3_resnet50(
    num_classes: int,
    *,
    mean: Shift,
    std: Shift,
    width: int = 64,
    dropout_rate: float = 0.1,
    compute_dtype: Any = jnp.float32,
) -> Segmenter:
    """DeepLabv3 on a ResNet-50 whose last two stages are dilated instead of strided.

    Positions are 8 pixels apart; the pyramid has kernels with spacings of 12, 24 and
    36 positions and 4 width channels a branch, and a 3x3 convolution follows it. As in
    torchvision, but for the dropout: one, directly before the last layer, and none in
    the pyramid. There is no auxiliary loss.

    Args:
        num_classes: classes of the problem.
        mean: what is subtracted from the pixels, in their unit; broadcast.
        std: what they are divided by then, in the same unit; broadcast.
        width: inner channels of the first stage; features have 4 width channels.
        dropout_rate: share of the features dropped.
        compute_dtype: type of the convolutions; parameters, running statistics and
            features are float32 with any.

    Returns:
        The network for images [n, h, w, 3], whose sides must be multiples of
        `OUTPUT_STRIDE`.

    References:
        Chen et al. 2017, §3 and Fig. 5. Dropout p = 0.1: Aljundi et al. 2020,
        supplement §6.
    """
    module = _DeepLabResNet(num_classes, width, dropout_rate, compute_dtype)
    return _bundle(module, 3, mean, std, dropout_rate, OUTPUT_STRIDE, OUTPUT_STRIDE)


def deeplabv3_on_features(
    num_channels: int,
    num_classes: int,
    *,
    mean: Shift,
    std: Shift,
    stride: int,
    width: int = 48,
    rates: Sequence[int] = (1, 2, 4),
    dropout_rate: float = 0.1,
) -> Segmenter:
    """A small DeepLabv3 on the feature maps of a frozen backbone, for a CPU.

    A 1x1 convolution to `width` channels, then the pyramid with branches of as many.

    Args:
        num_channels: channels of the maps.
        num_classes: classes of the problem.
        mean: what is subtracted from the maps, in their unit; broadcast.
        std: what they are divided by then, in the same unit; broadcast.
        stride: pixels of a label from one position of a map to the next.
        width: channels of every convolution.
        rates: spacings of the pyramid's kernels, in positions.
        dropout_rate: share of the features dropped.

    Returns:
        The network for maps [n, h, w, num_channels]; features have `width` channels.

    References:
        Chen et al. 2017, §3.
    """
    module = _DeepLabHead(num_classes, width, tuple(rates), dropout_rate)
    return _bundle(module, num_channels, mean, std, dropout_rate, stride, 1)


def _bundle(
    module: nn.Module,
    num_channels: int,
    mean: Shift,
    std: Shift,
    dropout_rate: float,
    stride: int,
    side_multiple: int,
) -> Segmenter:
    """The pure functions of a module with `features` and a layer called `head`."""

    def as_flax(variables):
        return {"params": variables.params, "batch_stats": variables.statistics}

    def prepare(images):
        if any(side % side_multiple for side in images.shape[1:3]):
            h, w = images.shape[1:3]
            raise ValueError(
                f"sides of images must be multiples of {side_multiple}, got {h}x{w}."
            )
        return normalize(images, mean, std)

    def init(key):
        side = 2 * side_multiple
        made = module.init(key, jnp.zeros((1, side, side, num_channels)))
        return Variables(made["params"], made["batch_stats"])

    def features(variables, images):
        return module.apply(as_flax(variables), prepare(images), method="features")

    def features_train(key, variables, images):
        found, moved = module.apply(
            as_flax(variables),
            prepare(images),
            is_training=True,
            method="features",
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return found, moved["batch_stats"]

    def head(variables):
        return variables.params["head"]["kernel"], variables.params["head"]["bias"]

    return Segmenter(init, features, features_train, dropout_rate, head, stride)


class _ConvolutionBlock(nn.Module):
    """Convolution, batch norm, ReLU."""

    width: int
    size: int
    dilation: int = 1
    dtype: Any = jnp.float32

    def setup(self):
        if self.size == 1:  # as a matrix product, a third faster to train on a CPU
            self.convolution = nn.Dense(
                self.width,
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
            )
        else:
            self.convolution = convolution(
                self.width, self.size, dilation=self.dilation, dtype=self.dtype
            )
        self.normalization = BatchNorm(self.dtype)

    def __call__(self, inputs, is_training):
        return nn.relu(self.normalization(self.convolution(inputs), is_training))


class _Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: all branches side by side, then a 1x1."""

    width: int
    rates: Sequence[int]
    dtype: Any = jnp.float32

    def setup(self):
        def block(size, dilation=1):
            return _ConvolutionBlock(self.width, size, dilation, self.dtype)

        self.point = block(1)
        self.atrous = [block(3, rate) for rate in self.rates]
        self.pooled = block(1)
        self.projection = block(1)

    def __call__(self, inputs, is_training):
        branches = [
            branch(inputs, is_training) for branch in (self.point, *self.atrous)
        ]
        pooled = self.pooled(inputs.mean((1, 2), keepdims=True), is_training)
        pooled = jnp.broadcast_to(pooled, branches[0].shape)
        return self.projection(jnp.concatenate([*branches, pooled], -1), is_training)


class _DeepLabResNet(nn.Module):
    num_classes: int
    width: int
    dropout_rate: float
    dtype: Any

    def setup(self):
        self.backbone = Trunk(
            BOTTLENECK,
            (3, 4, 6, 3),
            self.width,
            for_large_images=True,
            dilated=(False, False, True, True),
            dtype=self.dtype,
        )
        self.pyramid = _Pyramid(4 * self.width, (12, 24, 36), self.dtype)
        self.last = _ConvolutionBlock(4 * self.width, 3, dtype=self.dtype)
        self.dropout = nn.Dropout(self.dropout_rate)
        self.head = nn.Dense(self.num_classes)

    def features(self, inputs, is_training=False):
        hidden = self.backbone(inputs, is_training)
        hidden = self.last(self.pyramid(hidden, is_training), is_training)
        hidden = hidden.astype(jnp.float32)
        return self.dropout(hidden, deterministic=not is_training)

    def __call__(self, inputs):
        return self.head(self.features(inputs))


class _DeepLabHead(nn.Module):
    num_classes: int
    width: int
    rates: Sequence[int]
    dropout_rate: float

    def setup(self):
        self.reduction = _ConvolutionBlock(self.width, 1)
        self.pyramid = _Pyramid(self.width, self.rates)
        self.dropout = nn.Dropout(self.dropout_rate)
        self.head = nn.Dense(self.num_classes)

    def features(self, inputs, is_training=False):
        hidden = self.pyramid(self.reduction(inputs, is_training), is_training)
        return self.dropout(hidden, deterministic=not is_training)

    def __call__(self, inputs):
        return self.head(self.features(inputs))
