"""Forms of scores that faster ones have replaced, to be compared with.

They take checked arrays and the same arguments as the scores.
"""

from functools import partial

import jax
import jax.numpy as jnp

from iwps_jax import numerics
from iwps_jax.scores import head

_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


def expected_entropy_reduction(
    features, kernel, bias, reference_features, *, steps, learning_rate
):
    """Every label of all candidates at once, by `expm1`: for moderate |k δ|."""
    logits = head.head_logits(features, kernel, bias)
    log_probs = numerics.log_softmax(head.head_logits(reference_features, kernel, bias))
    probs = jnp.exp(log_probs)
    entropy = numerics.entropy_of(log_probs)
    weighted_log = jnp.where(probs > 0, probs * log_probs, 0)
    top = log_probs.argmax(-1)

    def change(coupling, delta):
        delta_of_top = delta[top]

        def add_class(sums, of_class):
            excess, weighted = sums
            prob, prob_log, step = of_class
            moved = coupling * (step - delta_of_top)
            growth = jnp.expm1(moved)
            weighted = weighted + growth * prob_log + prob * moved * (1 + growth)
            return (excess + prob * growth, weighted), None

        zeros = jnp.zeros_like(coupling)
        (excess, weighted), _ = jax.lax.scan(
            add_class, (zeros, zeros), (probs.T, weighted_log.T, delta)
        )
        return jnp.log1p(excess) - (weighted + excess * entropy) / (1 + excess)

    def of_candidate(one, logits, coupling):
        deltas = jax.vmap(
            lambda label: displacement(one, logits, label, steps, learning_rate)
        )(jnp.arange(len(bias)))
        changes = jax.vmap(change, (None, 0))(coupling, deltas).mean(-1)
        return -_matmul(jax.nn.softmax(logits), changes)

    couplings = head.couplings(features, reference_features)
    return jax.vmap(of_candidate)(features, logits, couplings)


def displacement(features, logits, label, steps, learning_rate):
    """δ with a whole softmax in every step."""
    own_coupling = 1 + head.squared_norm(features)

    def step(delta, _):
        residual = numerics.label_residual(logits + own_coupling * delta, label)
        return delta + learning_rate * residual, None

    return jax.lax.scan(step, jnp.zeros_like(logits), length=steps)[0]


def iwps_last_layer(
    features,
    kernel,
    bias,
    holdout_features,
    holdout_labels,
    *,
    steps,
    learning_rate,
    order=(0.25, 5),
):
    """The look-ahead by a series of five terms, labels by a product: |k δ| <= 0.25."""
    logits = head.head_logits(features, kernel, bias)
    deltas = jax.vmap(
        lambda h, z: displacement(h, z, jnp.argmax(z), steps, learning_rate)
    )(features, logits)
    holdout_logits = head.head_logits(holdout_features, kernel, bias)
    is_label = jax.nn.one_hot(holdout_labels, len(bias))
    residual = numerics.label_residual(holdout_logits, holdout_labels)
    others = jnp.where(is_label > 0, 0, -residual)
    reach = head.reach(features, holdout_features)
    couplings = head.couplings(features, holdout_features) / reach[:, None]
    deltas = deltas * reach[:, None]
    series = numerics.expm1_series(*order)
    powers = [deltas]
    for _ in series[1:]:
        powers.append(powers[-1] * deltas)
    total = jnp.zeros_like(couplings)
    for coefficient, power in zip(reversed(series), reversed(powers), strict=True):
        total = (total + _matmul(coefficient * power, others.T)) * couplings
    label_change = couplings * _matmul(deltas, is_label.T)
    shrink = numerics.polynomial((0.0, *series), -label_change)
    excess = total + (total + others.sum(-1)[None]) * shrink
    return numerics.moderate_log1p(excess).mean(-1)


def iwps(apply_fn, params, inputs, holdout_inputs, labels, *, steps, learning_rate):
    """The look-ahead of a network, with two tangents for every candidate."""
    logits = apply_fn(params, holdout_inputs)
    log_probs = jax.nn.log_softmax(logits).T
    rounding = 16 * jnp.finfo(logits.dtype).eps
    rounding = rounding * (1 + jnp.abs(logits).max(-1, keepdims=True))

    def add(moved, scale):
        return jax.tree.map(lambda p, d: p + scale * d, params, moved)

    def score(candidate):
        def logits_at(moved):
            return apply_fn(add(moved, 1.0), candidate[None])[0]

        at_start = jax.tree.map(jnp.zeros_like, params)
        label = jnp.argmax(logits_at(at_start))

        def step(moved, _):
            now, pull_back = jax.vjp(logits_at, moved)
            (ascent,) = pull_back(numerics.label_residual(now, label))
            return jax.tree.map(lambda m, a: m + learning_rate * a, moved, ascent), None

        moved, _ = jax.lax.scan(step, at_start, length=steps)

        def tangent_at(fraction):
            at = add(moved, fraction)
            return jax.jvp(lambda p: apply_fn(p, holdout_inputs), (at,), (moved,))[1]

        direct = apply_fn(add(moved, 1.0), holdout_inputs) - logits
        offset = 12**-0.5
        tangent = (tangent_at(0.5 - offset) + tangent_at(0.5 + offset)) / 2
        agrees = (jnp.abs(direct - tangent) <= rounding).all(-1, keepdims=True)
        change = jnp.where(agrees, tangent, direct)
        margin = (change - jnp.take_along_axis(change, labels[:, None], axis=1)).T
        return numerics.cross_entropy_change(log_probs, lambda c: margin[c]).mean()

    return jax.vmap(score)(inputs)
