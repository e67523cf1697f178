"""IWPS-app: the first order of IWPS, a product with the cached holdout gradient.

Expanding Eq. 3 in the step length leaves, up to the constant η T,

    score(x) = -⟨∇ℓ_v(θ), ∇ℓ(f(x; θ), ŷ)⟩                                 (Eq. 10)

which is minus the mean over the holdout of the kernel

    K(x_i, x_j) = (∇f(x_i)ᵀ (p_i - y_i)) · (∇f(x_j)ᵀ (p_j - y_j))   (supplement Eq. 1)

High where learning the prediction would raise the holdout loss. The gradients are
not normalized: their length, 1 - p of the prediction among it, is part of the score.

References:
    Aljundi, Chumerin, Olmeda Reino 2020, "Identifying Wrongly Predicted Samples:
    A Method for Active Learning". https://arxiv.org/abs/2010.06890
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer, PyTree

from iwps_jax import checks, numerics
from iwps_jax.scores import head, network
from iwps_jax.scores.weights import checked_weights
from iwps_jax.types import AnyArray, ApplyFn, Inputs, Params


def holdout_gradient(
    apply_fn: ApplyFn,
    params: Params,
    holdout_inputs: Inputs,
    holdout_labels: Integer[AnyArray, " m"],
) -> PyTree:
    """Mean gradient of the holdout loss: compute it once a round and keep it.

        ∇ℓ_v(θ) = mean_m ∇ℓ(f(g_m; θ), y_m)

    Args:
        apply_fn: pure `apply_fn(params, inputs) -> logits [batch, classes]`.
        params: θ, a pytree of floating-point arrays.
        holdout_inputs: one array or a pytree with a leading sample axis.
        holdout_labels: true classes, in [0, classes).

    Returns:
        A pytree like `params`, at least float32.

    Raises:
        ValueError: if shapes disagree; outside `jax.jit` also if a label is out of
            range or a number is not finite.
        TypeError: if labels are not integers.

    References:
        Aljundi et al. 2020, Eq. 10 and supplement §3 ("pre-computed only once").

    Example:
        >>> apply_fn = lambda params, x: x @ params
        >>> gradient = holdout_gradient(
        ...     apply_fn, jnp.zeros((1, 2)), jnp.array([[2.0]]), jnp.array([0])
        ... )
        >>> print(gradient)
        [[-1.  1.]]
    """
    network.check_labeled(
        apply_fn,
        params,
        holdout_inputs,
        holdout_labels,
        ("holdout_inputs", "holdout_labels"),
    )
    return _holdout_gradient(apply_fn, params, holdout_inputs, holdout_labels)


@partial(jax.jit, static_argnames="apply_fn")
def _holdout_gradient(apply_fn, params, inputs, labels):
    params, inputs = numerics.upcast((params, inputs))
    return network.mean_gradient(apply_fn, params, inputs, labels.astype(jnp.int32))


def iwps_app(
    apply_fn: ApplyFn, params: Params, inputs: Inputs, holdout_gradient: PyTree
) -> Float[jax.Array, " pool"]:
    """First-order IWPS on any network, as one forward-mode pass.

        score(x) = -⟨g, ∇ℓ(f(x; θ), ŷ)⟩ = -Σ_c p_c (ż_c - ż_ŷ),    ż = J(x) g

    with g the cached holdout gradient. The inner product with every candidate's
    gradient is the directional derivative of its loss along g, so a whole pool costs
    about two forward passes and no per-sample gradient exists in memory.

    Args:
        apply_fn: pure `apply_fn(params, inputs) -> logits [batch, classes]`.
        params: θ, a pytree of floating-point arrays.
        inputs: candidates, one array or a pytree with a leading pool axis.
        holdout_gradient: g, from `holdout_gradient`; a pytree like `params`.

    Returns:
        One float32 score per candidate, in nats per unit of step length.

    Raises:
        ValueError: if shapes or structures disagree, or outside `jax.jit` if a
            number is not finite.

    References:
        Aljundi et al. 2020, Eq. 10.

    Example:
        >>> apply_fn = lambda params, x: x @ params
        >>> params = jnp.array([[0.1, -0.1]])
        >>> gradient = holdout_gradient(
        ...     apply_fn, params, jnp.array([[1.0]]), jnp.array([1])
        ... )
        >>> scores = iwps_app(apply_fn, params, jnp.array([[1.0], [0.0]]), gradient)
        >>> bool(scores[0] > scores[1] == 0)
        True
    """
    network.check_classifier(apply_fn, params, inputs, "inputs")
    checks.require_same_tree("holdout_gradient", holdout_gradient, "params", params)
    checks.require_finite_tree("holdout_gradient", holdout_gradient)
    return _iwps_app(apply_fn, params, inputs, holdout_gradient)


@partial(jax.jit, static_argnames="apply_fn")
def _iwps_app(apply_fn, params, inputs, gradient):
    params, inputs = numerics.upcast((params, inputs))
    gradient = jax.tree.map(lambda g, p: jnp.asarray(g, p.dtype), gradient, params)
    change = network.first_order_change(apply_fn, params, gradient, inputs)
    return -change.astype(jnp.float32)


def iwps_app_last_layer(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    holdout_features: Float[AnyArray, "m d"],
    holdout_labels: Integer[AnyArray, " m"],
    *,
    holdout_weights: Float[AnyArray, " m"] | None = None,
) -> Float[jax.Array, " pool"]:
    """First-order IWPS when only the last layer learns: one matrix product.

        score_n = (onehot(ŷ_n) - p_n)ᵀ (A h_n + a)

    with (A, a) the mean, or weighted, holdout gradient of the head's kernel
    (transposed) and bias. Equal to `iwps_app` on the head's parameters; the limit of
    `iwps_last_layer` divided by η T as η → 0.

    Args:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        holdout_features: inputs of the last layer for the holdout samples.
        holdout_labels: their true classes, in [0, classes).
        holdout_weights: how much each holdout sample says, in place of 1/m each, such
            as `class_balanced_weights`; at least 0 and made to sum to one.

    Returns:
        One float32 score per candidate, in nats per unit of step length.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            label is out of range, a weight negative, all of them zero or a number not
            finite.
        TypeError: if labels are not integers or features not floating point.

    References:
        Aljundi et al. 2020, Eq. 10, last layer as in supplement §5.1.

    Example:
        >>> scores = iwps_app_last_layer(
        ...     features=jnp.array([[0.6, -0.5], [9.0, 0.0]]),
        ...     kernel=jnp.eye(2),
        ...     bias=jnp.zeros(2),
        ...     holdout_features=jnp.array([[0.5, -0.6]]),
        ...     holdout_labels=jnp.array([1]),
        ... )
        >>> bool(scores[0] > scores[1] > 0)
        True
    """
    head.check_head(features, kernel, bias)
    head.check_holdout(holdout_features, holdout_labels, kernel)
    weights = checked_weights(holdout_weights, holdout_labels)
    return weighted_app_last_layer(
        features, kernel, bias, holdout_features, holdout_labels, weights
    )


@jax.jit
def weighted_app_last_layer(
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    holdout_features: Float[AnyArray, "m d"],
    holdout_labels: Integer[AnyArray, " m"],
    weights: Float[AnyArray, " m"] | None,
) -> Float[jax.Array, " pool"]:
    """The same for arrays that were checked; weights are taken as they are."""
    features, kernel, bias, holdout_features = numerics.upcast(
        (features, kernel, bias, holdout_features)
    )
    holdout_labels = holdout_labels.astype(jnp.int32)
    logits = head.head_logits(features, kernel, bias)
    residual = numerics.label_residual(logits, logits.argmax(-1))
    holdout_residual = numerics.label_residual(
        head.head_logits(holdout_features, kernel, bias), holdout_labels
    )
    if weights is None:
        holdout_residual = holdout_residual / len(holdout_labels)
    else:
        holdout_residual = holdout_residual * weights[:, None]
    kernel_gradient = -jnp.matmul(
        holdout_features.T, holdout_residual, precision=numerics.PRECISION
    )
    bias_gradient = -holdout_residual.sum(0)
    tangent = head.head_logits(features, kernel_gradient, bias_gradient)
    return (residual * tangent).sum(-1).astype(jnp.float32)


def gradient_kernel(
    apply_fn: ApplyFn,
    params: Params,
    inputs_a: Inputs,
    labels_a: Integer[AnyArray, " a"],
    inputs_b: Inputs,
    labels_b: Integer[AnyArray, " b"],
) -> Float[jax.Array, "a b"]:
    """Inner products of loss gradients between two sets of labeled samples.

        K(x_i, x_j) = (∇f(x_i)ᵀ (p_i - y_i)) · (∇f(x_j)ᵀ (p_j - y_j))

    Symmetric and positive semi-definite on one set. Minus its mean over a holdout
    set b, with a's own predictions as labels, is `iwps_app`. One gradient of a b and
    one forward-mode pass over all of a at a time: memory |θ| + a · b.

    Args:
        apply_fn: pure `apply_fn(params, inputs) -> logits [batch, classes]`.
        params: θ, a pytree of floating-point arrays.
        inputs_a: samples of the rows, with a leading axis.
        labels_a: their classes, true or predicted.
        inputs_b: samples of the columns, with a leading axis.
        labels_b: their classes, true or predicted.

    Returns:
        The kernel matrix in float32.

    Raises:
        ValueError: if shapes disagree; outside `jax.jit` also if a label is out of
            range or a number is not finite.
        TypeError: if labels are not integers.

    References:
        Aljundi et al. 2020, supplement Eq. 1.

    Example:
        >>> apply_fn = lambda params, x: x @ params
        >>> x, y = jnp.array([[1.0], [2.0]]), jnp.array([0, 1])
        >>> print(gradient_kernel(apply_fn, jnp.zeros((1, 2)), x, y, x, y))
        [[ 0.5 -1. ]
         [-1.   2. ]]
    """
    network.check_labeled(
        apply_fn, params, inputs_a, labels_a, ("inputs_a", "labels_a")
    )
    network.check_labeled(
        apply_fn, params, inputs_b, labels_b, ("inputs_b", "labels_b")
    )
    return _gradient_kernel(apply_fn, params, inputs_a, labels_a, inputs_b, labels_b)


@partial(jax.jit, static_argnames="apply_fn")
def _gradient_kernel(apply_fn, params, inputs_a, labels_a, inputs_b, labels_b):
    params, inputs_a, inputs_b = numerics.upcast((params, inputs_a, inputs_b))
    labels_a, labels_b = labels_a.astype(jnp.int32), labels_b.astype(jnp.int32)

    def column(sample):
        one_input, one_label = jax.tree.map(lambda leaf: leaf[None], sample)
        gradient = network.mean_gradient(apply_fn, params, one_input, one_label)
        return network.first_order_change(
            apply_fn, params, gradient, inputs_a, labels_a
        )

    return jax.lax.map(column, (inputs_b, labels_b)).T.astype(jnp.float32)
