"""A study made ready to run: arrays on the device and programs compiled for them.

Every program is mapped over the seeds, side by side or one after another as the
network's recipe says, and the inputs are shared. What fits and tests is compiled once
for all methods and rounds, what scores and selects once a method.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.classification import training
from experiments.classification.batch_variants import make_batch_variants
from experiments.classification.config import Config
from experiments.classification.methods import PoolView, Setting, make_methods
from experiments.classification.networks import RECIPES
from experiments.classification.splits import Split
from experiments.classification.variants import make_variants
from experiments.data.kinds import AnyDataset
from experiments.engine.method import Method
from experiments.models import Network
from iwps_jax import loop

# Adam and its rate are the paper's (supplement §4); how often to look at the
# validation loss, and how long to wait for a lower one, are our choices.
OPTIMIZER = optax.adam(1e-3)
STEPS_PER_EVALUATION = 5
PATIENCE = 20

ONE_SEED = PoolView(
    inputs=None, pool_ids=0, known_labels=0, holdout_ids=0, holdout_labels=0
)
"""Axes of a view that is mapped over the seeds."""


class Study(NamedTuple):
    """What all methods of a study share; arrays but the inputs lead with a seed axis.

    Attributes:
        keys: one key a seed.
        view: what methods may look at before the first round.
        pool_labels: [seed, pool] classes; methods see those of labeled rows only.
        minority: [seed, classes] which classes are under-represented.
        first_state: the loop's state before the first round.
        methods: the competitors by name.
        compile_train: compiles, once, `train(keys, state, view, pool_labels) -> state`.
        compile_evaluate: compiles, once, `evaluate(variables) -> Metrics` on the
            test set.
        test_shares: for every measure beside the official ones, by its name, [seed,
            classes] how much the recall of each class counts in it.
        predict: `predict(variables, view, rows) -> classes` of rows of the pool.
        over_seeds: `over_seeds(function, in_axes)` maps a program over the seeds.
        setting: the network, and what else the methods were made with.
    """

    keys: jax.Array
    view: PoolView
    pool_labels: jax.Array
    minority: np.ndarray
    first_state: loop.LoopState
    methods: dict[str, Method]
    compile_train: Callable[[], Callable]
    compile_evaluate: Callable[[], Callable]
    test_shares: dict[str, np.ndarray]
    predict: Callable
    over_seeds: Callable
    setting: Setting


def make_study(config: Config, dataset: AnyDataset, splits: list[Split]) -> Study:
    """Puts the data on the device and prepares the programs of all seeds."""
    recipe = RECIPES[config.network]
    network, inputs = recipe.make(dataset)
    pool_ids = np.stack([split.pool_ids for split in splits])
    holdout_ids = np.stack([split.holdout_ids for split in splits])
    labeled = np.stack([split.labeled for split in splits])
    pool_labels = dataset.train_labels[pool_ids]
    num_labeled, budget = int(labeled[0].sum()), config.rounds * config.acquire_size
    classes = np.arange(len(dataset.class_names))
    seeds = config.first_seed + jnp.arange(len(splits))
    keys = jax.vmap(jax.random.key)(seeds)

    def first_state(key, labeled):
        untrained = training.TrainState(
            variables=network.init(key),
            validation_loss=jnp.full((), jnp.inf),
            steps=jnp.zeros((), jnp.int32),
        )
        return loop.init(labeled, untrained, budget=budget)

    state = jax.jit(recipe.over_seeds(first_state, (0, 0)))(keys, jnp.asarray(labeled))
    view = PoolView(
        inputs=jnp.asarray(inputs.train),
        pool_ids=jnp.asarray(pool_ids),
        known_labels=jnp.asarray(_known(labeled, pool_labels)),
        holdout_ids=jnp.asarray(holdout_ids),
        holdout_labels=jnp.asarray(dataset.train_labels[holdout_ids]),
    )
    test_shares = {}
    if "pool" in config.test_sets:
        test_shares["pool_accuracy"] = shares_in_pool(
            pool_labels, dataset.test_labels, len(classes)
        )
    pool_labels = jnp.asarray(pool_labels)
    setting = Setting(
        network=network,
        num_classes=len(classes),
        num_initial=num_labeled,
        most_labeled=num_labeled + budget,
        holdout_per_class=config.holdout_per_class,
        acquire_size=config.acquire_size,
        steps=config.steps,
        learning_rate=config.look_ahead_rate,
        chunk_size=recipe.chunk_size,
    )
    train = _make_train(network, num_labeled + budget, config)
    test = jnp.asarray(inputs.test), jnp.asarray(dataset.test_labels)
    return Study(
        keys=keys,
        view=view,
        pool_labels=pool_labels,
        minority=np.stack([np.isin(classes, s.minority_classes) for s in splits]),
        first_state=state,
        methods={
            **make_methods(setting),
            **make_variants(setting),
            **make_batch_variants(setting),
        },
        compile_train=functools.cache(
            lambda: train.lower(keys, state, view, pool_labels).compile()
        ),
        compile_evaluate=functools.cache(
            lambda: _compile_evaluate(setting, test, state, recipe.over_seeds)
        ),
        test_shares=test_shares,
        predict=_make_predict(network, recipe.over_seeds),
        over_seeds=recipe.over_seeds,
        setting=setting,
    )


def shares_in_pool(
    pool_labels: np.ndarray, test_labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Shares of the classes in every pool, as weights of their recalls on a test set.

    The recalls weighted by them are the accuracy on a test set that was resampled to
    the classes of the pool, averaged over all resamplings. The classes that the test
    set lacks count nothing.

    Args:
        pool_labels: [seed, pool], labeled rows included.
        test_labels: of the official test set.
        num_classes: number of classes.

    Returns:
        [seed, classes]; a row sums to 1.
    """
    occurs = np.bincount(test_labels, minlength=num_classes) > 0
    counts = np.stack([np.bincount(row, minlength=num_classes) for row in pool_labels])
    counts = counts * occurs
    return counts / counts.sum(1, keepdims=True)


def _known(labeled, pool_labels):
    """Classes of the labeled rows, -1 elsewhere: what has been paid for."""
    return labeled * (pool_labels + 1) - 1


def _make_train(network: Network, capacity: int, config: Config) -> Callable:
    recipe = RECIPES[config.network]

    def fit(view, labels, key, train_state, labeled):
        init_key, train_key = jax.random.split(key)
        start = train_state.variables if config.warm_start else network.init(init_key)
        rows = jnp.flatnonzero(labeled, size=capacity, fill_value=0)
        return training.fit(
            train_key,
            start,
            view.inputs[view.pool_ids[rows]],
            labels[rows],
            jnp.arange(capacity) < labeled.sum(),
            view.inputs[view.holdout_ids],
            view.holdout_labels,
            apply_fn=network.apply,
            apply_train_fn=network.apply_train,
            optimizer=OPTIMIZER,
            minibatch_size=recipe.minibatch_size,
            steps_per_evaluation=STEPS_PER_EVALUATION,
            patience=PATIENCE,
            max_evaluations=config.max_steps // STEPS_PER_EVALUATION,
        )

    def train(key, state, view, labels):
        return loop.train(key, state, fit=functools.partial(fit, view, labels))

    return jax.jit(recipe.over_seeds(train, (0, 0, ONE_SEED, 0)))


def _compile_evaluate(
    setting: Setting, test: tuple, state: loop.LoopState, over_seeds: Callable
) -> Callable:
    evaluate = functools.partial(
        training.evaluate,
        apply_fn=setting.network.apply,
        num_classes=setting.num_classes,
        chunk_size=setting.chunk_size,
    )
    of_all_seeds = jax.jit(over_seeds(evaluate, (0, None, None)))
    compiled = of_all_seeds.lower(state.train_state.variables, *test).compile()
    return lambda variables: compiled(variables, *test)


def _make_predict(network: Network, over_seeds: Callable) -> Callable:
    def predict(variables, view, rows):
        return network.apply(variables, view.inputs[view.pool_ids[rows]]).argmax(-1)

    return jax.jit(over_seeds(predict, (0, ONE_SEED, 0)))


def compile_acquire(study: Study, method: Method) -> Callable:
    """Compiles `acquire(keys, state, view, pool_labels) -> (state, info)`."""

    def acquire(key, state, view, pool_labels):
        view = view._replace(known_labels=_known(state.labeled, pool_labels))
        return loop.acquire(
            key,
            state,
            score=lambda key, trained: method.score(key, trained.variables, view),
            select=method.select,
        )

    of_all_seeds = jax.jit(study.over_seeds(acquire, (0, 0, ONE_SEED, 0)))
    return of_all_seeds.lower(
        study.keys, study.first_state, study.view, study.pool_labels
    ).compile()
