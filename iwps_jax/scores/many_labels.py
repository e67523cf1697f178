"""The expected entropy change under every label of many classes, in a few walks.

With δ^a the displacement of a candidate under label a (`iwps_jax.scores.head`) and π_a
that label's probability, all labels but the likeliest share one *base* β and differ
from it in one *bump*, at the label:

    δ^a = β + α_a e_a + ε^a,    ε^a_a = 0,
    β_c = Σ_(a != c) π_a δ^a_c / Σ_(a != c) π_a

A step under label a adds η to that label's entry and takes η p from all, whatever a is;
what is left, ε, is of second order and as small as a product of two probabilities. So

    Σ_a π_a H[log p + k δ^a] = Σ_a π_a H[log p + k β + k α_a e_a] + rest

costs classes · m terms in place of classes² · m. The first order in ε is not in the
rest, for Σ_a π_a ε^a = 0; what is, `bound_of_rest` bounds. The likeliest labels, whose
ε is largest, are taken one by one.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax import numerics
from iwps_jax.scores import head
from iwps_jax.scores.entropy_change import Reference, at_top, excess_and_change

# Up to |k δ| = RADIUS, `numerics.moderate_log1p` serves.
RADIUS = 2.0

_dot = partial(jnp.matmul, precision=numerics.PRECISION)


class Labels(NamedTuple):
    """Labels of a candidate, in the terms of the module's docstring."""

    weights: Float[jax.Array, " classes"]  # π, zero at labels that are left out
    base: Float[jax.Array, " classes"]
    bumps: Float[jax.Array, " classes"]
    spread: Float[jax.Array, " classes"]  # max_a |ε^a_c|


def without(exact, logits, own_coupling, *, steps, learning_rate) -> Labels:
    """All labels of one candidate but `exact`, by T steps under each of them."""
    logits = logits - logits.max()
    probs = jax.nn.softmax(logits)
    is_own = jnp.eye(len(logits), dtype=bool)
    learning_rate = jnp.asarray(learning_rate, logits.dtype)
    ones = jnp.ones_like(logits)

    def step(moved, _):
        off, own = moved  # [label, class], [label]
        odds = jnp.where(is_own, 0, jnp.exp(logits[None] + own_coupling * off))
        own_odds = jnp.exp(logits + own_coupling * own)
        pace = learning_rate / (_dot(odds, ones) + own_odds)
        off = off - pace[:, None] * odds
        return (off, own + (learning_rate - pace * own_odds)), None

    # The first step is the same off the label, whatever the label.
    off = jnp.where(is_own, 0, -learning_rate * probs[None])
    start = off, learning_rate * (1 - probs)
    (off, own), _ = jax.lax.scan(step, start, length=steps - 1)
    weights = probs.at[exact].set(0)
    others = weights.sum() - weights
    base = _dot(weights, off) / jnp.where(others > 0, others, 1)
    is_judged = ~is_own & (weights > 0)[:, None]
    spread = jnp.where(is_judged, jnp.abs(off - base[None]), 0).max(0)
    return Labels(weights, base, own - base, spread)


def change_by_bumps(reference: Reference, coupling, labels: Labels):
    """Σ_a π_a ΔH of one candidate and each reference sample, without the rest.

    With b = softmax(log p + k β) and H its entropy, a bump by t of a group of classes
    of mass q = Σ b and w = Σ b log b changes the entropy by

        log1p(s) - [s H + expm1(t) w + q t exp(t)] / (1 + s),    s = q expm1(t)

    The group is the label, or, for a label that may be nearly certain, all the others
    in the opposite direction.
    """
    excess, base_change = excess_and_change(reference, coupling, labels.base)
    entropy = reference.entropy + base_change
    total = 1 + excess
    log_total = numerics.log_of_sum(total, excess)
    mass_but_top = (reference.others + excess) / total
    base_of_top = at_top(reference, labels.base)

    def add_label(sum_of_labels, of_label):
        label, prob, log_prob, weight, base, bump = of_label
        moved = coupling * (base - base_of_top)
        mass = prob * numerics.exp_and_expm1(moved)[0] / total
        mass_log = mass * jnp.where(prob > 0, log_prob + moved - log_total, 0)
        shift = coupling * bump
        is_top = reference.top == label
        mass_log = jnp.where(is_top, -entropy - mass_log, mass_log)
        mass = jnp.where(is_top, mass_but_top, mass)
        shift = jnp.where(is_top, -shift, shift)
        exp, growth = numerics.exp_and_expm1(shift)
        excess = mass * growth
        change = numerics.moderate_log1p(excess) - (
            excess * entropy + growth * mass_log + mass * shift * exp
        ) / (1 + excess)
        return sum_of_labels + weight * change, None

    of_labels = (
        jnp.arange(len(labels.weights)),
        reference.probs.T,
        reference.log_probs.T,
        labels.weights,
        labels.base,
        labels.bumps,
    )
    start = labels.weights.sum() * base_change
    return jax.lax.scan(add_label, start, of_labels)[0]


def bound_of_rest(reference: Reference, coupling, labels: Labels):
    """An upper bound of the rest of `change_by_bumps`, for each sample.

    The rest is a sum of second differences of the entropy, of logits u = log p:

        d²H[v, w] = -Cov(v, w) - E[(u - ū) (v - v̄) (w - w̄)]

    once between the bump and ε, once between ε and itself, at a point between the base
    and the moved logits. |ε| is at most `spread`; p and u there differ from those of
    the reference by factors and terms of |k δ|.
    """
    tilted = reference.probs * (
        1 + jnp.abs(reference.log_probs + reference.entropy[:, None])
    )
    tilted = jnp.where(reference.probs > 0, tilted, 0)
    bumped = labels.weights * jnp.abs(labels.bumps)
    spread = labels.spread
    farthest = jnp.where(labels.weights > 0, jnp.abs(labels.bumps), 0).max()
    farthest = farthest + spread.max() + jnp.abs(labels.base).max()
    reach = 2 * jnp.abs(coupling) * farthest
    mean = _dot(reference.probs, spread)
    crossed = mean * _dot(tilted, bumped) + _dot(tilted, spread) * _dot(
        reference.probs, bumped
    )
    squared = _dot(tilted, spread**2) + mean**2 * tilted.sum(-1)
    second = crossed + labels.weights.sum() * squared
    return coupling**2 * jnp.exp(reach) * (1 + reach) * second


def mean_change(exact, candidates, reference: Reference, *, steps, learning_rate):
    """The mean over the reference of `change_by_bumps` and of `bound_of_rest`.

    Args:
        exact: [pool, any number], the labels of each candidate to leave out.
        candidates: features, logits and couplings.
        reference: the reference set.
        steps: T.
        learning_rate: η.

    Returns:
        Both for every candidate.
    """
    features, logits, couplings = candidates
    own_couplings = 1 + jax.vmap(head.squared_norm)(features)
    # One candidate at a time: each has classes² numbers.
    labels = jax.lax.map(
        lambda one: without(*one, steps=steps, learning_rate=learning_rate),
        (exact, logits, own_couplings),
    )
    change = jax.vmap(partial(change_by_bumps, reference))(couplings, labels)
    bound = jax.vmap(partial(bound_of_rest, reference))(couplings, labels)
    return change.mean(-1), bound.mean(-1)
