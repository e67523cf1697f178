"""The ten competitors: how each turns a trained network into picks.

A method is a score and a selector for the loop. To add one, write the function in
`iwps_jax` and add a row to `make_methods`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax

import iwps_jax
from iwps_jax.models import Network

METHODS = (
    "random",
    "entropy",
    "margin",
    "mc_dropout",
    "bald",
    "coreset",
    "badge",
    "error_reduction",
    "iwps_app",
    "iwps",
)
NUM_DRAWS = 10
REFERENCE_SIZE = 500
CHUNK_SIZE = 2048


class PoolView(NamedTuple):
    """What a method may look at; there are no labels of the pool in it.

    Attributes:
        images: all training images, shared by every seed.
        pool_ids: [pool] which of them are this seed's pool.
        holdout_ids: [m] which are its holdout set.
        holdout_labels: [m] their classes.
    """

    images: jax.Array
    pool_ids: jax.Array
    holdout_ids: jax.Array
    holdout_labels: jax.Array


class Method(NamedTuple):
    """A score and a selector.

    Attributes:
        score: `score(key, params, view) -> [pool, ...]`.
        select: `select(key, scores, where) -> [k]`.
    """

    score: Callable
    select: Callable


def make_methods(
    network: Network, *, acquire_size: int, steps: int, learning_rate: float
) -> dict[str, Method]:
    """All methods by name, for one network.

    Args:
        network: the classifier.
        acquire_size: samples to choose each round.
        steps: T of the look-ahead, for IWPS and error reduction.
        learning_rate: η of the look-ahead.
    """

    def over_pool(score_fn, view, *per_row):
        """Applies `score_fn(images, *per_row)` to the pool, chunk by chunk."""
        return iwps_jax.score_in_chunks(
            lambda chunk: score_fn(view.images[chunk[0]], *chunk[1:]),
            (view.pool_ids, *per_row),
            chunk_size=CHUNK_SIZE,
        )

    def of_logits(score_fn):
        def score(key, params, view):
            del key
            return over_pool(
                lambda images: score_fn(network.apply(params, images)), view
            )

        return score

    def of_features(score_fn):
        """For scores of the last layer that see the holdout set."""

        def score(key, params, view):
            del key
            holdout = network.features(params, view.images[view.holdout_ids])
            return over_pool(
                lambda images: score_fn(
                    network.features(params, images),
                    *network.head(params),
                    holdout,
                    view.holdout_labels,
                ),
                view,
            )

        return score

    def of_draws(score_fn):
        """For scores of several dropout masks, drawn anew for every sample."""

        def score(key, params, view):
            def draws_of_one(image, sample_key):
                return jax.vmap(
                    lambda key: network.apply_dropout(key, params, image[None])[0]
                )(jax.random.split(sample_key, NUM_DRAWS))

            def score_chunk(images, keys):
                logits = jax.vmap(draws_of_one, out_axes=1)(images, keys)
                return score_fn(jax.nn.log_softmax(logits))

            keys = iwps_jax.sample_keys(key, view.pool_ids)
            return over_pool(score_chunk, view, keys)

        return score

    def uniform(key, params, view):
        del params
        keys = iwps_jax.sample_keys(key, view.pool_ids)
        return jax.vmap(jax.random.uniform)(keys)

    def embedding(key, params, view):
        del key
        return over_pool(lambda images: network.features(params, images), view)

    def embedding_and_logits(key, params, view):
        def both(images):
            features = network.features(params, images)
            kernel, bias = network.head(params)
            return features, features @ kernel + bias[None]

        del key
        return over_pool(both, view)

    def expected_error(key, params, view):
        size = min(REFERENCE_SIZE, len(view.pool_ids))
        ids = jax.random.choice(key, view.pool_ids, (size,), replace=False)
        reference = network.features(params, view.images[ids])
        return over_pool(
            lambda images: iwps_jax.expected_entropy_reduction(
                network.features(params, images),
                *network.head(params),
                reference,
                steps=steps,
                learning_rate=learning_rate,
            ),
            view,
        )

    def highest(key, scores, where):
        del key
        return iwps_jax.top_k(scores, acquire_size, where)

    def farthest(key, features, where):
        del key
        return iwps_jax.k_center_greedy(features, acquire_size, ~where)

    def k_means_plus_plus(key, embedding, where):
        features, logits = embedding
        return iwps_jax.badge(key, features, logits, acquire_size, where)

    look_ahead = partial(
        iwps_jax.iwps_last_layer, steps=steps, learning_rate=learning_rate
    )
    return {
        "random": Method(uniform, highest),
        "entropy": Method(of_logits(iwps_jax.entropy), highest),
        "margin": Method(of_logits(iwps_jax.margin), highest),
        "mc_dropout": Method(of_draws(iwps_jax.mc_dropout), highest),
        "bald": Method(of_draws(iwps_jax.bald), highest),
        "coreset": Method(embedding, farthest),
        "badge": Method(embedding_and_logits, k_means_plus_plus),
        "error_reduction": Method(expected_error, highest),
        "iwps_app": Method(of_features(iwps_jax.iwps_app_last_layer), highest),
        "iwps": Method(of_features(look_ahead), highest),
    }
