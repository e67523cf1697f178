"""The command line of the classification studies."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.classification.config import SMOKE, Config
from experiments.classification.run import run
from experiments.engine import command_line
from experiments.engine.command_line import (
    program_arguments,
    refusals_in_one_sentence,
)
from experiments.reporting.tables import print_table


@dataclasses.dataclass(frozen=True)
class Options(Config):
    """Settings, and the switch that only a command line has."""

    smoke: bool = False
    """Try everything in about a minute: digits (a study of texts or of a table: few of
    its own kind), 2 seeds, 2 rounds, all methods."""


def parse(
    study: str,
    about: str,
    settings: Sequence[Config],
    arguments: list[str],
    smoke: Mapping[str, Any] = SMOKE,
) -> Config:
    """Reads the options; a wrong one ends the program with the nearest valid one.

    Args:
        study: name of the module under `experiments`.
        about: its docstring, shown by `--help`.
        settings: its defaults; where there are several, the ratio of the classes that
            the user names chooses among them, and the first is for all others.
        arguments: the command line after the program's name.
        smoke: what `--smoke` changes.

    Returns:
        The settings to run.
    """

    def read(defaults):
        if "--smoke" in arguments:
            out = Path("runs/smoke", defaults.out.name)
            defaults = dataclasses.replace(defaults, **smoke, out=out)
        values = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(Config)}
        options = command_line.parse(
            Options, study, about, arguments, Options(**values)
        )
        return Config(**{name: getattr(options, name) for name in values})

    config = read(settings[0])
    for defaults in settings[1:]:
        if defaults.imbalance == config.imbalance:
            return read(defaults)
    return config


def main(
    study: str,
    about: str,
    settings: Sequence[Config],
    arguments: Sequence[str] | None,
    *,
    smoke: Mapping[str, Any] = SMOKE,
) -> None:
    """Parses, runs, prints the table; a refusal is one sentence and exit code 2.

    Args:
        study: name of the module under `experiments`.
        about: its docstring, shown by `--help`.
        settings: its defaults, as in `parse`.
        arguments: the command line after the program's name; None for the real one.
        smoke: what `--smoke` changes.
    """
    config = parse(study, about, settings, program_arguments(arguments), smoke)
    with refusals_in_one_sentence():
        summary = run(config)
    print_table(summary)
    print(f"report: {config.out}/report.html, summary.json, curves.png, selected.png")
