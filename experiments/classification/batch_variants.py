"""Ways to pick a batch, or to judge it, that `iwps_batch` was chosen from.

They compete like methods and are named like them in `--methods`; b is the acquire size.

    iwps_farthest_features   farthest first in feature space, in the 4b best of IWPS
    iwps_farthest            farthest first in the gradient kernel, in the 4b best
    iwps_weighted            score times distance in the gradient kernel, in the 4b best
    iwps_kmeans              k-means++ in the gradient kernel, in the 10b best
    iwps_volume              greedy volume in the gradient kernel, in the 10b best
    iwps_rescored            IWPS once more after every pick, in the 4b best
    margin_kmeans, margin_volume   as above, in the 10b best of Margin
    iwps_batch_margin        iwps_batch on the scores of Margin
    iwps_batch_alone         iwps_batch without a score: rarity and gain
    iwps_cross_fitted        IWPS judged by the labeled set, five heads that have each
                             not seen a fifth of it, all classes with the same weight
    iwps_batch_cross_fitted  iwps_batch on those scores, without any holdout label
    iwps_batch_holdout_1     iwps_batch with one holdout sample of each class
"""

from functools import partial

import jax.numpy as jnp

import iwps_jax
from experiments.classification.methods import (
    Setting,
    of_logits,
    over_pool,
    score_last_layer,
    scores_and_evidence,
    take_batch,
)
from experiments.classification.variants import part_of_holdout
from experiments.engine.method import Method, take_highest
from iwps_jax import contrib
from iwps_jax.heads.cross_fitted import cross_fitted_heads

BATCH_VARIANTS = (
    "iwps_farthest_features",
    "iwps_farthest",
    "iwps_weighted",
    "iwps_kmeans",
    "iwps_volume",
    "iwps_rescored",
    "margin_kmeans",
    "margin_volume",
    "iwps_batch_margin",
    "iwps_batch_alone",
    "iwps_cross_fitted",
    "iwps_batch_cross_fitted",
    "iwps_batch_holdout_1",
)
FEW, MANY = 4, 10  # candidates a pick
NUM_FOLDS = 5


def make_batch_variants(setting: Setting) -> dict[str, Method]:
    """All variants by name, for one network."""
    look_ahead = partial(
        iwps_jax.iwps_last_layer,
        steps=setting.steps,
        learning_rate=setting.learning_rate,
    )
    one_each = part_of_holdout(setting.holdout_per_class, 1)
    iwps = score_last_layer(setting, look_ahead)
    margin = of_logits(setting, iwps_jax.margin)
    cross_fitted = _cross_fitted(setting)
    whole_batch = take_batch(setting.acquire_size)

    def spread(score_fn, selector, candidates, space=_gradient_space):
        select = _spread(setting.acquire_size, selector, candidates, space)
        return Method(scores_and_evidence(setting, score_fn), select)

    return {
        "iwps_farthest_features": spread(
            iwps, contrib.farthest_first, FEW, _feature_space
        ),
        "iwps_farthest": spread(iwps, contrib.farthest_first, FEW),
        "iwps_weighted": spread(iwps, contrib.score_weighted, FEW),
        "iwps_kmeans": spread(iwps, contrib.k_means_plus_plus, MANY),
        "iwps_volume": spread(iwps, contrib.greedy_volume, MANY),
        "iwps_rescored": _rescored(setting, iwps),
        "margin_kmeans": spread(margin, contrib.k_means_plus_plus, MANY),
        "margin_volume": spread(margin, contrib.greedy_volume, MANY),
        "iwps_batch_margin": Method(scores_and_evidence(setting, margin), whole_batch),
        "iwps_batch_alone": Method(scores_and_evidence(setting, _same), whole_batch),
        "iwps_cross_fitted": Method(cross_fitted, take_highest(setting.acquire_size)),
        "iwps_batch_cross_fitted": Method(
            scores_and_evidence(setting, cross_fitted), whole_batch
        ),
        "iwps_batch_holdout_1": Method(
            scores_and_evidence(
                setting, score_last_layer(setting, look_ahead, one_each), one_each
            ),
            whole_batch,
        ),
    }


def _feature_space(evidence):
    return iwps_jax.feature_space(evidence.features)


def _gradient_space(evidence):
    features, kernel, bias = evidence[:3]
    return iwps_jax.gradient_space(features, features @ kernel + bias[None])


def _spread(acquire_size, selector, candidates_per_pick, space):
    def select(key, scores, where):
        scores, evidence = scores
        return selector(
            key,
            scores,
            space(evidence),
            acquire_size,
            candidates_per_pick=candidates_per_pick,
            where=where,
        )

    return select


def _rescored(setting, score_fn):
    """The look-ahead continues from the picks; it needs the holdout labels as well."""
    with_evidence = scores_and_evidence(setting, score_fn)

    def score(key, variables, view):
        return with_evidence(key, variables, view), view.holdout_labels

    def select(key, scores, where):
        (scores, evidence), holdout_labels = scores
        return contrib.rescored_iwps(
            key,
            scores,
            contrib.LookAhead(*evidence[:4], holdout_labels),
            setting.acquire_size,
            steps=setting.steps,
            learning_rate=setting.learning_rate,
            where=where,
        )

    return Method(score, select)


def _same(key, variables, view):
    """No score: all rows are as useful."""
    del key, variables
    return jnp.ones(len(view.pool_ids))


def _cross_fitted(setting):
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
