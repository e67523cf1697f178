"""The competitors: how each turns a trained network into picks.

A method is a score and a selector for the loop. To add one, write the function in
`iwps_jax` and add a row to `make_methods`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax

import iwps_jax
from experiments.engine.method import Method, take_farthest, take_highest
from experiments.models import Network

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
    "iwps_batch",
)
NUM_DRAWS = 10
REFERENCE_SIZE = 500


class PoolView(NamedTuple):
    """What a method may look at; no labels of the pool but those already bought.

    Attributes:
        inputs: what the network sees of all training samples, shared by every seed.
        pool_ids: [pool] which of them are this seed's pool.
        known_labels: [pool] classes of the labeled rows, -1 for all others.
        holdout_ids: [m] which are its holdout set, class by class.
        holdout_labels: [m] their classes.
    """

    inputs: jax.Array
    pool_ids: jax.Array
    known_labels: jax.Array
    holdout_ids: jax.Array
    holdout_labels: jax.Array


class Setting(NamedTuple):
    """What the methods of a study share.

    Attributes:
        network: the classifier.
        num_classes: its classes.
        num_initial: rows labeled before the first round.
        most_labeled: rows labeled after the last.
        holdout_per_class: holdout samples of every class.
        acquire_size: samples to choose each round.
        steps: T of the look-ahead, for IWPS and error reduction.
        learning_rate: η of the look-ahead.
        chunk_size: candidates scored at once.
    """

    network: Network
    num_classes: int
    num_initial: int
    most_labeled: int
    holdout_per_class: int
    acquire_size: int
    steps: int
    learning_rate: float
    chunk_size: int


def make_methods(setting: Setting) -> dict[str, Method]:
    """All methods by name, for one network."""
    look_ahead = partial(
        iwps_jax.iwps_last_layer,
        steps=setting.steps,
        learning_rate=setting.learning_rate,
    )
    highest = take_highest(setting.acquire_size)
    return {
        "random": Method(_uniform, highest),
        "entropy": Method(of_logits(setting, iwps_jax.entropy), highest),
        "margin": Method(of_logits(setting, iwps_jax.margin), highest),
        "mc_dropout": Method(_of_draws(setting, iwps_jax.mc_dropout), highest),
        "bald": Method(_of_draws(setting, iwps_jax.bald), highest),
        "coreset": Method(_features(setting), take_farthest(setting.acquire_size)),
        "badge": Method(_features_and_logits(setting), _k_means_plus_plus(setting)),
        "error_reduction": Method(_expected_error(setting), highest),
        "iwps_app": Method(
            score_last_layer(setting, iwps_jax.iwps_app_last_layer), highest
        ),
        "iwps": Method(score_last_layer(setting, look_ahead), highest),
        "iwps_batch": Method(
            scores_and_evidence(setting, score_last_layer(setting, look_ahead)),
            take_batch(setting.acquire_size),
        ),
    }


# What the ablations build on as well


def over_pool(setting: Setting, score_fn: Callable, view: PoolView, *per_row):
    """Applies `score_fn(inputs, *per_row)` to the pool, chunk by chunk."""
    return iwps_jax.score_in_chunks(
        lambda chunk: score_fn(view.inputs[chunk[0]], *chunk[1:]),
        (view.pool_ids, *per_row),
        chunk_size=setting.chunk_size,
    )


def holdout(key: jax.Array, view: PoolView) -> tuple[jax.Array, jax.Array]:
    """Ids and classes of the whole holdout set."""
    del key
    return view.holdout_ids, view.holdout_labels


def score_last_layer(
    setting: Setting, score_fn: Callable, judges: Callable = holdout
) -> Callable:
    """For scores of the last layer that ask labeled samples for their loss.

    Args:
        setting: network and sizes.
        score_fn: `score_fn(features, kernel, bias, judges' features, their classes)`.
        judges: `judges(key, view) -> (ids, classes)` of the samples that are asked.

    Returns:
        `score(key, variables, view) -> [pool]`.
    """
    network = setting.network

    def score(key, variables, view):
        ids, labels = judges(key, view)
        judging = network.features(variables, view.inputs[ids])
        head = network.head(variables)
        return over_pool(
            setting,
            lambda inputs: score_fn(
                network.features(variables, inputs), *head, judging, labels
            ),
            view,
        )

    return score


def of_logits(setting: Setting, score_fn: Callable) -> Callable:
    """For scores of the outputs alone: `score_fn(logits)`."""

    def score(key, variables, view):
        del key
        return over_pool(
            setting,
            lambda inputs: score_fn(setting.network.apply(variables, inputs)),
            view,
        )

    return score


def scores_and_evidence(
    setting: Setting, score_fn: Callable, judges: Callable = holdout
) -> Callable:
    """For `iwps_batch`: scores, and beside them what it looks at.

    Args:
        setting: network and sizes.
        score_fn: `score(key, variables, view) -> [pool]`.
        judges: `judges(key, view) -> (ids, classes)` of the holdout samples.

    Returns:
        `score(key, variables, view) -> ([pool], Evidence)`.
    """
    network = setting.network

    def score(key, variables, view):
        features = _features(setting)(key, variables, view)
        kernel, bias = network.head(variables)
        ids, _ = judges(key, view)
        evidence = iwps_jax.Evidence(
            features=features,
            kernel=kernel,
            bias=bias,
            holdout_features=network.features(variables, view.inputs[ids]),
            labeled_features=features,
            labels=view.known_labels,
        )
        return score_fn(key, variables, view), evidence

    return score


def take_batch(acquire_size: int) -> Callable:
    """The selector `iwps_batch`, for scores and evidence."""

    def select(key, scores, where):
        scores, evidence = scores
        return iwps_jax.iwps_batch(key, scores, evidence, acquire_size, where=where)

    return select


# The other families


def _uniform(key, variables, view):
    del variables
    keys = iwps_jax.sample_keys(key, view.pool_ids)
    return jax.vmap(jax.random.uniform)(keys)


def _of_draws(setting, score_fn):
    """For scores of several dropout masks, drawn anew for every sample."""

    def score(key, variables, view):
        def draws_of_one(one_input, sample_key):
            def draw(key):
                return setting.network.apply_dropout(key, variables, one_input[None])[0]

            return jax.vmap(draw)(jax.random.split(sample_key, NUM_DRAWS))

        def score_chunk(inputs, keys):
            logits = jax.vmap(draws_of_one, out_axes=1)(inputs, keys)
            return score_fn(jax.nn.log_softmax(logits))

        keys = iwps_jax.sample_keys(key, view.pool_ids)
        return over_pool(setting, score_chunk, view, keys)

    return score


def _features(setting):
    def score(key, variables, view):
        del key
        return over_pool(
            setting, lambda inputs: setting.network.features(variables, inputs), view
        )

    return score


def _features_and_logits(setting):
    def score(key, variables, view):
        def both(inputs):
            features = setting.network.features(variables, inputs)
            kernel, bias = setting.network.head(variables)
            return features, features @ kernel + bias[None]

        del key
        return over_pool(setting, both, view)

    return score


def _expected_error(setting):
    network = setting.network

    def score(key, variables, view):
        size = min(REFERENCE_SIZE, len(view.pool_ids))
        ids = jax.random.choice(key, view.pool_ids, (size,), replace=False)
        reference = network.features(variables, view.inputs[ids])
        return over_pool(
            setting,
            lambda inputs: iwps_jax.expected_entropy_reduction(
                network.features(variables, inputs),
                *network.head(variables),
                reference,
                steps=setting.steps,
                learning_rate=setting.learning_rate,
            ),
            view,
        )

    return score


def _k_means_plus_plus(setting):
    def select(key, embedding, where):
        return iwps_jax.badge(key, *embedding, setting.acquire_size, where)

    return select
