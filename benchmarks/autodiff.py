"""The look-aheads as one would write them by automatic differentiation.

What the library's scores are compared with: the same numbers, by `vmap` of `grad`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree


def iwps(
    apply_fn: Callable,
    params: PyTree,
    inputs: jax.Array,
    holdout_inputs: jax.Array,
    holdout_labels: jax.Array,
    *,
    steps: int,
    learning_rate: float,
) -> jax.Array:
    """Exact IWPS: `vmap` of `grad` in a `scan`, and a difference of two losses."""
    loss_now = _mean_loss(apply_fn, params, holdout_inputs, holdout_labels)

    def score(candidate):
        batch = candidate[None]
        labels = apply_fn(params, batch).argmax(-1)

        def step(moved, _):
            gradient = jax.grad(_mean_loss, 1)(apply_fn, moved, batch, labels)
            moved = jax.tree.map(lambda p, g: p - learning_rate * g, moved, gradient)
            return moved, None

        moved, _ = jax.lax.scan(step, params, length=steps)
        return _mean_loss(apply_fn, moved, holdout_inputs, holdout_labels) - loss_now

    return jax.vmap(score)(inputs)


def iwps_app(
    apply_fn: Callable, params: PyTree, inputs: jax.Array, holdout_gradient: PyTree
) -> jax.Array:
    """First-order IWPS: `vmap` of `grad`, then the product with the holdout's."""

    def score(candidate):
        batch = candidate[None]
        labels = apply_fn(params, batch).argmax(-1)
        own = jax.grad(_mean_loss, 1)(apply_fn, params, batch, labels)
        products = jax.tree.map(jnp.vdot, own, holdout_gradient)
        return -sum(jax.tree.leaves(products))

    return jax.vmap(score)(inputs)


def dense(layers: list, inputs: jax.Array) -> jax.Array:
    """The logits of (kernel, bias) layers with ReLUs between them."""
    for kernel, bias in layers[:-1]:
        inputs = jax.nn.relu(inputs @ kernel + bias[None])
    kernel, bias = layers[-1]
    return inputs @ kernel + bias[None]


def _mean_loss(apply_fn, params, inputs, labels):
    return optax.softmax_cross_entropy_with_integer_labels(
        apply_fn(params, inputs), labels
    ).mean()
