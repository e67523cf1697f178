"""Gradients of the last layer, never formed: their factors, and distances of those."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from iwps_jax import blocks, dialect, numerics


class Softmax(NamedTuple):
    """What a residual is made of besides the logits; [pool] each.

    Attributes:
        predicted: the most probable class.
        largest: its logit.
        total: Σ_c exp(z_c - largest).
        others: the probability of all other classes.
    """

    predicted: jax.Array
    largest: jax.Array
    total: jax.Array
    others: jax.Array


def softmax_of(logits):
    """The residuals' [pool] parts; the [pool, classes] rest is made a block a time."""

    def of_block(start, size, _):
        block = blocks.take_slice(logits, start, size)
        predicted, largest = block.argmax(-1).astype(jnp.int32), block.max(-1)
        residual = numerics.label_residual(block, predicted)
        total = jnp.exp(block - largest[:, None]).sum(-1)
        return Softmax(predicted, largest, total, residual.max(-1))

    zeros = jnp.zeros(len(logits), numerics.upcast(logits[:1]).dtype)
    return blocks.in_blocks(
        of_block, Softmax(zeros.astype(jnp.int32), zeros, zeros, zeros)
    )


def residual_of(logits, predicted, largest, total, others):
    """`numerics.label_residual` entry by entry: a copy of a row has the same bits."""
    classes = jnp.arange(logits.shape[-1], dtype=predicted.dtype)
    is_predicted = classes[None] == predicted[:, None]
    probs = jnp.exp(logits - largest[:, None]) / total[:, None]
    return jnp.where(is_predicted, others[:, None], -probs)


def squared_distance_of_products(rows, row, right_squares):
    """‖l_i ⊗ r_i - l_j ⊗ r_j‖² to one row j, exactly zero for a copy of it.

    With differences Δ and midpoints μ, l_i ⊗ r_i - l_j ⊗ r_j = Δl ⊗ μr + μl ⊗ Δr, so

        ‖·‖² = ‖Δl‖² ‖μr‖² + ‖μl‖² ‖Δr‖² + 2 (Δl·μl) (Δr·μr)

    where the expansion in norms of the products would cancel for near-duplicates. Of
    the right factors, the long ones, only Δr is formed, for their norms are known:

        ‖μr‖² = (‖r_i‖² + ‖r_j‖²) / 2 - ‖Δr‖² / 4,    Δr·μr = (‖r_i‖² - ‖r_j‖²) / 2

    What rounding leaves of the latter is weighed by Δl, also zero for a copy.
    """
    (left, right), (left_row, right_row) = rows, row
    square, square_row = right_squares
    change_square = blocks.sum_rows((left - left_row) ** 2)
    left = dialect.read_after(change_square, left)
    middle_square = blocks.sum_rows(((left + left_row) / 2) ** 2)
    left = dialect.read_after(middle_square, left)
    left_dot = blocks.sum_rows((left - left_row) * ((left + left_row) / 2))
    right_change = blocks.sum_rows((right - right_row) ** 2)
    right_middle = (square + square_row) / 2 - right_change / 4
    right_dot = (square - square_row) / 2
    squared = (
        change_square * right_middle
        + middle_square * right_change
        + 2 * left_dot * right_dot
    )
    return jnp.maximum(squared, 0)
