"""Files that a command writes: refused where they would replace what it reads."""

import dataclasses
import os
from pathlib import Path

from iwps_jax.app.options import Options
from iwps_jax.refusal import Refusal


def require_no_loss(options: Options, *names: str) -> None:
    """Refuses an output that would replace a given file, or one of the campaign.

    Args:
        options: of the command.
        names: of those that are outputs; the others are inputs.

    Raises:
        Refusal: with the option and the file.
    """
    values = dataclasses.asdict(options).items()
    given = {name: value for name, value in values if value is not None}
    inputs = {
        os.path.realpath(value)
        for name, value in given.items()
        if name not in names
        and isinstance(value, str | Path)
        and "\0" not in str(value)
    }
    campaign = given.get("campaign")
    for name in names:
        path = Path(given.get(name, ""))
        if not path.is_file():
            continue
        real = Path(os.path.realpath(path))
        if str(real) in inputs:
            raise Refusal(f"--{name} must not replace {path}: the command reads it.")
        if campaign is not None and real.is_relative_to(os.path.realpath(campaign)):
            raise Refusal(f"--{name} must not replace {path}, a file of the campaign.")
