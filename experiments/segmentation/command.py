"""The command line of the segmentation studies."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments.engine import command_line
from experiments.engine.command_line import (
    ConfigError,
    program_arguments,
    refusals_in_one_sentence,
)
from experiments.reporting.tables import print_table
from experiments.segmentation.config import SMOKE, Config
from experiments.segmentation.run import run


@dataclasses.dataclass(frozen=True)
class Options(Config):
    """Settings, and the switch that only a command line has."""

    smoke: bool = False
    """Try everything in some minutes: digit scenes whatever the study, 2 seeds, 2
    rounds."""


def parse(study: str, about: str, defaults: Config, arguments: list[str]) -> Config:
    """Reads the options; a wrong one ends the program with the nearest valid one.

    Args:
        study: name of the module under `experiments`.
        about: its docstring, shown by `--help`.
        defaults: its settings; `--smoke` has others.
        arguments: the command line after the program's name.

    Returns:
        The settings to run.
    """
    if "--smoke" in arguments:
        other = [name for name in ("--images", "--dataset") if _names(name, arguments)]
        if other or (
            defaults.dataset == "cityscapes" and _names("--data-dir", arguments)
        ):
            raise ConfigError(
                "--smoke runs on small digit scenes and takes no other data, got "
                f"{other[0] if other else '--data-dir'}; for a short run on yours, say "
                "--seeds 1 --rounds 1 --max-epochs 2."
            )
        out = Path("runs/smoke", defaults.out.name)
        small = {**SMOKE, "methods": defaults.methods}
        defaults = Config(**small, out=out)
    elif _names("--images", arguments) and not _names("--dataset", arguments):
        # A folder of photographs, unless told otherwise.
        defaults = dataclasses.replace(
            defaults,
            dataset="folder",
            images=Path("-"),
            out=Path("runs/segmentation_folder"),
        )
    names = [field.name for field in dataclasses.fields(Config)]
    options = command_line.parse(
        Options,
        study,
        about,
        arguments,
        Options(**{name: getattr(defaults, name) for name in names}),
    )
    return Config(**{name: getattr(options, name) for name in names})


def _names(option: str, arguments: list[str]) -> bool:
    return any(given.partition("=")[0] == option for given in arguments)


def main(
    study: str, about: str, defaults: Config, arguments: Sequence[str] | None
) -> None:
    """Parses, runs, prints the table; a refusal is one sentence and exit code 2.

    Args:
        study: name of the module under `experiments`.
        about: its docstring, shown by `--help`.
        defaults: its settings.
        arguments: the command line after the program's name; None for the real one.
    """
    with refusals_in_one_sentence():
        config = parse(study, about, defaults, program_arguments(arguments))
        summary = run(config)
    print_table(summary)
    print(
        f"report: {config.out}/report.html, summary.json, curves.png, class_iou.png, "
        "selected.png"
    )
