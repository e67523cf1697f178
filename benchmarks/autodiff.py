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


def iwps_of_images(
    logits_fn: Callable,
    head: PyTree,
    images: tuple[jax.Array, jax.Array],
    holdout: tuple[jax.Array, jax.Array, jax.Array],
    *,
    steps: int,
    learning_rate: float,
) -> jax.Array:
    """Exact IWPS of images on a pixel head, with the losses at full resolution.

    Args:
        logits_fn: `logits_fn(head, image) -> [h, w, classes]`, of one image.
        head: what learns.
        images: of the pool, and where their pixels are valid [pool, f h, f w].
        holdout: images, labels and where they count; its images are walked, for memory.
        steps: T.
        learning_rate: η.

    Returns:
        One score an image.
    """
    num_pixels = holdout[2].sum()

    def total_loss(head, image, labels, where):
        logits = logits_fn(head, image)
        shape = (*labels.shape, logits.shape[-1])
        losses = optax.softmax_cross_entropy_with_integer_labels(
            jax.image.resize(logits, shape, "bilinear"), labels
        )
        return jnp.where(where, losses, 0).sum()

    def holdout_loss(head):
        def add(total, image):
            return total + total_loss(head, *image), None

        return jax.lax.scan(add, 0.0, holdout)[0] / num_pixels

    loss_now = holdout_loss(head)

    def score(image, where):
        logits = logits_fn(head, image)
        shape = (*where.shape, logits.shape[-1])
        labels = jax.image.resize(logits, shape, "bilinear").argmax(-1)

        def own_loss(head):
            return total_loss(head, image, labels, where) / where.sum()

        def step(moved, _):
            gradient = jax.grad(own_loss)(moved)
            moved = jax.tree.map(lambda p, g: p - learning_rate * g, moved, gradient)
            return moved, None

        moved, _ = jax.lax.scan(step, head, length=steps)
        return holdout_loss(moved) - loss_now

    return jax.vmap(score)(*images)


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
