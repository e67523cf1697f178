"""From scores or embeddings to the rows to label next.

Every selector returns k distinct int32 rows in order of acquisition. A row that is
not eligible is excluded by its mask, never by a magic score, so it cannot come back
through a tie or a NaN-free but infinite score.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks, numerics
from iwps_jax.types import AnyArray

CENTERS_PER_BLOCK = 128


def top_k(
    scores: Float[AnyArray, " pool"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """The k highest scores, best first, ties to the lower row.

    Args:
        scores: one number per row; infinities rank as such.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows.

    Raises:
        ValueError: if k is not in [1, rows left]; outside `jax.jit` also for NaN.
        TypeError: if scores are not floating point or `where` is not boolean.

    References:
        Aljundi et al. 2020: plain top-b, without a diversity term (inferred).

    Example:
        >>> scores = jnp.array([0.1, 0.9, 0.5])
        >>> print(top_k(scores, 2, where=jnp.array([True, False, True])))
        [2 0]
    """
    checks.require_no_nan("scores", scores, "pool")
    where = _check_where(scores, k, where)
    return _top_k(scores, where, k=int(k))


def _check_where(rows, k, where):
    """All rows if `where` is None; refuses a mask that leaves fewer than k."""
    if where is None:
        where = jnp.ones(len(rows), bool)
    checks.require_mask("where", where, len(rows))
    checks.require_at_most("k", k, len(rows))
    checks.require_at_most("k", k, jnp.asarray(where).sum())
    return where


@partial(jax.jit, static_argnames="k")
def _top_k(scores, where, *, k):
    scores = numerics.upcast(scores)
    # -0.0 ties with 0.0, and a legal -inf must still beat every excluded row.
    scores = jnp.where(scores == 0, 0, scores)
    eligible = jnp.maximum(scores, jnp.finfo(scores.dtype).min)
    _, rows = jax.lax.top_k(jnp.where(where, eligible, -jnp.inf), k)
    return rows.astype(jnp.int32)


def k_center_greedy(
    features: Float[AnyArray, "pool d"], k: int, labeled: Bool[AnyArray, " pool"]
) -> Int[jax.Array, " k"]:
    """Core-set: cover the pool with k more centers, farthest point first.

        next = argmax_i min_(j in centers) ‖h_i - h_j‖²

    starting from all labeled rows as centers; ties, an empty labeled set among
    them, go to the lower row. Memory beside the arguments: a few numbers a row and
    blocks of 8,192 rows, whatever the number of centers.

    Args:
        features: one embedding per row, labeled rows included.
        k: how many rows to choose.
        labeled: rows that are centers already.

    Returns:
        k distinct unlabeled rows; duplicates of centers come last.

    Raises:
        ValueError: if k is not in [1, unlabeled rows] or shapes disagree; outside
            `jax.jit` also if a feature is not finite.
        TypeError: if features are not floating point or `labeled` is not boolean.

    References:
        Sener, Savarese 2018, "Active Learning for Convolutional Neural Networks: A
        Core-Set Approach", Algorithm 1. https://arxiv.org/abs/1708.00489

    Example:
        >>> line = jnp.array([[0.0], [1.0], [5.0], [9.0]])
        >>> print(k_center_greedy(line, 2, jnp.array([True, False, False, False])))
        [3 2]
    """
    checks.require_finite("features", features, "pool d")
    checks.require_mask("labeled", labeled, len(features))
    checks.require_at_most("k", k, len(features))
    checks.require_at_most("k", k, (~jnp.asarray(labeled)).sum())
    return _k_center_greedy(features, labeled, k=int(k))


@partial(jax.jit, static_argnames="k")
def _k_center_greedy(features, labeled, *, k):
    labeled = jnp.asarray(labeled)
    scale = blocks.to_unit_range(
        blocks.largest_entries(features), jnp.ones_like(labeled)
    )
    distance = _distance_to_labeled(features, scale, labeled)

    def pick(i, carry):
        distance, is_center, rows = carry
        row = blocks.argmax(jnp.where(is_center, -1, distance))
        center = blocks.take_rows(features, row[None]) * scale

        def nearer(start, size, distance):
            change = blocks.take_slice(features, start, size) * scale - center
            return jnp.minimum(distance, blocks.sum_rows(change**2))

        distance = blocks.in_blocks(nearer, distance)
        return distance, is_center.at[row].set(True), rows.at[i].set(row)

    rows = jnp.zeros(k, jnp.int32)
    return jax.lax.fori_loop(0, k, pick, (distance, labeled, rows))[-1]


def _distance_to_labeled(features, scale, labeled):
    """Squared distance to the nearest labeled row, by blocks of rows and of centers.

    One matrix product a block finds the nearest center, from ‖c‖² - 2 h·c of centered
    features; that form cancels, so the distance itself is a sum of squared
    differences, exactly zero for a copy of a center.
    """
    num_centers = min(CENTERS_PER_BLOCK, len(features))
    labeled_first = jnp.pad(jnp.argsort(~labeled, stable=True), (0, num_centers))
    num_labeled = labeled.sum()
    num_blocks = (num_labeled + num_centers - 1) // num_centers
    middle = blocks.middle(features, scale)

    def to_nearest(start, size, distance):
        block = blocks.take_slice(features, start, size) * scale
        centered = block - middle[None]

        def nearer(i, distance):
            first = i * num_centers
            rows = jax.lax.dynamic_slice(labeled_first, (first,), (num_centers,))
            centers = blocks.take_rows(features, rows) * scale
            is_center = first + jnp.arange(num_centers) < num_labeled
            opposite = centers - middle[None]
            square = jnp.where(is_center, (opposite**2).sum(-1), jnp.inf)
            product = jnp.matmul(opposite, centered.T, precision=numerics.PRECISION)
            nearest = centers[blocks.argmax(2 * product - square[:, None])]
            return jnp.minimum(distance, blocks.sum_rows((block - nearest) ** 2))

        return jax.lax.fori_loop(0, num_blocks, nearer, distance)

    farthest = jnp.full(len(features), jnp.inf, scale.dtype)
    return blocks.in_blocks(to_nearest, farthest)


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
    where = _check_where(features, k, where)
    return _badge(key, features, logits, where, k=int(k))


class _Softmax(NamedTuple):
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
    softmax = _softmax_of(logits)
    # Distances are compared, never reported. Fourth powers of tiny residuals and
    # huge features leave float32; a power of two brings them back exactly.
    feature_scale = blocks.to_unit_range(blocks.largest_entries(features), where)
    residual_scale = blocks.to_unit_range(softmax.others, where)

    def factors(get, *place):  # of rows, got by blocks.take_slice or blocks.take_rows
        residual = _residual(*(get(array, *place) for array in (logits, *softmax)))
        return residual * residual_scale, get(features, *place) * feature_scale

    def square_norms(start, size, _):
        return tuple(
            blocks.sum_rows(factor**2)
            for factor in factors(blocks.take_slice, start, size)
        )

    zeros = jnp.zeros(len(features), jnp.result_type(residual_scale, feature_scale))
    residual_square, square = blocks.in_blocks(square_norms, (zeros, zeros))
    largest = blocks.argmax(jnp.where(where, residual_square * square, -1))

    def pick(i, carry):
        distance, eligible, rows = carry
        # Gumbel noise turns an argmax into a draw in proportion to the distance.
        noise = jax.random.gumbel(jax.random.fold_in(key, i), distance.shape)
        weight = jnp.where(eligible, distance, 0)
        log_weight = jnp.where(weight.max() > 0, jnp.log(weight), 0.0)
        drawn = blocks.argmax(jnp.where(eligible, log_weight + noise, -jnp.inf))
        row = jnp.where(i == 0, largest, drawn)
        chosen = factors(blocks.take_rows, row[None])

        def nearer(start, size, distance):
            to_row = _squared_distance_of_products(
                factors(blocks.take_slice, start, size),
                chosen,
                (blocks.take_slice(square, start, size), square[row]),
            )
            return jnp.minimum(distance, to_row)

        distance = blocks.in_blocks(nearer, distance)
        return distance, eligible.at[row].set(False), rows.at[i].set(row)

    distance = jnp.full_like(zeros, jnp.inf)
    rows = jnp.zeros(k, jnp.int32)
    return jax.lax.fori_loop(0, k, pick, (distance, where, rows))[-1]


def _softmax_of(logits):
    """The residuals' [pool] parts; the [pool, classes] rest is made a block a time."""

    def of_block(start, size, _):
        block = blocks.take_slice(logits, start, size)
        predicted, largest = block.argmax(-1).astype(jnp.int32), block.max(-1)
        residual = numerics.label_residual(block, predicted)
        total = jnp.exp(block - largest[:, None]).sum(-1)
        return _Softmax(predicted, largest, total, residual.max(-1))

    zeros = jnp.zeros(len(logits), numerics.upcast(logits[:1]).dtype)
    return blocks.in_blocks(
        of_block, _Softmax(zeros.astype(jnp.int32), zeros, zeros, zeros)
    )


def _residual(logits, predicted, largest, total, others):
    """`numerics.label_residual` entry by entry: a copy of a row has the same bits."""
    is_predicted = jnp.arange(logits.shape[-1])[None] == predicted[:, None]
    probs = jnp.exp(logits - largest[:, None]) / total[:, None]
    return jnp.where(is_predicted, others[:, None], -probs)


def _squared_distance_of_products(rows, row, right_squares):
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
    change, middle = left - left_row, (left + left_row) / 2
    change_square, middle_square, left_dot = blocks.sum_rows(
        jnp.stack([change**2, middle**2, change * middle])
    )
    right_change = blocks.sum_rows((right - right_row) ** 2)
    right_middle = (square + square_row) / 2 - right_change / 4
    right_dot = (square - square_row) / 2
    squared = (
        change_square * right_middle
        + middle_square * right_change
        + 2 * left_dot * right_dot
    )
    return jnp.maximum(squared, 0)
