"""What inputs are brought to zero mean and unit deviation with."""

from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax.types import AnyArray

Shift: TypeAlias = float | Float[AnyArray, "..."]


def normalize(inputs: AnyArray, mean: Shift, std: Shift) -> jax.Array:
    """The inputs minus their mean, divided by their deviation; both broadcast.

    Example:
        >>> print(normalize(jnp.array([1, 3]), 1.0, 2.0))
        [0. 1.]
    """
    inputs = jnp.asarray(inputs, jnp.float32)
    centered = inputs - jnp.broadcast_to(mean, inputs.shape)
    return centered / jnp.broadcast_to(std, inputs.shape)
