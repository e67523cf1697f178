"""What the options of all commands are made of."""

import dataclasses
from typing import Annotated, ClassVar

from tyro import conf

Flag = Annotated[bool, conf.FlagCreatePairsOff, conf.arg(help_behavior_hint="")]
"""An option that is given or not: `--explain` has no twin `--no-explain`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a command; those that commands share are in classes between."""

    writes: ClassVar[tuple[str, ...]] = ()
    """The names of options that are files which the command writes."""
    texts: ClassVar[tuple[str, ...]] = ("method", "title", "annotator", "image_url")
    """The names of options that name no file; all others with a text or path do."""
