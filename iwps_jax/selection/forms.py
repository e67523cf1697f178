"""The selectors as a row of the table of methods holds them, `Method.select`.

    select(key, scores, features, model, k, where) -> rows [k]

All see the rows that `where` allows, in memory; `iwps_jax.method` says what the
arguments are.
"""

import jax.numpy as jnp

from iwps_jax import numerics
from iwps_jax.selection import seeding
from iwps_jax.selection.coreset import k_center_greedy
from iwps_jax.selection.iwps_batch import Evidence, iwps_batch

CANDIDATES_PER_PICK = 10


def k_center(key, scores, features, model, k, where):
    """Core-set; rows that may not be picked are centers, and so are labeled samples."""
    is_center = ~where
    if model.labeled is not None:
        features, labeled = numerics.upcast((features, model.labeled.features))
        features = jnp.concatenate([features, labeled])
        is_center = jnp.concatenate([is_center, jnp.ones(len(labeled), bool)])
    return k_center_greedy(features, k, is_center)


def badge(key, logits, features, model, k, where):
    """BADGE; the scores are the logits."""
    return seeding.badge(key, features, logits, k, where)


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
