"""IWPS: would learning the model's own prediction hurt on the holdout set?

For one candidate x with prediction ŷ = argmax f(x; θ), kept fixed:

    θ_x      = T plain-SGD steps on the cross-entropy of (x, ŷ), from θ   (Eq. 2)
    score(x) = ℓ_v(θ_x) - ℓ_v(θ)                                          (Eq. 3)

with ℓ_v the mean holdout cross-entropy, in nats. A high score says that the
prediction was probably wrong, so that sample is labeled first. The equations are
those of the main paper, whose body is not at hand; what is inferred of them is
listed in docs/paper.md.

References:
    Aljundi, Chumerin, Olmeda Reino 2020, "Identifying Wrongly Predicted Samples:
    A Method for Active Learning". https://arxiv.org/abs/2010.06890
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Integer

from iwps_jax import checks
from iwps_jax.scores import head, step_forms
from iwps_jax.scores.weights import checked_weights
from iwps_jax.types import AnyArray


def iwps_last_layer(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    holdout_features: Float[AnyArray, "m d"],
    holdout_labels: Integer[AnyArray, " m"],
    *,
    holdout_weights: Float[AnyArray, " m"] | None = None,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
) -> Float[jax.Array, " pool"]:
    """Exact IWPS when only the last layer learns, in closed form.

        score_n = mean_m log Σ_c p_mc exp(k_nm (δ_nc - δ_n,y_m)),  k_nm = 1 + h_n·g_m

    with δ_n the displacement of the head after the candidate's T steps (see
    `iwps_jax.scores.head`) and p_m the holdout probabilities before them. Equal to
    `iwps` on the head's parameters, without a copy of any weight: memory pool · m.
    The time depends on the largest |k δ| of all candidates scored together, bounded by
    |δ_n| (1 + ‖h_n‖ max_m ‖g_m‖): up to 0.75 the classes are summed by a few matrix
    products, up to 16 by pool · m · classes exponentials, and beyond, where these
    could overflow, by several times as much. The score is as exact in every case.

    About zero for a confident candidate; negative where the step would help the
    holdout. As η → 0, score / (η T) tends to `iwps_app_last_layer`, and one step's
    score is never below its first order.

    Args:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        holdout_features: inputs g of the last layer for the holdout samples.
        holdout_labels: their true classes, in [0, classes).
        holdout_weights: how much each holdout sample says, in place of 1/m each, such
            as `class_balanced_weights`; at least 0 and made to sum to one.
        steps: T, the SGD steps on each pseudo-label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            label is out of range, a weight negative, all of them zero or a number not
            finite.
        TypeError: if labels are not integers or features not floating point.

    References:
        Aljundi et al. 2020, Eq. 2 and Eq. 3, last layer as in supplement §5.1;
        T = 3 and η = 1e-3 as in §4.

    Example:
        >>> wrong, sure = [0.6, -0.5], [9.0, 0.0]
        >>> scores = iwps_last_layer(
        ...     features=jnp.array([wrong, sure]),
        ...     kernel=jnp.eye(2),
        ...     bias=jnp.zeros(2),
        ...     holdout_features=jnp.array([[0.5, -0.6]]),
        ...     holdout_labels=jnp.array([1]),
        ... )
        >>> bool(scores[0] > scores[1] > 0)
        True
    """
    arrays = features, kernel, bias, holdout_features, holdout_labels
    weights = checked_weights(holdout_weights, holdout_labels)
    return _checked_look_ahead(arrays, steps, learning_rate, step_forms.mean, weights)


def holdout_changes(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    holdout_features: Float[AnyArray, "m d"],
    holdout_labels: Integer[AnyArray, " m"],
    *,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
) -> Float[jax.Array, "pool m"]:
    """Which holdout samples a candidate hurts: the terms of `iwps_last_layer`.

        change_nm = log Σ_c p_mc exp(k_nm (δ_nc - δ_n,y_m)),  k_nm = 1 + h_n·g_m

    the change of holdout sample m's loss when the head learns candidate n's own
    prediction, in the symbols of `iwps_last_layer`, which is its mean over m. Exact to
    float32 rounding of each term, for tiny steps too. Positive: m is hurt.

    Args:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        holdout_features: inputs g of the last layer for the holdout samples.
        holdout_labels: their true classes, in [0, classes).
        steps: T, the SGD steps on each pseudo-label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 number per candidate and holdout sample, in nats.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            label is out of range or a number is not finite.
        TypeError: if labels are not integers or features not floating point.

    References:
        Aljundi et al. 2020, Eq. 2 and Eq. 3 before the mean over the holdout set.

    Example:
        >>> changes = holdout_changes(
        ...     features=jnp.array([[0.6, -0.5]]),
        ...     kernel=jnp.eye(2),
        ...     bias=jnp.zeros(2),
        ...     holdout_features=jnp.array([[0.5, -0.6], [0.5, -0.6]]),
        ...     holdout_labels=jnp.array([1, 0]),
        ... )
        >>> bool(changes[0, 0] > 0 > changes[0, 1])
        True
    """
    arrays = features, kernel, bias, holdout_features, holdout_labels
    return _checked_look_ahead(arrays, steps, learning_rate, step_forms.keep)


def _checked_look_ahead(arrays, steps, learning_rate, reduce, weights=None):
    """Refuses what the public functions refuse."""
    features, kernel, bias, holdout_features, holdout_labels = arrays
    head.check_head(features, kernel, bias)
    head.check_holdout(holdout_features, holdout_labels, kernel)
    checks.require_steps(steps, learning_rate)
    return _look_ahead(*arrays, learning_rate, weights, steps=int(steps), reduce=reduce)


def weighted_look_ahead(
    features: Float[jax.Array, "pool d"],
    kernel: Float[jax.Array, "d classes"],
    bias: Float[jax.Array, " classes"],
    holdout_features: Float[jax.Array, "m d"],
    holdout_labels: Int[jax.Array, " m"],
    weights: Float[jax.Array, " m"],
    learning_rate: float | Float[jax.Array, ""],
    *,
    steps: int,
) -> Float[jax.Array, " pool"]:
    """The sum of the weighted changes, of arrays that were checked."""
    arrays = features, kernel, bias, holdout_features, holdout_labels
    return _look_ahead(
        *arrays, learning_rate, weights, steps=steps, reduce=step_forms.mean
    )


@partial(jax.jit, static_argnames=("steps", "reduce"))
def _look_ahead(
    features,
    kernel,
    bias,
    holdout_features,
    holdout_labels,
    learning_rate,
    weights,
    *,
    steps,
    reduce,
):
    """What `reduce` makes of the changes [pool, m]; within a form it is fused."""
    arrays = features, kernel, bias, holdout_features, holdout_labels
    taken = step_forms.take_steps(*arrays, learning_rate, steps)
    form = step_forms.form_of_step(taken.deltas, taken.reach)
    forms = step_forms.forms(partial(reduce, weights))
    scores = jax.lax.switch(form, forms, *taken)
    return scores.astype(jnp.float32)


@partial(jax.jit, static_argnames=("steps", "form"))
def look_ahead_by(
    features: Float[jax.Array, "pool d"],
    kernel: Float[jax.Array, "d classes"],
    bias: Float[jax.Array, " classes"],
    holdout_features: Float[jax.Array, "m d"],
    holdout_labels: Int[jax.Array, " m"],
    learning_rate: float | Float[jax.Array, ""],
    weights: Float[jax.Array, " m"] | None,
    *,
    steps: int,
    form: int,
) -> tuple[Float[jax.Array, " pool"], Bool[jax.Array, " pool"]]:
    """`iwps_last_layer` by one form, of arrays that were checked, and where it holds.

    Only this form is compiled. `form` counts `step_forms.all_forms`.
    """
    arrays = features, kernel, bias, holdout_features, holdout_labels
    taken = step_forms.take_steps(*arrays, learning_rate, steps)
    scores = step_forms.all_forms(partial(step_forms.mean, weights))[form](*taken)
    radius = (*step_forms.ALL_RADII, jnp.inf)[form]
    holds = step_forms.largest_change(taken.deltas, taken.reach) <= radius
    return scores.astype(jnp.float32), holds
