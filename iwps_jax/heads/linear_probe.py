"""A head for features that are given: multinomial logistic regression.

The minimum over kernel W [d, classes] and bias b [classes] of

    mean_i [-log softmax(h_i W + b)_(y_i)] + penalty / 2 · ‖W‖²

which is strictly convex in W, so that the head depends on the labels alone and not on
where the search starts or in which order they came.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from iwps_jax import checks
from iwps_jax.heads import logistic
from iwps_jax.heads.folds import dealt, have_others
from iwps_jax.types import AnyArray, Head

MANY = 4096  # rows from which on padding would cost more than another program
# Largest first: each is ten times weaker than the one before.
PENALTIES = (10.0, 1.0, 0.1, 1e-2, 1e-3)
UNJUDGED = 2
"""The place of the penalty where no sample can judge any: the middle one."""
FOLDS = 5


class LinearProbe(NamedTuple):
    """A head z = h kernel + bias, and how it does on samples that did not train it.

    These are the holdout set, in two halves, or the labeled samples themselves, in
    folds. Each half or fold judges the head with the penalty that the others like best,
    so that no sample judges what it has chosen, unless it is alone.

    Attributes:
        kernel: [d, classes].
        bias: [classes].
        penalty: on ‖kernel‖² / 2, as chosen.
        holdout_loss: mean cross-entropy, in nats; None if no sample could judge.
        holdout_accuracy: share of the samples classified right; None likewise.
    """

    kernel: AnyArray
    bias: AnyArray
    penalty: float
    holdout_loss: float | None
    holdout_accuracy: float | None


def fit_linear_probe(
    features: Float[AnyArray, "n d"],
    labels: Integer[AnyArray, " n"],
    holdout_features: Float[AnyArray, "m d"],
    holdout_labels: Integer[AnyArray, " m"],
    *,
    num_classes: int,
) -> LinearProbe:
    """The head that fits the labels, with the penalty that the holdout set likes best.

        argmin over (W, b) of mean_i -log softmax(h_i W + b)_(y_i) + penalty/2 · ‖W‖²

    for each penalty of `PENALTIES`, all at once by L-BFGS; of equal holdout losses the
    larger penalty wins. Deterministic. Classes without a label get a small probability.
    One program serves all n up to the next power of two, and from `MANY` on up to the
    next eighth of it.

    Args:
        features: of labeled samples, centered and of about unit scale: the penalties
            are in their unit.
        labels: classes in [0, num_classes).
        holdout_features: of samples that are not among the labeled ones.
        holdout_labels: their classes.
        num_classes: of the problem, also those that nothing is labeled as yet.

    Returns:
        The head as NumPy arrays.

    Raises:
        ValueError: if shapes disagree, a label is out of range, or numbers are not
            finite.
        TypeError: if labels are not integers.

    Example:
        >>> features = np.array([[-1.0], [-2.0], [1.0], [2.0]], np.float32)
        >>> labels = np.array([0, 0, 1, 1])
        >>> probe = fit_linear_probe(features, labels, features, labels, num_classes=2)
        >>> probe.holdout_accuracy
        1.0
    """
    _check_samples("", features, labels, num_classes)
    _check_samples("holdout_", holdout_features, holdout_labels, num_classes)
    checks.require_size("holdout_features", holdout_features, 1, features.shape[1], "d")
    heads = _fitted(features, labels, num_classes)
    losses, is_right = _losses(heads, holdout_features, holdout_labels)
    return _chosen(heads, losses, is_right, dealt(holdout_labels, 2))


def fit_cross_validated_probe(
    features: Float[AnyArray, "n d"],
    labels: Integer[AnyArray, " n"],
    *,
    num_classes: int,
) -> LinearProbe:
    """The head that fits the labels, with the penalty that they like best themselves.

        argmin over (W, b) of mean_i -log softmax(h_i W + b)_(y_i) + penalty/2 · ‖W‖²

    Each of five folds, stratified by class, judges the heads of every penalty that the
    other four have trained. A sample that is alone in its class judges nothing; if all
    are, the penalty is the middle one of `PENALTIES`. All else is as in
    `fit_linear_probe`.

    Args:
        features: of labeled samples, centered and of about unit scale.
        labels: classes in [0, num_classes).
        num_classes: of the problem, also those that nothing is labeled as yet.

    Returns:
        The head as NumPy arrays, trained on all samples.

    Raises:
        ValueError: if shapes disagree, a label is out of range, or numbers are not
            finite.
        TypeError: if labels are not integers.

    Example:
        >>> features = np.array([[-1.0], [-2.0], [1.0], [2.0]], np.float32)
        >>> labels = np.array([0, 0, 1, 1])
        >>> fit_cross_validated_probe(features, labels, num_classes=2).holdout_accuracy
        1.0
    """
    _check_samples("", features, labels, num_classes)
    heads, labels = _fitted(features, labels, num_classes), np.asarray(labels)
    can_judge = have_others(labels)
    if not can_judge.any():
        kernel, bias = heads[UNJUDGED, :-1], heads[UNJUDGED, -1]
        return LinearProbe(kernel, bias, PENALTIES[UNJUDGED], None, None)
    folds = dealt(labels, FOLDS)
    losses = np.zeros((len(PENALTIES), len(labels)), np.float32)
    is_right = np.zeros(losses.shape, bool)
    for fold in np.unique(folds[can_judge]).tolist():
        mine = folds == fold
        others = _fitted(features, labels, num_classes, where=~mine)
        losses[:, mine], is_right[:, mine] = _losses(
            others, features[mine], labels[mine]
        )
    return _chosen(
        heads, losses[:, can_judge], is_right[:, can_judge], folds[can_judge]
    )


def _check_samples(prefix, features, labels, num_classes):
    """Refuses samples that no head can learn or be judged by."""
    name = f"{prefix}features"
    checks.require_finite(name, features, "n d" if not prefix else "m d")
    checks.batch_size(name, features)
    checks.require_labels(f"{prefix}labels", labels, num_classes)
    checks.require_size(f"{prefix}labels", labels, 0, len(features), "its features")


def _losses(heads, features, labels):
    """Losses and whether the samples are classified right, [penalties, m] each."""
    # By NumPy, whose work is small here, so that less must be compiled.
    logits, labels = _with_ones(features) @ heads, np.asarray(labels)
    logits = logits - logits.max(-1, keepdims=True)
    of_labels = np.take_along_axis(logits, labels[None, :, None], 2)
    losses = np.log(np.exp(logits).sum(-1)) - of_labels[..., 0]
    return losses, logits.argmax(-1) == labels


def _chosen(heads, losses, is_right, parts) -> LinearProbe:
    """The head that the judges like best, and how it does on them, part by part."""
    if not np.isfinite(losses.mean(-1)).any():
        raise ValueError("features must be of about unit scale: no head fits them.")
    best = _likes(losses)
    means = (_by_parts(values, losses, parts) for values in (losses, is_right))
    return LinearProbe(heads[best, :-1], heads[best, -1], PENALTIES[best], *means)


def _likes(losses):
    """Which penalty some samples like best, the larger of equals."""
    return int(np.nanargmin(losses.mean(-1)))


def _by_parts(values, losses, parts):
    """Mean over samples, each by the penalty that the other parts like best.

    A single part judges what it has chosen.
    """
    total, numbers = 0.0, np.unique(parts)
    for number in numbers:
        mine = parts == number
        others = ~mine if len(numbers) > 1 else mine
        total += values[_likes(losses[:, others]), mine].sum()
    return float(total / len(parts))


def fit_to_all(
    probe: LinearProbe,
    features: Float[AnyArray, "n d"],
    labels: Integer[AnyArray, " n"],
    holdout_features: Float[AnyArray, "m d"],
    holdout_labels: Integer[AnyArray, " m"],
) -> Head:
    """The head to deliver: with the penalty of a probe, it learns the holdout set, too.

        argmin over (W, b) of mean_i -log softmax(h_i W + b)_(y_i) + penalty/2 · ‖W‖²

    over the labeled and the holdout samples, all alike. No holdout sample can judge it.

    Args:
        probe: from `fit_linear_probe` of the other arguments, which it has checked.
        features: of the labeled samples.
        labels: their classes.
        holdout_features: of the holdout samples.
        holdout_labels: their classes.
    """
    heads = _fitted(
        np.concatenate([features, holdout_features]),
        np.concatenate([labels, holdout_labels]),
        len(probe.bias),
    )
    chosen = heads[PENALTIES.index(probe.penalty)]
    return Head(chosen[:-1], chosen[-1])


def _fitted(features, labels, num_classes, where=None):
    """[penalties, d + 1, classes], the minimum for each penalty, of rows `where`."""
    where = np.ones(len(features), bool) if where is None else where
    padding = _size_of_program(len(features)) - len(features)
    arrays = (
        np.pad(_with_ones(features), ((0, padding), (0, 0))),
        np.pad(np.asarray(labels, np.int32), (0, padding)),
        np.pad((where / where.sum()).astype(np.float32), (0, padding)),
    )
    # The same head in every mode of JAX; Optax knows no strict promotion.
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        return np.asarray(_heads(*arrays, num_classes=num_classes))


def _with_ones(features):
    """The bias is the weight of a feature that is always one, and has no penalty."""
    return np.pad(np.asarray(features, np.float32), ((0, 0), (0, 1)), constant_values=1)


def _size_of_program(n: int) -> int:
    """How many rows the program has that serves n."""
    power = 1 << (n - 1).bit_length()
    unit = power // 8 if n >= MANY else power
    return -(-n // unit) * unit


@partial(jax.jit, static_argnames="num_classes")
def _heads(features, labels, weights, *, num_classes):
    """The heads of all penalties; `weights` are zero for rows that are not there."""

    def fit(penalty):
        arrays = features, labels, weights
        return logistic.minimum_with_bias(*arrays, penalty, num_classes=num_classes)

    return jax.lax.map(fit, jnp.array(PENALTIES))
