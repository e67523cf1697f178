"""Training of a segmenter with early stopping, from a stream of minibatches.

SGD with momentum and weight decay along a polynomial schedule (supplement §6),

    η_i = η_0 (1 - i / i_max)^0.9,    i_max = epochs · steps an epoch

on the mean cross-entropy over the labeled pixels of a minibatch, at the resolution of
the labels. A minibatch that does not fit the memory is taken in parts whose gradients
are summed before the step; each part is normalized by its own statistics then.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from experiments.models import Segmenter
from experiments.segmentation import confusion
from experiments.segmentation.data.loading import Batch
from experiments.segmentation.data.scenes import IGNORE
from iwps_jax.pixels import upsampling
from iwps_jax.types import Variables

# Aljundi et al. 2020, supplement §6.
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
POWER = 0.9

# As PyTorch's SGD: the decay joins the gradient before the momentum; the step length,
# which changes every step, is applied by the caller.
direction = optax.chain(
    optax.add_decayed_weights(WEIGHT_DECAY), optax.trace(decay=MOMENTUM)
)


class TrainState(NamedTuple):
    """A trained segmenter.

    Attributes:
        variables: those with the lowest validation loss.
        validation_loss: that loss, in nats a pixel.
        steps: minibatches taken before training stopped.
    """

    variables: Variables
    validation_loss: jax.Array
    steps: jax.Array


class Programs(NamedTuple):
    """What is compiled once for a segmenter, and again for every shape of a batch.

    Attributes:
        step: `step(key, variables, momentum, rate, images, labels) -> (variables,
            momentum)`, one minibatch given as [parts, scenes a part, ...].
        loss: `loss(variables, images, labels) -> (sum, pixels)` over the labeled
            pixels, in inference mode.
        predict: `predict(variables, images) -> classes` at the resolution of labels.
        confusion: `confusion(variables, images, labels) -> [true, predicted]`.
    """

    step: Callable
    loss: Callable
    predict: Callable
    confusion: Callable


def make_programs(segmenter: Segmenter, num_classes: int) -> Programs:
    """The programs of a segmenter; one object of them for a whole study."""

    def logits_of(variables, features):
        kernel, bias = segmenter.head(variables)
        # The head and the loss stay in float32, whatever the network computes in.
        logits = jnp.matmul(features, kernel, precision=jax.lax.Precision.HIGHEST)
        return upsampling.upsample(logits + bias[None, None, None], segmenter.stride)

    def sum_of_losses(logits, labels):
        is_labeled = labels != IGNORE
        known = jnp.where(is_labeled, labels, 0).astype(jnp.int32)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, known)
        return jnp.where(is_labeled, losses, 0).sum(), is_labeled.sum()

    def part_loss(params, statistics, key, images, labels):
        variables = Variables(params, statistics)
        features, statistics = segmenter.features_train(key, variables, images)
        total, _ = sum_of_losses(logits_of(variables, features), labels)
        return total, statistics

    def step(key, variables, momentum, rate, images, labels):
        def add_part(carry, part):
            gradient, statistics = carry
            of_part, statistics = jax.grad(part_loss, has_aux=True)(
                variables.params, statistics, *part
            )
            return (jax.tree.map(jnp.add, gradient, of_part), statistics), None

        keys = jax.random.split(key, len(images))
        zeros = jax.tree.map(jnp.zeros_like, variables.params)
        carry, parts = (zeros, variables.statistics), (keys, images, labels)
        if len(images) == 1:  # outside of a loop a CPU convolves many times faster
            only = jax.tree.map(lambda part: part[0], parts)
            (gradient, statistics), _ = add_part(carry, only)
        else:
            (gradient, statistics), _ = jax.lax.scan(add_part, carry, parts)
        num_labeled = jnp.maximum((labels != IGNORE).sum(), 1)
        gradient = jax.tree.map(lambda g: g / num_labeled, gradient)
        updates, momentum = direction.update(gradient, momentum, variables.params)
        params = jax.tree.map(lambda p, u: p - rate * u, variables.params, updates)
        return Variables(params, statistics), momentum

    def predict(variables, images):
        return logits_of(variables, segmenter.features(variables, images)).argmax(-1)

    return Programs(
        step=jax.jit(step, donate_argnums=(1, 2)),
        loss=jax.jit(
            lambda variables, images, labels: sum_of_losses(
                logits_of(variables, segmenter.features(variables, images)), labels
            )
        ),
        predict=jax.jit(predict),
        confusion=jax.jit(
            lambda variables, images, labels: confusion.count(
                predict(variables, images), labels, num_classes=num_classes
            )
        ),
    )


def mean_loss(
    programs: Programs, variables: Variables, batches: Iterable[Batch]
) -> float:
    """The mean cross-entropy over all labeled pixels, in nats; NaN without any."""
    sums = [programs.loss(variables, b.images, b.labels) for b in batches]
    total = sum(float(part) for part, _ in sums)
    pixels = sum(int(count) for _, count in sums)
    return total / pixels if pixels else float("nan")


def fit(
    key: jax.Array,
    variables: Variables,
    stream: Iterator[Batch],
    validation: Callable[[], Iterable[Batch]],
    *,
    programs: Programs,
    learning_rate: float,
    steps_per_epoch: int,
    max_epochs: int,
    patience: int,
    parts: int = 1,
) -> TrainState:
    """Trains until the validation loss has not improved for `patience` epochs.

    Args:
        key: randomness of dropout.
        variables: where to start from.
        stream: minibatches without end.
        validation: `validation()` gives the batches whose loss says when to stop.
        programs: from `make_programs`.
        learning_rate: η_0.
        steps_per_epoch: minibatches between two looks at the validation loss.
        max_epochs: epochs of the schedule, after which training stops in any case.
        patience: epochs without a lower loss before stopping.
        parts: into how many parts a minibatch is cut; a divisor of its size.

    Returns:
        The variables at the lowest validation loss of an epoch; where to start from,
        with an infinite loss, if no loss is finite.
    """
    # A copy, because the step reuses the memory of what it is given.
    training = jax.tree.map(jnp.array, variables)
    momentum = direction.init(training.params)
    best = TrainState(
        variables, jnp.full((), jnp.inf, jnp.float32), jnp.zeros((), jnp.int32)
    )
    last_step, stale, taken = max_epochs * steps_per_epoch, 0, 0
    for _ in range(max_epochs):
        for _ in range(steps_per_epoch):
            images, labels = _in_parts(next(stream), parts)
            rate = np.float32(learning_rate * (1 - taken / last_step) ** POWER)
            step_key = jax.random.fold_in(key, taken)
            training, momentum = programs.step(
                step_key, training, momentum, rate, images, labels
            )
            taken += 1
        # Rounded as the best one is, or else an equal loss could count as lower.
        loss = jnp.float32(mean_loss(programs, training, validation()))
        if loss < best.validation_loss:
            kept = jax.tree.map(jnp.array, training)
            best = TrainState(kept, loss, best.steps)
            stale = 0
        else:
            stale += 1
        if stale == patience:
            break
    return best._replace(steps=jnp.int32(taken))


def _in_parts(batch: Batch, parts: int) -> PyTree:
    """Images and labels as [parts, scenes a part, ...]."""
    return tuple(
        array.reshape(parts, len(array) // parts, *array.shape[1:])
        for array in (batch.images, batch.labels)
    )


def measure(
    programs: Programs,
    variables: Variables,
    batches: Iterable[Batch],
    *,
    num_classes: int,
    background: int | None,
) -> confusion.Metrics:
    """Segmentation metrics over all labeled pixels of some scenes."""
    matrices = (programs.confusion(variables, b.images, b.labels) for b in batches)
    return confusion.metrics(confusion.total(matrices, num_classes), background)
