"""From scores or embeddings to the rows to label next.

Every selector returns k distinct int32 rows in order of acquisition. A row that is
not eligible is excluded by its mask, never by a magic score, so it cannot come back
through a tie or a NaN-free but infinite score.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import checks, numerics
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
    them, go to the lower row. Memory pool · 128, whatever the number of centers.

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
    features = numerics.upcast(features)
    labeled = jnp.asarray(labeled)
    features = features * _to_unit_range(features, jnp.ones_like(labeled))
    distance = _distance_to_labeled(features, labeled)

    def pick(i, carry):
        distance, is_center, rows = carry
        row = jnp.argmax(jnp.where(is_center, -1, distance)).astype(jnp.int32)
        to_row = ((features - features[row][None]) ** 2).sum(-1)
        distance = jnp.minimum(distance, to_row)
        return distance, is_center.at[row].set(True), rows.at[i].set(row)

    rows = jnp.zeros(k, jnp.int32)
    return jax.lax.fori_loop(0, k, pick, (distance, labeled, rows))[-1]


def _distance_to_labeled(
    features: Float[jax.Array, "pool d"], labeled: Bool[jax.Array, " pool"]
) -> Float[jax.Array, " pool"]:
    """Squared distance to the nearest labeled row, a block of centers at a time.

    One matrix product a block finds the nearest center, from ‖c‖² - 2 h·c of centered
    features; that form cancels, so the distance itself is a sum of squared
    differences, exactly zero for a copy of a center.
    """
    pool_size = len(features)
    block = min(CENTERS_PER_BLOCK, pool_size)
    labeled_first = jnp.argsort(~labeled, stable=True)
    labeled_first = jnp.pad(labeled_first, (0, block))
    num_labeled = labeled.sum()
    centered = features - features.mean(0)[None]
    square = (centered**2).sum(-1)

    def nearer(i, distance):
        start = i * block
        rows = jax.lax.dynamic_slice(labeled_first, (start,), (block,))
        is_center = start + jnp.arange(block) < num_labeled
        product = jnp.matmul(centered, centered[rows].T, precision=numerics.PRECISION)
        closeness = jnp.where(
            is_center[None], square[rows][None] - 2 * product, jnp.inf
        )
        nearest = features[rows[closeness.argmin(-1)]]
        return jnp.minimum(distance, ((features - nearest) ** 2).sum(-1))

    num_blocks = (num_labeled + block - 1) // block
    farthest = jnp.full(pool_size, jnp.inf, features.dtype)
    return jax.lax.fori_loop(0, num_blocks, nearer, farthest)


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
    distances come from the two factors; the [pool, classes · d] matrix is never
    formed.

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


@partial(jax.jit, static_argnames="k")
def _badge(key, features, logits, where, *, k):
    features, logits = numerics.upcast((features, logits))
    residual = numerics.label_residual(logits, logits.argmax(-1))
    # Distances are compared, never reported. Fourth powers of tiny residuals and
    # huge features leave float32; a power of two brings them back exactly.
    features = features * _to_unit_range(features, where)
    residual = residual * _to_unit_range(residual, where)
    square = (residual**2).sum(-1) * (features**2).sum(-1)

    def pick(i, carry):
        distance, eligible, rows = carry
        # Gumbel noise turns an argmax into a draw in proportion to the distance.
        noise = jax.random.gumbel(jax.random.fold_in(key, i), distance.shape)
        weight = jnp.where(eligible, distance, 0)
        log_weight = jnp.where(weight.max() > 0, jnp.log(weight), 0.0)
        drawn = jnp.argmax(jnp.where(eligible, log_weight + noise, -jnp.inf))
        largest = jnp.argmax(jnp.where(eligible, square, -1))
        row = jnp.where(i == 0, largest, drawn).astype(jnp.int32)
        to_row = _squared_distance_of_products(residual, features, row)
        distance = jnp.minimum(distance, to_row)
        return distance, eligible.at[row].set(False), rows.at[i].set(row)

    distance = jnp.full_like(square, jnp.inf)
    rows = jnp.zeros(k, jnp.int32)
    return jax.lax.fori_loop(0, k, pick, (distance, jnp.asarray(where), rows))[-1]


def _squared_distance_of_products(left, right, row):
    """‖l_i ⊗ r_i - l_j ⊗ r_j‖² to one row j, exactly zero for a copy of it.

    With differences Δ and midpoints μ, l_i ⊗ r_i - l_j ⊗ r_j = Δl ⊗ μr + μl ⊗ Δr, so

        ‖·‖² = ‖Δl‖² ‖μr‖² + ‖μl‖² ‖Δr‖² + 2 (Δl·μl) (Δr·μr)

    where the expansion in norms of the products would cancel for near-duplicates.
    """

    def dot(x, y):
        return (x * y).sum(-1)

    left_change, right_change = left - left[row][None], right - right[row][None]
    left_middle, right_middle = (
        (left + left[row][None]) / 2,
        (right + right[row][None]) / 2,
    )
    squared = (
        dot(left_change, left_change) * dot(right_middle, right_middle)
        + dot(left_middle, left_middle) * dot(right_change, right_change)
        + 2 * dot(left_change, left_middle) * dot(right_change, right_middle)
    )
    return jnp.maximum(squared, 0)


def _to_unit_range(vectors, where):
    """The power of two that brings the largest eligible entry into [0.5, 1)."""
    largest = jnp.max(jnp.abs(vectors), where=where[:, None], initial=0)
    _, exponent = jnp.frexp(largest)
    return jnp.ldexp(jnp.ones_like(largest), -exponent)
