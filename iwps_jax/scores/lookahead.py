"""IWPS: would learning the model's own prediction hurt on the holdout set?

For one candidate x with prediction ŷ = argmax f(x; θ), kept fixed:

    θ_x      = T plain-SGD steps on the cross-entropy of (x, ŷ), from θ   (Eq. 2)
    score(x) = ℓ_v(θ_x) - ℓ_v(θ)                                          (Eq. 3)

with ℓ_v the mean holdout cross-entropy, in nats. A high score says that the
prediction was probably wrong, so that sample is labeled first. The equations are
those of the main paper, whose body is not at hand; what is inferred of them is
listed in the README.

References:
    Aljundi, Chumerin, Olmeda Reino 2020, "Identifying Wrongly Predicted Samples:
    A Method for Active Learning". https://arxiv.org/abs/2010.06890
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Integer

from iwps_jax import checks, numerics
from iwps_jax.scores import head, network
from iwps_jax.types import AnyArray, ApplyFn, Inputs, Params

# (radius, order): up to |k δ| = radius, an exponential series of so many terms is
# exact to float32 rounding (1e-7 relative).
SERIES = ((0.25, 5), (0.75, 7))
# Up to here exponentials need no shift: they stay far within float32.
PLAIN_RADIUS = 16.0
# So many are walked without a loop; XLA does not vectorize one unrolled in part.
FEW_CLASSES = 10


class _Holdout(NamedTuple):
    """What the holdout set contributes to every candidate's score."""

    features: Float[jax.Array, "m d"]
    labels: Int[jax.Array, " m"]
    log_probs: Float[jax.Array, "m classes"]
    is_label: Float[jax.Array, "m classes"]
    others: Float[jax.Array, "m classes"]  # probabilities, zero at the label


def iwps_last_layer(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    holdout_features: Float[AnyArray, "m d"],
    holdout_labels: Integer[AnyArray, " m"],
    *,
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
        steps: T, the SGD steps on each pseudo-label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            label is out of range or a number is not finite.
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
    head.check_head(features, kernel, bias)
    head.check_holdout(holdout_features, holdout_labels, kernel)
    checks.require_steps(steps, learning_rate)
    return _iwps_last_layer(
        features,
        kernel,
        bias,
        holdout_features,
        holdout_labels,
        learning_rate,
        steps=int(steps),
    )


@partial(jax.jit, static_argnames="steps")
def _iwps_last_layer(
    features, kernel, bias, holdout_features, holdout_labels, learning_rate, *, steps
):
    features, kernel, bias, holdout_features = numerics.upcast(
        (features, kernel, bias, holdout_features)
    )
    deltas = jax.vmap(
        partial(head.displacement, steps=steps, learning_rate=learning_rate)
    )(features, head.head_logits(features, kernel, bias))
    reach = head.reach(features, holdout_features)
    by_series = [
        partial(_mean_change_by_series, numerics.expm1_series(radius, order))
        for radius, order in SERIES
    ]
    scores = jax.lax.switch(
        form_of_step(deltas, reach),
        [*by_series, _mean_change_by_classes, _mean_change_of_any_step],
        features,
        deltas,
        reach,
        _holdout(holdout_features, holdout_labels.astype(jnp.int32), kernel, bias),
    )
    return scores.astype(jnp.float32)


def form_of_step(
    deltas: Float[jax.Array, "pool classes"], reach: Float[jax.Array, " pool"]
) -> Int[jax.Array, ""]:
    """Which form serves the longest step: a series of `SERIES`, any |k δ|, any step.

    One form for all, under `jax.vmap` too: else every one would be computed.
    """
    largest = (jnp.abs(deltas).max(-1) * reach).max()
    radii = [*(radius for radius, _ in SERIES), PLAIN_RADIUS]
    return sum(~numerics.all_of_batch(largest <= radius) for radius in radii)


def _holdout(features, labels, kernel, bias) -> _Holdout:
    logits = head.head_logits(features, kernel, bias)
    is_label = jax.nn.one_hot(labels, kernel.shape[1], dtype=logits.dtype)
    others = jnp.where(is_label > 0, 0, -numerics.label_residual(logits, labels))
    return _Holdout(features, labels, jax.nn.log_softmax(logits), is_label, others)


# Sums over classes and holdout samples are matrix products below, also where a sum or
# a gather would do: those are not vectorized on a CPU.
_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


def _mean(changes: Float[jax.Array, "pool m"]) -> Float[jax.Array, " pool"]:
    num_samples = changes.shape[1]
    return _matmul(changes, jnp.full(num_samples, 1 / num_samples, changes.dtype))


def _mean_change_by_series(series, features, deltas, reach, holdout):
    """The mean over m for small |k δ|, where matrix products sum the classes.

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
    label_change = couplings * _matmul(deltas, holdout.is_label.T)
    shrink = numerics.polynomial((0.0, *series), -label_change)
    excess = total + (total + holdout.others.sum(-1)[None]) * shrink
    return _mean(numerics.moderate_log1p(excess))


def _mean_change_by_classes(features, deltas, reach, holdout):
    """The mean over m for any |k δ| <= PLAIN_RADIUS: pool · m · classes exponentials.

    With y the holdout label, q_c = p_c for c != y, and v_c = k (δ_c - δ_y),

        Σ_c p_c exp(v_c) - 1 = Σ_(c != y) q_c expm1(v_c)

    or, where that is near -1, the sum on the left.
    """
    del reach
    couplings = head.couplings(features, holdout.features)
    label_deltas = _matmul(deltas, holdout.is_label.T)
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
    return _mean(numerics.log_of_sum(total, excess))


def _mean_change_of_any_step(features, deltas, reach, holdout):
    """The same beyond, where an exponential may leave float32."""
    del reach
    log_probs = holdout.log_probs.T

    def score(delta, coupling):
        delta_of_label = delta[holdout.labels]
        return numerics.cross_entropy_change(
            log_probs, lambda c: coupling * (delta[c] - delta_of_label)
        ).mean()

    return jax.vmap(score)(deltas, head.couplings(features, holdout.features))


def iwps(
    apply_fn: ApplyFn,
    params: Params,
    inputs: Inputs,
    holdout_inputs: Inputs,
    holdout_labels: Integer[AnyArray, " m"],
    *,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
) -> Float[jax.Array, " pool"]:
    """Exact IWPS on every parameter of any network.

        score(x) = mean_m [ℓ(f(g_m; θ_x), y_m) - ℓ(f(g_m; θ), y_m)]

    A `vmap` over the pool of a `lax.scan` over the T steps. Whatever T, temporary
    memory is at most 5 · pool · |θ| floats beside the activations of the holdout set,
    so score a large pool in chunks (`iwps_jax.score_in_chunks`). To let only
    some parameters learn, pass those as `params` and close over the others.

    The change of the holdout logits is taken directly where the path bends, and along
    its mean tangent where float32 would lose it in rounding, so that the ranking
    survives for confident candidates whose scores are 1e-9 and smaller.

    Args:
        apply_fn: pure `apply_fn(params, inputs) -> logits [batch, classes]` in
            inference mode (dropout off, running batch statistics).
        params: θ, a pytree of floating-point arrays; narrower than float32 is
            widened, because steps of 1e-3 vanish in bfloat16.
        inputs: candidates, one array or a pytree with a leading pool axis.
        holdout_inputs: the same for the holdout samples.
        holdout_labels: their true classes, in [0, classes).
        steps: T, the SGD steps on each pseudo-label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            label is out of range or a number is not finite.
        TypeError: if labels are not integers.

    References:
        Aljundi et al. 2020, Eq. 2 and Eq. 3; plain SGD as in supplement §6.

    Example:
        >>> apply_fn = lambda params, x: jnp.stack([params * x, -params * x], axis=-1)
        >>> pool, holdout = jnp.array([0.1, 5.0]), jnp.array([1.0])
        >>> scores = iwps(apply_fn, jnp.array(1.0), pool, holdout, jnp.array([1]))
        >>> bool(scores[0] > scores[1] > 0)
        True
    """
    num_classes = network.check_classifier(apply_fn, params, inputs, "inputs")
    holdout_classes = network.check_labeled(
        apply_fn,
        params,
        holdout_inputs,
        holdout_labels,
        ("holdout_inputs", "holdout_labels"),
    )
    if holdout_classes != num_classes:
        raise ValueError(
            f"holdout_inputs must give logits of {num_classes} classes like inputs, "
            f"got {holdout_classes}."
        )
    checks.require_steps(steps, learning_rate)
    return _iwps(
        apply_fn,
        params,
        inputs,
        holdout_inputs,
        holdout_labels,
        learning_rate,
        steps=int(steps),
    )


@partial(jax.jit, static_argnames=("apply_fn", "steps"))
def _iwps(
    apply_fn, params, inputs, holdout_inputs, holdout_labels, learning_rate, *, steps
):
    apply_fn = network.in_full_precision(apply_fn)
    params, inputs, holdout_inputs = numerics.upcast((params, inputs, holdout_inputs))
    holdout_labels = holdout_labels.astype(jnp.int32)
    holdout_logits = numerics.upcast(apply_fn(params, holdout_inputs))
    holdout_log_probs = jax.nn.log_softmax(holdout_logits).T

    def score(candidate):
        moved = _pseudo_label_displacement(
            apply_fn, params, candidate, steps=steps, learning_rate=learning_rate
        )
        change = _logit_change(apply_fn, params, moved, holdout_inputs, holdout_logits)
        change_of_label = jnp.take_along_axis(change, holdout_labels[:, None], axis=1)
        margin_change = (change - change_of_label).T
        return numerics.cross_entropy_change(
            holdout_log_probs, lambda c: margin_change[c]
        ).mean()

    return jax.vmap(score)(inputs).astype(jnp.float32)


def _add(params, displacement, scale=1.0):
    return jax.tree.map(lambda p, d: p + scale * d, params, displacement)


def _pseudo_label_displacement(apply_fn, params, candidate, *, steps, learning_rate):
    """θ_x - θ after T SGD steps on one candidate under its own prediction (Eq. 2)."""
    batch_of_one = jax.tree.map(lambda leaf: leaf[None], candidate)

    def logits_at(moved):
        return numerics.upcast(apply_fn(_add(params, moved), batch_of_one)[0])

    at_start = jax.tree.map(jnp.zeros_like, params)
    label = jnp.argmax(logits_at(at_start))

    def step(moved, _):
        logits, pull_back = jax.vjp(logits_at, moved)
        (ascent,) = pull_back(numerics.label_residual(logits, label))
        return _add(moved, ascent, learning_rate), None

    return jax.lax.scan(step, at_start, length=steps)[0]


def _logit_change(
    apply_fn, params, moved, inputs, logits
) -> Float[jax.Array, "m classes"]:
    """f(θ + D) - f(θ) on `inputs`, keeping relative precision for small D.

    The direct difference carries a rounding error of a few ε |f|. The mean tangent
    along the path, by two-point Gauss-Legendre quadrature,

        ∫ J(θ + t D) D dt ≈ ½ [J(θ + t_1 D) + J(θ + t_2 D)] D,    t = ½ ± 1/√12

    rounds relative to itself but leaves out what is of fifth order in D, or a kink
    crossed on the way. Where the two agree to within that rounding, the tangent is
    the better one; elsewhere the path bends and the direct difference, then large
    against its rounding, is.
    """
    direct = numerics.upcast(apply_fn(_add(params, moved), inputs)) - logits

    def tangent_at(fraction):
        return jax.jvp(
            lambda p: numerics.upcast(apply_fn(p, inputs)),
            (_add(params, moved, fraction),),
            (moved,),
        )[1]

    offset = 12**-0.5
    tangent = (tangent_at(0.5 - offset) + tangent_at(0.5 + offset)) / 2
    largest = jnp.abs(logits).max(-1, keepdims=True)
    rounding = 16 * jnp.finfo(logits.dtype).eps * (1 + largest)
    agrees = (jnp.abs(direct - tangent) <= rounding).all(-1, keepdims=True)
    return jnp.where(agrees, tangent, direct)
