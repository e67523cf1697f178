"""The penalty of the heads, chosen once for a dataset and a number of labels.

For random labeled sets of growing size, the penalty of `PENALTIES` with the lowest loss
in cross-validation, on average over the seeds; between two sizes it is interpolated,
log penalty over log size. No method and no test sample has a part in it.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.linear_heads import heads
from experiments.linear_heads.samples import Samples
from iwps_jax.scores.head import head_logits

PENALTIES = tuple(10.0**exponent for exponent in np.arange(1, -5.25, -0.5))
PER_CLASS = (1, 2, 5, 10, 20, 50, 100)
"""Sizes of the labeled sets, samples a class on average."""
NUM_FOLDS = 5
NUM_SEEDS = 5


def choose(samples: Samples, first_seed: int) -> list[dict[str, float]]:
    """The penalty for each size, and the losses it was chosen by.

    Args:
        samples: the dataset.
        first_seed: the first of `NUM_SEEDS` seeds that draw labeled sets.

    Returns:
        For every size `labels`, `penalty` and `losses`, one for each of `PENALTIES`.
    """
    num_classes, found = len(samples.class_names), []
    for per_class in PER_CLASS:
        number = per_class * num_classes
        if number > len(samples.train) // 2:
            break
        losses = np.mean(
            [
                _losses(samples, number, seed)
                for seed in range(first_seed, first_seed + NUM_SEEDS)
            ],
            axis=0,
        )
        found.append(
            {
                "labels": number,
                "penalty": PENALTIES[int(losses.argmin())],
                "losses": [round(float(loss), 4) for loss in losses],
            }
        )
    return found


def at(chosen: Sequence[dict[str, float]], num_labels: int) -> float:
    """The penalty for a number of labels; beyond the sizes, that of the nearest.

    Example:
        >>> chosen = [{"labels": 10, "penalty": 0.1}, {"labels": 1000, "penalty": 1e-3}]
        >>> [round(at(chosen, number), 6) for number in (5, 100, 1000)]
        [0.1, 0.01, 0.001]
    """
    sizes, logs = zip(
        *((np.log(row["labels"]), np.log(row["penalty"])) for row in chosen),
        strict=True,
    )
    return float(np.exp(np.interp(np.log(max(num_labels, 1)), sizes, logs)))


def _losses(samples, number, seed):
    """Mean loss of the samples left out, for each penalty."""
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(samples.train))[:number]
    folds = np.arange(number) % NUM_FOLDS
    program = _cross_validate(len(samples.class_names))
    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(
            program(samples.train[rows], samples.train_labels[rows], folds)
        )


@functools.cache
def _cross_validate(num_classes):
    @jax.jit
    def cross_validate(features, labels, folds):
        def loss(penalty, fold):
            is_out = folds == fold
            head = heads.fit(
                features, labels, ~is_out, penalty, num_classes=num_classes
            )
            logs = jax.nn.log_softmax(head_logits(features, *head))
            of_labels = jnp.take_along_axis(logs, labels[:, None], 1)[:, 0]
            return -(of_labels * is_out).sum()

        def of_penalty(penalty):
            each = jax.vmap(loss, (None, 0))(penalty, jnp.arange(NUM_FOLDS))
            return each.sum() / len(labels)

        return jax.lax.map(of_penalty, jnp.asarray(PENALTIES, features.dtype))

    return cross_validate
