"""How much a displacement of the head changes the entropy of reference samples.

Written for one candidate, with its couplings k and one displacement δ as in
`iwps_jax.scores.head`: the logits of a sample move by k δ.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from iwps_jax import numerics

# Up to |v| = 0.75 below, which is twice |k δ| or less, an exponential series of 7 terms
# is exact to float32 rounding.
SERIES = (0.75, 7)
SERIES_RADIUS = SERIES[0] / 2
# Sums of exp(2 |k δ|) are far from overflowing, and round relative to the change.
PLAIN_RADIUS = 8.0
# So many are walked without a loop; XLA does not vectorize one unrolled in part.
FEW_CLASSES = 16


class Reference(NamedTuple):
    """The reference set, as every candidate's score needs it."""

    log_probs: Float[jax.Array, "m classes"]
    probs: Float[jax.Array, "m classes"]
    weighted_logs: Float[jax.Array, "m classes"]  # p log p
    top: Int[jax.Array, " m"]
    is_top: Float[jax.Array, "m classes"]
    others: Float[jax.Array, " m"]  # what is not at the top
    entropy: Float[jax.Array, " m"]


def reference_of(log_probs: Float[jax.Array, "m classes"]) -> Reference:
    """The reference set of these log-probabilities."""
    probs = jnp.exp(log_probs)
    top = log_probs.argmax(-1)
    is_top = jax.nn.one_hot(top, log_probs.shape[1], dtype=bool)
    return Reference(
        log_probs,
        probs,
        jnp.where(probs > 0, probs * log_probs, 0),
        top,
        is_top.astype(probs.dtype),
        jnp.where(is_top, 0, probs).sum(-1),
        numerics.entropy_of(log_probs),
    )


def at_top(
    reference: Reference, delta: Float[jax.Array, " classes"]
) -> Float[jax.Array, " m"]:
    """δ at each sample's top class; of few, a product is faster than a gather."""
    if len(delta) > FEW_CLASSES:
        return delta[reference.top]
    return jnp.matmul(reference.is_top, delta, precision=numerics.PRECISION)


def excess_and_change(
    reference: Reference,
    coupling: Float[jax.Array, " m"],
    delta: Float[jax.Array, " classes"],
    exp_and_expm1: Callable = numerics.exp_and_expm1,
) -> tuple[Float[jax.Array, " m"], Float[jax.Array, " m"]]:
    """s, an excess, and ΔH for moderate k δ, with no term larger than the change.

    With v_c = k (δ_c - δ_top) in relation to the most probable class and
    s = Σ_c p_c expm1(v_c),

        ΔH = log1p(s) - [Σ_c p_c (expm1(v_c) log p_c + v_c exp(v_c)) + s H] / (1 + s)

    in which a sample that is sure of its class contributes next to nothing.
    """
    delta_of_top = at_top(reference, delta)

    def add_class(sums, of_class):
        excess, weighted = sums
        prob, weighted_log, step = of_class
        change = coupling * (step - delta_of_top)
        exp, growth = exp_and_expm1(change)
        weighted = weighted + (growth * weighted_log + prob * change * exp)
        return (excess + prob * growth, weighted), None

    zeros = jnp.zeros_like(coupling)
    (excess, weighted), _ = jax.lax.scan(
        add_class,
        (zeros, zeros),
        (reference.probs.T, reference.weighted_logs.T, delta),
        unroll=len(delta) if len(delta) <= FEW_CLASSES else 1,
    )
    total = 1 + excess
    weighted = weighted + excess * reference.entropy
    return excess, numerics.log_of_sum(total, excess) - weighted / total


def change_by_series(reference, coupling, delta) -> Float[jax.Array, " m"]:
    """ΔH for |k δ| <= SERIES_RADIUS."""
    series = 0.0, *numerics.expm1_series(*SERIES)

    def exp_and_expm1(x):
        growth = numerics.polynomial(series, x)
        return 1 + growth, growth

    return excess_and_change(reference, coupling, delta, exp_and_expm1)[1]


def plain_change(reference, coupling, delta) -> Float[jax.Array, " m"]:
    """ΔH for |k δ| <= PLAIN_RADIUS."""
    return excess_and_change(reference, coupling, delta)[1]


def any_change(reference, coupling, delta) -> Float[jax.Array, " m"]:
    """ΔH for any k δ."""
    after = _entropy_after(reference.log_probs.T, coupling, delta)
    is_small = jnp.abs(coupling) * jnp.abs(delta).max() <= PLAIN_RADIUS
    small = plain_change(reference, jnp.where(is_small, coupling, 0), delta)
    return jnp.where(is_small, small, after - reference.entropy)


def form_of_step(largest: Float[jax.Array, ""]) -> Int[jax.Array, ""]:
    """Which of `FORMS` serves this largest |k δ|: one for all, under `jax.vmap` too."""
    beyond = [~numerics.all_of_batch(largest <= radius) for radius, _ in FORMS[:-1]]
    return jnp.stack(beyond).sum(dtype=jnp.int32)


def _entropy_after(
    log_probs: Float[jax.Array, "classes m"],
    coupling: Float[jax.Array, " m"],
    delta: Float[jax.Array, " classes"],
) -> Float[jax.Array, " m"]:
    """H[softmax(log p + k δ)] per sample, one class at a time: memory [m]."""

    def raise_peak(peak, of_class):
        log_prob, step = of_class
        return jnp.maximum(peak, log_prob + coupling * step), None

    lowest = jnp.full(coupling.shape, -jnp.inf, coupling.dtype)
    peak, _ = jax.lax.scan(raise_peak, lowest, (log_probs, delta))

    def add_class(sums, of_class):
        total, weighted = sums
        log_prob, step = of_class
        relative = log_prob + coupling * step - peak
        weight = jnp.exp(relative)
        # exp underflows to zero long before its product with `relative` matters.
        gain = jnp.where(weight > 0, weight * relative, 0)
        return (total + weight, weighted + gain), None

    zeros = jnp.zeros_like(coupling)
    (total, weighted), _ = jax.lax.scan(add_class, (zeros, zeros), (log_probs, delta))
    return jnp.log(total) - weighted / total


# Up to which |k δ| a form serves.
FORMS = (
    (SERIES_RADIUS, change_by_series),
    (PLAIN_RADIUS, plain_change),
    (jnp.inf, any_change),
)
