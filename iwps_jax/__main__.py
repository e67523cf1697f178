"""The command line: `iwps --help`, the same as `python -m iwps_jax --help`."""

import argparse
import io
import sys
from collections.abc import Sequence

from iwps_jax.commands import check, init, label, next, score, show, status

COMMANDS = (check, score, init, next, show, label, status)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and runs the command it names."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that a terminal cannot show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(prog="iwps", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    options = parser.parse_args(arguments)
    sys.exit(options.run(options))


if __name__ == "__main__":
    main()
