"""How much a displacement of the head changes the entropy of reference samples.

Written for one candidate, with its couplings k and one displacement δ as in
`iwps_jax.scores.head`: the logits of a sample move by k δ.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from iwps_jax import numerics

# Sums of exp(2 |k δ|) are far from overflowing, and round relative to the change.
PLAIN_RADIUS = 8.0
# So many are walked without a loop; XLA does not vectorize one unrolled in part.
FEW_CLASSES = 16


class Reference(NamedTuple):
    """What the reference set contributes to every candidate's score."""

    log_probs: Float[jax.Array, "m classes"]
    probs: Float[jax.Array, "m classes"]
    weighted_logs: Float[jax.Array, "m classes"]  # p log p
    top: Int[jax.Array, " m"]
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
        jnp.where(is_top, 0, probs).sum(-1),
        numerics.entropy_of(log_probs),
    )


def excess_and_change(
    reference: Reference,
    coupling: Float[jax.Array, " m"],
    delta: Float[jax.Array, " classes"],
) -> tuple[Float[jax.Array, " m"], Float[jax.Array, " m"]]:
    """s and ΔH for moderate k δ, with every term as small as the change itself.

    With v_c = k (δ_c - δ_top) in relation to the most probable class and
    s = Σ_c p_c expm1(v_c),

        ΔH = log1p(s) - [Σ_c p_c (expm1(v_c) log p_c + v_c exp(v_c)) + s H] / (1 + s)

    in which a sample that is sure of its class contributes next to nothing.
    """
    delta_of_top = delta[reference.top]

    def add_class(sums, of_class):
        excess, weighted = sums
        prob, weighted_log, step = of_class
        change = coupling * (step - delta_of_top)
        exp, growth = numerics.exp_and_expm1(change)
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


def small_change(reference, coupling, delta) -> Float[jax.Array, " m"]:
    """ΔH for moderate k δ."""
    return excess_and_change(reference, coupling, delta)[1]


def any_change(reference, coupling, delta) -> Float[jax.Array, " m"]:
    """ΔH for any k δ."""
    after = _entropy_after(reference.log_probs.T, coupling, delta)
    is_small = jnp.abs(coupling) * jnp.abs(delta).max() <= PLAIN_RADIUS
    small = small_change(reference, jnp.where(is_small, coupling, 0), delta)
    return jnp.where(is_small, small, after - reference.entropy)


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
