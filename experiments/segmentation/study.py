"""A segmentation study: who is labeled at first, and what its rounds do.

The scenes stay on disk or in the host's memory and stream through the network; seeds
run one after another. What a round is made of, files, checkpoints and resuming are
those of every study (`experiments.rounds`).
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from experiments import folder, report
from experiments.progress import Progress
from experiments.reporting.measures import measure_of
from experiments.rounds import Rounds, RunError, run_rounds
from experiments.segmentation import training
from experiments.segmentation.config import Config
from experiments.segmentation.data import pipeline, scenes
from experiments.segmentation.data.pipeline import Batch
from experiments.segmentation.data.scenes import IGNORE, Scenes, Source
from experiments.segmentation.methods import SceneView, Setting, make_methods
from experiments.segmentation.networks import RECIPES, Inputs
from iwps_jax import loop

NO_ROUND = 2**32 - 1
NUM_PICTURED = 6  # picks of seed 0 whose predictions are kept each round


class Split(NamedTuple):
    """One seed's division of the training scenes; see `experiments.splits.Split`."""

    pool_ids: np.ndarray
    labeled: np.ndarray
    holdout_ids: np.ndarray


def run(config: Config, progress: Progress | None = None) -> dict:
    """Runs or resumes a study, writes its report and returns the summary.

    Args:
        config: the settings.
        progress: where to show how it goes; standard output by default.

    Returns:
        The summary that `summary.json` holds.

    Raises:
        RunError: if the settings do not fit the data or a score is not finite.
        folder.FolderError: if the folder holds another run.
        scenes.SceneError: if the scenes cannot be had or used.
        checkpoint.CheckpointError: if a checkpoint does not fit the settings.
    """
    with folder.locked(config.out):
        data = scenes.load(**config.scenes())
        about = {
            "task": "segmentation",
            "measure": "miou" if data.background is None else "foreground_miou",
            "class_names": list(data.class_names),
            "background": data.background,
            "colors": data.colors.tolist(),
        }
        progress = progress or Progress(
            config.methods, config.rounds, data.name, measure=measure_of(about)
        )
        progress.say(f"data: {data.source}")
        splits = make_splits(config, len(data.train))
        inputs = RECIPES[config.network].make(data, config.network_options())
        for warning in folder.prepare(
            config.out,
            {**config.settings(), **about, "inputs": inputs.identity},
            data,
            splits,
            resume=config.resume,
            found_at={"scenes": config.scenes()},
        ):
            progress.say(f"warning: {warning}")
        rounds = make_rounds(config, data, inputs, splits)
        run_rounds(config.out, config.methods, config.rounds, rounds, progress)
        return report.write_report(config.out, data)


def make_splits(config: Config, num_scenes: int) -> list[Split]:
    """One random split a seed: holdout, initial set and pool.

    Raises:
        RunError: if the settings do not fit the data.

    References:
        Aljundi et al. 2020, supplement §6: drawn at random.
    """
    budget = config.rounds * config.acquire_size
    needed = config.holdout_size + config.initial_size + budget
    if needed > num_scenes:
        raise RunError(
            f"holdout_size + initial_size + rounds * acquire_size must be at most the "
            f"{num_scenes} training scenes, got {config.holdout_size} + "
            f"{config.initial_size} + {config.rounds} * {config.acquire_size} = "
            f"{needed}."
        )
    splits = []
    for seed in range(config.seeds):
        order = np.random.default_rng(seed).permutation(num_scenes).astype(np.int32)
        holdout, rest = np.split(order, [config.holdout_size])
        pool = np.sort(rest)
        labeled = np.isin(pool, rest[: config.initial_size])
        splits.append(Split(pool, labeled, np.sort(holdout)))
    return splits


def make_rounds(
    config: Config, data: Scenes, inputs: Inputs, splits: list[Split]
) -> Rounds:
    """The study as the functions of its rounds."""
    num_classes = len(data.class_names)
    programs = training.make_programs(inputs.segmenter, num_classes)
    methods = make_methods(
        Setting(
            segmenter=inputs.segmenter,
            num_classes=num_classes,
            acquire_size=config.acquire_size,
            steps=config.steps,
            learning_rate=config.learning_rate,
            holdout_images=config.holdout_images,
            app_holdout_images=config.app_holdout_images,
            reduction=config.reduction,
        )
    )
    keys = [jax.random.key(seed) for seed in range(config.seeds)]
    num_threads = config.num_threads if inputs.is_decoding else 0
    # The first fit and test are the same for all methods.
    first_fits: list = [None] * config.seeds

    def whole(source: Source, ids: np.ndarray) -> Iterable[Batch]:
        return pipeline.padded_batches(
            source,
            ids,
            max_side=inputs.max_side,
            side_multiple=inputs.side_multiple,
            batch_size=config.chunk_size,
            num_threads=num_threads,
            feature_stride=inputs.feature_stride,
        )

    def fit(split, key, train_state, labeled):
        init_key, order_key, dropout_key = jax.random.split(key, 3)
        ids = split.pool_ids[np.flatnonzero(labeled)]
        start = train_state.variables if config.warm_start else inputs.init(init_key)
        stream = pipeline.training_batches(
            inputs.train,
            ids,
            seed=int(jax.random.bits(order_key)),
            minibatch_size=config.minibatch,
            crop_size=config.crop_size if inputs.is_augmented else None,
            max_side=inputs.max_side,
            flip=inputs.is_augmented,
            side_multiple=inputs.side_multiple,
            num_threads=num_threads,
            feature_stride=inputs.feature_stride,
        )
        try:
            return training.fit(
                dropout_key,
                start,
                stream,
                lambda: whole(inputs.train, split.holdout_ids),
                programs=programs,
                learning_rate=config.rate,
                steps_per_epoch=-(-len(ids) // config.minibatch),
                max_epochs=config.max_epochs,
                patience=config.patience,
                parts=config.parts,
            )
        finally:
            stream.close()

    def train(state):
        def of_seed(seed, state):
            is_first = int(state.round) == 0
            if is_first and first_fits[seed] is not None:
                return state._replace(train_state=first_fits[seed])
            fitted = loop.train(
                keys[seed], state, fit=functools.partial(fit, splits[seed])
            )
            if is_first:
                first_fits[seed] = fitted.train_state
            return fitted

        return _stack(map(of_seed, range(config.seeds), _unstack(state)))

    def measure(state):
        found = []
        for of_seed in _unstack(state):
            metrics = training.measure(
                programs,
                of_seed.train_state.variables,
                whole(inputs.test, np.arange(len(inputs.test))),
                num_classes=num_classes,
                background=data.background,
            )
            found.append(
                {
                    "miou": _share(metrics.miou),
                    "foreground_miou": _share(metrics.foreground_miou),
                    "pixel_accuracy": _share(metrics.pixel_accuracy),
                    "class_iou": [_share(iou) for iou in metrics.class_iou],
                }
            )
        return found

    def acquire(name, state):
        method = methods[name]
        done = []
        for key, split, of_seed in zip(keys, splits, _unstack(state), strict=True):
            view = SceneView(
                pool=functools.partial(whole, inputs.train, split.pool_ids),
                num_pool=len(split.pool_ids),
                holdout=functools.partial(_of_rows, whole, inputs.train, split),
                num_holdout=len(split.holdout_ids),
            )
            done.append(
                loop.acquire(
                    key,
                    of_seed,
                    score=lambda key, trained, view=view: method.score(
                        key, trained.variables, view
                    ),
                    select=method.select,
                )
            )
        states, infos = zip(*done, strict=True)
        return _stack(states), _stack(infos)

    def describe(name, state, info):
        described = []
        for seed, of_seed in enumerate(_unstack(state)):
            ids = splits[seed].pool_ids[np.asarray(info.picks[seed])]
            wrong, labeled = np.zeros((2, len(ids)), np.int64)
            for batch in whole(inputs.train, ids):
                predicted = np.asarray(
                    programs.predict(of_seed.train_state.variables, batch.images)
                )
                counts = batch.labels != IGNORE
                for place, row in enumerate(batch.rows):
                    if row < 0:
                        continue
                    is_wrong = predicted[place] != batch.labels[place]
                    wrong[row] = (is_wrong & counts[place]).sum()
                    labeled[row] = counts[place].sum()
                    if seed == 0 and row < NUM_PICTURED:
                        shown = predicted[place][_extent(batch.where[place])]
                        path = folder.predictions(config.out, name) / (
                            f"round{int(of_seed.round)}_{ids[row]}.png"
                        )
                        _write_classes(path, shown, data.train[ids[row]].mask.shape)
            described.append(
                (
                    {
                        "wrong_rate": _share(wrong.sum() / max(labeled.sum(), 1)),
                        "minority_rate": None,
                    },
                    {
                        "ids": ids.tolist(),
                        "wrong": [
                            _share(share) for share in wrong / np.maximum(labeled, 1)
                        ],
                    },
                )
            )
        return described

    return Rounds(
        num_seeds=config.seeds,
        first_state=_first_state(config, inputs, splits, keys),
        compile=lambda method, acquires: None,
        train=train,
        measure=measure,
        acquire=acquire,
        describe=describe,
    )


def _first_state(config, inputs, splits, keys) -> loop.LoopState:
    def of_seed(key, split):
        # Other bits than any round's, which are folded from the round's number.
        untrained = training.TrainState(
            variables=inputs.init(jax.random.fold_in(key, NO_ROUND)),
            validation_loss=jnp.full((), jnp.inf, jnp.float32),
            steps=jnp.zeros((), jnp.int32),
        )
        budget = config.rounds * config.acquire_size
        return loop.init(split.labeled, untrained, budget=budget)

    return _stack(map(of_seed, keys, splits))


def _stack(of_seeds):
    """States of single seeds as one with a seed axis, on the host."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *of_seeds)


def _unstack(state):
    """The state of every seed, on the host until a program takes it."""
    for seed in range(len(state.round)):
        yield jax.tree.map(lambda leaf, seed=seed: leaf[seed], state)


def _of_rows(whole, source, split, rows):
    return whole(source, split.holdout_ids[rows])


def _extent(where: np.ndarray) -> tuple[slice, slice]:
    """The part of a padded scene that is not padding."""
    return slice(int(where[:, 0].sum())), slice(int(where[0].sum()))


def _write_classes(path: Path, classes: np.ndarray, shape: tuple[int, int]) -> None:
    """Writes predicted classes as a gray PNG, at the size of the scene as read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(classes.astype(np.uint8))
    if classes.shape != shape:
        image = image.resize(shape[::-1], Image.Resampling.NEAREST)
    image.save(path)


def _share(value: float) -> float | None:
    """Six digits of a share; None where it is not defined."""
    return round(float(value), 6) if np.isfinite(value) else None
