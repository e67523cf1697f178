"""A segmentation study made ready to run: what its rounds do.

The scenes stay on disk or in the host's memory and stream through the network; seeds
run one after another, and their states wait on the host.
"""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from experiments.engine import run_folder
from experiments.engine.method import Method
from experiments.engine.rounds import Rounds, RunError
from experiments.segmentation import training
from experiments.segmentation.config import Config
from experiments.segmentation.data import loading
from experiments.segmentation.data.loading import Batch
from experiments.segmentation.data.scenes import IGNORE, Scenes, Source
from experiments.segmentation.methods import SceneView, Setting, make_methods
from experiments.segmentation.networks import Inputs
from experiments.segmentation.split import Split
from iwps_jax import loop
from iwps_jax.loop import LoopState, RoundInfo

NO_ROUND = 2**32 - 1
NUM_PICTURED = 6  # picks of seed 0 whose predictions are kept each round


class Study(NamedTuple):
    """What all methods of a study share.

    Attributes:
        config: the settings.
        data: the scenes as they were read.
        inputs: the network, and the scenes as it sees them.
        splits: who is who, one a seed.
        keys: one key a seed.
        programs: of the network.
        methods: the competitors by name.
        first_fits: the train state of every seed after round 0, once it is there: it is
            the same for all methods.
    """

    config: Config
    data: Scenes
    inputs: Inputs
    splits: list[Split]
    keys: list[jax.Array]
    programs: training.Programs
    methods: dict[str, Method]
    first_fits: dict[int, training.TrainState]


def make_study(
    config: Config, data: Scenes, inputs: Inputs, splits: list[Split]
) -> Study:
    """Prepares the programs and the methods of all seeds."""
    num_classes = len(data.class_names)
    setting = Setting(
        segmenter=inputs.segmenter,
        num_classes=num_classes,
        acquire_size=config.acquire_size,
        steps=config.steps,
        learning_rate=config.learning_rate,
        holdout_images=config.holdout_images,
        app_holdout_images=config.app_holdout_images,
        reduction=config.reduction,
    )
    return Study(
        config=config,
        data=data,
        inputs=inputs,
        splits=splits,
        keys=[jax.random.key(seed) for seed in range(config.seeds)],
        programs=training.make_programs(inputs.segmenter, num_classes),
        methods=make_methods(setting),
        first_fits={},
    )


def as_rounds(study: Study) -> Rounds:
    """A study as the functions of its rounds."""
    return Rounds(
        seeds=range(study.config.seeds),
        first_state=_first_state(study),
        compile=lambda method, acquires: None,
        train=functools.partial(_train, study),
        measure=functools.partial(_measure, study),
        acquire=functools.partial(_acquire, study),
        describe=functools.partial(_describe, study),
    )


# Reading scenes


def _num_threads(study: Study) -> int:
    return study.config.num_threads if study.inputs.is_decoding else 0


def _whole(study: Study, source: Source, ids: np.ndarray) -> Iterable[Batch]:
    """Every one of these scenes once, whole."""
    return loading.padded_batches(
        source,
        ids,
        max_side=study.inputs.max_side,
        side_multiple=study.inputs.side_multiple,
        batch_size=study.config.chunk_size,
        num_threads=_num_threads(study),
        feature_stride=study.inputs.feature_stride,
    )


def _minibatches(study: Study, key: jax.Array, ids: np.ndarray) -> Iterator[Batch]:
    """The stream of minibatches that a fit learns from; to be closed."""
    inputs = study.inputs
    return loading.training_batches(
        inputs.train,
        ids,
        seed=int(jax.random.bits(key)),
        minibatch_size=study.config.minibatch,
        crop_size=study.config.crop_size if inputs.is_augmented else None,
        max_side=inputs.max_side,
        flip=inputs.is_augmented,
        side_multiple=inputs.side_multiple,
        num_threads=_num_threads(study),
        feature_stride=inputs.feature_stride,
    )


# States of all seeds


def _first_state(study: Study) -> LoopState:
    budget = study.config.rounds * study.config.acquire_size

    def of_seed(key, split):
        # Other bits than any round's, whose number is folded into the key.
        untrained = training.TrainState(
            variables=study.inputs.init(jax.random.fold_in(key, NO_ROUND)),
            validation_loss=jnp.full((), jnp.inf, jnp.float32),
            steps=jnp.zeros((), jnp.int32),
        )
        return loop.init(split.labeled, untrained, budget=budget)

    return _stack(map(of_seed, study.keys, study.splits))


def _stack(of_seeds):
    """States of single seeds as one with a seed axis, on the host."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *of_seeds)


def _unstack(state):
    """The state of every seed, one after another on the device."""
    for seed in range(len(state.round)):
        yield jax.tree.map(lambda leaf, seed=seed: jnp.asarray(leaf[seed]), state)


# What rounds do


def _train(study: Study, state: LoopState) -> LoopState:
    return _stack(
        _train_seed(study, seed, of_seed)
        for seed, of_seed in enumerate(_unstack(state))
    )


def _train_seed(study: Study, seed: int, state: LoopState) -> LoopState:
    is_first = int(state.round) == 0
    if is_first and seed in study.first_fits:
        return state._replace(train_state=study.first_fits[seed])
    fit = functools.partial(_fit, study, study.splits[seed])
    state = loop.train(study.keys[seed], state, fit=fit)
    if is_first:
        study.first_fits[seed] = state.train_state
    return state


def _fit(study: Study, split: Split, key, train_state, labeled) -> training.TrainState:
    config = study.config
    init_key, order_key, dropout_key = jax.random.split(key, 3)
    ids = split.pool_ids[np.flatnonzero(labeled)]
    start = train_state.variables if config.warm_start else study.inputs.init(init_key)
    stream = _minibatches(study, order_key, ids)
    try:
        return training.fit(
            dropout_key,
            start,
            stream,
            lambda: _whole(study, study.inputs.train, split.holdout_ids),
            programs=study.programs,
            learning_rate=config.rate,
            steps_per_epoch=-(-len(ids) // config.minibatch),
            max_epochs=config.max_epochs,
            patience=config.patience,
            parts=config.parts,
        )
    finally:
        stream.close()


def _measure(study: Study, state: LoopState) -> list[dict]:
    return [
        _as_line(
            training.measure(
                study.programs,
                of_seed.train_state.variables,
                _whole(study, study.inputs.test, np.arange(len(study.inputs.test))),
                num_classes=len(study.data.class_names),
                background=study.data.background,
            )
        )
        for of_seed in _unstack(state)
    ]


def _as_line(metrics) -> dict:
    if np.isnan(metrics.pixel_accuracy):
        raise RunError(
            "the test scenes must have pixels with a class, and all are ignored."
        )
    return {
        "miou": _share(metrics.miou),
        "foreground_miou": _share(metrics.foreground_miou),
        "pixel_accuracy": _share(metrics.pixel_accuracy),
        "class_iou": [_share(iou) for iou in metrics.class_iou],
    }


def _acquire(study: Study, name: str, state: LoopState) -> tuple[LoopState, RoundInfo]:
    method, done = study.methods[name], []
    for key, split, of_seed in zip(
        study.keys, study.splits, _unstack(state), strict=True
    ):
        view = _view(study, split)
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


def _view(study: Study, split: Split) -> SceneView:
    train = study.inputs.train
    return SceneView(
        pool=lambda: _whole(study, train, split.pool_ids),
        num_pool=len(split.pool_ids),
        holdout=lambda rows: _whole(study, train, split.holdout_ids[rows]),
        num_holdout=len(split.holdout_ids),
    )


def _describe(
    study: Study, name: str, state: LoopState, info: RoundInfo
) -> list[tuple[dict, dict]]:
    described = []
    for seed, of_seed in enumerate(_unstack(state)):
        ids = study.splits[seed].pool_ids[np.asarray(info.picks[seed])]
        wrong, labeled = np.zeros((2, len(ids)), np.int64)
        for row, predicted, labels in _predictions(study, of_seed, ids):
            counts = labels != IGNORE
            wrong[row] = ((predicted != labels) & counts).sum()
            labeled[row] = counts.sum()
            if seed == 0 and row < NUM_PICTURED:
                _keep_prediction(study, name, int(of_seed.round), ids[row], predicted)
        rates = {
            "wrong_rate": _share(wrong.sum() / max(labeled.sum(), 1)),
            "minority_rate": None,
        }
        unknown = np.full(len(ids), np.nan)
        shares = np.divide(wrong, labeled, out=unknown, where=labeled > 0)
        pick = {"ids": ids.tolist(), "wrong": [_share(share) for share in shares]}
        described.append((rates, pick))
    return described


def _predictions(
    study: Study, state: LoopState, ids: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Position, predicted classes and labels of these scenes, without padding."""
    variables = state.train_state.variables
    for batch in _whole(study, study.inputs.train, ids):
        predicted = np.asarray(study.programs.predict(variables, batch.images))
        for place, row in enumerate(batch.rows):
            if row >= 0:
                where = batch.where[place]
                inside = slice(where[:, 0].sum()), slice(where[0].sum())
                yield int(row), predicted[place][inside], batch.labels[place][inside]


def _keep_prediction(
    study: Study, name: str, round_: int, scene: int, classes: np.ndarray
) -> None:
    """Writes predicted classes as a gray PNG, at the size of the scene as read."""
    shape = study.data.train[scene].mask.shape
    image = Image.fromarray(classes.astype(np.uint8))
    if classes.shape != shape:
        image = image.resize(shape[::-1], Image.Resampling.NEAREST)
    path: Path = run_folder.predictions(study.config.out, name)
    path.mkdir(parents=True, exist_ok=True)
    image.save(path / f"round{round_}_{scene}.png")


def _share(value: float) -> float | None:
    """Six digits of a share; None where it is not defined."""
    return round(float(value), 6) if np.isfinite(value) else None
