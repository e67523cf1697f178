"""Refusals of masks and labels that have one entry for each pixel."""

import jax
import jax.numpy as jnp

from iwps_jax import checks
from iwps_jax.types import AnyArray


def require_mask(name: str, mask: AnyArray) -> None:
    """Refuses a mask that is not one boolean per pixel of some images."""
    checks.require_axes(name, mask, "images height width")
    if mask.dtype != bool:
        raise TypeError(f"{name} must be boolean, got {mask.dtype}.")
    if 0 in mask.shape:
        raise ValueError(f"{name} must not be empty, got shape {tuple(mask.shape)}.")


@jax.jit
def _any_outside_where(labels, where, num_classes):
    return checks.any_outside(jnp.where(where, labels, 0), num_classes)


def require_labels(
    name: str, labels: AnyArray, where: AnyArray, num_classes: int
) -> None:
    """Refuses labels that are not integers in [0, num_classes) where `where`."""
    checks.require_axes(name, labels, "images height width")
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{name} must be integers, got {labels.dtype}.")
    if labels.shape != where.shape:
        raise ValueError(
            f"{name} must have the shape of their mask, {tuple(where.shape)}, got "
            f"{tuple(labels.shape)}."
        )
    if checks.is_known_true(~jnp.any(where)):
        raise ValueError(f"{name} must have a pixel that counts, got none.")
    if checks.is_known_true(_any_outside_where(labels, where, num_classes)):
        raise ValueError(
            f"{name} must be in [0, {num_classes}) wherever they count, got others."
        )
