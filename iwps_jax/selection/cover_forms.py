"""The selectors that cover the pool, as a row of the table of methods holds them.

    select(key, scores, features, model, k, where) -> rows [k]

`iwps_jax.method` says what the arguments are. Rows that may not be picked, and labeled
samples that are no rows of the pool, cover from the start: see `forms.covered`.
"""

import jax
import jax.numpy as jnp

from iwps_jax import checks
from iwps_jax.scores.head import head_logits
from iwps_jax.scores.temperature import fit_temperature
from iwps_jax.selection import balls, herding
from iwps_jax.selection.balanced_herding import (
    NUM_TARGETS,
    balanced_herd,
    target_weights,
)
from iwps_jax.selection.cover import unit_rows
from iwps_jax.selection.forms import covered
from iwps_jax.selection.k_means import k_means

NUM_BALLS = 4096
"""Balls whose purity is looked at: 0.95 of them within 0.004."""


def max_herding(key, scores, features, model, k, where):
    """MaxHerding, with the bandwidth that its function chooses."""
    features, is_covered = covered(features, model, where)
    return herding.max_herding(key, features, k, is_covered)


def uncertainty_herding(key, logits, features, model, k, where):
    """UHerding at the temperature of the holdout set, or at one; scores are logits."""
    temperature = 1.0
    if model.holdout is not None:
        judged = head_logits(model.holdout.features, *model.head)
        temperature = fit_temperature(judged, model.holdout.labels)
    unsure = herding.uncertainty(logits, temperature)
    features, is_covered = covered(features, model, where)
    unsure = jnp.pad(unsure, (0, len(features) - len(unsure)))
    number = herding.NUM_TARGETS
    herding.check_cover(key, features, k, is_covered, number)
    return herding.uncertainty_herd(
        key, features, unsure, is_covered, None, k=int(k), num_targets=number
    )[0]


def herd_by_rarity(key, logits, features, model, k, where):
    """Balanced herding with the model's weight of rare classes."""
    checks.require_not_negative("rarity", model.rarity)
    weights = target_weights(logits, where, model.rarity)
    features, is_covered = covered(features, model, where)
    weights = jnp.pad(weights, (0, len(features) - len(weights)))
    herding.check_cover(key, features, k, is_covered, NUM_TARGETS)
    picks, _ = balanced_herd(
        key, features, weights, is_covered, None, k=int(k), num_targets=NUM_TARGETS
    )
    return picks


def herd_all_alike(key, logits, features, model, k, where):
    """Balanced herding in which each row counts as much, whatever the model says."""
    model = model._replace(rarity=0.0)
    return herd_by_rarity(key, logits, features, model, k, where)


def prob_cover(key, scores, features, model, k, where):
    """ProbCover, with the radius that as many clusters as classes leave pure."""
    cluster_key, ball_key = jax.random.split(key)
    points = unit_rows(jnp.asarray(features))
    number = min(len(model.head.bias), len(points))
    clusters = k_means(cluster_key, points, number).labels
    delta = balls.ball_radius(ball_key, features, clusters, num_rows=NUM_BALLS)
    features, is_covered = covered(features, model, where)
    return balls.prob_cover(features, k, is_covered, delta=delta)
