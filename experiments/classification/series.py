"""Series of classification runs: the options of their commands, and how they run."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from tyro import conf

from experiments.classification.config import SMOKE, Config
from experiments.classification.run import run
from experiments.data.datasets import load_recorded
from experiments.engine import command_line, series
from experiments.engine.progress import Progress
from experiments.reporting.merge import write_merged_report

SEVERAL = conf.arg(metavar="[STR [STR ...]]")


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be changed for all runs of a series; unset is as the series says."""

    methods: Annotated[tuple[str, ...] | None, SEVERAL] = None
    """Methods to compare."""
    seeds: int | None = None
    """Number of repetitions of every run."""
    rounds: int | None = None
    """Acquisitions of every run."""
    steps: int | None = None
    """Look-ahead SGD steps T."""
    learning_rate: float | None = None
    """Look-ahead step length."""
    max_steps: int | None = None
    """Training steps of a round at most, in fives."""
    dataset: str | None = None
    """mnist, kmnist, fashion_mnist, svhn, cifar10 or digits."""
    network: str | None = None
    """mlp, resnet18 or efficientnet_lite0."""
    data_dir: Path | None = None
    """Folder of prepared TFDS data or of the official files."""
    out: Path | None = None
    """Folder of the series; every run has one of its own in it."""
    resume: bool = True
    """Continue interrupted runs; otherwise start all of them anew."""
    smoke: bool = False
    """Try the first and the last run on digits, with 2 seeds and 2 rounds."""


SHARED_FIELDS = (
    *("methods", "seeds", "rounds", "steps", "learning_rate", "max_steps"),
    *("dataset", "network", "holdout_per_class", "data_dir", "resume"),
)
"""Settings that a series can change for all of its runs."""


def main(
    name: str,
    about: str,
    runs: Mapping[str, Config],
    arguments: Sequence[str] | None,
) -> None:
    """Parses, runs everything, writes the report over all; a refusal is a sentence.

    Args:
        name: of the module under `experiments`.
        about: its docstring, shown by `--help`.
        runs: the settings of every run by the name of its folder.
        arguments: the command line after the program's name; None for the real one.
    """
    options = command_line.parse(
        Options, name, about, command_line.program_arguments(arguments)
    )
    out = options.out or Path("runs/smoke" if options.smoke else "runs", name)
    with command_line.refusals_in_one_sentence():
        run_all(configure(runs, options, out), out)


def configure(
    runs: Mapping[str, Config], options: Options, out: Path
) -> dict[str, Config]:
    """The settings of every run with what the user changed.

    Raises:
        ConfigError: if they make no sense together.
    """
    changed = {
        field.name: value
        for field in dataclasses.fields(options)
        if field.name in SHARED_FIELDS
        and (value := getattr(options, field.name)) is not None
    }
    # But not the sizes of SMOKE: they are what tells the runs of a series apart.
    small = {name: SMOKE[name] for name in ("dataset", "seeds", "rounds")}
    return series.configure(runs, out, changed, small if options.smoke else None)


def run_all(configs: Mapping[str, Config], out: Path) -> None:
    """Runs or resumes every run, then reports on all of them in `out`."""

    def run_one(config, sentence):
        progress = Progress(config.methods, config.rounds, config.dataset)
        progress.say(sentence)
        return run(config, progress)

    def write_report(folders, out):
        return write_merged_report(folders, out, load_recorded)

    series.run_all(configs, out, run_one, write_report)
