"""Where batch selectors measure how unlike two candidates are.

A `Space` holds arrays as the network gives them; `geometry` makes it ready to measure.
Distances and inner products are compared, never reported: powers of two that bring the
largest factor close to one are left in them, so that neither overflows nor vanishes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from iwps_jax import blocks, checks, numerics
from iwps_jax.selection import gradients
from iwps_jax.types import AnyArray


class Space(NamedTuple):
    """A point for every row, made by `feature_space` or `gradient_space`.

    Attributes:
        features: inputs h of the last layer.
        logits: its outputs; None if the features themselves are the points.
    """

    features: Float[AnyArray, "pool d"]
    logits: Float[AnyArray, "pool classes"] | None


def feature_space(features: Float[AnyArray, "pool d"]) -> Space:
    """Rows are as far apart as their features.

        ‖h_i - h_j‖²

    Args:
        features: one embedding per row.

    Returns:
        What batch selectors take.

    Raises:
        ValueError: if the shape is wrong; outside `jax.jit` also if a feature is not
            finite.
        TypeError: if features are not floating point.

    Example:
        >>> feature_space(jnp.zeros((3, 2))).features.shape
        (3, 2)
    """
    checks.require_finite("features", features, "pool d")
    return Space(features, None)


def gradient_space(
    features: Float[AnyArray, "pool d"], logits: Float[AnyArray, "pool classes"]
) -> Space:
    """Rows are as far apart as the last layer's gradients under the predictions.

        g_i = (p_i - onehot(ŷ_i)) ⊗ (h_i, 1)
        ⟨g_i, g_j⟩ = ⟨p_i - onehot(ŷ_i), p_j - onehot(ŷ_j)⟩ (1 + h_i·h_j)

    the gradients of kernel and bias. A confident row lies near the origin, so the
    distances hold uncertainty as well. No gradient is formed: see `badge`, whose
    embedding leaves the bias out.

    Args:
        features: inputs h of the last layer.
        logits: its outputs.

    Returns:
        What batch selectors take.

    Raises:
        ValueError: if shapes disagree; outside `jax.jit` also if a number is not
            finite.
        TypeError: if features or logits are not floating point.

    Example:
        >>> gradient_space(jnp.zeros((3, 2)), jnp.zeros((3, 5))).logits.shape
        (3, 5)
    """
    checks.require_finite("features", features, "pool d")
    checks.require_logits("logits", logits, "pool classes")
    checks.require_size("logits", logits, 0, len(features), "features")
    return Space(features, logits)


class Geometry(NamedTuple):
    """A space made ready to measure; a point is left ⊗ right, or right alone.

    Attributes:
        space: the arrays.
        right_scale: of the features, a power of two; (h, 1) where there are logits.
        right_squares: squared norms of the right factors, one per row.
        left_scale: of the residuals, a power of two; one where there are none.
        softmax: what residuals are made of; None where there are none.
        bias_square: what the bias adds to a product of two right factors.
    """

    space: Space
    right_scale: Float[jax.Array, ""]
    right_squares: Float[jax.Array, " pool"]
    left_scale: Float[jax.Array, ""]
    softmax: gradients.Softmax | None
    bias_square: Float[jax.Array, ""]


def geometry(
    space: Space, where: Bool[jax.Array, " pool"], *, bias: float = 1.0
) -> Geometry:
    """The scales and norms of a space, as its rows of `where` need them.

    Where there are logits, the right factors are (h, bias).
    """
    features, logits = space
    entries = blocks.largest_entries(features)
    if logits is None:
        softmax, right_scale = None, blocks.to_unit_range(entries, where)
        left_scale = jnp.ones_like(right_scale)
        bias_square = jnp.zeros_like(right_scale)
    else:
        softmax = gradients.softmax_of(logits)
        right_scale = blocks.to_unit_range(jnp.maximum(entries, bias), where)
        left_scale = blocks.to_unit_range(softmax.others, where)
        bias_square = (bias * right_scale) ** 2

    def square_norms(start, size, _):
        right = blocks.take_slice(features, start, size) * right_scale
        return (blocks.sum_rows(right**2) + bias_square).astype(zeros.dtype)

    zeros = jnp.zeros(len(features), jnp.result_type(left_scale, right_scale))
    squares = blocks.in_blocks(square_norms, zeros)
    return Geometry(space, right_scale, squares, left_scale, softmax, bias_square)


class Rows(NamedTuple):
    """Some rows' factors; the bias is left to `right_squares` and to the products.

    Attributes:
        left: residuals; None where there are none.
        right: features.
        right_squares: squared norms of the right factors.
    """

    left: Float[jax.Array, "rows classes"] | None
    right: Float[jax.Array, "rows d"]
    right_squares: Float[jax.Array, " rows"]


def rows_of(points: Geometry, get: Callable[..., jax.Array], *place) -> Rows:
    """The factors of rows, got by `blocks.take_slice` or `blocks.take_rows`."""
    right = get(points.space.features, *place) * points.right_scale
    squares = get(points.right_squares, *place)
    if points.softmax is None:
        return Rows(None, right, squares)
    parts = (get(array, *place) for array in (points.space.logits, *points.softmax))
    left = gradients.residual_of(*parts) * points.left_scale
    return Rows(left, right, squares)


def squared_distances(rows: Rows, others: Rows) -> Float[AnyArray, " rows"]:
    """Of each row to its other one, or of all rows to one; exactly zero for a copy."""
    if rows.left is None:
        return blocks.sum_rows((rows.right - others.right) ** 2)
    return gradients.squared_distance_of_products(
        rows[:2], others[:2], (rows.right_squares, others.right_squares)
    )


def nearer(
    points: Geometry, row: Int[jax.Array, ""], nearest: Float[jax.Array, " pool"]
) -> Float[jax.Array, " pool"]:
    """Squared distances to the nearest chosen row when `row` is chosen as well.

    Exactly zero for its copies.
    """
    chosen = rows_of(points, blocks.take_rows, row[None])

    def of_block(start, size, nearest):
        block = rows_of(points, blocks.take_slice, start, size)
        return jnp.minimum(nearest, squared_distances(block, chosen))

    return blocks.in_blocks(of_block, nearest)


def squared_norms(points: Geometry) -> Float[jax.Array, " pool"]:
    """Squared distances to the origin."""
    if points.softmax is None:
        return points.right_squares

    def of_block(start, size, _):
        left, _, squares = rows_of(points, blocks.take_slice, start, size)
        return blocks.sum_rows(left**2) * squares

    return blocks.in_blocks(of_block, points.right_squares)


def inner_products(
    points: Geometry, row: Int[jax.Array, ""]
) -> Float[jax.Array, " pool"]:
    """Inner products of all rows with one."""
    chosen = rows_of(points, blocks.take_rows, row[None])

    def of_block(start, size, _):
        left, right, _ = rows_of(points, blocks.take_slice, start, size)
        product = _matvec(right, chosen.right[0])
        if left is None:
            return product
        return _matvec(left, chosen.left[0]) * (product + points.bias_square)

    return blocks.in_blocks(of_block, jnp.zeros_like(points.right_squares))


def _matvec(matrix, vector):
    return jnp.matmul(matrix, vector, precision=numerics.PRECISION)


def middle(points: Geometry) -> Float[AnyArray, " d"]:
    """The place that `seen_from` subtracts, so that products cancel less."""
    features = points.space.features
    if points.softmax is None:
        return blocks.middle(features, points.right_scale)
    return jnp.zeros(features.shape[1], points.right_scale.dtype)


def seen_from(place: Float[AnyArray, " d"], rows: Rows) -> tuple[Rows, AnyArray]:
    """The rows less `place`, ready for `products`; and their squared norms."""
    if rows.left is None:
        right = rows.right - place[None]
        return rows._replace(right=right), blocks.sum_rows(right**2)
    return rows, blocks.sum_rows(rows.left**2) * rows.right_squares


def products(
    points: Geometry, rows: Rows, others: Rows
) -> Float[jax.Array, "rows others"]:
    """Inner products of some rows with others."""
    product = _matmul_transposed(rows.right, others.right)
    if rows.left is None:
        return product
    return _matmul_transposed(rows.left, others.left) * (product + points.bias_square)


def _matmul_transposed(matrix, other):
    return jnp.matmul(matrix, other.T, precision=numerics.PRECISION)
