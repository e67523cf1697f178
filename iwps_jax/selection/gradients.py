"""Gradients of the last layer, never formed: their factors, and BADGE over them."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks, numerics
from iwps_jax.selection.greedy import draw_gain, greedy
from iwps_jax.selection.highest import check_where
from iwps_jax.types import AnyArray


def badge(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    logits: Float[AnyArray, "pool classes"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """BADGE: k-means++ over the last layer's gradients under the predictions.

        embedding_i = (p_i - onehot(ŷ_i)) ⊗ h_i

    First the largest embedding, then rows at random in proportion to the squared
    distance to the nearest row chosen, uniformly once all of those are zero. The
    distances come from the two factors: neither the [pool, classes · d] matrix nor
    the [pool, classes] residuals are formed, and memory is as for `k_center_greedy`.

    Args:
        key: randomness of the D² sampling.
        features: inputs h of the last layer.
        logits: its outputs.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows.

    Raises:
        ValueError: if k is not in [1, rows left] or shapes disagree; outside
            `jax.jit` also if a number is not finite.
        TypeError: if features or logits are not floating point or `where` is not
            boolean.

    References:
        Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient
        Lower Bounds", Algorithm 1. https://arxiv.org/abs/1906.03671

    Example:
        >>> features = jnp.array([[1.0], [3.0], [2.0]])
        >>> print(badge(jax.random.key(0), features, jnp.zeros((3, 2)), 1))
        [1]
    """
    checks.require_key("key", key)
    checks.require_finite("features", features, "pool d")
    checks.require_logits("logits", logits, "pool classes")
    checks.require_size("logits", logits, 0, len(features), "features")
    where = check_where(features, k, where)
    return _badge(key, features, logits, where, k=int(k))


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


@partial(jax.jit, static_argnames="k")
def _badge(key, features, logits, where, *, k):
    where = jnp.asarray(where)
    softmax = softmax_of(logits)
    # Distances are compared, never reported. Fourth powers of tiny residuals and
    # huge features leave float32; a power of two brings them back exactly.
    feature_scale = blocks.to_unit_range(blocks.largest_entries(features), where)
    residual_scale = blocks.to_unit_range(softmax.others, where)

    def factors(get, *place):  # of rows, got by blocks.take_slice or blocks.take_rows
        residual = residual_of(*(get(array, *place) for array in (logits, *softmax)))
        return residual * residual_scale, get(features, *place) * feature_scale

    def square_norms(start, size, _):
        return tuple(
            blocks.sum_rows(factor**2)
            for factor in factors(blocks.take_slice, start, size)
        )

    zeros = jnp.zeros(len(features), jnp.result_type(residual_scale, feature_scale))
    residual_square, square = blocks.in_blocks(square_norms, (zeros, zeros))
    largest = blocks.argmax(jnp.where(where, residual_square * square, -1))

    def gain(i, distance, eligible):
        noise = numerics.gumbel(jax.random.fold_in(key, i), distance.shape)
        return draw_gain(jnp.where(eligible, distance, 0), noise)

    def update(i, distance, row):
        chosen = factors(blocks.take_rows, row[None])

        def nearer(start, size, distance):
            to_row = squared_distance_of_products(
                factors(blocks.take_slice, start, size),
                chosen,
                (blocks.take_slice(square, start, size), square[row]),
            )
            return jnp.minimum(distance, to_row)

        return blocks.in_blocks(nearer, distance)

    def best(gains):  # before the first pick all are infinite: the largest wins the tie
        is_tie = gains[largest] == gains.max()
        return jnp.where(is_tie, largest, blocks.argmax(gains))

    distance = jnp.full_like(zeros, jnp.inf)
    return greedy(k, distance, where, gain=gain, update=update, best=best)


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
    left = _read_after(change_square, left)
    middle_square = blocks.sum_rows(((left + left_row) / 2) ** 2)
    left = _read_after(middle_square, left)
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


def _read_after(earlier, block):
    """The block, for what comes after: products at once would be several in memory."""
    return jax.lax.optimization_barrier((block, earlier))[0]
