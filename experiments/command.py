"""The command line that all studies share."""

import dataclasses
import sys
from collections.abc import Sequence

import tyro

from experiments.config import SMOKE, Config
from experiments.datasets import DatasetError
from experiments.folder import FolderError
from experiments.report import print_table
from experiments.run import RunError, run
from iwps_jax.checkpoint import CheckpointError

REFUSALS = (RunError, FolderError, DatasetError, CheckpointError)


@dataclasses.dataclass(frozen=True)
class Options(Config):
    """Settings, and the switch that only a command line has."""

    smoke: bool = False
    """Try everything in under a minute: digits, 2 seeds, 2 rounds, all methods."""


def parse(study: str, about: str, defaults: Config, arguments: Sequence[str]) -> Config:
    """Reads the options; a wrong one ends the program with the nearest valid one."""
    if "--smoke" in arguments:
        defaults = dataclasses.replace(defaults, **SMOKE)
    values = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(Config)}
    options = tyro.cli(
        Options,
        prog=f"python -m experiments.{study}",
        description=about,
        default=Options(**values),
        args=list(arguments),
    )
    return Config(**{name: getattr(options, name) for name in values})


def main(study: str, about: str, defaults: Config, arguments: Sequence[str]) -> None:
    """Parses, runs, prints the table; a refusal is one sentence and exit code 2.

    Args:
        study: name of the module under `experiments`.
        about: its docstring, shown by `--help`.
        defaults: its settings.
        arguments: the command line after the program's name.
    """
    config = parse(study, about, defaults, arguments)
    try:
        summary = run(config)
    except REFUSALS as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command continues this run.", file=sys.stderr)
        sys.exit(130)
    print_table(summary)
    print(f"report: {config.out}/summary.json, curves.png, selected.png")
