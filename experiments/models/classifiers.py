"""Classifiers of vectors and images: fully connected networks and ResNets."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models.normalization import Shift, normalize
from experiments.models.residual import BASIC, BOTTLENECK, Trunk
from iwps_jax import masks
from iwps_jax.types import Variables


class Network(NamedTuple):
    """A classifier whose last layer is linear.

    Attributes:
        init: `init(key) -> variables`.
        apply: `apply(variables, inputs) -> logits [n, classes]`, in inference mode:
            no dropout, batch normalization by its running statistics.
        apply_train: `apply_train(key, variables, inputs) -> (logits, statistics)`, in
            training mode: dropout, normalization by the minibatch's own statistics,
            and the running statistics that follow from it.
        apply_dropout: `apply_dropout(key, variables, inputs) -> logits`, one draw of
            the dropout masks, everything else as in inference. The masks are hashes
            of the key, `iwps_jax.masks`; those of the training are not.
        features: `features(variables, inputs) -> [n, d]`, the last layer's inputs.
        head: `head(variables) -> (kernel [d, classes], bias [classes])`.
        dense_layers: `dense_layers(variables) -> (layers, normalize)`, for a network
            of dense layers with ReLU between them: every (kernel, bias) from the
            inputs on, and the function that makes the inputs [n, d] of the first.
            None for any other network.
    """

    init: Callable[[jax.Array], Variables]
    apply: Callable[[Variables, jax.Array], jax.Array]
    apply_train: Callable[[jax.Array, Variables, jax.Array], tuple[jax.Array, Any]]
    apply_dropout: Callable[[jax.Array, Variables, jax.Array], jax.Array]
    features: Callable[[Variables, jax.Array], jax.Array]
    head: Callable[[Variables], tuple[jax.Array, jax.Array]]
    dense_layers: Callable[[Variables], tuple[list, Callable]] | None


def mlp(
    input_shape: Sequence[int],
    num_classes: int,
    *,
    mean: Shift,
    std: Shift,
    hidden_sizes: Sequence[int] = (256, 256),
    dropout_rate: float = 0.2,
) -> Network:
    """The paper's fully connected network.

    Dropout follows every fully connected layer but the last.

    Args:
        input_shape: shape of one input, [height, width, channels] or [d].
        num_classes: classes of the problem.
        mean: what is subtracted from the inputs, in their unit; broadcast.
        std: what they are divided by then, in the same unit; broadcast.
        hidden_sizes: units of each hidden layer.
        dropout_rate: share of the hidden units dropped.

    References:
        Aljundi et al. 2020, supplement §4 (dropout p = 0.2 on each fully connected
        layer; the sizes are not stated, 256-256 is our choice).
    """
    module = _MLP(num_classes, tuple(hidden_sizes), dropout_rate)

    def dense_layers(variables):
        names = [f"hidden_{i}" for i in range(len(hidden_sizes))]
        layers = [variables.params[name] for name in (*names, "head")]
        return (
            [(layer["kernel"], layer["bias"]) for layer in layers],
            lambda inputs: normalize(inputs, mean, std).reshape(len(inputs), -1),
        )

    network = _bundle(module, input_shape, mean, std)
    return network._replace(dense_layers=dense_layers)


def resnet18(
    input_shape: Sequence[int],
    num_classes: int,
    *,
    mean: Shift,
    std: Shift,
    width: int = 64,
    dropout_rate: float = 0.2,
) -> Network:
    """ResNet-18 with the stem for small images: 3x3, stride 1, no pooling.

    Four stages of two basic blocks with width, 2·width, 4·width and 8·width channels,
    batch normalization after every convolution, the mean over all positions, and
    dropout before the fully connected layer.

    Args:
        input_shape: [height, width, channels] of an image.
        num_classes: classes of the problem.
        mean: what is subtracted from the pixels, in their unit; broadcast.
        std: what they are divided by then, in the same unit; broadcast.
        width: channels of the first stage.
        dropout_rate: share of the features dropped.

    References:
        He et al. 2016, "Deep Residual Learning for Image Recognition", Table 1 and
        §4.2. Aljundi et al. 2020, supplement §4 (ResNet, dropout p = 0.2 on the fully
        connected layer; its depth and stem are not stated, these are our choice).
    """
    trunk = Trunk(BASIC, (2, 2, 2, 2), width, for_large_images=False)
    module = _ResNet(trunk, num_classes, dropout_rate)
    return _bundle(module, input_shape, mean, std)


def resnet50(
    input_shape: Sequence[int],
    num_classes: int,
    *,
    mean: Shift,
    std: Shift,
    width: int = 64,
    dropout_rate: float = 0.2,
) -> Network:
    """ResNet-50 with the stem for large images: 7x7, stride 2, and max-pooling.

    Four stages of 3, 4, 6 and 3 bottleneck blocks (1x1, 3x3, then 1x1 to four times
    as many channels) with inner widths of width, 2·width, 4·width and 8·width; the
    rest as in `resnet18`. Where a stage halves the image, the 3x3 convolution strides,
    as in common implementations ("v1.5"), and not the first 1x1 as in the paper.

    Args:
        input_shape: [height, width, channels] of an image.
        num_classes: classes of the problem.
        mean: what is subtracted from the pixels, in their unit; broadcast.
        std: what they are divided by then, in the same unit; broadcast.
        width: inner channels of the first stage.
        dropout_rate: share of the features dropped.

    References:
        He et al. 2016, "Deep Residual Learning for Image Recognition", Table 1 and
        Fig. 5. Dropout as in `resnet18`.
    """
    trunk = Trunk(BOTTLENECK, (3, 4, 6, 3), width, for_large_images=True)
    module = _ResNet(trunk, num_classes, dropout_rate)
    return _bundle(module, input_shape, mean, std)


def _bundle(
    module: nn.Module, input_shape: Sequence[int], mean: Shift, std: Shift
) -> Network:
    """The pure functions of a module with `features` and a layer called `head`."""

    def as_flax(variables):
        return {"params": variables.params, "batch_stats": variables.statistics}

    def init(key):
        made = module.init(key, jnp.zeros((1, *input_shape)))
        return Variables(made["params"], made.get("batch_stats", {}))

    def apply(variables, inputs):
        return module.apply(as_flax(variables), normalize(inputs, mean, std))

    def apply_train(key, variables, inputs):
        logits, moved = module.apply(
            as_flax(variables),
            normalize(inputs, mean, std),
            drop=_in_training,
            use_minibatch_statistics=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return logits, moved.get("batch_stats", {})

    def apply_dropout(key, variables, inputs):
        return module.apply(
            as_flax(variables),
            normalize(inputs, mean, std),
            drop=_in_a_draw,
            rngs={"dropout": key},
        )

    def features(variables, inputs):
        return module.apply(
            as_flax(variables), normalize(inputs, mean, std), method="features"
        )

    def head(variables):
        return variables.params["head"]["kernel"], variables.params["head"]["bias"]

    return Network(init, apply, apply_train, apply_dropout, features, head, None)


# What becomes of the units that a module may drop: `drop(module, units) -> units`.


def _nothing(module, units):
    del module
    return units


def _in_training(module, units):
    return module.dropout(units, deterministic=False)


def _in_a_draw(module, units):
    share = 1 - module.dropout_rate
    mask = masks.kept(module.make_rng("dropout"), share, units.shape)
    return jnp.where(mask, units / share, 0)


class _MLP(nn.Module):
    num_classes: int
    hidden_sizes: Sequence[int]
    dropout_rate: float

    def setup(self):
        self.hidden = [nn.Dense(size) for size in self.hidden_sizes]
        self.dropout = nn.Dropout(self.dropout_rate)
        self.head = nn.Dense(self.num_classes)

    def features(self, inputs, drop=_nothing):
        hidden = inputs.reshape(len(inputs), -1)
        for layer in self.hidden:
            hidden = drop(self, nn.relu(layer(hidden)))
        return hidden

    def __call__(self, inputs, drop=_nothing, use_minibatch_statistics=False):
        del use_minibatch_statistics  # it has none
        return self.head(self.features(inputs, drop))


class _ResNet(nn.Module):
    trunk: Trunk
    num_classes: int
    dropout_rate: float

    def setup(self):
        nn.share_scope(self, self.trunk)  # its layers go by their own names
        self.dropout = nn.Dropout(self.dropout_rate)
        self.head = nn.Dense(self.num_classes)

    def features(self, inputs, use_minibatch_statistics=False):
        return self.trunk(inputs, use_minibatch_statistics).mean((-3, -2))

    def __call__(self, inputs, drop=_nothing, use_minibatch_statistics=False):
        features = self.features(inputs, use_minibatch_statistics)
        return self.head(drop(self, features))
