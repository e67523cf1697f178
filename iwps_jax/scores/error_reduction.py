"""Expected error reduction: which label, whatever it is, would settle most?"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax import checks, numerics
from iwps_jax.scores import head
from iwps_jax.types import AnyArray

# Sums of exp(2 |k δ|) are far from overflowing, and round relative to the change.
PLAIN_RADIUS = 8.0


def error_reduction(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    reference_features: Float[AnyArray, "m d"],
    *,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
) -> Float[jax.Array, " pool"]:
    """Minus the expected entropy on a reference set after labeling a candidate.

        score(x) = -Σ_c p(c|x) mean_m H[p(y | g_m; θ_(x,c))]

    with θ_(x,c) the head after T SGD steps on x under label c, in the closed form of
    `iwps_last_layer`. In [-log(classes), 0]. The cost is pool · classes² · m
    exponentials, the memory pool · classes · m: take a few hundred reference samples
    and chunks of a large pool. Beside an entropy near one,
    float32 cannot show changes below 1e-7: to rank candidates, use
    `expected_entropy_reduction`, which leaves the constant out.

    Args:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        reference_features: inputs g of the last layer for a random subset of the
            pool, on which the expected error is estimated.
        steps: T, the SGD steps under each hypothetical label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if shapes disagree, or outside `jax.jit` if a number is not
            finite.
        TypeError: if features are not floating point.

    References:
        Roy, McCallum 2001, "Toward Optimal Active Learning through Sampling
        Estimation of Error Reduction", log-loss version, §3. The retraining is
        replaced by the head's look-ahead.

    Example:
        >>> scores = error_reduction(
        ...     features=jnp.array([[1.0, 1.0], [0.0, 0.0]]),
        ...     kernel=jnp.eye(2),
        ...     bias=jnp.zeros(2),
        ...     reference_features=jnp.array([[2.0, 0.0], [0.0, 2.0]]),
        ...     learning_rate=0.1,
        ... )
        >>> bool(((-jnp.log(2) < scores) & (scores < 0)).all())
        True
    """
    reduction, entropy_now = _checked_reduction(
        features, kernel, bias, reference_features, steps, learning_rate
    )
    return jnp.minimum(reduction - entropy_now, 0)


def expected_entropy_reduction(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    reference_features: Float[AnyArray, "m d"],
    *,
    steps: int = 3,
    learning_rate: float | Float[AnyArray, ""] = 1e-3,
) -> Float[jax.Array, " pool"]:
    """How much labeling a candidate is expected to lower the reference's entropy.

        score(x) = Σ_c p(c|x) mean_m {H[p(y | g_m; θ)] - H[p(y | g_m; θ_(x,c))]}

    `error_reduction` plus the present mean entropy, one constant for all candidates:
    the same order, with the digits that the constant would take. Negative where the
    update is expected to raise the entropy.

    Args:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        reference_features: inputs g of the last layer for a random subset of the
            pool.
        steps: T, the SGD steps under each hypothetical label.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats.

    Raises:
        ValueError: if shapes disagree, or outside `jax.jit` if a number is not
            finite.
        TypeError: if features are not floating point.

    References:
        Roy, McCallum 2001, "Toward Optimal Active Learning through Sampling
        Estimation of Error Reduction", log-loss version, §3.

    Example:
        >>> candidates = jnp.array([[1.0, 1.0], [0.0, 0.0]])
        >>> head = jnp.eye(2), jnp.zeros(2)
        >>> reference = jnp.array([[2.0, 0.0], [0.0, 2.0]])
        >>> reduction = expected_entropy_reduction(candidates, *head, reference)
        >>> bool(abs(reduction[1]) < abs(reduction[0]) < 1e-3)
        True
    """
    return _checked_reduction(
        features, kernel, bias, reference_features, steps, learning_rate
    )[0]


def _checked_reduction(
    features, kernel, bias, reference_features, steps, learning_rate
):
    head.check_head(features, kernel, bias)
    head.check_same_features("reference_features", reference_features, kernel)
    checks.require_steps(steps, learning_rate)
    return _entropy_reduction(
        features, kernel, bias, reference_features, learning_rate, steps=int(steps)
    )


@partial(jax.jit, static_argnames="steps")
def _entropy_reduction(
    features, kernel, bias, reference_features, learning_rate, *, steps
):
    """The expected reduction for every candidate, and the present mean entropy."""
    features, kernel, bias, reference_features = numerics.upcast(
        (features, kernel, bias, reference_features)
    )
    logits = head.head_logits(features, kernel, bias)
    labels = jnp.arange(kernel.shape[1])
    under_label = partial(head.displacement, steps=steps, learning_rate=learning_rate)
    deltas = jax.vmap(jax.vmap(under_label, (None, None, 0)), (0, 0, None))(
        features, logits, labels
    )
    couplings = head.couplings(features, reference_features)
    reference_log_probs = numerics.log_softmax(
        head.head_logits(reference_features, kernel, bias)
    )

    def expected_change(of_label):
        def of_candidate(probs, deltas, coupling):
            changes = jax.vmap(of_label, (None, None, 0))(
                reference_log_probs, coupling, deltas
            )
            # A mean of differences keeps digits that a difference of means has not.
            return jnp.vdot(probs, changes.mean(-1), precision=numerics.PRECISION)

        return lambda: jax.vmap(of_candidate)(jax.nn.softmax(logits), deltas, couplings)

    change = jax.lax.cond(
        head.is_small_step(deltas, couplings, PLAIN_RADIUS),
        expected_change(_small_entropy_change),
        expected_change(_any_entropy_change),
    )
    entropy_now = numerics.entropy_of(reference_log_probs).mean()
    return -change.astype(jnp.float32), entropy_now.astype(jnp.float32)


def _any_entropy_change(log_probs, coupling, delta):
    """Change of each sample's entropy when its logits move by k δ, for any k δ."""
    change = _entropy_after(log_probs.T, coupling, delta) - numerics.entropy_of(
        log_probs
    )
    is_small = jnp.abs(coupling) * jnp.abs(delta).max() <= PLAIN_RADIUS
    small_coupling = jnp.where(is_small, coupling, 0)
    small_change = _small_entropy_change(log_probs, small_coupling, delta)
    return jnp.where(is_small, small_change, change)


def _small_entropy_change(log_probs, coupling, delta):
    """The same for moderate k δ, with every term as small as the change itself.

    With v_c = k (δ_c - δ_top) in relation to the most probable class and
    s = Σ_c p_c expm1(v_c),

        ΔH = log1p(s) - [Σ_c p_c (expm1(v_c) log p_c + v_c exp(v_c)) + s H] / (1 + s)

    in which a sample that is sure of its class contributes next to nothing.
    """
    probs = jnp.exp(log_probs)
    weighted_log = jnp.where(probs > 0, probs * log_probs, 0)
    delta_of_top = delta[log_probs.argmax(-1)]

    def add_class(sums, of_class):
        excess, weighted = sums
        prob, prob_log, step = of_class
        change = coupling * (step - delta_of_top)
        growth = jnp.expm1(change)
        weighted = weighted + growth * prob_log + prob * change * (1 + growth)
        return (excess + prob * growth, weighted), None

    zeros = jnp.zeros_like(coupling)
    (excess, weighted), _ = jax.lax.scan(
        add_class, (zeros, zeros), (probs.T, weighted_log.T, delta)
    )
    now = numerics.entropy_of(log_probs)
    return jnp.log1p(excess) - (weighted + excess * now) / (1 + excess)


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
