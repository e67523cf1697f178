"""How often the head's prediction changes when features are dropped."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, Key

from iwps_jax import blocks, checks, masks, numerics
from iwps_jax.scores.head import check_head, head_logits
from iwps_jax.types import AnyArray

NUM_DRAWS, DROPOUT_RATE = 3, 0.75


def prediction_changes(
    keys: Key[AnyArray, " pool"],
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    *,
    num_draws: int = NUM_DRAWS,
    dropout_rate: float = DROPOUT_RATE,
) -> Float[jax.Array, " pool"]:
    """The share of dropout masks of the features under which the prediction changes.

        score(x) = 1/M Σ_m [argmax_c z_c(h ∘ b_m / (1 - ρ)) != argmax_c z_c(h)]

    with z the head's outputs and b_m a mask that keeps each feature with probability
    1 - ρ. The masks are hashes of the row's key (`iwps_jax.masks`), so that the chunk
    changes none. O(M · pool · d · classes). Ties of logits go to the lower class: a
    head of zeros changes no prediction.

    Args:
        keys: one per candidate, from `sample_keys`.
        features: inputs h of the last layer.
        kernel: its weights.
        bias: its offsets.
        num_draws: M, masks of each row.
        dropout_rate: ρ, in [0, 1).

    Returns:
        One float32 score per candidate, from 0 to 1.

    Raises:
        ValueError: if shapes disagree, num_draws is below 1 or dropout_rate not in
            [0, 1); outside `jax.jit` also if a number is not finite.
        TypeError: if features or the head are not floating point.

    References:
        Gupte et al. 2024, "Revisiting Active Learning in the Era of Vision Foundation
        Models", the first step of DropQuery. https://arxiv.org/abs/2401.14555

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> features = jnp.array([[1.0, 1.0, 1.0], [1.0, 0.9, 0.9]])
        >>> kernel = jnp.array([[0.0, 3.0], [1.0, 0.0], [1.0, 0.0]])
        >>> head = kernel, jnp.array([0.0, 0.1])
        >>> print(prediction_changes(keys, 0 * features, *head))
        [0. 0.]
        >>> scores = prediction_changes(keys, features, *head, num_draws=100)
        >>> print(scores[0] > 0, scores.max() < 1)
        True True
    """
    check_head(features, kernel, bias)
    checks.require_keys("keys", keys, len(features), "features")
    if checks.require_integer("num_draws", num_draws) < 1:
        raise ValueError(f"num_draws must be at least 1, got {num_draws}.")
    if not 0 <= dropout_rate < 1:
        raise ValueError(f"dropout_rate must be in [0, 1), got {dropout_rate}.")
    return _prediction_changes(
        keys,
        features,
        kernel,
        bias,
        num_draws=int(num_draws),
        dropout_rate=float(dropout_rate),
    )


@partial(jax.jit, static_argnames=("num_draws", "dropout_rate"))
def _prediction_changes(keys, features, kernel, bias, *, num_draws, dropout_rate):
    features, kernel, bias = numerics.upcast((features, kernel, bias))
    predicted = _predictions(features, kernel, bias)
    share = 1 - dropout_rate
    width = features.shape[1]

    def mask_of(key, draw):
        return masks.kept(jax.random.fold_in(key, draw), share, (width,))

    def add(draw, changes):
        kept = jax.vmap(mask_of, (0, None))(keys, draw)
        dropped = jnp.where(kept, features / share, 0)
        has_changed = _predictions(dropped, kernel, bias) != predicted
        return changes + has_changed.astype(changes.dtype)

    changes = jnp.zeros(len(features), jnp.int32)
    changes = jax.lax.fori_loop(0, num_draws, add, changes)
    return changes.astype(jnp.float32) / num_draws


def _predictions(features, kernel, bias):
    return blocks.argmax(head_logits(features, kernel, bias).T)
