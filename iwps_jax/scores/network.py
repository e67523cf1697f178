"""A whole network as a pure function: what the scores that use it have in common."""

import jax
import jax.numpy as jnp
from jaxtyping import Int, PyTree

from iwps_jax import checks, numerics
from iwps_jax.types import AnyArray, ApplyFn, Inputs, Params


def in_full_precision(apply_fn: ApplyFn) -> ApplyFn:
    """The network with products of float32 that are of float32, as those here are.

    On GPUs and TPUs they are not by default, and the change of a loss by one step is
    smaller than the error that makes.
    """

    def applied(params, inputs):
        with jax.default_matmul_precision("highest"):
            return apply_fn(params, inputs)

    return applied


def check_classifier(
    apply_fn: ApplyFn, params: Params, inputs: Inputs, name: str
) -> int:
    """Refuses inputs that `apply_fn` does not turn into logits; returns classes."""
    checks.require_callable("apply_fn", apply_fn)
    checks.require_params("params", params)
    checks.require_finite_tree(name, inputs)
    size = checks.batch_size(name, inputs)
    logits = jax.eval_shape(apply_fn, params, inputs)
    rule = f"apply_fn must turn {size} {name} into logits [{size}, classes]"
    if not isinstance(logits, jax.ShapeDtypeStruct):
        raise TypeError(f"{rule}, got a {type(logits).__name__}, not one array.")
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"{rule} in floating point, got {logits.dtype}.")
    if len(logits.shape) != 2 or logits.shape[0] != size:
        raise ValueError(f"{rule}, got shape {logits.shape}.")
    return logits.shape[1]


def check_labeled(
    apply_fn: ApplyFn,
    params: Params,
    inputs: Inputs,
    labels: AnyArray,
    names: tuple[str, str],
) -> int:
    """Refuses samples and labels, so named, that do not fit; returns classes."""
    inputs_name, labels_name = names
    num_classes = check_classifier(apply_fn, params, inputs, inputs_name)
    checks.require_labels(labels_name, labels, num_classes)
    size = checks.batch_size(inputs_name, inputs)
    checks.require_size(labels_name, labels, 0, size, inputs_name)
    return num_classes


def mean_gradient(
    apply_fn: ApplyFn, params: Params, inputs: Inputs, labels: Int[jax.Array, " n"]
) -> PyTree:
    """∇ mean_n ℓ(f(x_n; θ), y_n), from residuals that keep their precision."""
    apply_fn = in_full_precision(apply_fn)
    logits, pull_back = jax.vjp(lambda p: apply_fn(p, inputs), params)
    residual = numerics.label_residual(numerics.upcast(logits), labels)
    (gradient,) = pull_back((-residual / len(labels)).astype(logits.dtype))
    return gradient


def first_order_change(
    apply_fn: ApplyFn,
    params: Params,
    direction: PyTree,
    inputs: Inputs,
    labels: Int[jax.Array, " n"] | None = None,
) -> jax.Array:
    """⟨direction, ∇ℓ(f(x_n; θ), y_n)⟩ for every sample, from one forward-mode pass.

        s_n = Σ_c p_nc (ż_nc - ż_n,y_n),    ż = J_n direction

    Without `labels` each sample is taken under its own prediction. No per-sample
    gradient is ever formed.
    """
    apply_fn = in_full_precision(apply_fn)
    logits, tangent = jax.jvp(lambda p: apply_fn(p, inputs), (params,), (direction,))
    logits, tangent = numerics.upcast((logits, tangent))
    if labels is None:
        labels = logits.argmax(-1)
    return -(numerics.label_residual(logits, labels) * tangent).sum(-1)
