"""The methods' forms for images: what a row of the table holds as `Method.pixels`.

Features, `where`, head and labels are those of `iwps_pixel_head`.
"""

from collections.abc import Callable

import jax.numpy as jnp

from iwps_jax import numerics
from iwps_jax.method import Pixels
from iwps_jax.pixels.kernel import (
    iwps_app_pixel_head,
    pixel_head_embedding,
    pixel_head_gradient,
)
from iwps_jax.pixels.lookahead import iwps_pixel_head
from iwps_jax.pixels.maps import pixel_scores, pooled_features
from iwps_jax.selection.coreset import k_center_greedy
from iwps_jax.selection.seeding import badge


def of_pixels(score_fn: Callable) -> Pixels:
    """The form of a score of logits: that of every pixel, reduced to the image."""

    def score(features, where, head, key, options):
        return pixel_scores(
            score_fn, features, where, *head, reduction=options.reduction
        )

    return Pixels(score)


def of_draws(score_fn: Callable) -> Pixels:
    """The form of a score of dropout masks: `pixel_bald` or `pixel_mc_dropout`."""

    def score(features, where, head, key, options):
        return score_fn(
            key,
            features,
            where,
            *head,
            num_draws=options.num_draws,
            dropout_rate=options.dropout_rate,
            reduction=options.reduction,
        )

    return Pixels(score)


def _pooled(features, where, head, key, options):
    return pooled_features(features, where)


def _farthest(key, features, k, where):
    return k_center_greedy(features, k, ~where)


def _gradients(features, where, head, key, options):
    gradient = pixel_head_embedding(features, where, *head)
    return gradient.kernel.reshape(len(features), -1)


def _diverse(key, gradients, k, where):
    # BADGE clusters residual ⊗ feature; under residuals that are all equal that is
    # k-means++ on the features, which here are whole gradients.
    return badge(key, gradients, jnp.zeros((len(gradients), 2)), k, where)


def _iwps(features, where, head, holdout, options):
    return iwps_pixel_head(
        features,
        where,
        *head,
        *holdout,
        steps=options.steps,
        learning_rate=options.learning_rate,
    )


def _gradient_of_holdout(holdout, head):
    return pixel_head_gradient(*holdout, *head)


def _iwps_app(features, where, head, gradient, options):
    return iwps_app_pixel_head(features, where, *head, gradient)


def _uniform(key, size):
    return numerics.uniform(key, (size,))


RANDOM = Pixels(draw=_uniform)
CORESET = Pixels(_pooled, select=_farthest)
BADGE = Pixels(_gradients, select=_diverse)
IWPS_APP = Pixels(_iwps_app, summarize=_gradient_of_holdout, needs_holdout=True)
IWPS = Pixels(_iwps, needs_holdout=True)
