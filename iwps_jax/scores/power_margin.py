"""Margin with noise: a batch of the most uncertain rows that is not all alike."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from iwps_jax import checks, numerics
from iwps_jax.scores.predictive import margin
from iwps_jax.types import AnyArray


def power_margin(
    keys: Key[AnyArray, " pool"],
    logits: Float[AnyArray, "pool classes"],
    *,
    beta: float = 1.0,
) -> Float[jax.Array, " pool"]:
    """The logarithm of Margin's score to a power, with Gumbel noise.

        score(x) = β log s(x) + ε,    s(x) = 1 - (p_first - p_second),
                                      ε ~ Gumbel(0, 1)

    The k highest are k draws without replacement with P(x) ∝ s(x)^β: β = 0 draws at
    random, and as β → ∞ the picks become those of `margin`. With one key per row the
    noise does not depend on the chunk.

    Args:
        keys: one per candidate, from `sample_keys`.
        logits: unnormalized log-probabilities; -inf rules a class out.
        beta: β, at least 0.

    Returns:
        One float32 score per candidate, without a unit.

    Raises:
        ValueError: if the axes are wrong, there is not one key for each row or β is
            negative or not finite; outside `jax.jit` also if a row has no softmax.
        TypeError: if logits are not floating point.

    References:
        Kirsch et al. 2023, "Stochastic Batch Acquisition: A Simple Baseline for Deep
        Active Learning", power acquisition (§3), here with Margin's score.
        https://arxiv.org/abs/2106.12059

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> logits = jnp.array([[0.0, 0.0], [0.0, 40.0]])
        >>> scores = power_margin(keys, logits)
        >>> bool(scores[0] > scores[1])
        True
    """
    if not 0 <= beta < float("inf"):
        raise ValueError(f"beta must be at least 0 and finite, got {beta}.")
    scores = margin(logits)
    checks.require_keys("keys", keys, len(scores), "logits")
    # A row that is certain scores zero, whose logarithm no power could tell from -inf.
    logarithm = jnp.log(jnp.maximum(scores, jnp.finfo(scores.dtype).tiny))
    noise = jax.vmap(numerics.gumbel)(keys)
    return beta * logarithm + noise
