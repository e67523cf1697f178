"""Arithmetic that keeps its digits where the textbook form loses them.

Scores rank samples by differences of 1e-2 down to 1e-9 and below. Formed as a
difference of two float32 losses, or of a probability and one, such numbers are
rounding noise; every function here avoids that subtraction.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Key, PyTree

from iwps_jax import dialect
from iwps_jax.dialect import PRECISION as PRECISION
from iwps_jax.dialect import exp_and_expm1, moderate_log1p
from iwps_jax.series import expm1_series as expm1_series
from iwps_jax.series import polynomial as polynomial
from iwps_jax.types import AnyArray

# Of a walk over the classes on a CPU: the loop costs little then, and the program stays
# small.
CLASSES_AT_ONCE = 5


def upcast(tree: PyTree) -> PyTree:
    """Floating leaves in one type: float32, or float64 if one is; others as they are.

    In 64-bit mode, a pool of float64 meets a head of float32.
    """
    tree = jax.tree.map(jnp.asarray, tree)
    types = [leaf.dtype for leaf in jax.tree.leaves(tree)]
    wide = jnp.float64 if jnp.float64 in types else jnp.float32

    def widen(leaf):
        return leaf.astype(wide) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(widen, tree)


def uniform(key: Key[AnyArray, ""], shape: tuple[int, ...] = ()) -> jax.Array:
    """Draws from [0, 1): the same float32 numbers in 64-bit mode."""
    return jax.random.uniform(key, shape, jnp.float32)


def gumbel(key: Key[AnyArray, ""], shape: tuple[int, ...] = ()) -> jax.Array:
    """Draws of Gumbel noise: the same float32 numbers in 64-bit mode."""
    return jax.random.gumbel(key, shape, jnp.float32)


@jax.custom_batching.custom_vmap
def all_of_batch(predicate: jax.Array) -> jax.Array:
    """The predicate itself; under `jax.vmap`, whether it holds for the whole batch."""
    return predicate


@all_of_batch.def_vmap
def _all_of_batch_under_vmap(axis_size, in_batched, predicate):
    del axis_size, in_batched
    return all_of_batch(predicate.all(0)), False


def log_of_sum(total: jax.Array, excess: jax.Array) -> jax.Array:
    """log(total), from total and total - 1, both exact in relation to themselves."""
    is_near = (excess > -0.5) & (excess < 1)
    far = jnp.log(jnp.where(is_near, 1, total))
    return jnp.where(is_near, moderate_log1p(jnp.where(is_near, excess, 0)), far)


def label_residual(
    logits: Float[jax.Array, "*batch classes"], labels: Int[AnyArray, "*batch"]
) -> Float[jax.Array, "*batch classes"]:
    """Minus the gradient of the cross-entropy in the logits.

        r = onehot(y) - softmax(z)

    The label's own entry is the sum of the other probabilities, so it keeps its
    relative precision when p_y rounds to one; the entries sum to zero.
    """
    probs = jax.nn.softmax(logits)
    is_label = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    others = jnp.where(is_label, 0, probs)
    return jnp.where(is_label, others.sum(-1, keepdims=True), -others)


def cross_entropy_change(
    log_probs: Float[jax.Array, "classes m"],
    margin_change: Callable[[Int[jax.Array, ""]], Float[jax.Array, " m"]],
) -> Float[jax.Array, " m"]:
    """Change of each sample's cross-entropy when its logits move.

        Δ = log Σ_c p_c exp(v_c),    v_c = u_c - u_y

    with u the change of the logits and y the sample's label. It is written in
    the *margin* changes v, in which the label's own term is exactly zero, so
    nothing is left to cancel: Δ = log1p(Σ_c p_c expm1(v_c)) while that sum is
    moderate, and the logarithm of a shifted sum beyond. The classes are walked a few at
    a time: memory is [m], whatever their number.

    Args:
        log_probs: log p before the change; -inf is allowed.
        margin_change: class index -> v_c for every sample.

    Returns:
        Δ per sample, in nats; finite whenever v is.
    """
    classes = jnp.arange(log_probs.shape[0])
    walk = partial(dialect.over_classes, on_cpu=CLASSES_AT_ONCE)

    def raise_peak(peak, c):
        return jnp.maximum(peak, log_probs[c] + margin_change(c))

    lowest = jnp.full(log_probs.shape[1:], -jnp.inf, log_probs.dtype)
    peak = walk(raise_peak, lowest, classes)
    # Only where the plain sum would overflow or vanish is it shifted; there |Δ| > 1
    # and the shifted logarithm loses nothing.
    is_extreme = (peak > 1) | (peak < -40)
    shift = jnp.where(is_extreme, peak, 0)

    def add_class(sums, c):
        total, excess = sums
        change = margin_change(c)
        prob = jnp.exp(log_probs[c])
        term = jnp.exp(log_probs[c] + change - shift)
        _, growth = exp_and_expm1(jnp.clip(change, -64, 1))
        gain = jnp.where(change < 1, prob * growth, term - prob)
        return total + term, excess + gain

    zeros = jnp.zeros_like(peak)
    total, excess = walk(add_class, (zeros, zeros), classes)
    is_moderate = ~is_extreme & (excess > -0.5)
    return jnp.where(
        is_moderate,
        jnp.log1p(jnp.where(is_moderate, excess, 0)),
        shift + jnp.log(jnp.where(is_moderate, 1, total)),
    )


def log_mean_exp(values: jax.Array) -> jax.Array:
    """log((1/n) Σ exp(values)) over the first axis; all -inf gives -inf."""
    peak = values.max(0)
    is_zero = jnp.isneginf(peak)
    peak = jnp.where(is_zero, 0, peak)
    excess = jnp.expm1(values - peak[None]).mean(0)
    # The logarithm of zero has no slope, and 0 times that would be NaN in a gradient.
    return jnp.where(is_zero, -jnp.inf, peak + jnp.log1p(jnp.where(is_zero, 0, excess)))


def log_softmax(
    logits: Float[jax.Array, "*batch classes"],
) -> Float[jax.Array, "*batch classes"]:
    """Logarithm of the softmax that keeps digits in log p of a certain class.

    The most probable class has log p = -log1p(Σ of the others relative to it), which
    does not round to zero with the sum.
    """
    is_top = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=bool)
    # Not `max`, which shares its slope among all that tie, while one is left out below.
    relative = logits - jnp.where(is_top, logits, 0).sum(-1, keepdims=True)
    others = jnp.where(is_top, 0, jnp.exp(relative)).sum(-1, keepdims=True)
    return relative - jnp.log1p(others)


def divergence_term(
    log_ratio: Float[jax.Array, "*batch"],
) -> Float[jax.Array, "*batch"]:
    """Terms of a divergence: u exp(u) - expm1(u), which m weighs into KL(p ‖ m).

    With u = log(p/m), -inf allowed; never negative. The expm1 sums to zero over m and
    takes the first order away, which would otherwise cancel only in the sum. A series
    serves where the two terms meet.
    """
    is_small = jnp.abs(log_ratio) < 1e-2
    small = jnp.where(is_small, log_ratio, 0)
    series = small**2 * (1 / 2 + small * (1 / 3 + small / 8))
    large = jnp.where(jnp.isneginf(log_ratio), 0, log_ratio)
    return jnp.where(
        is_small, series, large * jnp.exp(log_ratio) - jnp.expm1(log_ratio)
    )


def entropy_of(
    log_probs: Float[jax.Array, "*batch classes"],
) -> Float[jax.Array, "*batch"]:
    """-Σ_c p_c log p_c over the last axis, in nats, with 0 · log 0 = 0."""
    probs = jnp.exp(log_probs)
    # Zero before the product: in a gradient, 0 times -inf would be NaN.
    factors = jnp.where(probs > 0, log_probs, 0)
    # The absolute value only turns the -0.0 of a certain prediction into 0.0.
    return jnp.abs((probs * factors).sum(-1))
