"""Temperature scaling: the number to divide logits by, so that they are calibrated."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from iwps_jax import checks, numerics
from iwps_jax.types import AnyArray

# 1.0, 1.1, …, 19.9: where the temperature is looked for.
TEMPERATURES = tuple(tenths / 10 for tenths in range(10, 200))


def fit_temperature(
    logits: Float[AnyArray, "m classes"], labels: Int[AnyArray, " m"]
) -> Float[jax.Array, ""]:
    """The temperature at which confidence and accuracy agree best.

        ECE(T) = Σ_b |Σ_(i in b) (conf_i - acc_i)| / m,    p_i = softmax(z_i / T)

    with conf_i = max_c p_ic, acc_i whether the prediction is right, and as many bins b
    of equal width for the confidence as there are classes. The answer is the T of the
    least expected calibration error among 1.0, 1.1, …, 19.9; the lowest of those that
    tie. Predictions do not depend on T, and never become more confident.

    Args:
        logits: of samples that the model did not learn from.
        labels: their classes.

    Returns:
        One number, at least 1.

    Raises:
        ValueError: if shapes disagree; outside `jax.jit` also if a row has no softmax
            or a label is out of range.
        TypeError: if logits are not floating point or labels no integers.

    References:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", §4.2, scale the
        logits so, but by the likelihood. The code of Bae et al. 2025, "Uncertainty
        Herding", takes the least calibration error, on this grid and in these bins.

    Example:
        >>> logits = jnp.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [9.0, 0.0]])
        >>> print(f"{fit_temperature(logits, jnp.array([0, 0, 0, 1])):.1f}")
        8.2
    """
    checks.require_logits("logits", logits, "m classes")
    checks.require_labels("labels", labels, logits.shape[1])
    checks.require_size("labels", labels, 0, len(logits), "logits")
    return _fit_temperature(logits, labels)


@jax.jit
def _fit_temperature(logits, labels):
    logits = numerics.upcast(logits)
    num_bins = logits.shape[1]
    is_right = jnp.asarray(labels).astype(jnp.int32) == jax.lax.argmax(
        logits, 1, jnp.int32
    )
    bins = jnp.arange(num_bins, dtype=jnp.int32)

    def error(temperature):
        confidence = jnp.exp(jax.nn.log_softmax(logits / temperature).max(-1))
        # A bin has its upper end: ceil(c · bins) - 1.
        place = jnp.ceil(confidence * num_bins).astype(jnp.int32) - 1
        is_in = place[:, None] == bins[None]
        gap = confidence - is_right.astype(confidence.dtype)
        return jnp.abs(jnp.where(is_in, gap[:, None], 0).sum(0)).sum()

    temperatures = jnp.asarray(TEMPERATURES, logits.dtype)
    return temperatures[jnp.argmin(jax.lax.map(error, temperatures))]
