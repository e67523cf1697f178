"""How a command is added to the command line."""

import argparse
from collections.abc import Callable
from typing import Any


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    description: str | None,
) -> argparse.ArgumentParser:
    """Adds a command without options; no option of it may be abbreviated.

    Args:
        commands: what `argparse.ArgumentParser.add_subparsers` returned.
        name: of the command.
        run: does what the options say; returns the exit status.
        summary: a line in the list of commands.
        description: what its --help says first, as it is; None with `python -OO`.

    Returns:
        The parser, to which its options are to be added.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser
