"""Heads that have each not seen a part of the labels, so that this part can judge them.

For `cross_fitted_iwps`: multinomial logistic regression on features that are given, a
fold of the labeled samples left out at a time, inside `jax.jit`. The labeled set comes
as a buffer with a mask, as for `experiments.classification.training.fit`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer, Key

from iwps_jax import checks, numerics
from iwps_jax.heads import logistic
from iwps_jax.scores.cross_fitted import CrossFit
from iwps_jax.types import AnyArray

_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


def cross_fitted_heads(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "n d"],
    labels: Integer[AnyArray, " n"],
    where: Bool[AnyArray, " n"] | None = None,
    *,
    num_classes: int,
    num_folds: int = 5,
    penalty: float | Float[AnyArray, ""] = 1e-2,
) -> CrossFit:
    """For every fold of the labeled samples, the head that all others give.

        argmin over (W, b) of  mean_i -log softmax(u_i W + b)_(y_i)
                               + penalty/2 · (‖W‖² + ‖b‖²)

    over the samples i outside the fold, with u = (h - mean) / size their features,
    centered and of unit mean square. The head returned is the same one for features h
    as they are, so shifting them or stretching all alike changes no prediction. The
    minimum is unique, also where a class occurs in the fold alone; such a class gets
    a small probability.

    Folds are stratified and drawn at random: their sizes differ by at most one, and so
    does any class's share of them. Deterministic given the key.

    Args:
        key: of the folds.
        features: buffer of the labeled samples' features; what is masked may be
            anything.
        labels: their classes, in [0, num_classes).
        where: which entries of the buffer hold a sample; all by default.
        num_classes: of the problem, also those that nothing is labeled as yet.
        num_folds: how many heads; each learns from all but 1/num_folds of the labels.
        penalty: on the squares of kernel and bias, in the unit of u.

    Returns:
        The heads and who is left out of each, with room for n / num_folds samples.

    Raises:
        ValueError: if shapes disagree, num_folds is not in [2, n]; outside `jax.jit`
            also if fewer samples than folds are there or the penalty is not positive.
        TypeError: if labels are not integers or features not floating point.

    Example:
        >>> features = jnp.array([[-2.0], [-1.0], [1.0], [2.0]])
        >>> labels = jnp.array([0, 0, 1, 1])
        >>> fits = cross_fitted_heads(
        ...     jax.random.key(0), features, labels, num_classes=2, num_folds=2
        ... )
        >>> print(labels[fits.rows])  # a fold a line
        [[0 1]
         [0 1]]
    """
    checks.require_key("key", key)
    checks.require_floating("features", features, "n d")
    checks.require_integers("labels", labels)
    checks.require_size("labels", labels, 0, len(features), "features")
    if where is None:
        where = jnp.ones(len(features), bool)
    checks.require_mask("where", where, len(features))
    num_classes = checks.require_integer("num_classes", num_classes)
    if not 2 <= checks.require_integer("num_folds", num_folds) <= len(features):
        raise ValueError(
            f"num_folds must be in [2, {len(features)}], the length of features, got "
            f"{num_folds}."
        )
    where = jnp.asarray(where)
    checks.require_finite("features", jnp.where(where[:, None], features, 0), "n d")
    checks.require_labels("labels", jnp.where(where, labels, 0), num_classes)
    checks.require_at_most("num_folds", num_folds, where.sum())
    checks.require_positive("penalty", penalty)
    with jax.numpy_dtype_promotion("standard"):  # Optax knows no other
        return _heads(
            *(key, features, labels, where, penalty),
            num_classes=num_classes,
            num_folds=int(num_folds),
        )


@partial(jax.jit, static_argnames=("num_classes", "num_folds"))
def _heads(key, features, labels, where, penalty, *, num_classes, num_folds):
    features, where = numerics.upcast((features, where))
    features = jnp.where(where[:, None], features, 0)
    labels = jnp.where(where, labels.astype(jnp.int32), 0)
    rows, is_there = _stratified(key, labels, where, num_folds)

    def fit(fold):
        fold_rows, is_in_fold = fold
        is_left_out = jnp.zeros_like(where).at[fold_rows].max(is_in_fold)
        learned = where & ~is_left_out
        return _head(features, labels, learned, penalty, num_classes)

    kernel, bias = jax.lax.map(fit, (rows, is_there))
    return CrossFit(kernel, bias, rows, is_there)


def _stratified(key, labels, where, num_folds):
    """Deals the samples out, class by class, to the folds in turn."""
    draws = numerics.uniform(key, labels.shape)
    order = jnp.lexsort((draws, labels, ~where))
    size = -(-len(labels) // num_folds)
    order = jnp.pad(order, (0, size * num_folds - len(labels)))
    is_there = jnp.arange(len(order)) < where.sum()
    return tuple(a.reshape(size, num_folds).T for a in (order, is_there))


def _head(features, labels, where, penalty, num_classes):
    """The head (kernel, bias) of the samples in `where`."""
    weights = where / jnp.maximum(where.sum(), 1)
    mean = _matmul(weights, features)
    centered = jnp.where(where[:, None], features - mean[None], 0)
    size = jnp.sqrt(_matmul(weights, (centered**2).mean(-1)))
    size = jnp.where(size > 0, size, 1)
    # The bias is the weight of a feature that is always one.
    scaled = jnp.column_stack([centered / size, where.astype(features.dtype)])
    found = logistic.minimum(
        *(scaled, labels, weights),
        penalty=penalty,
        num_classes=num_classes,
        tolerance=logistic.TOLERANCE * penalty,
    )
    kernel = found[:-1] / size
    return kernel, found[-1] - _matmul(mean, kernel)
