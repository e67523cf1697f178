"""A linear head z = hᵀ kernel + bias, and what one candidate's SGD does to it.

Every gradient step on one candidate (features h, label y) adds a multiple of the
same outer product, so after any number of steps

    Δkernel = h δᵀ,    Δbias = δ

with one vector δ of length classes, the *displacement*. A point with features g
then sees its logits move by (1 + h·g) δ: no weights are ever copied.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from iwps_jax import checks, dialect, numerics
from iwps_jax.types import AnyArray


def check_head(features: AnyArray, kernel: AnyArray, bias: AnyArray) -> None:
    """Refuses features and a head that do not fit together."""
    checks.require_finite("features", features, "pool d")
    checks.require_finite("kernel", kernel, "d classes")
    checks.require_finite("bias", bias, "classes")
    checks.batch_size("features", features)
    checks.require_size("kernel", kernel, 0, features.shape[1], "features")
    checks.require_size("bias", bias, 0, kernel.shape[1], "kernel")


def check_same_features(name: str, features: AnyArray, kernel: AnyArray) -> None:
    """Refuses a second set of features that the same head cannot read."""
    checks.require_finite(name, features, "m d")
    checks.batch_size(name, features)
    checks.require_size(name, features, 1, kernel.shape[0], "kernel")


def check_holdout(features: AnyArray, labels: AnyArray, kernel: AnyArray) -> None:
    """Refuses holdout features and labels that do not fit together or the head."""
    check_same_features("holdout_features", features, kernel)
    checks.require_labels("holdout_labels", labels, kernel.shape[1])
    checks.require_size("holdout_labels", labels, 0, len(features), "holdout_features")


def head_logits(
    features: Float[AnyArray, "n d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
) -> Float[jax.Array, "n classes"]:
    """The outputs z = h kernel + bias of every row."""
    features, kernel, bias = numerics.upcast((features, kernel, bias))
    return jnp.matmul(features, kernel, precision=numerics.PRECISION) + bias[None]


def couplings(
    features: Float[jax.Array, "n d"], others: Float[jax.Array, "m d"]
) -> Float[jax.Array, "n m"]:
    """How far a displacement of one sample moves the others: k_nm = 1 + h_n·g_m."""
    return 1 + jnp.matmul(features, others.T, precision=numerics.PRECISION)


def squared_norm(features: Float[jax.Array, " d"]) -> Float[jax.Array, ""]:
    """‖h‖²."""
    return dialect.sum_rows(features**2)


def reach(
    features: Float[jax.Array, "n d"], others: Float[jax.Array, "m d"]
) -> Float[jax.Array, " n"]:
    """What no coupling of a sample exceeds in size: 1 + ‖h_n‖ max_m ‖g_m‖ >= |k_nm|."""
    farthest = jax.vmap(squared_norm)(others).max()
    return 1 + jnp.sqrt(jax.vmap(squared_norm)(features)) * jnp.sqrt(farthest)


def displacement(
    features: Float[jax.Array, " d"],
    logits: Float[jax.Array, " classes"],
    label: Int[jax.Array, ""] | None = None,
    *,
    steps: int,
    learning_rate: Float[jax.Array, ""],
) -> Float[jax.Array, " classes"]:
    """δ after `steps` SGD steps of the head on one candidate.

        δ ← δ + η (onehot(y) - softmax(z + (1 + ‖h‖²) δ)),    δ = 0 at first

    with y the given label, or the prediction. Zero in sum; positive at the label.

    References:
        method of "Identifying Wrongly Predicted Samples", Eq. 2, on the last
        layer (supplement §5.1); plain SGD without momentum or weight decay.
    """
    own_coupling = 1 + squared_norm(features)
    learning_rate = jnp.asarray(learning_rate, logits.dtype)
    residual_of = _residual_of_top if label is None else numerics.label_residual
    label = dialect.argmax(logits) if label is None else label

    def step(delta, _):
        residual = residual_of(logits + own_coupling * delta, label)
        return delta + learning_rate * residual, None

    return jax.lax.scan(step, jnp.zeros_like(logits), length=steps)[0]


def _residual_of_top(logits, label):
    """`numerics.label_residual` where no logit is above the label's, in one pass.

    A step raises the label's logit and lowers all others, so the prediction stays one.
    """
    is_label = jnp.arange(len(logits), dtype=label.dtype) == label
    odds = jnp.where(is_label, 0, jnp.exp(logits - logits[label]))
    others = jnp.matmul(odds, jnp.ones_like(odds), precision=numerics.PRECISION)
    return jnp.where(is_label, others, -odds) * (1 / (1 + others))
