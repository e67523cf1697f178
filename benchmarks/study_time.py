"""Where does the time of a study go: compiler, training, scores, selection, disk?

    python -m benchmarks.study_time                          # 2 minutes, 2 CPU cores
    python -m benchmarks.study_time --out FILE.json          # keeps the numbers
    python -m benchmarks.study_time --study mnist_imbalanced # its minutes and one more

Runs a study as `python -m experiments.<study>` does, that of `--smoke` on digits by
default, in a temporary folder or in `--folder`, from the start and without programs
kept from earlier runs. What its `metrics.jsonl` records is compile, fit, test, and
scoring and selecting in one program; loading the data, the files of the run with its
checkpoints, and the report are timed around it. The rest is other: arrays put on the
device, small programs compiled on first use, the display.

Scoring and selecting are told apart after the run: for every method its score alone
takes turns with the whole program, on the trained networks of the last round, and the
study's time is split in that proportion. A sample in the JSON is one round of one
method with one seed.
"""

import contextlib
import dataclasses
import importlib
import json
import pkgutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated
from unittest import mock

import jax
from rich.console import Console
from rich.table import Table
from tyro import conf

import experiments
from benchmarks import command, measure
from benchmarks.command import Positive
from benchmarks.measure import Program, Timing
from experiments.classification.config import SMOKE, Config
from experiments.classification.run import make_splits, run
from experiments.classification.study import (
    ONE_SEED,
    Study,
    compile_acquire,
    make_study,
)
from experiments.data import datasets
from experiments.engine import checkpoint, run_folder
from experiments.engine.command_line import refusals_in_one_sentence
from experiments.reporting import run_report

RECORDED = ("compile", "fit", "test", "score")
WATCHED = (
    ("data", datasets, "load"),
    ("disk", run_folder, "prepare"),
    ("disk", run_folder, "write_lines"),
    ("disk", run_folder, "append_lines"),
    ("disk", checkpoint, "open_folder"),
    ("disk", checkpoint, "restore_latest"),
    ("disk", checkpoint, "save"),
    ("report", run_report, "write_report"),
)
"""What a run calls, and the phase whose time that is."""


@contextlib.contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Adds up the seconds of `WATCHED` by phase while in the context."""
    seconds = {phase: 0.0 for phase, _, _ in WATCHED}

    def clocked(phase: str, function: Callable) -> Callable:
        def call(*arguments, **options):
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[phase] += time.perf_counter() - start

        return call

    with contextlib.ExitStack() as stack:
        for phase, module, name in WATCHED:
            timed = clocked(phase, getattr(module, name))
            stack.enter_context(mock.patch.object(module, name, timed))
        yield seconds


@contextlib.contextmanager
def every_program_compiled() -> Iterator[None]:
    """Keeps the compiler from reading programs of earlier runs."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


def recorded(out: Path) -> dict[str, dict[str, float]]:
    """Seconds by method and phase, as the run wrote them down, summed over all rounds.

    Those of "score" have the selection in them.
    """
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        of_method = found.setdefault(line["method"], dict.fromkeys(RECORDED, 0.0))
        for phase in RECORDED:
            of_method[phase] += (
                line[f"{phase}_seconds"] or 0.0
            )  # the last picks nothing
    return found


def split(
    score_and_select: dict[str, dict[str, float]], timings: dict[str, Timing]
) -> dict[str, dict[str, float]]:
    """The same with the selection's share of "score" under "select"."""
    found = {}
    for method, phases in score_and_select.items():
        alone, whole = (timings[f"{method}: {part}"].seconds for part in PARTS)
        pairs = zip(alone, whole, strict=True)
        share = min(1.0, statistics.median(one / both for one, both in pairs))
        both = phases["score"]
        found[method] = {**phases, "score": share * both, "select": (1 - share) * both}
    return found


PARTS = ("score", "score and select")


def as_programs(config: Config, study: Study) -> dict[str, Program]:
    """Each method's score alone, and with the selection, on the trained networks."""
    found = {}
    for name in config.methods:
        method = study.methods[name]
        with checkpoint.open_folder(
            run_folder.checkpoints(config.out, name)
        ) as manager:
            _, last, _ = checkpoint.restore_latest(manager, study.first_state)
        state = study.first_state._replace(train_state=last.train_state)
        arguments = (study.keys, state, study.view, study.pool_labels)

        def score(key, state, view, pool_labels, method=method):
            del pool_labels  # the score must not see them
            return method.score(key, state.train_state.variables, view)

        alone = jax.jit(study.over_seeds(score, (0, 0, ONE_SEED, 0)))
        for part, program in zip(
            PARTS, (alone, compile_acquire(study, method)), strict=True
        ):
            candidates = study.pool_labels.size
            found[f"{name}: {part}"] = Program(program, arguments, candidates)
    return found


def measured(
    config: Config, repeats: int
) -> tuple[dict[str, float], dict[str, dict[str, float]], dict[str, Timing]]:
    """Seconds of the whole study by phase, by method, and the turns that split them."""
    with every_program_compiled():
        start = time.perf_counter()
        with watched() as seconds:
            run(config)
        wall = time.perf_counter() - start
    dataset = datasets.load(config.dataset, config.data_dir)
    study = make_study(config, dataset, make_splits(config, dataset))
    timings = measure.in_turns(as_programs(config, study), repeats)
    methods = split(recorded(config.out), timings)
    phases = {
        phase: sum(of_method[phase] for of_method in methods.values())
        for phase in (*RECORDED, "select")
    }
    phases |= seconds
    phases["other"] = wall - sum(phases.values())
    return {**phases, "whole study": wall}, methods, timings


def show(phases: dict[str, float], methods: dict[str, dict[str, float]]) -> None:
    """Prints seconds and shares."""
    wall = phases["whole study"]
    table = Table("phase", title="one study", title_justify="left")
    table.add_column("s", justify="right")
    table.add_column("share", justify="right")
    for phase, seconds in phases.items():
        table.add_row(phase, f"{seconds:.2f}", f"{100 * seconds / wall:.1f} %")
    console = Console(width=100)
    console.print(table)
    columns = (*RECORDED, "select")
    table = Table("method", title="seconds by method", title_justify="left")
    for phase in columns:
        table.add_column(phase, justify="right")
    for method, seconds in methods.items():
        table.add_row(method, *(f"{seconds[phase]:.2f}" for phase in columns))
    console.print(table)
    console.print("The first method has what all share compiled.", highlight=False)


SEVERAL = conf.arg(metavar="[STR [STR ...]]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 5
    study: str | None = None
    """name of a study of classification; by default a smoke, on digits"""
    methods: Annotated[tuple[str, ...] | None, SEVERAL] = None
    """as for the study"""
    seeds: Positive | None = None
    rounds: Positive | None = None
    data_dir: Path | None = None
    """as for the study"""
    folder: Path | None = None
    """of the run, whose disk counts"""

    def __post_init__(self):
        """Refuses a study that is not there."""
        super().__post_init__()
        if self.study is not None:
            modules = pkgutil.iter_modules(experiments.__path__)
            names = (module.name for module in modules)
            studies = [name for name in names if name.endswith("balanced")]
            command.require_known("study", [self.study], studies)


def configure(options: Options, out: Path) -> Config:
    """The settings of the study that the options ask for."""
    if options.study:
        module = importlib.import_module(f"experiments.{options.study}")
        config = module.SETTINGS[0]
    else:
        config = Config(**SMOKE)
    given = {
        name: getattr(options, name)
        for name in ("methods", "seeds", "rounds", "data_dir")
        if getattr(options, name) is not None
    }
    return dataclasses.replace(config, **given, out=out, resume=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study, prints where its time went, and keeps the numbers."""
    options = command.parse(Options, "study_time", __doc__, arguments)
    with contextlib.ExitStack() as stack:
        out = options.folder or stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(refusals_in_one_sentence("starts anew"))
        config = configure(options, Path(out))
        phases, methods, timings = measured(config, options.repeats)
    show(phases, methods)
    rounds = len(config.methods) * config.seeds * (config.rounds + 1)
    once = {
        phase: Timing(rounds, [seconds], None, None, None)
        for phase, seconds in phases.items()
    }
    results = {
        "study": config.settings(),
        "timings": command.as_json({**once, **timings}),
        "methods": methods,
    }
    packages = ("flax", "optax", "orbax-checkpoint")
    # What is run decides what can be compared; where it is on the disk does not.
    ignored = ["data_dir", "folder"]
    command.finish("study_time", options, results, packages, ignored)


if __name__ == "__main__":
    main()
