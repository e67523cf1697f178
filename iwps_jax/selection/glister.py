"""GLISTER: the batch whose predictions, once learned, help the holdout set most.

The holdout set is asked by the gradient alone, as IWPS-app asks it: what is learned
moves its logits in closed form, see `iwps_jax.scores.head`, and no weight is copied.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Integer

from iwps_jax import blocks, checks, numerics
from iwps_jax.scores.head import check_head, check_holdout, head_logits
from iwps_jax.selection import spaces
from iwps_jax.selection.greedy import greedy
from iwps_jax.selection.highest import check_where
from iwps_jax.types import AnyArray

LEARNING_RATE = 0.01
# A logit that has moved so far stays: a softmax tells it from no larger one.
LARGEST_STEP = 1e15


def glister(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    holdout_features: Float[AnyArray, "m d"],
    holdout_labels: Integer[AnyArray, " m"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
    *,
    learning_rate: AnyArray | float = LEARNING_RATE,
    diversity: float = 0.0,
    picks_per_gradient: int = 1,
) -> Int[jax.Array, " k"]:
    """GLISTER: rows whose predictions, learned as labels, lower the holdout loss most.

        next = argmax_x ⟨∇ℓ_v(θ_S), ∇ℓ(x, ŷ; θ)⟩ - λ Σ_(s in S) exp(-‖g_x - g_s‖² / 2)
        θ_S  = θ - η Σ_(s in S) ∇ℓ(s, ŷ; θ)

    with S the picks so far, g_x = ∇ℓ(x, ŷ; θ) and ℓ_v the mean loss of the holdout set,
    all of it on the kernel and the bias of the head. The first pick is the row of the
    lowest score of `iwps_app_last_layer`: IWPS takes the rows whose prediction would
    hurt, GLISTER those whose prediction would help.

    Time: classes · d a row and a pick. Memory beside the arguments: the logits of the
    pool, a few numbers a row and blocks of rows, as for `badge`.

    Args:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        holdout_features: inputs of the last layer for the holdout samples.
        holdout_labels: their true classes, in [0, classes).
        k: how many rows to choose.
        where: rows that may be chosen; all by default.
        learning_rate: η, the length of the step; positive.
        diversity: λ of the regularization; 0: none, the default of the public code.
        picks_per_gradient: picks after which the holdout gradient is taken anew; 1: as
            in the public code; k: the rows that are best at first.

    Returns:
        k distinct rows, in order of choice; ties go to the lower row.

    Raises:
        ValueError: if k is not in [1, rows left], the diversity is negative or shapes
            disagree; outside `jax.jit` also if a label is out of range or a number is
            not finite.
        TypeError: if features are not floating point, labels no integers or `where` is
            not boolean.

    The public code moves the holdout logits by one step on the labeled samples before
    the first pick, where a fitted head has no slope left but that of its penalty; we
    do not. Its η is the learning rate of training; ours is 0.01. Of its regularizations
    we have "Diversity", which needs no [pool, pool] matrix.

    References:
        Killamsetty et al. 2021, "GLISTER: Generalization based Data Subset Selection
        for Efficient and Robust Learning", GLISTER-ACTIVE with the Taylor expansion of
        the greedy step. https://arxiv.org/abs/2012.10630

    Example:
        >>> rows = glister(
        ...     features=jnp.array([[0.6, -0.5], [0.0, 9.0], [9.0, 0.0]]),
        ...     kernel=jnp.eye(2),
        ...     bias=jnp.zeros(2),
        ...     holdout_features=jnp.array([[0.5, 0.6], [0.9, 0.6]]),
        ...     holdout_labels=jnp.array([1, 0]),
        ...     k=1,
        ... )
        >>> print(rows)
        [0]
    """
    check_head(features, kernel, bias)
    check_holdout(holdout_features, holdout_labels, kernel)
    where = check_where(features, k, where)
    checks.require_positive("learning_rate", learning_rate)
    if not (math.isfinite(diversity) and diversity >= 0):
        raise ValueError(f"diversity must be at least 0 and finite, got {diversity}.")
    if checks.require_integer("picks_per_gradient", picks_per_gradient) < 1:
        raise ValueError(
            f"picks_per_gradient must be at least 1, got {picks_per_gradient}."
        )
    return _glister(
        features,
        (kernel, bias),
        (holdout_features, holdout_labels),
        where,
        learning_rate,
        k=int(k),
        diversity=float(diversity),
        picks_per_gradient=int(picks_per_gradient),
    )


class _State(NamedTuple):
    """What a pick changes.

    Attributes:
        logits: of the holdout samples, once the picks are learned.
        gains: of all rows, by the last gradient.
        likeness: to the picks, Σ_(s in S) exp(-‖g_x - g_s‖² / 2).
    """

    logits: Float[jax.Array, "m classes"]
    gains: Float[jax.Array, " pool"]
    likeness: Float[jax.Array, " pool"]


_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


@partial(jax.jit, static_argnames=("k", "diversity", "picks_per_gradient"))
def _glister(
    features, head_, holdout, where, learning_rate, *, k, diversity, picks_per_gradient
):
    where, labels = jnp.asarray(where), holdout[1].astype(jnp.int32)
    head_, judges, _ = numerics.upcast((head_, holdout[0], features[:1]))
    space = spaces.Space(features, head_logits(features, *head_))
    points = spaces.geometry(space, where)
    left_scale, right_scale = points.left_scale, points.right_scale
    judges_scaled = judges * right_scale

    def gains_of(logits):
        residual = numerics.label_residual(logits, labels) / len(labels)
        of_kernel = _matmul(judges_scaled.T, residual)
        of_bias = right_scale * right_scale * residual.sum(0)

        def of_block(start, size, _):
            rows = spaces.rows_of(points, blocks.take_slice, start, size)
            tangent = _matmul(rows.right, of_kernel) + of_bias[None]
            return blocks.sum_rows(rows.left * tangent)

        return blocks.in_blocks(of_block, jnp.zeros_like(points.right_squares))

    def likeness_to(chosen, likeness):
        def of_block(start, size, _):
            rows = spaces.rows_of(points, blocks.take_slice, start, size)
            squared = spaces.squared_distances(rows, chosen)
            squared = squared / left_scale / left_scale / right_scale / right_scale
            return jnp.exp(-squared / 2)

        return likeness + blocks.in_blocks(of_block, jnp.zeros_like(likeness))

    def gain(i, state, eligible):
        if not diversity:
            return state.gains
        # In the units of the gains, which are scaled.
        units = diversity * (left_scale * right_scale * right_scale)
        return state.gains - units * state.likeness

    def update(i, state, row):
        chosen = spaces.rows_of(points, blocks.take_rows, row[None])
        # 1 + g·h, and the residual, in their own units again.
        coupling = _matmul(judges_scaled, chosen.right[0]) + right_scale * right_scale
        step = coupling / right_scale / right_scale * learning_rate
        step = jnp.clip(step, -LARGEST_STEP, LARGEST_STEP)
        moved = step[:, None] * (chosen.left / left_scale)
        logits, likeness = state.logits + moved, state.likeness
        if diversity:
            likeness = likeness_to(chosen, likeness)
        gains = jax.lax.cond(
            (i + 1) % picks_per_gradient == 0,
            lambda logits: gains_of(logits),
            lambda logits: state.gains,
            logits,
        )
        return _State(logits, gains, likeness)

    logits = head_logits(judges, *head_)
    zeros = jnp.zeros_like(points.right_squares)
    start = _State(logits, gains_of(logits), zeros)
    return greedy(k, start, where, gain=gain, update=update, best=blocks.argmax)
