"""Training with early stopping, and evaluation, inside `jax.jit`.

Shapes are static: the labeled set comes as a buffer with a mask, so training on 100
or on 1,000 labels is one program, and several seeds can train under `jax.vmap`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Int, Key, PyTree

from iwps_jax import checks
from iwps_jax.pool.chunks import score_in_chunks
from iwps_jax.types import Inputs, Variables


class TrainState(NamedTuple):
    """A trained network.

    Attributes:
        variables: the parameters, and statistics, with the lowest validation loss.
        validation_loss: that loss, in nats.
        steps: minibatches taken before training stopped.
    """

    variables: Variables
    validation_loss: jax.Array
    steps: jax.Array


class Metrics(NamedTuple):
    """How many samples are classified rightly.

    Attributes:
        accuracy: share of all samples.
        balanced_accuracy: mean of the shares of the classes that occur.
        recall: [classes] share of the samples of each class; 0 if it has none.
    """

    accuracy: jax.Array
    balanced_accuracy: jax.Array
    recall: jax.Array


def fit(
    key: Key[jax.Array, ""],
    variables: Variables,
    inputs: Inputs,
    labels: Int[jax.Array, " n"],
    where: Bool[jax.Array, " n"],
    validation_inputs: Inputs,
    validation_labels: Int[jax.Array, " m"],
    *,
    apply_fn: Callable[[Variables, Inputs], jax.Array],
    apply_train_fn: Callable[[jax.Array, Variables, Inputs], tuple[jax.Array, Any]],
    optimizer: optax.GradientTransformation,
    minibatch_size: int,
    steps_per_evaluation: int,
    patience: int,
    max_evaluations: int,
) -> TrainState:
    """Minimizes the cross-entropy of the labeled samples until validation says stop.

    Between two evaluations the labeled samples are shuffled and then walked through
    `steps_per_evaluation` minibatches, over and over if they are fewer. The length
    of that period does not depend on how many samples are labeled, so neither does
    the compiled program. Where to start from is no candidate for the best, however
    low its loss: with rare classes, an untrained network can have a lower loss on a
    balanced validation set than any trained one.

    Args:
        key: randomness of minibatches and dropout.
        variables: where to start from: fresh for training from scratch, the last
            round's for a warm start. The optimizer always starts afresh.
        inputs: buffer of labeled samples, with a leading axis.
        labels: their classes.
        where: which entries of the buffer hold a sample; at least one.
        validation_inputs: samples that decide when to stop.
        validation_labels: their classes.
        apply_fn: `apply_fn(variables, inputs) -> logits`, in inference mode.
        apply_train_fn: `apply_train_fn(key, variables, inputs) -> (logits,
            statistics)`, in training mode: with dropout, on the minibatch's own
            statistics, and with the moved running averages.
        optimizer: an optax transformation.
        minibatch_size: samples a step.
        steps_per_evaluation: steps between two looks at the validation loss.
        patience: evaluations without a lower validation loss before stopping.
        max_evaluations: evaluations after which training stops in any case.

    Returns:
        The variables at the lowest validation loss; where to start from if no loss is
        finite.
    """
    for name, value in (
        ("minibatch_size", minibatch_size),
        ("steps_per_evaluation", steps_per_evaluation),
        ("patience", patience),
        ("max_evaluations", max_evaluations),
    ):
        if checks.require_integer(name, value) < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    size = checks.batch_size("inputs", inputs)
    checks.require_size("labels", labels, 0, size, "inputs")
    checks.require_mask("where", where, size)
    size = checks.batch_size("validation_inputs", validation_inputs)
    checks.require_size(
        "validation_labels", validation_labels, 0, size, "validation_inputs"
    )
    inputs = jax.tree.map(jnp.asarray, inputs)

    def minibatch_loss(params, statistics, key, batch):
        batch_inputs, batch_labels = batch
        variables = Variables(params, statistics)
        logits, statistics = apply_train_fn(key, variables, batch_inputs)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch_labels)
        return loss.mean(), statistics

    def train_step(carry, step):
        (params, statistics), optimizer_state = carry
        step_key, rows = step
        batch = jax.tree.map(lambda leaf: leaf[rows], (inputs, labels))
        gradient, statistics = jax.grad(minibatch_loss, has_aux=True)(
            params, statistics, step_key, batch
        )
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        params = optax.apply_updates(params, updates)
        return (Variables(params, statistics), optimizer_state), None

    def validation_loss(variables):
        logits = apply_fn(variables, validation_inputs)
        return optax.softmax_cross_entropy_with_integer_labels(
            logits, validation_labels
        ).mean()

    def shuffled_minibatches(key):
        order = jnp.argsort(jnp.where(where, jax.random.uniform(key, where.shape), 2))
        positions = jnp.arange(steps_per_evaluation * minibatch_size) % where.sum()
        return order[positions].reshape(steps_per_evaluation, minibatch_size)

    def keep_going(carry):
        _, _, evaluations, stale = carry
        return (evaluations < max_evaluations) & (stale < patience)

    def train_and_evaluate(carry):
        training, best, evaluations, stale = carry
        shuffle_key, dropout_key = jax.random.split(
            jax.random.fold_in(key, evaluations)
        )
        training, _ = jax.lax.scan(
            train_step,
            training,
            (
                jax.random.split(dropout_key, steps_per_evaluation),
                shuffled_minibatches(shuffle_key),
            ),
        )
        evaluations = evaluations + 1
        loss = validation_loss(training[0])
        is_better = loss < best.validation_loss
        candidate = TrainState(training[0], loss, best.steps)
        best = jax.tree.map(
            lambda new, old: jnp.where(is_better, new, old), candidate, best
        )
        best = best._replace(steps=evaluations * steps_per_evaluation)
        return training, best, evaluations, jnp.where(is_better, 0, stale + 1)

    zero = jnp.zeros((), jnp.int32)
    start = (
        (variables, optimizer.init(variables.params)),
        TrainState(variables, jnp.full((), jnp.inf), zero),
        zero,
        zero,
    )
    return jax.lax.while_loop(keep_going, train_and_evaluate, start)[1]


def evaluate(
    variables: PyTree,
    inputs: Inputs,
    labels: Int[jax.Array, " n"],
    *,
    apply_fn: Callable[[PyTree, Inputs], jax.Array],
    num_classes: int,
    chunk_size: int,
) -> Metrics:
    """Accuracy, balanced accuracy and the recall of every class."""
    predicted = score_in_chunks(
        lambda chunk: apply_fn(variables, chunk).argmax(-1),
        inputs,
        chunk_size=chunk_size,
    )
    is_right = (predicted == labels).astype(jnp.float32)
    per_class = jax.ops.segment_sum(jnp.ones_like(is_right), labels, num_classes)
    right = jax.ops.segment_sum(is_right, labels, num_classes)
    recall = right / jnp.maximum(per_class, 1)
    return Metrics(is_right.mean(), recall.sum() / (per_class > 0).sum(), recall)
