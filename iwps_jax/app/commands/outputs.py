"""Files that a command writes: refused where they would replace what it reads."""

import dataclasses
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.options import Options
from iwps_jax.refusal import Refusal

Kind = TypeVar("Kind")
SETTINGS = "campaign.json"
"""The file that makes a folder that of a campaign."""
BATCHES = "batches"
"""The one folder of a campaign in which people's files may be."""


def require_no_loss(options: Options) -> None:
    """Refuses an output that would replace an input, or stand in a campaign's folder.

    Args:
        options: of the command; `writes` names those that are outputs, and all others
            are inputs.

    Raises:
        Refusal: with the option and the file.
    """
    values = {
        field.name: Path(value)
        for field in dataclasses.fields(options)
        if isinstance(value := getattr(options, field.name), str | Path)
        and value != ""
        and "\0" not in str(value)
    }
    texts = {*options.texts, *options.writes}
    inputs = [path for name, path in values.items() if name not in texts]
    outputs: dict[Path, str] = {}
    campaign = values.get("campaign")
    if campaign is not None:
        inputs += _files_of(campaign)
    for name in options.writes:
        if name not in values:
            continue
        option, path = f"--{name.replace('_', '-')}", values[name]
        real = Path(os.path.realpath(path))
        if any(is_same(real, given) for given in inputs):
            raise Refusal(f"{option} must not replace {path}: the command reads it.")
        if any(_is_of_campaign(folder, real) for folder in real.parents[:2]):
            raise Refusal(
                f"{option} must not be in the folder of the campaign, got {path}."
            )
        if real in outputs:
            raise Refusal(f"{outputs[real]} and {option} must differ, both are {path}.")
        outputs[real] = option


def require_writable(path: Path) -> None:
    """Refuses an --out that could not be written after all the work.

    Args:
        path: the file; it may be in folders that are still to be made.

    Raises:
        Refusal: if it is a folder or a device, or may not be written.
    """
    if path.is_dir():
        raise Refusal(f"--out must name a file, got the folder {path}.")
    if path.exists() and not path.is_file():
        raise Refusal(f"--out must name a file that can be replaced, got {path}.")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise Refusal(f"--out must be in a folder that can be written: {path}.")


def format_of(path: Path, formats: Mapping[str, Kind]) -> Kind:
    """The entry of a table of formats for a file's suffix, in any case.

    Raises:
        FileError: if the suffix names none of them.
    """
    suffix = path.suffix.lower()
    if suffix not in formats:
        *names, last = formats
        raise FileError(f"{path} must end in {', '.join(names)} or {last}.")
    return formats[suffix]


def is_same(real: Path, given: Path) -> bool:
    """Whether both are one file, or `given` is a folder that holds the file."""
    try:
        if given.is_dir():
            return real.is_file() and _is_inside(real, given)
        return real == Path(os.path.realpath(given)) or os.path.samefile(real, given)
    except OSError:  # one of them is not there
        return False


def _is_of_campaign(folder: Path, real: Path) -> bool:
    """Whether the folder is a campaign's, and the file no batch of it."""
    return (folder / SETTINGS).is_file() and not _is_inside(real, folder / BATCHES)


def _is_inside(real: Path, folder: Path) -> bool:
    return real.is_relative_to(os.path.realpath(folder))


def _files_of(campaign: Path) -> list[Path]:
    """Pool and ids of a campaign; none if there is no campaign, which is said later."""
    from iwps_jax.app.campaign import folder  # here: most commands have no campaign

    with suppress(Refusal, OSError):
        return [path for path in folder.paths_of(campaign) if path is not None]
    return []
