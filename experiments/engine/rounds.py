"""The rounds of a study, whatever its data: fit, test, score, select and label.

Each study passes its own functions for a round. This module has the parts that all
studies share: the order of the steps, the .jsonl files, the times, the checkpoints.
After every round a checkpoint holds the state and all lines written so far. A run that
was killed resumes there and ends with the same picks.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.engine import checkpoint, run_folder
from experiments.engine.progress import Progress
from iwps_jax import loop
from iwps_jax.refusal import Refusal

KINDS = ("metrics", "picks")
"""The two files of lines, `metrics.jsonl` and `picks.jsonl`."""


class RunError(Refusal, RuntimeError):
    """A run must stop; the message is the reason."""


class Rounds(NamedTuple):
    """The functions of a study; the first axis of a state's arrays is the seed.

    Each function handles all seeds. It may be a compiled program over arrays on a
    device or a plain function over NumPy arrays.

    Attributes:
        seeds: seeds of the repetitions, in the order of the seed axis.
        first_state: the loop's state before the first round.
        compile: `compile(method, acquires)` compiles the programs of a method, so that
            the times of the other stages do not include compilation. It compiles
            `acquire` only if `acquires` is true. It may do nothing.
        train: first half of a round, `train(state) -> state`.
        measure: `measure(state)` returns the measures on the test set, one dict per
            seed.
        acquire: second half, `acquire(method, state) -> (state, info)`.
        describe: `describe(method, state, info)` returns two dicts for each seed, from
            the state before the picks: `wrong_rate` and `minority_rate` for the line of
            metrics, and the line of picks.
    """

    seeds: Sequence[int]
    first_state: loop.LoopState
    compile: Callable[[str, bool], None]
    train: Callable[[loop.LoopState], loop.LoopState]
    measure: Callable[[loop.LoopState], list[dict]]
    acquire: Callable[[str, loop.LoopState], tuple[loop.LoopState, loop.RoundInfo]]
    describe: Callable[[str, loop.LoopState, loop.RoundInfo], list[tuple[dict, dict]]]


def run_rounds(
    out: Path,
    methods: Sequence[str],
    num_rounds: int,
    rounds: Rounds,
    progress: Progress,
) -> None:
    """Runs or resumes all rounds of all methods, one method after another.

    Args:
        out: the run's folder, from `run_folder.prepare`.
        methods: names of the methods, in the order of the files.
        num_rounds: number of acquisitions; after the last one the model is fitted and
            tested once more.
        rounds: the functions of the study.
        progress: the display.

    Raises:
        RunError: if a score is not finite.
        checkpoint.CheckpointError: if a checkpoint does not fit the study.
    """
    earlier = {kind: [] for kind in KINDS}
    with progress:
        for name in methods:
            lines = _run_method(out, name, num_rounds, rounds, earlier, progress)
            earlier = {kind: earlier[kind] + lines[kind] for kind in KINDS}


def _run_method(
    out: Path,
    name: str,
    num_rounds: int,
    rounds: Rounds,
    earlier: dict[str, list],
    progress: Progress,
) -> dict[str, list]:
    """All rounds of one method, from its newest checkpoint on; returns its lines."""
    files = {kind: out / f"{kind}.jsonl" for kind in KINDS}
    state, lines, next_round = rounds.first_state, {kind: [] for kind in KINDS}, 0
    with checkpoint.open_folder(run_folder.checkpoints(out, name)) as manager:
        restored = checkpoint.restore_latest(manager, state)
        if restored is not None:
            next_round, state, lines = restored
            progress.show(name, lines["metrics"])
        for kind in KINDS:
            run_folder.write_lines(files[kind], earlier[kind] + lines[kind])
        # Compiled first, so that no stage's time includes compilation.
        compiling = time.perf_counter()
        if next_round <= num_rounds:
            progress.begin(name, next_round, "compile")
            rounds.compile(name, next_round < num_rounds)
        compiling = time.perf_counter() - compiling
        for round_ in range(next_round, num_rounds + 1):
            progress.begin(name, round_, "fit")
            state, metrics = _fit_and_test(name, rounds, state)
            for line in metrics:
                line["compile_seconds"] = _share_of_seed(compiling, rounds)
            compiling = 0.0  # what follows runs the same programs
            picks = []
            if round_ < num_rounds:
                progress.begin(name, round_, "score")
                state, metrics, picks = _pick(name, rounds, state, metrics)
            new = {"metrics": metrics, "picks": picks}
            lines = {kind: lines[kind] + new[kind] for kind in KINDS}
            checkpoint.save(manager, round_ + 1, state, lines)
            for kind in KINDS:
                run_folder.append_lines(files[kind], new[kind])
            progress.show(name, lines["metrics"])
    return lines


def _fit_and_test(
    name: str, rounds: Rounds, state: loop.LoopState
) -> tuple[loop.LoopState, list[dict]]:
    """First half of a round: the trained state and a metrics line for each seed."""
    state, fit_seconds = _timed(rounds.train, state)
    measured, test_seconds = _timed(rounds.measure, state)
    return state, [
        {
            "method": name,
            "seed": seed,
            "round": int(state.round[at]),
            "num_labeled": int(state.labeled[at].sum()),
            **measured[at],
            "wrong_rate": None,
            "minority_rate": None,
            "fit_seconds": _share_of_seed(fit_seconds, rounds),
            "score_seconds": None,
            "test_seconds": _share_of_seed(test_seconds, rounds),
        }
        for at, seed in enumerate(rounds.seeds)
    ]


def _pick(
    name: str, rounds: Rounds, state: loop.LoopState, metrics: list[dict]
) -> tuple[loop.LoopState, list[dict], list[dict]]:
    """Second half: the state after labeling, completed metrics, and pick lines."""
    (next_state, info), seconds = _timed(rounds.acquire, name, state)
    num_nonfinite = int(np.sum(info.num_nonfinite))
    if num_nonfinite:
        raise RunError(
            f"{name} gave {num_nonfinite} scores that are not finite in round "
            f"{metrics[0]['round']}; nothing was picked from them."
        )
    described = rounds.describe(name, state, info)
    score_seconds = _share_of_seed(seconds, rounds)
    metrics = [
        {**line, **rates, "score_seconds": score_seconds}
        for line, (rates, _) in zip(metrics, described, strict=True)
    ]
    picks = [
        {"method": name, "seed": line["seed"], "round": line["round"], **pick}
        for line, (_, pick) in zip(metrics, described, strict=True)
    ]
    return next_state, metrics, picks


def _share_of_seed(seconds: float, rounds: Rounds) -> float:
    """An equal share of a program's time for each seed, because it does all seeds."""
    return round(seconds / len(rounds.seeds), 4)


def _timed(program: Callable, *arguments: Any) -> tuple[Any, float]:
    """A program's result, and the seconds it took."""
    start = time.perf_counter()
    result = jax.block_until_ready(program(*arguments))
    return result, time.perf_counter() - start
