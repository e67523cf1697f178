"""Bilinear upsampling by a whole factor, as between a pixel head and the labels.

Position i of the finer grid reads the coarser one at (i + 1/2) / factor - 1/2, held
within it: half-pixel centers, the convention of `align_corners=False`. So the factor's
fine rows within one coarse row, its *phases*, are each a fixed blend of that row and a
neighbor, and a sum over all fine pixels may be taken phase by phase:

    phases   f · f, of the fine pixels in a coarse one: [..., f, f, h, w] instead of
             [..., f · h, f · w]

which needs no interleaving and leaves long rows to vector units.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from iwps_jax.types import AnyArray


def upsample(
    maps: Float[AnyArray, "n h w c"], factor: int
) -> Float[jax.Array, "n fh fw c"]:
    """Enlarges both sides by a whole factor, bilinearly, with half-pixel centers.

    Linear, and every value is a weighted mean of at most four: nothing leaves the range
    of the map. It commutes with a 1x1 convolution.

    Args:
        maps: such as the logits of a pixel head.
        factor: fine pixels a side of a coarse one, at least 1.

    Raises:
        ValueError: if the factor is below 1.

    Example:
        >>> rows = upsample(jnp.array([0.0, 4.0]).reshape(1, 2, 1, 1), 2)
        >>> print(rows[0, :, 0, 0])
        [0. 1. 3. 4.]
    """
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}.")
    channels_first = jnp.moveaxis(jnp.asarray(maps), -1, 1)
    return jnp.moveaxis(from_phases(to_phases(channels_first, factor)), 1, -1)


def to_phases(
    maps: Float[jax.Array, "*n h w"], factor: int
) -> Float[jax.Array, "*n f f h w"]:
    """The enlarged map, its fine pixels sorted by where in a coarse pixel they are."""
    by_row = _blend(maps, factor, -2)
    return jnp.moveaxis(_blend(by_row, factor, -1), (1, 0), (-4, -3))


def _blend(maps, factor, axis):
    """The phases along one axis, stacked in front."""
    if factor == 1:
        return maps[None]
    offsets = (np.arange(factor) + 0.5) / factor - 0.5
    weights = np.abs(offsets).astype(np.float32).reshape(-1, *(1,) * maps.ndim)
    weights = jnp.asarray(weights, maps.dtype)
    last = maps.shape[axis] - 1
    before = jnp.concatenate(
        [_part(maps, 0, 1, axis), _part(maps, 0, last, axis)], axis
    )
    after = jnp.concatenate(
        [_part(maps, 1, last + 1, axis), _part(maps, last, last + 1, axis)], axis
    )
    half = factor // 2
    up, down = weights[:half], weights[half:]
    maps = maps[None]
    return jnp.concatenate(
        [
            (1 - up) * maps + up * before[None],
            (1 - down) * maps + down * after[None],
        ]
    )


def _part(maps, start, stop, axis):
    return jax.lax.slice_in_dim(maps, start, stop, axis=axis % maps.ndim)


def sort_by_phase(
    fine: Shaped[AnyArray, "*n fh fw"], factor: int
) -> Shaped[jax.Array, "*n f f h w"]:
    """Rearranges what is given for every fine pixel like `to_phases`."""
    *n, height, width = fine.shape
    split = jnp.reshape(fine, (*n, height // factor, factor, width // factor, factor))
    return jnp.moveaxis(split, (-3, -1), (-4, -3))


def from_phases(
    phases: Shaped[jax.Array, "*n f f h w"],
) -> Shaped[jax.Array, "*n fh fw"]:
    """The fine pixels in their places: undoes `sort_by_phase`."""
    *n, factor, _, height, width = phases.shape
    split = jnp.moveaxis(phases, (-4, -3), (-3, -1))
    return split.reshape(*n, height * factor, width * factor)
