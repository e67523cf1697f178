"""The small Flax networks of the experiments, as bundles of pure functions.

Nothing else in the package imports this module: the scores take any `apply_fn`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from iwps_jax.types import ApplyFn, Params


class Network(NamedTuple):
    """A classifier whose last layer is linear.

    Attributes:
        init: `init(key) -> params`.
        apply: `apply(params, images) -> logits [n, classes]`, in inference mode.
        apply_dropout: `apply_dropout(key, params, images) -> logits`, one draw of
            the dropout masks.
        features: `features(params, images) -> [n, d]`, the last layer's inputs.
        head: `head(params) -> (kernel [d, classes], bias [classes])`.
    """

    init: Callable[[jax.Array], Params]
    apply: ApplyFn
    apply_dropout: Callable[[jax.Array, Params, jax.Array], jax.Array]
    features: ApplyFn
    head: Callable[[Params], tuple[jax.Array, jax.Array]]


class _MLP(nn.Module):
    num_classes: int
    hidden_sizes: Sequence[int]
    dropout_rate: float

    def setup(self):
        self.hidden = [nn.Dense(size) for size in self.hidden_sizes]
        self.dropout = nn.Dropout(self.dropout_rate)
        self.head = nn.Dense(self.num_classes)

    def features(self, inputs, deterministic=True):
        for layer in self.hidden:
            inputs = self.dropout(nn.relu(layer(inputs)), deterministic=deterministic)
        return inputs

    def __call__(self, inputs, deterministic=True):
        return self.head(self.features(inputs, deterministic))


def mlp(
    image_shape: Sequence[int],
    num_classes: int,
    *,
    mean: float,
    std: float,
    hidden_sizes: Sequence[int] = (256, 256),
    dropout_rate: float = 0.2,
) -> Network:
    """The paper's fully connected network over uint8 images.

    Dropout follows every fully connected layer but the last.

    Args:
        image_shape: [height, width, channels].
        num_classes: classes of the problem.
        mean: mean of the pixels, in [0, 1].
        std: their standard deviation, in the same unit.
        hidden_sizes: units of each hidden layer.
        dropout_rate: share of the hidden units dropped.

    References:
        Aljundi et al. 2020, supplement §4 (dropout p = 0.2 on each fully connected
        layer; the sizes are not stated, 256-256 is our choice).
    """
    module = _MLP(num_classes, tuple(hidden_sizes), dropout_rate)

    def normalize(images):
        pixels = images.astype(jnp.float32).reshape(*images.shape[:-3], -1) / 255
        return (pixels - mean) / std

    def init(key):
        return module.init(key, normalize(jnp.zeros((1, *image_shape))))["params"]

    def apply(params, images):
        return module.apply({"params": params}, normalize(images))

    def apply_dropout(key, params, images):
        return module.apply(
            {"params": params},
            normalize(images),
            deterministic=False,
            rngs={"dropout": key},
        )

    def features(params, images):
        return module.apply({"params": params}, normalize(images), method="features")

    def head(params):
        return params["head"]["kernel"], params["head"]["bias"]

    return Network(init, apply, apply_dropout, features, head)
