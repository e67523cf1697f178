"""Start and end of a study's command: arguments, cache, refusals."""

import contextlib
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import jax

from experiments.engine.run_folder import FolderError
from iwps_jax import command_line
from iwps_jax.cache import cache_root
from iwps_jax.refusal import Refusal, sentence_of

Kind = TypeVar("Kind")


class ConfigError(Refusal):
    """Settings are inconsistent; the message is one sentence."""


def program_arguments(arguments: Sequence[str] | None) -> list[str]:
    """The arguments of a call, or those of the command line."""
    if arguments is not None:
        return list(arguments)
    keep_programs()
    return sys.argv[1:]


def parse(
    kind: type[Kind],
    study: str,
    about: str | None,
    arguments: Sequence[str] | None,
    default: Kind | None = None,
) -> Kind:
    """Reads the options; a wrong one ends the program with the nearest valid one.

    Args:
        kind: a frozen dataclass with the options.
        study: name of the module under `experiments`.
        about: its docstring, shown by `--help`.
        arguments: the command line after the program's name; None for the real one.
        default: values that take the place of the defaults of `kind`.
    """
    with refusals_in_one_sentence():
        return command_line.parse(
            kind,
            prog=f"python -m experiments.{study}",
            about=about,
            arguments=arguments,
            default=default,
        )


def keep_programs() -> None:
    """Keeps compiled programs between runs, in the cache folder.

    A compiled program fits one kind of processor, and several machines may share the
    cache folder, so each machine has its own subfolder. JAX_COMPILATION_CACHE_DIR, if
    set, takes precedence.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = cache_root() / "programs" / platform.node()
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
        raise FolderError(f"{folder} cannot be created: {error}.") from error


@contextlib.contextmanager
def refusals_in_one_sentence(again: str = "continues this run") -> Iterator[None]:
    """Ends the program with exit code 2 on a refusal, with 130 on Ctrl-C.

    Args:
        again: what the same command does after Ctrl-C.
    """
    try:
        yield
    except (OSError, Refusal) as error:
        if (sentence := sentence_of(error)) is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"stopped; the same command {again}.", file=sys.stderr)
        sys.exit(130)
