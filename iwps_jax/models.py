"""The Flax networks of the experiments, as bundles of pure functions.

Nothing else in the package imports this module: the scores take any `apply_fn`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax.types import AnyArray, Variables

Shift: TypeAlias = float | Float[AnyArray, "..."]

# PyTorch's 0.1 as Flax counts it; Flax's own 0.99 would take longer to forget the
# initial statistics than early stopping waits.
BATCH_NORM_MOMENTUM = 0.9


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
            the dropout masks, everything else as in inference.
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
            lambda inputs: _normalize(inputs, mean, std).reshape(len(inputs), -1),
        )

    network = _bundle(module, input_shape, mean, std)
    return network._replace(dense_layers=dense_layers)


def _normalize(inputs: AnyArray, mean: Shift, std: Shift) -> jax.Array:
    inputs = jnp.asarray(inputs, jnp.float32)
    centered = inputs - jnp.broadcast_to(mean, inputs.shape)
    return centered / jnp.broadcast_to(std, inputs.shape)


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
    module = _ResNet18(num_classes, width, dropout_rate)
    return _bundle(module, input_shape, mean, std)


def _bundle(
    module: nn.Module, input_shape: Sequence[int], mean: Shift, std: Shift
) -> Network:
    """The pure functions of a module with `features` and a layer called `head`."""

    def normalize(inputs):
        return _normalize(inputs, mean, std)

    def as_flax(variables):
        return {"params": variables.params, "batch_stats": variables.statistics}

    def init(key):
        made = module.init(key, jnp.zeros((1, *input_shape)))
        return Variables(made["params"], made.get("batch_stats", {}))

    def apply(variables, inputs):
        return module.apply(as_flax(variables), normalize(inputs))

    def apply_train(key, variables, inputs):
        logits, moved = module.apply(
            as_flax(variables),
            normalize(inputs),
            dropout=True,
            use_minibatch_statistics=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return logits, moved.get("batch_stats", {})

    def apply_dropout(key, variables, inputs):
        return module.apply(
            as_flax(variables), normalize(inputs), dropout=True, rngs={"dropout": key}
        )

    def features(variables, inputs):
        return module.apply(as_flax(variables), normalize(inputs), method="features")

    def head(variables):
        return variables.params["head"]["kernel"], variables.params["head"]["bias"]

    return Network(init, apply, apply_train, apply_dropout, features, head, None)


class _MLP(nn.Module):
    num_classes: int
    hidden_sizes: Sequence[int]
    dropout_rate: float

    def setup(self):
        self.hidden = [nn.Dense(size) for size in self.hidden_sizes]
        self.dropout = nn.Dropout(self.dropout_rate)
        self.head = nn.Dense(self.num_classes)

    def features(self, inputs, dropout=False):
        hidden = inputs.reshape(len(inputs), -1)
        for layer in self.hidden:
            hidden = self.dropout(nn.relu(layer(hidden)), deterministic=not dropout)
        return hidden

    def __call__(self, inputs, dropout=False, use_minibatch_statistics=False):
        del use_minibatch_statistics  # it has none
        return self.head(self.features(inputs, dropout))


class _BasicBlock(nn.Module):
    width: int
    stride: int

    @nn.compact
    def __call__(self, inputs, use_minibatch_statistics):
        def normalized(name, size, stride, inputs):
            # Padding as in the original: SAME would shift the grid at stride 2.
            convolved = nn.Conv(
                self.width,
                (size, size),
                stride,
                padding=size // 2,
                use_bias=False,
                kernel_init=nn.initializers.he_normal(),
                name=f"{name}_convolution",
            )(inputs)
            return nn.BatchNorm(
                use_running_average=not use_minibatch_statistics,
                momentum=BATCH_NORM_MOMENTUM,
                name=f"{name}_normalization",
            )(convolved)

        outputs = nn.relu(normalized("first", 3, self.stride, inputs))
        outputs = normalized("second", 3, 1, outputs)
        if inputs.shape != outputs.shape:
            inputs = normalized("shortcut", 1, self.stride, inputs)
        return nn.relu(outputs + inputs)


class _ResNet18(nn.Module):
    num_classes: int
    width: int
    dropout_rate: float

    def setup(self):
        self.stem_convolution = nn.Conv(
            self.width,
            (3, 3),
            padding=1,
            use_bias=False,
            kernel_init=nn.initializers.he_normal(),
        )
        self.stem_normalization = nn.BatchNorm(momentum=BATCH_NORM_MOMENTUM)
        self.blocks = [
            _BasicBlock(self.width * 2**stage, 2 if stage and not block else 1)
            for stage in range(4)
            for block in range(2)
        ]
        self.dropout = nn.Dropout(self.dropout_rate)
        self.head = nn.Dense(self.num_classes)

    def features(self, inputs, use_minibatch_statistics=False):
        hidden = self.stem_normalization(
            self.stem_convolution(inputs),
            use_running_average=not use_minibatch_statistics,
        )
        hidden = nn.relu(hidden)
        for block in self.blocks:
            hidden = block(hidden, use_minibatch_statistics)
        return hidden.mean((-3, -2))

    def __call__(self, inputs, dropout=False, use_minibatch_statistics=False):
        features = self.features(inputs, use_minibatch_statistics)
        return self.head(self.dropout(features, deterministic=not dropout))
