"""Runs a study: for every method, rounds of fit, test, score, select and label.

The seeds of a study run side by side under `jax.vmap`. The program that fits is
compiled once for all methods and rounds, the one that scores and selects once a
method. After every round a checkpoint holds the state and all lines written so far;
a run killed at any moment continues there and ends with the same picks.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import datasets, folder, report
from experiments.config import Config
from experiments.datasets import Dataset
from experiments.methods import CHUNK_SIZE, Method, PoolView, make_methods
from experiments.progress import Progress
from experiments.splits import Split, make_split
from iwps_jax import checkpoint, loop, models, training
from iwps_jax.models import Network

# Adam, its rate and the minibatch are the paper's (supplement §4); how often to look
# at the validation loss, and how long to wait for a better one, are our choices.
OPTIMIZER = optax.adam(1e-3)
MINIBATCH_SIZE = 50
STEPS_PER_EVALUATION = 10
PATIENCE = 10
MAX_EVALUATIONS = 100


class RunError(RuntimeError):
    """A run that must not go on, with the reason."""


class Study(NamedTuple):
    """What all methods of a study share; arrays lead with a seed axis.

    Attributes:
        keys: one key a seed.
        view: what methods may look at.
        pool_labels: [seed, pool] classes; only `fit` and the metrics see them.
        labeled: [seed, pool] the initially labeled rows.
        minority: [seed, classes] which classes are under-represented.
        fit, evaluate, predict: compiled programs, see `_compile_shared`.
    """

    keys: jax.Array
    view: PoolView
    pool_labels: np.ndarray
    labeled: jax.Array
    minority: np.ndarray
    fit: Callable
    evaluate: Callable
    predict: Callable


def run(config: Config, progress: Progress | None = None) -> dict:
    """Runs or resumes a study, writes its report and returns the summary.

    Args:
        config: the settings.
        progress: where to show how it goes; a terminal display by default.

    Returns:
        The summary that `summary.json` holds.

    Raises:
        RunError: if the settings do not fit the data or a score is not finite.
        folder.FolderError: if the folder holds another run.
        datasets.DatasetError: if the data cannot be had.
    """
    progress = progress or Progress(config)
    dataset = datasets.load(config.dataset, config.data_dir)
    progress.say(f"data: {dataset.source}")
    splits = _make_splits(config, dataset)
    for warning in folder.prepare(
        config.out, config.settings(), dataset, splits, resume=config.resume
    ):
        progress.say(f"warning: {warning}")
    network = _make_network(dataset)
    study = _make_study(config, dataset, splits, network)
    methods = make_methods(
        network,
        acquire_size=config.acquire_size,
        steps=config.steps,
        learning_rate=config.learning_rate,
    )
    done: dict[str, list] = {"metrics": [], "picks": []}
    with progress:
        for name in config.methods:
            lines = _run_method(
                config, name, methods[name], network, study, done, progress
            )
            for kind in done:
                done[kind] += lines[kind]
    summary = report.write_report(config.out, dataset)
    return summary


def _make_splits(config: Config, dataset: Dataset) -> list[Split]:
    try:
        splits = [
            make_split(
                dataset.train_labels,
                seed,
                base_size=config.base_size,
                imbalance=config.imbalance,
                holdout_per_class=config.holdout_per_class,
            )
            for seed in range(config.seeds)
        ]
    except ValueError as error:
        raise RunError(str(error)) from error
    budget = config.rounds * config.acquire_size
    unlabeled = int((~splits[0].labeled).sum())
    if budget > unlabeled:
        raise RunError(
            f"rounds * acquire_size must be at most the {unlabeled} unlabeled samples "
            f"of the pool, got {config.rounds} * {config.acquire_size} = {budget}."
        )
    return splits


def _make_network(dataset: Dataset) -> Network:
    pixels = dataset.train_images.astype(np.float32) / 255
    return models.mlp(
        dataset.train_images.shape[1:],
        len(dataset.class_names),
        mean=float(pixels.mean()),
        std=float(pixels.std()),
    )


def _make_study(
    config: Config, dataset: Dataset, splits: list[Split], network: Network
) -> Study:
    pool_ids = np.stack([split.pool_ids for split in splits])
    holdout_ids = np.stack([split.holdout_ids for split in splits])
    labels = dataset.train_labels
    num_classes = len(dataset.class_names)
    view = PoolView(
        images=jnp.asarray(dataset.train_images),
        pool_ids=jnp.asarray(pool_ids),
        holdout_ids=jnp.asarray(holdout_ids),
        holdout_labels=jnp.asarray(labels[holdout_ids]),
    )
    labeled = np.stack([split.labeled for split in splits])
    fit, evaluate, predict = _shared_programs(config, dataset, labeled, network)
    return Study(
        keys=jax.vmap(jax.random.key)(jnp.arange(config.seeds)),
        view=view,
        pool_labels=labels[pool_ids],
        labeled=jnp.asarray(labeled),
        minority=np.stack(
            [np.isin(np.arange(num_classes), s.minority_classes) for s in splits]
        ),
        fit=fit,
        evaluate=evaluate,
        predict=predict,
    )


ONE_SEED = PoolView(images=None, pool_ids=0, holdout_ids=0, holdout_labels=0)
"""Axes of a view under `vmap` over seeds: the images are shared."""


def _shared_programs(config, dataset, labeled, network):
    """Jitted, over all seeds: fit a round, test the network, predict the picks."""
    capacity = int(labeled[0].sum()) + config.rounds * config.acquire_size

    def fit(view, labels, key, train_state, labeled):
        """The loop's `fit` for one seed: gathers the labeled rows and trains."""
        init_key, train_key = jax.random.split(key)
        fresh = network.init(init_key)
        rows = jnp.flatnonzero(labeled, size=capacity, fill_value=0)
        return training.fit(
            train_key,
            train_state.params if config.warm_start else fresh,
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

    test_images = jnp.asarray(dataset.test_images)
    test_labels = jnp.asarray(dataset.test_labels)
    num_classes = len(dataset.class_names)

    def evaluate(params, images, labels):
        return training.evaluate(
            params,
            images,
            labels,
            apply_fn=network.apply,
            num_classes=num_classes,
            chunk_size=CHUNK_SIZE,
        )

    def predict(params, view, rows):
        images = view.images[view.pool_ids[rows]]
        return network.apply(params, images).argmax(-1)

    over_seeds = jax.jit(jax.vmap(evaluate, in_axes=(0, None, None)))
    return (
        jax.jit(jax.vmap(train, in_axes=(0, 0, ONE_SEED, 0))),
        lambda params: over_seeds(params, test_images, test_labels),
        jax.jit(jax.vmap(predict, in_axes=(0, ONE_SEED, 0))),
    )


def make_acquire(method: Method) -> Callable:
    """Jitted, over all seeds: `acquire(keys, state, view) -> (state, info)`."""

    def acquire(key, state, view):
        return loop.acquire(
            key,
            state,
            score=lambda key, train_state: method.score(key, train_state.params, view),
            select=method.select,
        )

    return jax.jit(jax.vmap(acquire, in_axes=(0, 0, ONE_SEED)))


def _run_method(
    config: Config,
    name: str,
    method: Method,
    network: Network,
    study: Study,
    done: dict[str, list],
    progress: Progress,
) -> dict[str, list]:
    """All rounds of one method, from its newest checkpoint on; returns its lines."""
    state = _first_state(config, network, study)
    lines: dict[str, list] = {"metrics": [], "picks": []}
    with checkpoint.open_folder(folder.checkpoints(config.out, name)) as manager:
        restored = checkpoint.restore_latest(manager, state)
        next_round = 0
        if restored is not None:
            last_step, state, lines = restored
            next_round = last_step
            progress.show(name, lines["metrics"])
        for kind in lines:
            folder.write_lines(config.out / f"{kind}.jsonl", done[kind] + lines[kind])
        acquire = make_acquire(method)
        for round_ in range(next_round, config.rounds + 1):
            is_last = round_ == config.rounds
            new, state = _run_round(
                config, name, study, state, None if is_last else acquire, progress
            )
            for kind in lines:
                lines[kind] = lines[kind] + new[kind]
            checkpoint.save(manager, round_ + 1, state, lines)
            for kind in lines:
                folder.append_lines(config.out / f"{kind}.jsonl", new[kind])
            progress.show(name, lines["metrics"])
    return lines


def _first_state(config: Config, network: Network, study: Study) -> loop.LoopState:
    """The state before the first round, stacked over seeds."""

    def one_seed(key, labeled):
        train_state = training.TrainState(
            params=network.init(key),
            validation_loss=jnp.inf * jnp.ones(()),
            steps=jnp.zeros((), jnp.int32),
        )
        return loop.init(
            labeled, train_state, budget=config.rounds * config.acquire_size
        )

    return jax.jit(jax.vmap(one_seed))(study.keys, study.labeled)


def _timed(program: Callable, *arguments: Any) -> tuple[Any, float]:
    """A program's result and the seconds until it was there."""
    start = time.perf_counter()
    result = jax.block_until_ready(program(*arguments))
    return result, time.perf_counter() - start


def _run_round(config, name, study, state, acquire, progress):
    """Fits, tests and, unless `acquire` is None, picks; returns lines and state."""
    round_ = int(state.round[0])
    num_labeled = int(state.labeled[0].sum())
    progress.begin(name, round_, "fit")
    state, fit_seconds = _timed(
        study.fit, study.keys, state, study.view, jnp.asarray(study.pool_labels)
    )
    params = state.train_state.params
    metrics = study.evaluate(params)
    wrong = minority = score_seconds = None
    picks = []
    if acquire is not None:
        progress.begin(name, round_, "score")
        (state, info), score_seconds = _timed(acquire, study.keys, state, study.view)
        if int(info.num_nonfinite.sum()):
            raise RunError(
                f"{name} gave {int(info.num_nonfinite.sum())} scores that are not "
                f"finite in round {round_}; nothing was picked from them."
            )
        rows = np.asarray(info.picks)
        ids = np.take_along_axis(np.asarray(study.view.pool_ids), rows, axis=1)
        predicted = np.asarray(study.predict(params, study.view, info.picks))
        true = np.take_along_axis(study.pool_labels, rows, axis=1)
        wrong = (predicted != true).mean(1)
        minority = np.take_along_axis(study.minority, true, axis=1).mean(1)
        picks = [
            {
                "method": name,
                "seed": seed,
                "round": round_,
                "ids": ids[seed].tolist(),
                "predicted": predicted[seed].tolist(),
                "true": true[seed].tolist(),
            }
            for seed in range(config.seeds)
        ]

    def share(of_seeds, seed):
        return None if of_seeds is None else round(float(of_seeds[seed]), 6)

    # Seeds run side by side, so each is charged an equal share of the time.
    def seconds(total):
        return None if total is None else round(total / config.seeds, 4)

    lines = [
        {
            "method": name,
            "seed": seed,
            "round": round_,
            "num_labeled": num_labeled,
            "test_accuracy": share(metrics.accuracy, seed),
            "balanced_accuracy": share(metrics.balanced_accuracy, seed),
            "wrong_rate": share(wrong, seed),
            "minority_rate": share(minority, seed),
            "fit_seconds": seconds(fit_seconds),
            "score_seconds": seconds(score_seconds),
        }
        for seed in range(config.seeds)
    ]
    return {"metrics": lines, "picks": picks}, state
