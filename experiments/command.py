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
class _Options(Config):
    smoke: bool = False
    """Try everything in under a minute: digits, 2 seeds, 2 rounds, all methods."""


def parse(description: str, defaults: Config, arguments: Sequence[str]) -> Config:
    """Reads the options; one that does not exist ends the program with the nearest.

    Raises:
        ValueError: if a value makes no sense.
    """
    if "--smoke" in arguments:
        defaults = dataclasses.replace(defaults, **SMOKE)
    values = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(Config)}
    options = tyro.cli(
        _Options,
        description=description,
        default=_Options(**values),
        args=list(arguments),
    )
    return Config(**{name: getattr(options, name) for name in values})


def main(description: str, defaults: Config, arguments: Sequence[str]) -> None:
    """Parses, runs, prints the table; a refusal is one sentence and exit code 2."""
    try:
        config = parse(description, defaults, arguments)
    except ValueError as error:
        sys.exit(_refuse(error))
    try:
        summary = run(config)
    except REFUSALS as error:
        sys.exit(_refuse(error))
    print_table(summary)
    print(f"report: {config.out}/summary.json, curves.png, selected.png")


def _refuse(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2
