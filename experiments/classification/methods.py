"""The competitors: how a network turns a row of the table of methods into picks.

What a row's score reads comes from the network, for the inputs of one chunk after
another; what it knows beside them, from the seed's view.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

import jax

import iwps_jax
from experiments.engine.method import Method, take_highest
from experiments.models import Network
from iwps_jax import methods
from iwps_jax.method import Method as Row
from iwps_jax.method import Model, Rows
from iwps_jax.types import Head, Holdout, Variables

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
"""The methods of the main study."""
NUM_DRAWS = 10
NO_NUMBER = Model(seed=None, batch=None, steps=None, learning_rate=None)


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
    """All methods of the table by name, for one network."""
    return {name: competitor(setting, row) for name, row in methods.ROWS.items()}


def holdout(key: jax.Array, view: PoolView) -> tuple[jax.Array, jax.Array]:
    """Ids and classes of the whole holdout set."""
    del key
    return view.holdout_ids, view.holdout_labels


def competitor(setting: Setting, row: Row, judges: Callable = holdout) -> Method:
    """A row of the table, for the loop.

    Args:
        setting: network and sizes.
        row: what to read, how to score and to select.
        judges: `judges(key, view) -> (ids, classes)` of the samples that are asked for
            their loss.
    """
    if row.select is None:
        select = take_highest(setting.acquire_size)
    else:
        select = _select_together(setting, row)
    return Method(_score(setting, row, judges), select)


def over_pool(setting: Setting, score_fn: Callable, view: PoolView, *per_row):
    """Applies `score_fn(inputs, *per_row)` to the pool, chunk by chunk."""
    return iwps_jax.score_in_chunks(
        lambda chunk: score_fn(view.inputs[chunk[0]], *chunk[1:]),
        (view.pool_ids, *per_row),
        chunk_size=setting.chunk_size,
    )


def _score(setting, row, judges):
    """Scores, and beside them what the selector looks at, all in one pass."""

    def score(key, variables, view):
        model = _model(setting, row, judges, key, variables, view)
        reads = (*row.reads, *["features"] * row.selects_by_features)

        def score_chunk(inputs, *per_row):
            rows = read_rows(setting.network, reads, variables, inputs, *per_row)
            scores = None if row.score is None else row.score(rows, model)
            return scores, rows.features if row.selects_by_features else None

        keys = [iwps_jax.sample_keys(key, view.pool_ids)] * ("draws" in reads)
        scores, features = over_pool(setting, score_chunk, view, view.pool_ids, *keys)
        if row.select is None:
            return scores
        return scores, features, _seen(row, model, features, view)

    return score


def read_rows(
    network: Network,
    reads: Collection[str],
    variables: Variables,
    inputs: jax.Array,
    numbers: jax.Array | None = None,
    keys: jax.Array | None = None,
) -> Rows:
    """What a score reads of some inputs.

    Args:
        network: the classifier.
        reads: fields of `Rows`.
        variables: of the network.
        inputs: [n, ...].
        numbers: [n] their rows; None where they are not read.
        keys: [n] keys of the dropout masks; None where no draws are read.
    """

    def draws_of_one(one_input, sample_key):
        def draw(key):
            return network.apply_dropout(key, variables, one_input[None])[0]

        return jax.vmap(draw)(jax.random.split(sample_key, NUM_DRAWS))

    def draws():
        logits = jax.vmap(draws_of_one, out_axes=1)(inputs, keys)
        return jax.nn.log_softmax(logits)

    read = {
        "numbers": lambda: numbers,
        "features": lambda: network.features(variables, inputs),
        "logits": lambda: network.apply(variables, inputs),
        "draws": draws,
    }
    return Rows(**{name: read[name]() for name in {*reads}})


def _model(setting, row, judges, key, variables, view) -> Model:
    """What the score knows beside the rows; the labeled set comes with the features."""
    network = setting.network
    model = Model(key=key, steps=setting.steps, learning_rate=setting.learning_rate)
    if "head" in row.needs:
        model = model._replace(head=Head(*network.head(variables)))
    if "holdout" in (*row.needs, *row.uses):
        ids, labels = judges(key, view)
        judging = network.features(variables, view.inputs[ids])
        model = model._replace(holdout=Holdout(judging, labels))
    if row.sample and row.select is None:  # a selector draws from all features itself
        size = min(row.sample, len(view.pool_ids))
        ids = jax.random.choice(key, view.pool_ids, (size,), replace=False)
        reference = network.features(variables, view.inputs[ids])
        model = model._replace(sample=reference)
    return model


def _seen(row, model, features, view) -> Model:
    """What the selector knows: arrays alone, for the loop counts those not finite."""
    labeled = Holdout(features, view.known_labels) if "labels" in row.needs else None
    return NO_NUMBER._replace(head=model.head, holdout=model.holdout, labeled=labeled)


def _select_together(setting, row):
    def select(key, scores, where):
        scores, features, model = scores
        model = model._replace(
            batch=0, steps=setting.steps, learning_rate=setting.learning_rate
        )
        return row.select(key, scores, features, model, setting.acquire_size, where)

    return select
