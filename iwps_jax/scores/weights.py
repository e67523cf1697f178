"""How much each holdout sample says: rare classes as much as frequent ones."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer

from iwps_jax import checks, numerics
from iwps_jax.types import AnyArray


def class_balanced_weights(
    labels: Integer[AnyArray, " m"],
    num_classes: int,
    where: Bool[AnyArray, " m"] | None = None,
) -> Float[jax.Array, " m"]:
    """Weights under which every class that occurs says the same.

        w_m = 1 / (classes that occur · samples of the class y_m)

    They sum to one. With as many samples of each class, 1/m each.

    Args:
        labels: classes, in [0, num_classes) where they count.
        num_classes: of the problem; not all need occur.
        where: which labels there are, all by default; the others weigh nothing.

    Returns:
        One float32 weight per label.

    Raises:
        ValueError: if there is no label; outside `jax.jit` also if one is out of range.
        TypeError: if labels are not integers.

    Example:
        >>> print(class_balanced_weights(jnp.array([0, 0, 2]), 3))
        [0.25 0.25 0.5 ]
    """
    num_classes = checks.require_integer("num_classes", num_classes)
    checks.require_integers("labels", labels)
    if where is None:
        where = jnp.ones(len(labels), bool)
    checks.require_mask("where", where, len(labels))
    labels = jnp.where(where, labels, 0)
    checks.require_labels("labels", labels, num_classes)
    counts = jax.ops.segment_sum(where.astype(jnp.float32), labels, num_classes)
    num_present = (counts > 0).sum(dtype=counts.dtype)
    share = 1 / jnp.maximum(counts * num_present, 1)
    return jnp.where(where, share[labels], 0)


def checked_weights(
    weights: Float[AnyArray, " m"] | None, holdout_labels: Integer[AnyArray, " m"]
) -> Float[jax.Array, " m"] | None:
    """Refuses weights that cannot be those of a mean; they sum to one then."""
    if weights is None:
        return None
    checks.require_axes("holdout_labels", holdout_labels, "m")
    size = len(holdout_labels)
    checks.require_weights("holdout_weights", weights, size, "holdout_labels")
    wide = numerics.upcast(weights)
    return wide / wide.sum()
