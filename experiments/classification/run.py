"""Runs a classification study: loads, splits, compiles, and goes through the rounds.

What a round does is in `study`, what all rounds share in `rounds`.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.classification.config import Config
from experiments.classification.networks import RECIPES
from experiments.classification.splits import Split, make_split
from experiments.classification.study import Study, compile_acquire, make_study
from experiments.data import datasets
from experiments.data.kinds import AnyDataset
from experiments.engine import run_folder
from experiments.engine.progress import Progress
from experiments.engine.rounds import Rounds, RunError, run_rounds
from experiments.reporting import run_report


def run(config: Config, progress: Progress | None = None) -> dict:
    """Runs or resumes a study, writes its report and returns the summary.

    Args:
        config: the settings.
        progress: where to show how it goes; standard output by default.

    Returns:
        The summary that `summary.json` holds.

    Raises:
        RunError: if the settings do not fit the data or a score is not finite.
        run_folder.FolderError: if the folder holds another run.
        datasets.DatasetError: if the data cannot be had.
        checkpoint.CheckpointError: if a checkpoint does not fit the settings.
    """
    progress = progress or Progress(config.methods, config.rounds, config.dataset)
    with run_folder.locked(config.out):
        return _run_in_folder(config, progress)


def _run_in_folder(config: Config, progress: Progress) -> dict:
    dataset = datasets.load(config.dataset, config.data_dir)
    progress.say(f"data: {dataset.source}")
    splits = make_splits(config, dataset)
    for warning in run_folder.prepare(
        config.out,
        {**config.settings(), "inputs": RECIPES[config.network].identity()},
        dataset,
        splits,
        resume=config.resume,
        found_at={"data_dir": config.data_dir and str(config.data_dir)},
    ):
        progress.say(f"warning: {warning}")
    rounds = as_rounds(make_study(config, dataset, splits), _seeds(config))
    run_rounds(config.out, config.methods, config.rounds, rounds, progress)
    return run_report.write_report(config.out, dataset)


def make_splits(config: Config, dataset: AnyDataset) -> list[Split]:
    """One split a seed.

    Raises:
        Refusal: if the settings do not fit the data.
    """
    splits = [
        make_split(
            dataset.train_labels,
            seed,
            base_size=config.base_size,
            imbalance=config.imbalance,
            holdout_per_class=config.holdout_per_class,
            pool_per_class=config.pool_per_class,
            distribution=config.distribution,
        )
        for seed in _seeds(config)
    ]
    budget = config.rounds * config.acquire_size
    unlabeled = int((~splits[0].labeled).sum())
    if budget > unlabeled:
        raise RunError(
            f"rounds * acquire_size must be at most the {unlabeled} unlabeled samples "
            f"of the pool, got {config.rounds} * {config.acquire_size} = {budget}."
        )
    return splits


def _seeds(config: Config) -> range:
    return range(config.first_seed, config.first_seed + config.seeds)


def as_rounds(study: Study, seeds: Sequence[int]) -> Rounds:
    """A study as the functions of its rounds; `seeds` are those of its splits."""
    programs = {}

    @functools.cache
    def first_training():
        return study.compile_train()(
            study.keys, study.first_state, study.view, study.pool_labels
        )

    def compile_(name, acquires):
        study.compile_train()
        study.compile_evaluate()
        programs.clear()  # no method comes twice
        if acquires:
            programs[name] = compile_acquire(study, study.methods[name])

    def train(state):
        # Nothing of a method comes before the first fit: it is done once for all.
        if state is study.first_state:
            return first_training()
        return study.compile_train()(study.keys, state, study.view, study.pool_labels)

    def measure(state):
        metrics = study.compile_evaluate()(state.train_state.variables)
        accuracy, balanced_accuracy, recall = map(np.asarray, metrics)
        return [
            {
                "test_accuracy": _share(accuracy[seed]),
                "balanced_accuracy": _share(balanced_accuracy[seed]),
                **{
                    measure: _share(recall[seed] @ shares[seed])
                    for measure, shares in study.test_shares.items()
                },
            }
            for seed in range(len(study.keys))
        ]

    def acquire(name, state):
        return programs[name](study.keys, state, study.view, study.pool_labels)

    def describe(name, state, info):
        del name
        rows = np.asarray(info.picks)
        ids = np.take_along_axis(np.asarray(study.view.pool_ids), rows, axis=1)
        true = np.take_along_axis(np.asarray(study.pool_labels), rows, axis=1)
        predicted = np.asarray(
            study.predict(state.train_state.variables, study.view, info.picks)
        )
        is_minority = np.take_along_axis(study.minority, true, axis=1)
        return [
            (
                {
                    "wrong_rate": _share((predicted[seed] != true[seed]).mean()),
                    "minority_rate": _share(is_minority[seed].mean()),
                },
                {
                    "ids": ids[seed].tolist(),
                    "predicted": predicted[seed].tolist(),
                    "true": true[seed].tolist(),
                },
            )
            for seed in range(len(study.keys))
        ]

    return Rounds(
        seeds=seeds,
        first_state=study.first_state,
        compile=compile_,
        train=train,
        measure=measure,
        acquire=acquire,
        describe=describe,
    )


def _share(value: Any) -> float:
    return round(float(value), 6)
