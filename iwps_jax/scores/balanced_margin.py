"""Margin where every class counts as much as any other."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from iwps_jax import checks, numerics
from iwps_jax.scores.predictive import margin
from iwps_jax.types import AnyArray


def balanced_margin(
    logits: Float[AnyArray, "pool classes"],
    labels: Int[AnyArray, " m"],
    *,
    smoothing: float = 1.0,
) -> Float[jax.Array, " pool"]:
    """Margin's score of logits that are adjusted to classes of equal frequency.

        score(x) = 1 - (q_first - q_second),    q = softmax(z - log π)

        π_c = (n_c + a) / (Σ_c' n_c' + a · classes)

    with n_c labeled samples of class c and a the smoothing, one by default (Laplace).
    The probabilities are divided by the frequencies of the labeled classes, so that a
    row is also uncertain if a rare class may win only once its rarity is taken out.
    Without labels, and where all classes have as many, it is `margin`.

    Args:
        logits: unnormalized log-probabilities of at least two classes.
        labels: classes of the labeled samples; negative in empty places.
        smoothing: a, positive: how many labels each class has before the first.

    Returns:
        One float32 score per candidate, a probability in [0, 1].

    Raises:
        ValueError: if the axes are wrong, there are fewer than two classes or the
            smoothing is not positive and finite; outside `jax.jit` also if a row has no
            softmax or a label is no class.
        TypeError: if logits are not floating point or labels are not integers.

    References:
        Menon et al. 2021, "Long-tail learning via logit adjustment", the post-hoc
        adjustment with τ = 1; as a score it is folklore.
        https://arxiv.org/abs/2007.07314

    Example:
        >>> logits = jnp.log(jnp.array([[0.75, 0.25], [0.5, 0.5]]))
        >>> labels = jnp.array([0, 0, 0, 0, 0, 1])
        >>> scores = balanced_margin(logits, labels)
        >>> print(f"{scores[0]:.2f} {scores[1]:.2f}")
        1.00 0.50
    """
    checks.require_logits("logits", logits, "pool classes")
    if getattr(labels, "shape", None) == (0,) and labels.dtype.kind in "iu":
        labels = jnp.full(1, -1, jnp.int32)  # an empty place
    checks.require_integers("labels", labels)
    checks.require_labels("labels", jnp.maximum(labels, 0), logits.shape[1])
    checks.require_positive("smoothing", smoothing)
    return margin(_adjusted(logits, labels, smoothing))


@jax.jit
def _adjusted(logits, labels, smoothing):
    logits = numerics.upcast(logits)
    classes = jnp.arange(logits.shape[1], dtype=jnp.int32)
    labels = jnp.asarray(labels).astype(jnp.int32)
    counts = (labels[:, None] == classes[None]).sum(0, dtype=jnp.int32)
    frequencies = counts.astype(logits.dtype) + jnp.asarray(smoothing, logits.dtype)
    return logits - jnp.log(frequencies / frequencies.sum())[None]
