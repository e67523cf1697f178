"""IWPS without a holdout set: every labeled sample judges a head that never saw it.

The labeled samples are split into folds. The head of a fold is fitted to all others,
and the fold is its holdout set:

    score(x) = Σ_f Σ_(m in f) w_m [ℓ_m(θ_f,x) - ℓ_m(θ_f)],    Σ w = 1

with θ_f,x the head of fold f after T SGD steps on (x, ŷ_f), and ŷ_f what that head
predicts. So all labels judge, and none of them judges a head that learned it.

Axis names: n labeled samples, `size` the most of them that a fold holds.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from iwps_jax import checks, numerics
from iwps_jax.scores import head, kernel, lookahead
from iwps_jax.types import AnyArray


class CrossFit(NamedTuple):
    """Heads, each fitted without some of the labeled samples, and which these are.

    Attributes:
        kernel: [folds, d, classes].
        bias: [folds, classes].
        rows: [folds, size], the labeled samples that a head has not seen.
        where: [folds, size], which of these entries there are.
    """

    kernel: Float[Array, "folds d classes"]
    bias: Float[Array, "folds classes"]
    rows: Int[Array, "folds size"]
    where: Bool[Array, "folds size"]


def cross_fitted_iwps(
    features: Float[AnyArray, "pool d"],
    cross_fit: CrossFit,
    labeled_features: Float[AnyArray, "n d"],
    labels: Integer[AnyArray, " n"],
    *,
    weights: Float[AnyArray, " n"] | None = None,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
) -> Float[jax.Array, " pool"]:
    """Exact IWPS on the last layer, judged by the labeled samples themselves.

        score_n = Σ_f Σ_(m in f) w_m log Σ_c p_mc exp(k_nm (δ^f_nc - δ^f_n,y_m))

    with δ^f the displacement of the head of fold f by the candidate's T steps, p_m that
    head's probabilities and k_nm = 1 + h_n·g_m: `iwps_last_layer` of every head on its
    fold, summed in the folds' shares of the weight. One fold at a time: memory
    pool · size, time that of a holdout set of n samples.

    Args:
        features: inputs h of the last layer, for the candidates.
        cross_fit: heads and their folds, of `cross_fitted_heads`.
        labeled_features: inputs g of the last layer for the labeled samples: the
            buffer that the heads were fitted on, in which what is masked may be
            anything.
        labels: their classes, in [0, classes).
        weights: how much each labeled sample says, such as `class_balanced_weights`;
            at least 0 and made to sum to one. All the same by default.
        steps: T, the SGD steps on each pseudo-label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            label is out of range, a weight negative or a number not finite.
        TypeError: if labels are not integers or features not floating point.

    References:
        Aljundi et al. 2020, Eq. 2 and Eq. 3, whose holdout set is apart; leaving out
        in turn: Stone 1974, "Cross-Validatory Choice and Assessment of Statistical
        Predictions".

    Example:
        >>> from iwps_jax.heads.cross_fitted import cross_fitted_heads
        >>> known = jnp.array([[-2.0], [-1.0], [1.0], [2.0]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> heads = cross_fitted_heads(
        ...     jax.random.key(0), known, labels, num_classes=2, num_folds=2
        ... )
        >>> pool = jnp.array([[0.1], [9.0]])
        >>> scores = cross_fitted_iwps(pool, heads, known, labels)
        >>> bool(scores[0] > scores[1])
        True
    """
    weights = _checked_weights(features, cross_fit, labeled_features, labels, weights)
    checks.require_steps(steps, learning_rate)
    return _sum_over_folds(
        lookahead.weighted_look_ahead,
        *(features, cross_fit, labeled_features, labels, weights),
        learning_rate,
        steps=int(steps),
    )


def cross_fitted_iwps_app(
    features: Float[AnyArray, "pool d"],
    cross_fit: CrossFit,
    labeled_features: Float[AnyArray, "n d"],
    labels: Integer[AnyArray, " n"],
    *,
    weights: Float[AnyArray, " n"] | None = None,
) -> Float[jax.Array, " pool"]:
    """First-order IWPS on the last layer, judged by the labeled samples themselves.

        score_n = Σ_f (onehot(ŷ^f_n) - p^f_n)ᵀ (A_f h_n + a_f)

    with (A_f, a_f) the gradient of fold f's weighted loss in the kernel (transposed)
    and bias of the head that has not seen it: the limit of `cross_fitted_iwps` divided
    by η T as η → 0. One matrix product a fold.

    Args:
        features: inputs h of the last layer, for the candidates.
        cross_fit: heads and their folds, of `cross_fitted_heads`.
        labeled_features: inputs of the last layer for the labeled samples.
        labels: their classes, in [0, classes).
        weights: how much each labeled sample says, such as `class_balanced_weights`;
            at least 0 and made to sum to one. All the same by default.

    Returns:
        One float32 score per candidate, in nats per unit of step length.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            label is out of range, a weight negative or a number not finite.
        TypeError: if labels are not integers or features not floating point.

    References:
        Aljundi et al. 2020, Eq. 10, whose holdout set is apart.

    Example:
        >>> from iwps_jax.heads.cross_fitted import cross_fitted_heads
        >>> known = jnp.array([[-2.0], [-1.0], [1.0], [2.0]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> heads = cross_fitted_heads(
        ...     jax.random.key(0), known, labels, num_classes=2, num_folds=2
        ... )
        >>> pool = jnp.array([[0.1], [9.0]])
        >>> scores = cross_fitted_iwps_app(pool, heads, known, labels)
        >>> bool(scores[0] > scores[1])
        True
    """
    weights = _checked_weights(features, cross_fit, labeled_features, labels, weights)
    return _sum_over_folds(
        _first_order,
        *(features, cross_fit, labeled_features, labels, weights),
        None,
        steps=0,
    )


def _first_order(
    features, kernel_, bias, held_out, labels, weights, learning_rate, *, steps
):
    del learning_rate, steps  # nothing is stepped
    return kernel.weighted_app_last_layer(
        features, kernel_, bias, held_out, labels, weights
    )


def _checked_weights(features, cross_fit, labeled_features, labels, weights):
    """Refuses what the public functions refuse; the weights, or ones."""
    checks.require_same_numbers("cross_fit", cross_fit)
    for name, axes in (("kernel", 3), ("bias", 2), ("rows", 2), ("where", 2)):
        array = getattr(cross_fit, name)
        if jnp.ndim(array) != axes or len(array) != len(cross_fit.kernel):
            raise ValueError(
                f"cross_fit.{name} must have {axes} axes, the first of folds, got "
                f"shape {jnp.shape(array)}."
            )
    one_head = cross_fit.kernel[0], cross_fit.bias[0]
    head.check_head(features, *one_head)
    checks.require_floating("labeled_features", labeled_features, "n d")
    checks.require_integers("labels", labels)
    checks.require_size("labels", labels, 0, len(labeled_features), "labeled_features")
    is_there = jnp.zeros(len(labels), bool).at[cross_fit.rows].max(cross_fit.where)
    there = jnp.where(is_there[:, None], labeled_features, 0)
    head.check_same_features("labeled_features", there, one_head[0])
    checks.require_labels("labels", jnp.where(is_there, labels, 0), len(one_head[1]))
    if weights is None:
        return jnp.ones(len(labels), jnp.float32)
    checks.require_axes("weights", weights, "n")
    checks.require_size("weights", weights, 0, len(labels), "labels")
    there = jnp.where(is_there, weights, 0)
    checks.require_weights("weights", there, len(labels), "labels")
    return there


@partial(jax.jit, static_argnames=("score_fn", "steps"))
def _sum_over_folds(
    score_fn,
    features,
    cross_fit,
    labeled_features,
    labels,
    weights,
    learning_rate,
    *,
    steps,
):
    features, labeled_features, weights = numerics.upcast(
        (features, labeled_features, weights)
    )
    weights = jnp.where(cross_fit.where, weights[cross_fit.rows], 0)
    weights = weights / weights.sum()

    def of_fold(fold):
        (kernel_, bias, rows, where), weights = fold
        # What fills up a fold may be anything, and 0 times that is not always 0.
        held_out = jnp.where(where[:, None], labeled_features[rows], 0)
        its_labels = jnp.where(where, labels[rows], 0)
        return score_fn(
            *(features, kernel_, bias, held_out, its_labels, weights, learning_rate),
            steps=steps,
        )

    return jax.lax.map(of_fold, (cross_fit, weights)).sum(0)
