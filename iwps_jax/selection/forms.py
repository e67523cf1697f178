"""The selectors as a row of the table of methods holds them, `Method.select`.

    select(key, scores, features, model, k, where) -> rows [k]

All see the rows that `where` allows, in memory; `iwps_jax.method` says what the
arguments are.
"""

import jax.numpy as jnp

from iwps_jax import numerics
from iwps_jax.selection import seeding
from iwps_jax.selection.average_linkage import MOST_ROWS, average_linkage
from iwps_jax.selection.bait import bait, bait_by_class
from iwps_jax.selection.cluster_margin import cluster_margin
from iwps_jax.selection.coreset import k_center_greedy
from iwps_jax.selection.drop_query import drop_query
from iwps_jax.selection.glister import glister
from iwps_jax.selection.iwps_batch import Evidence, iwps_batch
from iwps_jax.selection.k_means import k_means
from iwps_jax.selection.typiclust import MOST_CLUSTERS, typiclust

CANDIDATES_PER_PICK = 10
ROWS_PER_CLUSTER = 10
"""Of Cluster-Margin, on average, in the part of the pool that is merged."""


def k_center(key, scores, features, model, k, where):
    """Core-set: all that is covered is a center."""
    features, is_covered = covered(features, model, where)
    return k_center_greedy(features, k, is_covered)


def badge(key, logits, features, model, k, where):
    """BADGE; the scores are the logits."""
    return seeding.badge(key, features, logits, k, where)


def most_typical(key, scores, features, model, k, where):
    """TypiClust: min(labeled + k, 500) clusters of all rows, new ones in each round."""
    features, is_covered = covered(features, model, where)
    most = min(MOST_CLUSTERS, len(features))
    number = jnp.minimum(is_covered.sum(dtype=jnp.int32) + k, most)
    clusters = k_means(key, features, most, number=number).labels
    return typiclust(features, clusters, k, is_covered)


def changed(key, changes, features, model, k, where):
    """DropQuery; the scores are the shares of masks that change the prediction."""
    return drop_query(key, changes, features, k, where)


def clustered(key, scores, features, model, k, where):
    """Cluster-Margin on clusters that depend on the features of the pool alone."""
    number = max(min(len(features), MOST_ROWS) // ROWS_PER_CLUSTER, 1)
    clusters = average_linkage(features, number)
    return cluster_margin(key, scores, clusters, k, where)


def batch(key, scores, features, model, k, where):
    """IWPS-batch on any scores."""
    evidence = Evidence(
        features,
        *model.head,
        model.holdout.features,
        *model.labeled,
        pool_sample=model.sample,
    )
    return iwps_batch(
        key, scores, evidence, k, candidates_per_pick=CANDIDATES_PER_PICK, where=where
    )


def least_trace(key, scores, features, model, k, where):
    """BAIT: all that is covered is labeled."""
    features, is_covered = covered(features, model, where)
    return bait(key, features, *model.head, k, is_covered)


def least_trace_by_class(key, scores, features, model, k, where):
    """BAIT with a matrix for each class: all that is covered is labeled."""
    features, is_covered = covered(features, model, where)
    return bait_by_class(key, features, *model.head, k, is_covered)


def ascent(key, scores, features, model, k, where):
    """GLISTER; it computes its own gains anew after every pick."""
    return glister(features, *model.head, *model.holdout, k, where)


def covered(features, model, where):
    """All features, and which of them a selector of positions takes for labeled.

    These are rows that may not be picked, and labeled samples that are no rows of the
    pool, which stand behind its rows.
    """
    is_covered = ~where
    if model.labeled is not None:
        features, labeled = numerics.upcast((features, model.labeled.features))
        features = jnp.concatenate([features, labeled])
        is_covered = jnp.concatenate([is_covered, jnp.ones(len(labeled), bool)])
    return features, is_covered
