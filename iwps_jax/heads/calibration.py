"""Calibration of a head: the temperature at which its confidence can be trusted.

A head that has learned a sample is too sure of it. So the temperature comes from heads
that have each not learned the samples on which they are judged.
"""

import math
from functools import partial

import jax
import numpy as np
from jaxtyping import Float, Integer

from iwps_jax import checks
from iwps_jax.heads import logistic
from iwps_jax.heads.folds import dealt, have_others
from iwps_jax.types import AnyArray

LOWEST, HIGHEST = 0.01, 100.0
"""Temperatures between which the best one is looked for."""
HALVINGS = 60  # of the interval of log T: more than its digits in float64


def most_likely_temperature(
    logits: Float[AnyArray, "n classes"], labels: Integer[AnyArray, " n"]
) -> float:
    """The temperature at which the labels are most likely.

        argmin over T of  mean_i Σ_c t_ic [-log softmax(z_i / T)_c],
        t_ic = (n + 1) / (n + 2) for c = y_i, and 1 / ((n + 2) (classes - 1)) for others

    The loss is convex in 1 / T. Platt's targets t say of n samples, all classified
    right, what the rule of succession says: the next one will be right with probability
    (n + 1) / (n + 2). With the targets 0 and 1 the temperature would then fall to zero,
    and every confidence would be one. With many samples, the targets no longer matter.
    No prediction changes, since T is positive.

    Args:
        logits: z, of samples that the model did not learn from, finite.
        labels: y, in [0, classes).

    Returns:
        T in [`LOWEST`, `HIGHEST`]: above 1 if the model is too sure, below 1 if it is
        not sure enough. The upper end if the labels contradict the logits. 1 if all
        logits of a sample are equal, in every sample.

    Raises:
        ValueError: if shapes disagree, there are fewer than two classes, a logit is not
            finite or a label is out of range.
        TypeError: if logits are not floating point or labels not integers.

    References:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", §4.2, minimize this
        loss with the targets 0 and 1. Targets like t are those of Platt 1999,
        "Probabilistic Outputs for Support Vector Machines", §2.2; there n counts the
        samples of one class. `iwps_jax.fit_temperature` minimizes the calibration error
        instead, and never makes a model surer.

    Example:
        >>> logits = np.array([[8.0, 0.0], [8.0, 0.0], [8.0, 0.0], [8.0, 0.0]])
        >>> print(f"{most_likely_temperature(logits, np.array([0, 0, 0, 1])):.1f}")
        11.5
    """
    checks.require_finite("logits", logits, "n classes")
    num_samples, num_classes = logits.shape
    if num_classes < 2:
        raise ValueError(f"logits must have at least 2 classes, got {num_classes}.")
    checks.require_labels("labels", labels, num_classes)
    checks.require_size("labels", labels, 0, num_samples, "logits")
    z = np.asarray(logits, np.float64)
    z = z - z.max(-1, keepdims=True)
    if not z.any():
        return 1.0
    targets = np.full(z.shape, 1 / ((num_samples + 2) * (num_classes - 1)))
    targets[np.arange(num_samples), np.asarray(labels)] = (
        1 - 1 / (num_samples + 2)  # their sum is one
    )
    wanted = (targets * z).sum()
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        weights = np.exp(z / math.exp(middle))
        weights /= weights.sum(-1, keepdims=True)
        # The derivative by 1 / T, which grows with 1 / T.
        if (weights * z).sum() > wanted:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)


def cross_validated_temperature(
    features: Float[AnyArray, "n d"],
    labels: Integer[AnyArray, " n"],
    *,
    num_classes: int,
    penalty: float,
    num_folds: int = 5,
) -> float:
    """The temperature of a head that learns all samples, by heads that do not.

    Every sample gets its logits from the head of the other folds,

        argmin over (W, b) of mean_i -log softmax(h_i W + b)_(y_i) + penalty/2 · ‖W‖²

    as in `fit_linear_probe`, and `most_likely_temperature` takes all these logits
    together. The samples of a class are dealt to the folds in turn. A sample that is
    alone in its class trains every head and judges none, because a head cannot predict
    a class that it has never seen. Deterministic.

    Args:
        features: of labeled samples, centered and of about unit scale.
        labels: their classes, in [0, num_classes).
        num_classes: of the problem, at least two.
        penalty: of the head, positive.
        num_folds: how many folds, at least two; small sets have fewer.

    Returns:
        T, as `most_likely_temperature` returns it; 1 if every sample is alone in its
        class.

    Raises:
        ValueError: if shapes disagree, a number is out of range or not finite.
        TypeError: if labels are not integers or features not floating point.

    References:
        Guo et al. 2017, "On Calibration of Modern Neural Networks", §4.2, for T.

    Example:
        >>> features = np.array([[-2.0], [-1.0], [1.0], [2.0]], np.float32)
        >>> labels = np.array([0, 0, 1, 1])
        >>> found = cross_validated_temperature(
        ...     features, labels, num_classes=2, penalty=1.0
        ... )
        >>> 0.1 < found < 1  # such a large penalty makes a head too unsure
        True
    """
    checks.require_finite("features", features, "n d")
    checks.batch_size("features", features)
    num_classes = checks.require_integer("num_classes", num_classes)
    checks.require_labels("labels", labels, num_classes)
    checks.require_size("labels", labels, 0, len(features), "features")
    checks.require_positive("penalty", penalty)
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}.")
    if checks.require_integer("num_folds", num_folds) < 2:
        raise ValueError(f"num_folds must be at least 2, got {num_folds}.")
    labels = np.asarray(labels).astype(np.int32)
    can_judge, folds = have_others(labels), np.full(len(labels), -1)
    if not can_judge.any():
        return 1.0
    folds[can_judge] = dealt(labels[can_judge], num_folds)
    numbers = np.unique(folds[can_judge])
    extended = np.pad(
        np.asarray(features, np.float32), ((0, 0), (0, 1)), constant_values=1
    )
    is_learned = folds[None] != numbers[:, None]
    heads = _heads_of(extended, labels, is_learned, penalty, num_classes)
    logits = np.zeros((len(labels), num_classes), np.float32)
    for number, head in zip(numbers.tolist(), heads, strict=True):
        logits[folds == number] = extended[folds == number] @ head
    return most_likely_temperature(logits[can_judge], labels[can_judge])


def _heads_of(extended, labels, is_learned, penalty, num_classes):
    """[folds, d + 1, classes], the minimum over what each fold's head learns."""
    # Padded, so that one program serves many numbers of samples.
    padding = (1 << (len(labels) - 1).bit_length()) - len(labels)
    weights = is_learned / is_learned.sum(1, keepdims=True)
    arrays = (
        np.pad(extended, ((0, padding), (0, 0))),
        np.pad(labels, (0, padding)),
        np.pad(weights.astype(np.float32), ((0, 0), (0, padding))),
        np.float32(penalty),
    )
    # The same heads in every mode of JAX; Optax knows no strict promotion.
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        return np.asarray(_heads(*arrays, num_classes=num_classes))


@partial(jax.jit, static_argnames="num_classes")
def _heads(extended, labels, weights, penalty, *, num_classes):
    def fit(weights):
        arrays = extended, labels, weights
        return logistic.minimum_with_bias(*arrays, penalty, num_classes=num_classes)

    return jax.lax.map(fit, weights)
