"""Variants of IWPS for the ablations: what moves, and who judges.

    iwps_full, iwps_app_full              the look-ahead moves every layer
    iwps_holdout_M, iwps_app_holdout_M    M holdout samples of each class judge
    iwps_on_training, iwps_app_on_training    labeled training samples judge, a random
                                          subset as large as the holdout set

They compete like methods and are named like them in `--methods`.
"""

from collections.abc import Callable

import jax

import iwps_jax
from experiments.classification.methods import (
    PoolView,
    Setting,
    competitor,
    holdout,
    over_pool,
)
from experiments.engine.method import Method, take_highest
from iwps_jax import methods
from iwps_jax.types import Variables

HOLDOUT_SIZES = (1, 2, 5, 10, 20)
FULL_NETWORK = ("iwps_full", "iwps_app_full")
ON_TRAINING = ("iwps_on_training", "iwps_app_on_training")
HOLDOUT_SIZE = tuple(
    f"{row.name}_holdout_{size}"
    for row in (methods.IWPS, methods.IWPS_APP)
    for size in HOLDOUT_SIZES
)
VARIANTS = (*FULL_NETWORK, *ON_TRAINING, *HOLDOUT_SIZE)
# Candidates at once where each has its own factors, or its own copy, of all weights.
DENSE_CHUNK_SIZE = 16
COPYING_CHUNK_SIZE = 8


def judges_per_class(name: str) -> int:
    """Holdout samples of each class that a variant asks for; 0 if it does not say.

    Example:
        >>> judges_per_class("iwps_app_holdout_20"), judges_per_class("iwps")
        (20, 0)
    """
    return int(name.rpartition("_")[2]) if name in HOLDOUT_SIZE else 0


def make_variants(setting: Setting) -> dict[str, Method]:
    """All variants by name, for one network."""
    highest = take_highest(setting.acquire_size)
    variants = {
        "iwps_full": Method(_look_ahead_of_all_layers(setting), highest),
        "iwps_app_full": Method(_first_order_of_all_layers(setting), highest),
    }
    for row in (methods.IWPS, methods.IWPS_APP):
        variants[f"{row.name}_on_training"] = competitor(
            setting, row, training_subset(setting.num_initial)
        )
        for size in HOLDOUT_SIZES:
            variants[f"{row.name}_holdout_{size}"] = competitor(
                setting, row, part_of_holdout(setting.holdout_per_class, size)
            )
    return {name: variants[name] for name in VARIANTS}


def part_of_holdout(held_out_per_class: int, per_class: int) -> Callable:
    """The first samples of each class in the holdout set.

    Args:
        held_out_per_class: samples of each that the whole set has.
        per_class: samples of each to take.

    Returns:
        `judges(key, view) -> (ids, classes)`.
    """

    def judges(key: jax.Array, view: PoolView) -> tuple[jax.Array, jax.Array]:
        del key
        by_class = (-1, held_out_per_class)
        ids = view.holdout_ids.reshape(by_class)[:, :per_class]
        labels = view.holdout_labels.reshape(by_class)[:, :per_class]
        return ids.ravel(), labels.ravel()

    return judges


def training_subset(num_initial: int) -> Callable:
    """A random subset of the labeled rows, drawn anew every round.

    As many as the holdout set has, but never more than were labeled at first: the
    number must not depend on the round.

    Args:
        num_initial: rows labeled before the first round.

    Returns:
        `judges(key, view) -> (ids, classes)`.

    References:
        Aljundi et al. 2020, supplement §5.2.
    """

    def judges(key: jax.Array, view: PoolView) -> tuple[jax.Array, jax.Array]:
        size = min(len(view.holdout_ids), num_initial)
        order = jax.random.uniform(key, view.known_labels.shape)
        rows = iwps_jax.top_k(order, size, view.known_labels >= 0)
        return view.pool_ids[rows], view.known_labels[rows]

    return judges


def _look_ahead_of_all_layers(setting):
    network = setting.network
    options = {"steps": setting.steps, "learning_rate": setting.learning_rate}

    def small_chunks(size):
        return setting._replace(chunk_size=min(size, setting.chunk_size))

    def score_dense(key, variables, view):
        ids, labels = holdout(key, view)
        layers, normalize = network.dense_layers(variables)
        judging = normalize(view.inputs[ids])

        def score_fn(inputs):
            return iwps_jax.iwps_mlp(
                layers, normalize(inputs), judging, labels, **options
            )

        return over_pool(small_chunks(DENSE_CHUNK_SIZE), score_fn, view)

    def score_any(key, variables, view):
        ids, labels = holdout(key, view)
        apply = _of_params(setting, variables)

        def score_fn(inputs):
            return iwps_jax.iwps(
                apply, variables.params, inputs, view.inputs[ids], labels, **options
            )

        return over_pool(small_chunks(COPYING_CHUNK_SIZE), score_fn, view)

    return score_any if network.dense_layers is None else score_dense


def _of_params(setting, variables):
    """The network as a function of what gradients move, statistics held fixed."""

    def apply(params, inputs):
        return setting.network.apply(Variables(params, variables.statistics), inputs)

    return apply


def _first_order_of_all_layers(setting):
    def score(key, variables, view):
        apply = _of_params(setting, variables)
        ids, labels = holdout(key, view)
        gradient = iwps_jax.holdout_gradient(
            apply, variables.params, view.inputs[ids], labels
        )
        return over_pool(
            setting,
            lambda inputs: iwps_jax.iwps_app(apply, variables.params, inputs, gradient),
            view,
        )

    return score
