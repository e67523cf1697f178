"""Variants of IWPS and IWPS-batch that are judged by other samples.

    iwps_cross_fitted        IWPS judged by the labeled set, five heads that have each
                             not seen a fifth of it, all classes with the same weight
    iwps_batch_cross_fitted  iwps_batch on those scores, without any holdout label
    iwps_batch_holdout_1     iwps_batch with one holdout sample of each class

They compete like methods and are named like them in `--methods`. The other ways to
pick a batch that `iwps_batch` was chosen from are rows of `iwps_jax.methods`.
"""

from collections.abc import Callable

import jax.numpy as jnp

import iwps_jax
from experiments.classification.methods import Setting, competitor, over_pool
from experiments.classification.variants import part_of_holdout
from experiments.engine.method import Method, take_highest
from iwps_jax import methods
from iwps_jax.heads.cross_fitted import cross_fitted_heads

BATCH_VARIANTS = (
    "iwps_cross_fitted",
    "iwps_batch_cross_fitted",
    "iwps_batch_holdout_1",
)
NUM_FOLDS = 5


def make_batch_variants(setting: Setting) -> dict[str, Method]:
    """All variants by name, for one network."""
    cross_fitted = cross_fitted_scores(setting)
    one_each = part_of_holdout(setting.holdout_per_class, 1)
    return {
        "iwps_cross_fitted": Method(cross_fitted, take_highest(setting.acquire_size)),
        "iwps_batch_cross_fitted": _batch_by(setting, cross_fitted),
        "iwps_batch_holdout_1": competitor(setting, methods.IWPS_BATCH, one_each),
    }


def _batch_by(setting, score_fn) -> Method:
    """IWPS-batch on other scores."""
    alone = competitor(setting, methods.IWPS_BATCH_ALONE)

    def score(key, variables, view):
        _, *seen = alone.score(key, variables, view)
        return score_fn(key, variables, view), *seen

    return Method(score, alone.select)


def cross_fitted_scores(setting: Setting) -> Callable:
    """IWPS of heads that each have not seen a fold of the labels, which judges them."""
    network = setting.network

    def score(key, variables, view):
        capacity = setting.most_labeled
        rows = jnp.flatnonzero(view.known_labels >= 0, size=capacity, fill_value=0)
        there = jnp.arange(capacity) < (view.known_labels >= 0).sum()
        labeled = network.features(variables, view.inputs[view.pool_ids[rows]])
        labels = jnp.where(there, view.known_labels[rows], 0)
        heads = cross_fitted_heads(
            *(key, labeled, labels, there),
            num_classes=setting.num_classes,
            num_folds=NUM_FOLDS,
        )
        weights = iwps_jax.class_balanced_weights(labels, setting.num_classes, there)
        return over_pool(
            setting,
            lambda inputs: iwps_jax.cross_fitted_iwps(
                network.features(variables, inputs),
                heads,
                labeled,
                labels,
                weights=weights,
                steps=setting.steps,
                learning_rate=setting.learning_rate,
            ),
            view,
        )

    return score
