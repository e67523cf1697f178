"""Expected error reduction: which label, whatever it is, would settle most?"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax import checks, numerics
from iwps_jax.scores import head
from iwps_jax.types import AnyArray


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
    exponentials: take a few hundred reference samples.

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
        >>> scores.shape
        (2,)
    """
    head.check_head(features, kernel, bias)
    head.check_same_features("reference_features", reference_features, kernel)
    checks.require_steps(steps, learning_rate)
    return _error_reduction(
        features, kernel, bias, reference_features, learning_rate, steps=int(steps)
    )


@partial(jax.jit, static_argnames="steps")
def _error_reduction(
    features, kernel, bias, reference_features, learning_rate, *, steps
):
    features, kernel, bias, reference_features = numerics.upcast(
        (features, kernel, bias, reference_features)
    )
    logits = head.head_logits(features, kernel, bias)
    reference_log_probs = numerics.log_softmax(
        head.head_logits(reference_features, kernel, bias)
    )
    entropy_now = numerics.entropy_of(reference_log_probs)
    labels = jnp.arange(kernel.shape[1])

    def expected_entropy_change(candidate, candidate_logits):
        coupling = head.coupling(candidate, reference_features)

        def entropy_change(label):
            delta = head.displacement(
                candidate,
                candidate_logits,
                label,
                steps=steps,
                learning_rate=learning_rate,
            )
            entropy = _entropy_after(reference_log_probs.T, coupling, delta)
            # The mean of small differences keeps the digits that a mean of
            # entropies near log(classes) would spend on what never changes.
            return (entropy - entropy_now).mean()

        return jax.nn.softmax(candidate_logits) @ jax.vmap(entropy_change)(labels)

    change = jax.vmap(expected_entropy_change)(features, logits)
    return -(entropy_now.mean() + change).astype(jnp.float32)


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
