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

from iwps_jax import checks, numerics
from iwps_jax.types import AnyArray

ROWS_PER_BLOCK = 8192
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
    scale = _to_unit_range(_largest_entries(features), jnp.ones_like(labeled))
    distance = _distance_to_labeled(features, scale, labeled)

    def pick(i, carry):
        distance, is_center, rows = carry
        row = _argmax(jnp.where(is_center, -1, distance))
        center = _take(features, row[None]) * scale

        def nearer(start, size, distance):
            change = _slice(features, start, size) * scale - center
            return jnp.minimum(distance, _sum_rows(change**2))

        distance = _in_blocks(nearer, distance)
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
    middle = _middle(features, scale)

    def to_nearest(start, size, distance):
        block = _slice(features, start, size) * scale
        centered = block - middle[None]

        def nearer(i, distance):
            first = i * num_centers
            rows = jax.lax.dynamic_slice(labeled_first, (first,), (num_centers,))
            centers = _take(features, rows) * scale
            is_center = first + jnp.arange(num_centers) < num_labeled
            opposite = centers - middle[None]
            square = jnp.where(is_center, (opposite**2).sum(-1), jnp.inf)
            product = jnp.matmul(opposite, centered.T, precision=numerics.PRECISION)
            nearest = centers[_argmax(2 * product - square[:, None])]
            return jnp.minimum(distance, _sum_rows((block - nearest) ** 2))

        return jax.lax.fori_loop(0, num_blocks, nearer, distance)

    farthest = jnp.full(len(features), jnp.inf, scale.dtype)
    return _in_blocks(to_nearest, farthest)


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
    feature_scale = _to_unit_range(_largest_entries(features), where)
    residual_scale = _to_unit_range(softmax.others, where)

    def factors(get, *place):  # of rows, got by _slice or _take
        residual = _residual(*(get(array, *place) for array in (logits, *softmax)))
        return residual * residual_scale, get(features, *place) * feature_scale

    def square_norm(start, size, _):
        residual, feature = factors(_slice, start, size)
        return _sum_rows(residual**2) * _sum_rows(feature**2)

    dtype = jnp.result_type(residual_scale, feature_scale)
    square = _in_blocks(square_norm, jnp.zeros(len(features), dtype))
    largest = _argmax(jnp.where(where, square, -1))

    def pick(i, carry):
        distance, eligible, rows = carry
        # Gumbel noise turns an argmax into a draw in proportion to the distance.
        noise = jax.random.gumbel(jax.random.fold_in(key, i), distance.shape)
        weight = jnp.where(eligible, distance, 0)
        log_weight = jnp.where(weight.max() > 0, jnp.log(weight), 0.0)
        drawn = _argmax(jnp.where(eligible, log_weight + noise, -jnp.inf))
        row = jnp.where(i == 0, largest, drawn)
        chosen = factors(_take, row[None])

        def nearer(start, size, distance):
            to_row = _squared_distance_of_products(factors(_slice, start, size), chosen)
            return jnp.minimum(distance, to_row)

        distance = _in_blocks(nearer, distance)
        return distance, eligible.at[row].set(False), rows.at[i].set(row)

    distance = jnp.full(len(features), jnp.inf, dtype)
    rows = jnp.zeros(k, jnp.int32)
    return jax.lax.fori_loop(0, k, pick, (distance, where, rows))[-1]


def _softmax_of(logits):
    """The residuals' [pool] parts; the [pool, classes] rest is made a block a time."""

    def of_block(start, size, _):
        block = _slice(logits, start, size)
        predicted, largest = block.argmax(-1).astype(jnp.int32), block.max(-1)
        residual = numerics.label_residual(block, predicted)
        total = jnp.exp(block - largest[:, None]).sum(-1)
        return _Softmax(predicted, largest, total, residual.max(-1))

    zeros = jnp.zeros(len(logits), numerics.upcast(logits[:1]).dtype)
    return _in_blocks(of_block, _Softmax(zeros.astype(jnp.int32), zeros, zeros, zeros))


def _residual(logits, predicted, largest, total, others):
    """`numerics.label_residual` entry by entry: a copy of a row has the same bits."""
    is_predicted = jnp.arange(logits.shape[-1])[None] == predicted[:, None]
    probs = jnp.exp(logits - largest[:, None]) / total[:, None]
    return jnp.where(is_predicted, others[:, None], -probs)


def _squared_distance_of_products(rows, row):
    """‖l_i ⊗ r_i - l_j ⊗ r_j‖² to one row j, exactly zero for a copy of it.

    With differences Δ and midpoints μ, l_i ⊗ r_i - l_j ⊗ r_j = Δl ⊗ μr + μl ⊗ Δr, so

        ‖·‖² = ‖Δl‖² ‖μr‖² + ‖μl‖² ‖Δr‖² + 2 (Δl·μl) (Δr·μr)

    where the expansion in norms of the products would cancel for near-duplicates.
    """

    def dots(x, y):
        change, middle = x - y, (x + y) / 2
        return _sum_rows(jnp.stack([change**2, middle**2, change * middle]))

    left, right = map(dots, rows, row)
    squared = left[0] * right[1] + left[1] * right[0] + 2 * left[2] * right[2]
    return jnp.maximum(squared, 0)


def _largest_entries(vectors):
    """The largest absolute value of each row."""

    def of_block(start, size, _):
        return jnp.abs(_slice(vectors, start, size)).max(-1)

    zeros = jnp.zeros(len(vectors), numerics.upcast(vectors[:1]).dtype)
    return _in_blocks(of_block, zeros)


def _middle(features, scale):
    """About the mean of the scaled rows: those at the end may count twice."""
    num_blocks, size = _blocks(len(features))

    def add(i, mean):
        block = _slice(features, i * size, size) * scale
        return mean + block.mean(0) / num_blocks

    zeros = jnp.zeros(features.shape[1], scale.dtype)
    return jax.lax.fori_loop(0, num_blocks, add, zeros)


def _to_unit_range(entries, where):
    """The normal power of two that brings the largest eligible entry close to one."""
    largest = jnp.max(entries, where=where, initial=0)
    _, exponent = jnp.frexp(largest)
    return jnp.ldexp(jnp.ones_like(largest), -jnp.clip(exponent, -126, 126))


def _blocks(num_rows):
    """The number of blocks and their size, about the same for all of them."""
    num_blocks = -(-num_rows // ROWS_PER_BLOCK)
    return num_blocks, -(-num_rows // num_blocks)


def _in_blocks(of_block, vectors):
    """Replaces vectors of [pool] by `of_block(start, size, old)` of their blocks.

    The last block starts early enough to be whole: some rows may be computed twice.
    """
    num_rows = len(jax.tree.leaves(vectors)[0])
    num_blocks, size = _blocks(num_rows)

    def replace(i, vectors):
        start = jnp.minimum(i * size, num_rows - size)
        old = jax.tree.map(
            lambda v: jax.lax.dynamic_slice(v, (start,), (size,)), vectors
        )
        new = of_block(start, size, old)
        return jax.tree.map(
            lambda v, part: jax.lax.dynamic_update_slice(v, part, (start,)),
            vectors,
            new,
        )

    return jax.lax.fori_loop(0, num_blocks, replace, vectors)


def _slice(array, start, size):
    """Consecutive rows, in float32 at least."""
    # Without the barrier the compiler widens the whole array ahead of the loop.
    array, start = jax.lax.optimization_barrier((jnp.asarray(array), start))
    return numerics.upcast(jax.lax.dynamic_slice_in_dim(array, start, size))


def _take(array, rows):
    """These rows, in float32 at least."""
    array, rows = jax.lax.optimization_barrier((jnp.asarray(array), rows))
    return numerics.upcast(array[rows])


def _argmax(values):
    """The first row of the largest value; `jnp.argmax` is not vectorized on CPU."""
    is_largest = values == values.max(0, keepdims=True)
    numbers = jax.lax.broadcasted_iota(jnp.int32, values.shape, 0)
    return jnp.where(is_largest, numbers, len(values) - 1).min(0)


def _sum_rows(entries):
    """Sums over the last axis, as a product with ones: that needs no temporary copy."""
    ones = jnp.ones(entries.shape[-1], entries.dtype)
    return jnp.matmul(entries, ones, precision=numerics.PRECISION)
