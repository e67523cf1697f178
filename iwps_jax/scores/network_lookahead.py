"""IWPS on every parameter of a network: T steps of all of them, by autodiff.

    θ_x      = T plain-SGD steps on the cross-entropy of (x, ŷ), from θ   (Eq. 2)
    score(x) = ℓ_v(θ_x) - ℓ_v(θ)                                          (Eq. 3)

as in `iwps_jax.scores.lookahead`, where only the last layer learns.

References:
    Aljundi, Chumerin, Olmeda Reino 2020, "Identifying Wrongly Predicted Samples:
    A Method for Active Learning". https://arxiv.org/abs/2010.06890
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer

from iwps_jax import checks, numerics
from iwps_jax.scores import network
from iwps_jax.types import AnyArray, ApplyFn, Inputs, Params

# A mean change of the losses of so many roundings has its digits without a tangent.
LEAST_DIGITS = 1e4


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

    The change of the holdout logits is taken directly where it is large or the path
    bends, and along its mean tangent where float32 would lose it in rounding, so that
    the ranking survives for confident candidates whose scores are 1e-9 and smaller.
    Only those candidates cost the two tangents.

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
    holdout_logits, at_start = jax.linearize(
        lambda p: numerics.upcast(apply_fn(p, holdout_inputs)), params
    )
    holdout_log_probs = jax.nn.log_softmax(holdout_logits).T

    displace = partial(
        _pseudo_label_displacement,
        apply_fn,
        params,
        steps=steps,
        learning_rate=learning_rate,
    )

    def along_path(moved, *others):
        return _along_path(apply_fn, params, moved, holdout_inputs, at_start, *others)

    def loss_changes(change):
        change_of_label = jnp.take_along_axis(change, holdout_labels[:, None], axis=1)
        margin_change = (change - change_of_label).T
        return numerics.cross_entropy_change(
            holdout_log_probs, lambda c: margin_change[c]
        )

    def directly(moved):
        change = numerics.upcast(apply_fn(_add(params, moved), holdout_inputs))
        return change - holdout_logits

    rounding = _rounding(holdout_logits)

    def score(of_candidate):
        moved, direct = of_candidate
        changes = loss_changes(direct)
        is_lost = jnp.abs(changes).mean() < LEAST_DIGITS * rounding.mean()
        return jax.lax.cond(
            numerics.all_of_batch(~is_lost),
            lambda: changes,
            lambda: loss_changes(along_path(moved, direct, rounding)),
        ).mean()

    moved = jax.vmap(displace)(inputs)
    # One after another, so that a tangent is computed only where it is needed.
    scores = jax.lax.map(score, (moved, jax.vmap(directly)(moved)))
    return scores.astype(jnp.float32)


def _add(params, displacement, scale=1.0):
    return jax.tree.map(
        lambda p, d: p + jnp.asarray(scale, d.dtype) * d, params, displacement
    )


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


def _rounding(logits: Float[jax.Array, "m classes"]) -> Float[jax.Array, "m 1"]:
    """The error of a difference of two logits as large as these: a few ε |f|."""
    largest = jnp.abs(logits).max(-1, keepdims=True)
    return 16 * jnp.finfo(logits.dtype).eps * (1 + largest)


def _along_path(
    apply_fn, params, moved, inputs, at_start, direct, rounding
) -> Float[jax.Array, "m classes"]:
    """f(θ + D) - f(θ) on `inputs`, keeping relative precision for small D.

    The mean tangent along the path, by two-point Gauss-Radau quadrature,

        ∫ J(θ + t D) D dt ≈ ¼ J(θ) D + ¾ J(θ + ⅔ D) D

    rounds relative to itself but leaves out what is of fourth order in D, or a kink
    crossed on the way. Its first point, `at_start`, needs no forward pass. Where it
    agrees with the direct difference to within the rounding of that one, the tangent
    is the better one; elsewhere the path bends and the direct difference, then large
    against its rounding, is.
    """
    on_the_way = jax.jvp(
        lambda p: numerics.upcast(apply_fn(p, inputs)),
        (_add(params, moved, 2 / 3),),
        (moved,),
    )[1]
    tangent = (at_start(moved) + 3 * on_the_way) / 4
    agrees = (jnp.abs(direct - tangent) <= rounding).all(-1, keepdims=True)
    return jnp.where(agrees, tangent, direct)
