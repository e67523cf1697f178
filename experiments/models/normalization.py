"""Zero mean and unit deviation: of inputs, and of every channel inside a network."""

from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax.types import AnyArray

Shift: TypeAlias = float | Float[AnyArray, "..."]

# PyTorch's 0.1 as Flax counts it; Flax's own 0.99 would take longer to forget the
# initial statistics than early stopping waits.
BATCH_NORM_MOMENTUM = 0.9
EPSILON = 1e-5  # added to variances


def normalize(inputs: AnyArray, mean: Shift, std: Shift) -> jax.Array:
    """The inputs minus their mean, divided by their deviation; both broadcast.

    Example:
        >>> print(normalize(jnp.array([1, 3]), 1.0, 2.0))
        [0. 1.]
    """
    inputs = jnp.asarray(inputs, jnp.float32)
    centered = inputs - jnp.broadcast_to(mean, inputs.shape)
    return centered / jnp.broadcast_to(std, inputs.shape)


class BatchNorm(nn.Module):
    """Flax's batch norm of images [n, h, w, channels], faster to train on a CPU.

        y = scale (x - mean) / sqrt(variance + EPSILON) + bias

    Sums over an image come before those over images. As one reduction they, and their
    gradients, would run on a single core: then a step of a small network takes a
    quarter longer.

    Attributes:
        dtype: type of the outputs; the arithmetic is float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs, use_minibatch_statistics):
        """Normalized by the minibatch's statistics or by the running ones."""
        shape = inputs.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        inputs = inputs.astype(jnp.float32)
        mean, variance = running_mean.value, running_variance.value
        if use_minibatch_statistics:
            moments = (inputs**power for power in (1, 2))
            mean, second = (moment.mean((1, 2)).mean(0) for moment in moments)
            variance = jnp.maximum(second - mean**2, 0)
            if not self.is_initializing():
                for running, found in (
                    (running_mean, mean),
                    (running_variance, variance),
                ):
                    old = BATCH_NORM_MOMENTUM * running.value
                    running.value = old + (1 - BATCH_NORM_MOMENTUM) * found
        factor = scale * jax.lax.rsqrt(variance + EPSILON)

        def of_every_image(channels):
            rows = jnp.broadcast_to(channels, (len(inputs), *shape))
            return rows[:, None, None]

        outputs = inputs * of_every_image(factor) + of_every_image(bias - mean * factor)
        return outputs.astype(self.dtype)
