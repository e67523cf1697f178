"""Runs a study: for every method, rounds of fit, test, score, select and label.

After every round a checkpoint holds the state and all lines written so far; a run
killed at any moment continues there and ends with the same picks.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments import folder, report
from experiments.config import Config
from experiments.data import datasets
from experiments.data.datasets import Dataset
from experiments.networks import RECIPES
from experiments.progress import Progress
from experiments.splits import Split, make_split
from experiments.study import Study, compile_acquire, make_study
from iwps_jax import checkpoint, loop

KINDS = ("metrics", "picks")
"""The two files of lines, `metrics.jsonl` and `picks.jsonl`."""


class RunError(RuntimeError):
    """A run that must not go on, with the reason."""


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
        datasets.DatasetError: if the data cannot be had.
        checkpoint.CheckpointError: if a checkpoint does not fit the settings.
    """
    progress = progress or Progress(config)
    with folder.locked(config.out):
        return _run_in_folder(config, progress)


def _run_in_folder(config: Config, progress: Progress) -> dict:
    dataset = datasets.load(config.dataset, config.data_dir)
    progress.say(f"data: {dataset.source}")
    splits = make_splits(config, dataset)
    for warning in folder.prepare(
        config.out,
        {**config.settings(), "inputs": RECIPES[config.network].identity()},
        dataset,
        splits,
        resume=config.resume,
        data_dir=config.data_dir,
    ):
        progress.say(f"warning: {warning}")
    study = make_study(config, dataset, splits)
    earlier = {kind: [] for kind in KINDS}
    with progress:
        for name in config.methods:
            lines = _run_method(config, name, study, earlier, progress)
            earlier = {kind: earlier[kind] + lines[kind] for kind in KINDS}
    return report.write_report(config.out, dataset)


def make_splits(config: Config, dataset: Dataset) -> list[Split]:
    """One split a seed.

    Raises:
        RunError: if the settings do not fit the data.
    """
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


def _run_method(
    config: Config,
    name: str,
    study: Study,
    earlier: dict[str, list],
    progress: Progress,
) -> dict[str, list]:
    """All rounds of one method, from its newest checkpoint on; returns its lines."""
    files = {kind: config.out / f"{kind}.jsonl" for kind in KINDS}
    state, lines, next_round = study.first_state, {kind: [] for kind in KINDS}, 0
    with checkpoint.open_folder(folder.checkpoints(config.out, name)) as manager:
        restored = checkpoint.restore_latest(manager, state)
        if restored is not None:
            next_round, state, lines = restored
            progress.show(name, lines["metrics"])
        for kind in KINDS:
            folder.write_lines(files[kind], earlier[kind] + lines[kind])
        # Compiled ahead, so that no stage's time has the compiler's in it.
        compiling = time.perf_counter()
        if next_round <= config.rounds:
            progress.begin(name, next_round, "compile")
            train, evaluate = study.compile_train(), study.compile_evaluate()
        if next_round < config.rounds:
            acquire = compile_acquire(study, study.methods[name])
        compiling = time.perf_counter() - compiling
        for round_ in range(next_round, config.rounds + 1):
            progress.begin(name, round_, "fit")
            state, metrics = _fit_and_test(name, study, state, train, evaluate)
            for line in metrics:
                line["compile_seconds"] = _share_of_seed(compiling, study)
            compiling = 0.0  # what follows runs the same programs
            picks = []
            if round_ < config.rounds:
                progress.begin(name, round_, "score")
                state, metrics, picks = _pick(name, study, state, acquire, metrics)
            new = {"metrics": metrics, "picks": picks}
            lines = {kind: lines[kind] + new[kind] for kind in KINDS}
            checkpoint.save(manager, round_ + 1, state, lines)
            for kind in KINDS:
                folder.append_lines(files[kind], new[kind])
            progress.show(name, lines["metrics"])
    return lines


def _fit_and_test(
    name: str, study: Study, state: loop.LoopState, train: Callable, evaluate: Callable
) -> tuple[loop.LoopState, list[dict]]:
    """First half of a round: the trained state and a metrics line for each seed."""
    arguments = (study.keys, state, study.view, study.pool_labels)
    state, fit_seconds = _timed(train, *arguments)
    metrics, test_seconds = _timed(evaluate, state.train_state.variables)
    return state, [
        {
            "method": name,
            "seed": seed,
            "round": int(state.round[seed]),
            "num_labeled": int(state.labeled[seed].sum()),
            "test_accuracy": _share(metrics.accuracy[seed]),
            "balanced_accuracy": _share(metrics.balanced_accuracy[seed]),
            "wrong_rate": None,
            "minority_rate": None,
            "fit_seconds": _share_of_seed(fit_seconds, study),
            "score_seconds": None,
            "test_seconds": _share_of_seed(test_seconds, study),
        }
        for seed in range(len(study.keys))
    ]


def _pick(
    name: str,
    study: Study,
    state: loop.LoopState,
    acquire: Callable,
    metrics: list[dict],
) -> tuple[loop.LoopState, list[dict], list[dict]]:
    """Second half: the state after labeling, completed metrics, and pick lines."""
    (next_state, info), seconds = _timed(
        acquire, study.keys, state, study.view, study.pool_labels
    )
    num_nonfinite = int(info.num_nonfinite.sum())
    if num_nonfinite:
        raise RunError(
            f"{name} gave {num_nonfinite} scores that are not finite in round "
            f"{metrics[0]['round']}; nothing was picked from them."
        )
    rows = np.asarray(info.picks)
    ids = np.take_along_axis(np.asarray(study.view.pool_ids), rows, axis=1)
    true = np.take_along_axis(np.asarray(study.pool_labels), rows, axis=1)
    predicted = np.asarray(
        study.predict(state.train_state.variables, study.view, info.picks)
    )
    is_minority = np.take_along_axis(study.minority, true, axis=1)
    metrics = [
        {
            **line,
            "wrong_rate": _share((predicted[seed] != true[seed]).mean()),
            "minority_rate": _share(is_minority[seed].mean()),
            "score_seconds": _share_of_seed(seconds, study),
        }
        for seed, line in enumerate(metrics)
    ]
    picks = [
        {
            "method": name,
            "seed": seed,
            "round": metrics[seed]["round"],
            "ids": ids[seed].tolist(),
            "predicted": predicted[seed].tolist(),
            "true": true[seed].tolist(),
        }
        for seed in range(len(study.keys))
    ]
    return next_state, metrics, picks


def _share(value: Any) -> float:
    return round(float(value), 6)


def _share_of_seed(seconds: float, study: Study) -> float:
    """A program does all seeds, so each is charged an equal share of its time."""
    return round(seconds / len(study.keys), 4)


def _timed(program: Callable, *arguments: Any) -> tuple[Any, float]:
    """A program's result and the seconds until it was there."""
    start = time.perf_counter()
    result = jax.block_until_ready(program(*arguments))
    return result, time.perf_counter() - start
