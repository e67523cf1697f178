"""The command line that all studies share."""

import contextlib
import dataclasses
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import tyro

from experiments.backbone import BackboneError
from experiments.config import SMOKE, Config, ConfigError
from experiments.data.datasets import DatasetError, cache_dir
from experiments.folder import FolderError
from experiments.report import print_table
from experiments.run import RunError, run
from experiments.segmentation.data.scenes import SceneError
from experiments.segmentation.weights import WeightsError
from iwps_jax.checkpoint import CheckpointError

REFUSALS = (
    ConfigError,
    RunError,
    FolderError,
    DatasetError,
    SceneError,
    BackboneError,
    WeightsError,
    CheckpointError,
)


@dataclasses.dataclass(frozen=True)
class Options(Config):
    """Settings, and the switch that only a command line has."""

    smoke: bool = False
    """Try everything in under a minute: digits, 2 seeds, 2 rounds, all methods."""


def parse(
    study: str, about: str, settings: Sequence[Config], arguments: list[str]
) -> Config:
    """Reads the options; a wrong one ends the program with the nearest valid one.

    Args:
        study: name of the module under `experiments`.
        about: its docstring, shown by `--help`.
        settings: its defaults; where there are several, the ratio of the classes that
            the user names chooses among them, and the first is for all others.
        arguments: the command line after the program's name.

    Returns:
        The settings to run.
    """

    def read(defaults):
        if "--smoke" in arguments:
            out = Path("runs/smoke", defaults.out.name)
            defaults = dataclasses.replace(defaults, **SMOKE, out=out)
        values = {f.name: getattr(defaults, f.name) for f in dataclasses.fields(Config)}
        options = tyro.cli(
            Options,
            prog=f"python -m experiments.{study}",
            description=about,
            default=Options(**values),
            args=arguments,
        )
        return Config(**{name: getattr(options, name) for name in values})

    config = read(settings[0])
    for defaults in settings[1:]:
        if defaults.imbalance == config.imbalance:
            return read(defaults)
    return config


def main(
    study: str, about: str, settings: Sequence[Config], arguments: Sequence[str] | None
) -> None:
    """Parses, runs, prints the table; a refusal is one sentence and exit code 2.

    Args:
        study: name of the module under `experiments`.
        about: its docstring, shown by `--help`.
        settings: its defaults, as in `parse`.
        arguments: the command line after the program's name; None for the real one.
    """
    config = parse(study, about, settings, program_arguments(arguments))
    with refusals_in_one_sentence():
        summary = run(config)
    print_table(summary)
    print(f"report: {config.out}/report.html, summary.json, curves.png, selected.png")


def program_arguments(arguments: Sequence[str] | None) -> list[str]:
    """The arguments of a call, or the real ones of a program that starts."""
    if arguments is not None:
        return list(arguments)
    keep_programs()
    return sys.argv[1:]


def keep_programs() -> None:
    """Keeps compiled programs between runs, in the cache folder.

    A program is for one kind of processor, and a cache folder may be on a disk that
    several machines share, so each has its own. JAX_COMPILATION_CACHE_DIR wins.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = cache_dir().parent / "programs" / platform.node()
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def output_folder(folder: Path) -> None:
    """Makes a folder for results, before the work for them is done.

    Raises:
        FolderError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"{folder} cannot be made: {error}.") from error


@contextlib.contextmanager
def refusals_in_one_sentence(again: str = "continues this run") -> Iterator[None]:
    """Ends the program with exit code 2 on a refusal, with 130 on Ctrl-C.

    Args:
        again: what the same command does after Ctrl-C.
    """
    try:
        yield
    except REFUSALS as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"stopped; the same command {again}.", file=sys.stderr)
        sys.exit(130)
