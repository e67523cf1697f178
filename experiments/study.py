"""A study made ready to run: arrays on the device and programs compiled for them.

The seeds run side by side: every program is `jax.vmap`ped over them, and the images
are shared. What fits and tests is compiled once for all methods and rounds, what
scores and selects once a method.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.config import Config
from experiments.datasets import Dataset
from experiments.methods import CHUNK_SIZE, Method, PoolView, make_methods
from experiments.splits import Split
from iwps_jax import loop, models, training
from iwps_jax.models import Network

# Adam, its rate and the minibatch are the paper's (supplement §4); how often to look
# at the validation loss, and how long to wait for a lower one, are our choices.
OPTIMIZER = optax.adam(1e-3)
MINIBATCH_SIZE = 50
STEPS_PER_EVALUATION = 5
PATIENCE = 20
MAX_EVALUATIONS = 400

ONE_SEED = PoolView(images=None, pool_ids=0, holdout_ids=0, holdout_labels=0)
"""Axes of a view under `vmap` over seeds."""


class Study(NamedTuple):
    """What all methods of a study share; arrays but the images lead with a seed axis.

    Attributes:
        keys: one key a seed.
        view: what methods may look at.
        pool_labels: [seed, pool] classes; only `train` and the metrics see them.
        minority: [seed, classes] which classes are under-represented.
        first_state: the loop's state before the first round.
        methods: the competitors by name.
        compile_train: compiles, once, `train(keys, state, view, pool_labels) -> state`.
        evaluate: `evaluate(params) -> Metrics` on the test set.
        predict: `predict(params, view, rows) -> classes` of rows of the pool.
    """

    keys: jax.Array
    view: PoolView
    pool_labels: jax.Array
    minority: np.ndarray
    first_state: loop.LoopState
    methods: dict[str, Method]
    compile_train: Callable[[], Callable]
    evaluate: Callable
    predict: Callable


def make_study(config: Config, dataset: Dataset, splits: list[Split]) -> Study:
    """Puts the data on the device and prepares the programs of all seeds."""
    network = _make_network(dataset)
    pool_ids = np.stack([split.pool_ids for split in splits])
    holdout_ids = np.stack([split.holdout_ids for split in splits])
    labeled = np.stack([split.labeled for split in splits])
    num_labeled, budget = int(labeled[0].sum()), config.rounds * config.acquire_size
    classes = np.arange(len(dataset.class_names))
    keys = jax.vmap(jax.random.key)(jnp.arange(len(splits)))

    def first_state(key, labeled):
        untrained = training.TrainState(
            params=network.init(key),
            validation_loss=jnp.full((), jnp.inf),
            steps=jnp.zeros((), jnp.int32),
        )
        return loop.init(labeled, untrained, budget=budget)

    state = jax.jit(jax.vmap(first_state))(keys, jnp.asarray(labeled))
    view = PoolView(
        images=jnp.asarray(dataset.train_images),
        pool_ids=jnp.asarray(pool_ids),
        holdout_ids=jnp.asarray(holdout_ids),
        holdout_labels=jnp.asarray(dataset.train_labels[holdout_ids]),
    )
    pool_labels = jnp.asarray(dataset.train_labels[pool_ids])
    train = _make_train(network, num_labeled + budget, config.warm_start)
    return Study(
        keys=keys,
        view=view,
        pool_labels=pool_labels,
        minority=np.stack([np.isin(classes, s.minority_classes) for s in splits]),
        first_state=state,
        methods=make_methods(
            network,
            acquire_size=config.acquire_size,
            steps=config.steps,
            learning_rate=config.learning_rate,
        ),
        compile_train=functools.cache(
            lambda: train.lower(keys, state, view, pool_labels).compile()
        ),
        evaluate=_make_evaluate(network, dataset),
        predict=_make_predict(network),
    )


def _make_network(dataset: Dataset) -> Network:
    pixels = dataset.train_images.astype(np.float32) / 255
    return models.mlp(
        dataset.train_images.shape[1:],
        len(dataset.class_names),
        mean=float(pixels.mean()),
        std=float(pixels.std()),
    )


def _make_train(network: Network, capacity: int, warm_start: bool) -> Callable:
    def fit(view, labels, key, train_state, labeled):
        init_key, train_key = jax.random.split(key)
        params = train_state.params if warm_start else network.init(init_key)
        rows = jnp.flatnonzero(labeled, size=capacity, fill_value=0)
        return training.fit(
            train_key,
            params,
            view.images[view.pool_ids[rows]],
            labels[rows],
            jnp.arange(capacity) < labeled.sum(),
            view.images[view.holdout_ids],
            view.holdout_labels,
            apply_fn=network.apply,
            apply_dropout_fn=network.apply_dropout,
            optimizer=OPTIMIZER,
            minibatch_size=MINIBATCH_SIZE,
            steps_per_evaluation=STEPS_PER_EVALUATION,
            patience=PATIENCE,
            max_evaluations=MAX_EVALUATIONS,
        )

    def train(key, state, view, labels):
        return loop.train(key, state, fit=functools.partial(fit, view, labels))

    return jax.jit(jax.vmap(train, in_axes=(0, 0, ONE_SEED, 0)))


def _make_evaluate(network: Network, dataset: Dataset) -> Callable:
    evaluate = functools.partial(
        training.evaluate,
        apply_fn=network.apply,
        num_classes=len(dataset.class_names),
        chunk_size=CHUNK_SIZE,
    )
    over_seeds = jax.jit(jax.vmap(evaluate, in_axes=(0, None, None)))
    images, labels = jnp.asarray(dataset.test_images), jnp.asarray(dataset.test_labels)
    return lambda params: over_seeds(params, images, labels)


def _make_predict(network: Network) -> Callable:
    def predict(params, view, rows):
        return network.apply(params, view.images[view.pool_ids[rows]]).argmax(-1)

    return jax.jit(jax.vmap(predict, in_axes=(0, ONE_SEED, 0)))


def compile_acquire(study: Study, method: Method) -> Callable:
    """Compiles `acquire(keys, state, view) -> (state, info)` over all seeds."""

    def acquire(key, state, view):
        return loop.acquire(
            key,
            state,
            score=lambda key, train_state: method.score(key, train_state.params, view),
            select=method.select,
        )

    over_seeds = jax.jit(jax.vmap(acquire, in_axes=(0, 0, ONE_SEED)))
    return over_seeds.lower(study.keys, study.first_state, study.view).compile()
