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

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Integer

from iwps_jax import checks, numerics
from iwps_jax.scores import head
from iwps_jax.scores.weights import checked_weights
from iwps_jax.types import AnyArray

# (radius, order): up to |k δ| = radius, an exponential series of so many terms is
# exact to float32 rounding (1e-7 relative).
SERIES = ((0.02, 3), (0.25, 5), (0.75, 7))
# Up to here exponentials need no shift: they stay far within float32.
PLAIN_RADIUS = 16.0
RADII = (*(radius for radius, _ in SERIES), PLAIN_RADIUS)
"""The largest |k δ| that a form serves; one more form serves all."""
# So many are walked without a loop; XLA does not vectorize one unrolled in part.
FEW_CLASSES = 10


class _Holdout(NamedTuple):
    """What the holdout set contributes to every candidate's score."""

    features: Float[jax.Array, "m d"]
    labels: Int[jax.Array, " m"]
    log_probs: Float[jax.Array, "m classes"]
    is_label: Float[jax.Array, "m classes"]
    others: Float[jax.Array, "m classes"]  # probabilities, zero at the label


class _Steps(NamedTuple):
    """The candidates' steps, and all that a form needs beside."""

    features: Float[jax.Array, "pool d"]
    deltas: Float[jax.Array, "pool classes"]
    reach: Float[jax.Array, " pool"]
    holdout: _Holdout


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
    return _checked_look_ahead(arrays, steps, learning_rate, _mean, weights)


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
    return _checked_look_ahead(arrays, steps, learning_rate, _keep)


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
    return _look_ahead(*arrays, learning_rate, weights, steps=steps, reduce=_mean)


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
    steps_taken = _take_steps(*arrays, learning_rate, steps)
    scores = jax.lax.switch(
        form_of_step(steps_taken.deltas, steps_taken.reach),
        [_reduced(form, partial(reduce, weights)) for form in _forms()],
        *steps_taken,
    )
    return scores.astype(jnp.float32)


@partial(jax.jit, static_argnames=("steps", "form"))
def look_ahead_by(
    features: Float[jax.Array, "pool d"],
    kernel: Float[jax.Array, "d classes"],
    bias: Float[jax.Array, " classes"],
    holdout_features: Float[jax.Array, "m d"],
    holdout_labels: Int[jax.Array, " m"],
    learning_rate: float | Float[jax.Array, ""],
    *,
    steps: int,
    form: int,
) -> tuple[Float[jax.Array, " pool"], Bool[jax.Array, " pool"]]:
    """`iwps_last_layer` by one form, of arrays that were checked, and where it holds.

    Only this form is compiled. `form` counts those of `RADII`, and the one beyond.
    """
    arrays = features, kernel, bias, holdout_features, holdout_labels
    steps_taken = _take_steps(*arrays, learning_rate, steps)
    scores = _mean(None, _forms()[form](*steps_taken))
    radius = (*RADII, jnp.inf)[form]
    return scores.astype(jnp.float32), _largest(*steps_taken[1:3]) <= radius


def _take_steps(
    features, kernel, bias, holdout_features, holdout_labels, learning_rate, steps
) -> _Steps:
    features, kernel, bias, holdout_features = numerics.upcast(
        (features, kernel, bias, holdout_features)
    )
    deltas = jax.vmap(
        partial(head.displacement, steps=steps, learning_rate=learning_rate)
    )(features, head.head_logits(features, kernel, bias))
    # It cancels, and the root in it has no slope at features of only zeros.
    reach = jax.lax.stop_gradient(head.reach(features, holdout_features))
    labels = holdout_labels.astype(jnp.int32)
    return _Steps(
        features, deltas, reach, _holdout(holdout_features, labels, kernel, bias)
    )


def _forms() -> list[Callable]:
    """The changes [pool, m] by every form, from `_Steps`."""
    by_series = [
        partial(_changes_by_series, numerics.expm1_series(radius, order))
        for radius, order in SERIES
    ]
    return [*by_series, _changes_by_classes, _changes_of_any_step]


def _reduced(form: Callable, reduce: Callable) -> Callable:
    return lambda *arguments: reduce(form(*arguments))


def _largest(deltas, reach):
    """A bound of each row's |k δ|."""
    return jnp.abs(deltas).max(-1) * reach


def form_of_step(
    deltas: Float[jax.Array, "pool classes"], reach: Float[jax.Array, " pool"]
) -> Int[jax.Array, ""]:
    """Which form serves the longest step: a series of `SERIES`, any |k δ|, any step.

    One form for all, under `jax.vmap` too: else every one would be computed.
    """
    largest = _largest(deltas, reach).max()
    beyond = [~numerics.all_of_batch(largest <= radius) for radius in RADII]
    return jnp.stack(beyond).sum(dtype=jnp.int32)


def _holdout(features, labels, kernel, bias) -> _Holdout:
    logits = head.head_logits(features, kernel, bias)
    is_label = jax.nn.one_hot(labels, kernel.shape[1], dtype=logits.dtype)
    others = jnp.where(is_label > 0, 0, -numerics.label_residual(logits, labels))
    return _Holdout(features, labels, jax.nn.log_softmax(logits), is_label, others)


# Sums over classes and holdout samples are matrix products below, also where a sum or
# a gather would do: those are not vectorized on a CPU.
_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


def _at_labels(deltas, holdout):
    if deltas.shape[1] > FEW_CLASSES:
        return deltas[:, holdout.labels]
    return _matmul(deltas, holdout.is_label.T)


def _mean(weights, changes):
    if weights is None:
        weights = jnp.full(changes.shape[1], 1 / changes.shape[1], changes.dtype)
    return _matmul(changes, weights.astype(changes.dtype))


def _keep(weights, changes):
    del weights
    return changes


def _changes_by_series(series, features, deltas, reach, holdout):
    """Small |k δ|, where matrix products sum the classes.

    With y the holdout label, q_c = p_c for c != y, u = k δ_y, and expm1(x) written as
    the polynomial Σ_j a_j x^j,

        Σ_c p_c exp(k (δ_c - δ_y)) - 1 = A + (A + 1 - p_y) expm1(-u)
        A = Σ_(c != y) q_c expm1(k δ_c) = Σ_j k^j (Σ_c q_c a_j δ_c^j)

    Every term carries a factor q, so a holdout sample that is already sure of its
    label keeps its digits.
    """
    # Between -1 and 1, so that no power of a tiny δ or a huge k leaves float32.
    couplings = head.couplings(features, holdout.features) / reach[:, None]
    deltas = deltas * reach[:, None]
    powers = [deltas]
    for _ in series[1:]:
        powers.append(powers[-1] * deltas)
    total = jnp.zeros_like(couplings)
    for coefficient, power in zip(reversed(series), reversed(powers), strict=True):
        moment = _matmul(coefficient * power, holdout.others.T)
        total = (total + moment) * couplings
    label_change = couplings * _at_labels(deltas, holdout)
    shrink = numerics.polynomial((0.0, *series), -label_change)
    excess = total + (total + holdout.others.sum(-1)[None]) * shrink
    return numerics.moderate_log1p(excess)


def _changes_by_classes(features, deltas, reach, holdout):
    """Any |k δ| <= PLAIN_RADIUS: pool · m · classes exponentials.

    With y the holdout label, q_c = p_c for c != y, and v_c = k (δ_c - δ_y),

        Σ_c p_c exp(v_c) - 1 = Σ_(c != y) q_c expm1(v_c)

    or, where that is near -1, the sum on the left.
    """
    del reach
    couplings = head.couplings(features, holdout.features)
    label_deltas = _at_labels(deltas, holdout)
    num_classes = deltas.shape[1]
    label_probs = jnp.exp((holdout.log_probs * holdout.is_label).sum(-1))

    def add_class(sums, of_class):
        total, excess = sums
        delta, prob = of_class
        exp, expm1 = numerics.exp_and_expm1(couplings * (delta[:, None] - label_deltas))
        return (total + prob[None] * exp, excess + prob[None] * expm1), None

    (total, excess), _ = jax.lax.scan(
        add_class,
        (jnp.broadcast_to(label_probs, couplings.shape), jnp.zeros_like(couplings)),
        (deltas.T, holdout.others.T),
        unroll=num_classes if num_classes <= FEW_CLASSES else 1,
    )
    return numerics.log_of_sum(total, excess)


def _changes_of_any_step(features, deltas, reach, holdout):
    """The same beyond, where an exponential may leave float32."""
    del reach
    log_probs = holdout.log_probs.T

    def changes(delta, coupling):
        delta_of_label = delta[holdout.labels]
        return numerics.cross_entropy_change(
            log_probs, lambda c: coupling * (delta[c] - delta_of_label)
        )

    return jax.vmap(changes)(deltas, head.couplings(features, holdout.features))
