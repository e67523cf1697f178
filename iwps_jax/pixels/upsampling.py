"""Bilinear upsampling by a whole factor, as between a pixel head and the labels.

Position i of the finer grid reads the coarser one at (i + 1/2) / factor - 1/2, held
within it: half-pixel centers, the convention of `align_corners=False`. In a map padded
by one pixel, a copy of its edge, every fine pixel lies in a *cell*: between four coarse
ones, its corners, that it blends with weights that depend on its place in the cell.

    corners  the padded map in one long row, (h + 2) (w + 2)
    cells    f · f, the places in a cell, by one long row of all cells

A corner of all cells is a slice of the padded map: nothing is gathered or interleaved,
which vector units like. Between the last cell of a row and the first of the next is one
that is none; `to_cells` fills it with zeros, and no fine pixel is read from there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from iwps_jax import checks
from iwps_jax.types import AnyArray


class Grid(NamedTuple):
    """Sizes of a map and its enlargement.

    Attributes:
        height: rows of the coarse map.
        width: its columns.
        factor: fine pixels a side of a coarse one, at least 1.
    """

    height: int
    width: int
    factor: int

    @property
    def stride(self) -> int:
        """From a corner to the one below it."""
        return self.width + 2

    @property
    def num_cells(self) -> int:
        """Of a row of cells."""
        return (self.height + 1) * self.stride - 1

    @property
    def offsets(self) -> tuple[int, int, int, int]:
        """Of the four corners of a cell: upper left and right, lower left and right."""
        return 0, 1, self.stride, self.stride + 1

    @property
    def places(self) -> np.ndarray:
        """Of the fine pixels along one side of a cell, in [0, 1)."""
        return (np.arange(self.factor) + self.factor // 2 + 0.5) / self.factor - 0.5


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
    checks.require_floating("maps", maps, "n h w c")
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}.")
    height, width = maps.shape[1:3]
    grid = Grid(height, width, factor)
    corners = jnp.moveaxis(to_corners(jnp.asarray(maps)), -1, 1)
    return jnp.moveaxis(from_cells(enlarge(corners, grid), grid), 1, -1)


def to_corners(
    maps: Shaped[jax.Array, "*n h w c"],
) -> Shaped[jax.Array, "*n corners c"]:
    """Pads maps by copies of their edge, and makes one long row of each."""
    *n, _, _, channels = maps.shape
    padding = *((0, 0) for _ in n), (1, 1), (1, 1), (0, 0)
    return jnp.pad(maps, padding, mode="edge").reshape(*n, -1, channels)


def enlarge(
    corners: Float[jax.Array, "*n corners"], grid: Grid
) -> Float[jax.Array, "*n places cells"]:
    """The fine pixels of all cells."""
    upper_left, upper_right, lower_left, lower_right = (
        corners[..., None, start : start + grid.num_cells] for start in grid.offsets
    )
    down, right = (
        _weights(places, corners)
        for places in (
            np.repeat(grid.places, grid.factor),
            np.tile(grid.places, grid.factor),
        )
    )
    left = (1 - down) * upper_left + down * lower_left
    return (1 - right) * left + right * ((1 - down) * upper_right + down * lower_right)


def _weights(places, like):
    shape = *(1,) * (like.ndim - 1), len(places), 1
    return jnp.asarray(places.reshape(shape), like.dtype)


def shrink(
    cells: Float[jax.Array, "*n places cells"], grid: Grid
) -> Float[jax.Array, "*n corners"]:
    """The transposed product of `enlarge`: sums of fine pixels, in the same weights."""
    *n, _, num_cells = cells.shape
    rows = cells.reshape(*n, grid.factor, grid.factor, num_cells)
    of_corners = [
        _weighted_sum(_weighted_sum(rows, across), down)
        for down in (1 - grid.places, grid.places)
        for across in (1 - grid.places, grid.places)
    ]
    end = grid.stride + 1
    padding = [(0, 0) for _ in n]
    return sum(  # type: ignore[return-value]  # of four arrays, not the int 0 of none
        jnp.pad(part, (*padding, (start, end - start)))
        for part, start in zip(of_corners, grid.offsets, strict=True)
    )


def _weighted_sum(array, weights):
    """Over the last axis but one, written out: XLA makes one pass of it on a CPU."""
    return sum(float(w) * array[..., i, :] for i, w in enumerate(weights))


def to_cells(
    fine: Shaped[jax.Array, "*n fh fw"], grid: Grid
) -> Shaped[jax.Array, "*n places cells"]:
    """Rearranges what is given for every fine pixel; zero outside the image."""
    *n, _, _ = fine.shape
    factor, half = grid.factor, grid.factor // 2
    padding = (factor - half, half), (factor - half, half + factor)
    padded = jnp.pad(fine, (*((0, 0) for _ in n), *padding))
    split = padded.reshape(*n, grid.height + 1, factor, grid.stride, factor)
    cells = jnp.moveaxis(split, (-3, -1), (-4, -3))
    return cells.reshape(*n, factor**2, -1)[..., :-1]


def from_cells(
    cells: Shaped[jax.Array, "*n places cells"], grid: Grid
) -> Shaped[jax.Array, "*n fh fw"]:
    """The fine pixels in their places: undoes `to_cells`."""
    *n, _, _ = cells.shape
    factor, half = grid.factor, grid.factor // 2
    whole = jnp.pad(cells, (*((0, 0) for _ in n), (0, 0), (0, 1)))
    split = whole.reshape(*n, factor, factor, grid.height + 1, grid.stride)
    fine = jnp.moveaxis(split, (-4, -3), (-3, -1)).reshape(
        *n, (grid.height + 1) * factor, grid.stride * factor
    )
    start = factor - half
    return fine[
        ..., start : start + grid.height * factor, start : start + grid.width * factor
    ]
