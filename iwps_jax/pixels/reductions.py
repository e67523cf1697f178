"""From the pixels of an image to one number: reductions for the scores of images.

A reduction is `reduction(values [h, w], where [h, w], predicted [h, w]) -> scalar`, of
one image; `where` marks its valid pixels. An image without any scores zero.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from iwps_jax import checks

Reduction: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def mean_of_pixels(
    values: Float[jax.Array, "h w"],
    where: Bool[jax.Array, "h w"],
    predicted: Int[jax.Array, "h w"],
) -> Float[jax.Array, ""]:
    """The mean over the valid pixels.

    Example:
        >>> values, where = jnp.array([[1.0, 3.0, 9.0]]), jnp.array([[1, 1, 0]]) > 0
        >>> print(mean_of_pixels(values, where, jnp.zeros((1, 3), int)))
        2.0
    """
    checks.require_same_numbers("values", values)
    del predicted
    return _masked_mean(values, where)


def mean_of_highest(
    values: Float[jax.Array, "h w"],
    where: Bool[jax.Array, "h w"],
    predicted: Int[jax.Array, "h w"],
    *,
    share: float = 0.1,
) -> Float[jax.Array, ""]:
    """The mean over the highest tenth, or other share, of the valid pixels.

    At least one pixel. What a small object adds is not lost among easy background.

    Raises:
        ValueError: if the share is not above 0 and at most 1.

    Example:
        >>> values, where = jnp.arange(20.0).reshape(4, 5), jnp.ones((4, 5), bool)
        >>> print(mean_of_highest(values, where, jnp.zeros((4, 5), int)))
        18.5
    """
    checks.require_same_numbers("values", values)
    del predicted
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}.")
    ranked = jnp.sort(jnp.where(where, values, -jnp.inf), axis=None)[::-1]
    num_valid = where.sum(dtype=values.dtype)
    count = jnp.maximum(jnp.ceil(share * num_valid), 1)
    place = jnp.arange(len(ranked), dtype=values.dtype)
    return _masked_mean(ranked, place < jnp.minimum(count, num_valid))


def highest_region(
    values: Float[jax.Array, "h w"],
    where: Bool[jax.Array, "h w"],
    predicted: Int[jax.Array, "h w"],
    *,
    side: int = 16,
) -> Float[jax.Array, ""]:
    """The highest mean over the cells of a grid of side² pixels.

    Cells with less than half of their pixels valid count only if there are no others,
    and then only those with the most.

    Raises:
        ValueError: if the side is below 1.

    Example:
        >>> values, where = jnp.array([[1.0, 3.0, 4.0, 0.5]]), jnp.ones((1, 4), bool)
        >>> print(highest_region(values, where, jnp.zeros((1, 4), int), side=2))
        2.25
    """
    checks.require_same_numbers("values", values)
    del predicted
    if checks.require_integer("side", side) < 1:
        raise ValueError(f"side must be at least 1, got {side}.")
    rows, columns = (-(-size // side) for size in values.shape)
    padding = [
        (0, cells * side - size)
        for cells, size in zip((rows, columns), values.shape, strict=True)
    ]

    def by_cell(array):
        return jnp.pad(array, padding).reshape(rows, side, columns, side).sum((1, 3))

    count = by_cell(where.astype(values.dtype))
    means = by_cell(jnp.where(where, values, 0)) / jnp.maximum(count, 1)
    enough = jnp.minimum(count.max(), side**2 / 2)
    return jnp.where(count >= enough, means, -jnp.inf).max()


def mean_of_classes(
    values: Float[jax.Array, "h w"],
    where: Bool[jax.Array, "h w"],
    predicted: Int[jax.Array, "h w"],
    *,
    num_classes: int,
) -> Float[jax.Array, ""]:
    """The mean over the predicted classes of the mean over a class's pixels.

    So that a small region of a rare class counts as much as a large background.

    Example:
        >>> values, where = jnp.array([[1.0, 1.0, 1.0, 5.0]]), jnp.ones((1, 4), bool)
        >>> predicted = jnp.array([[0, 0, 0, 2]])
        >>> print(mean_of_classes(values, where, predicted, num_classes=3))
        3.0
    """
    checks.require_same_numbers("values", values)
    checks.require_same_numbers("predicted", predicted)
    classes = jnp.where(where, predicted, num_classes).ravel()
    sums = jax.ops.segment_sum(values.ravel(), classes, num_classes + 1)[:-1]
    counts = jnp.bincount(classes, length=num_classes + 1)[:-1].astype(values.dtype)
    return _masked_mean(sums / jnp.maximum(counts, 1), counts > 0)


def _masked_mean(values, where):
    count = jnp.maximum(where.sum(dtype=values.dtype), 1)
    return jnp.where(where, values, 0).sum() / count
