"""The command line: `iwps --help`, the same as `python -m iwps_jax --help`."""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import NoReturn

from iwps_jax.command_line import parse
from iwps_jax.refusal import nearest

COMMANDS = {
    "embed": "turn a folder of photos, a file of texts or a table into a pool",
    "check": "are the files what they should be, and which method suits them",
    "score": "which rows of a pool to label next",
    "init": "begin a labeling campaign in a folder",
    "classes": "list, add, rename, merge or retire the classes of a campaign",
    "next": "hand out the samples to label next",
    "show": "a page with the picks' images, for people who label them",
    "label": "take answers back and learn from them",
    "status": "how a campaign stands, and whether to go on",
    "predict": "label every row of the pool with what the campaign has learned",
    "export": "write the model of a campaign, for your own program",
}
"""What each command does; its module in `app.commands` is imported when it is named."""
PACKAGES = {
    "tyro": "tyro",
    "rich": "rich",
    "safetensors": "safetensors",
    "filelock": "filelock",
    "PIL": "pillow",
}
"""What the extra `app` installs, by the name of the import."""
INTERRUPTED = 130
"""The exit status after Ctrl-C, as the shell has it."""


def program() -> NoReturn:
    """Is the process: runs `main`, and ends the process at once if interrupted.

    Else Python would end in order, while threads of JAX still work, and some crash.
    """
    # XLA complains at length of tuning hints when it loads a kept program; whatever
    # fails is an exception in any case. It is read when JAX is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by >&-
            setattr(sys, name, open(os.devnull, "w"))
    try:
        main()
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(INTERRUPTED)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Reads the command line and runs the command it names."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that a terminal cannot show is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    name, *arguments = (sys.argv[1:] if arguments is None else arguments) or [""]
    exit_status = importlib.import_module("iwps_jax.app.commands.exit_status")
    try:
        with exit_status.naming_output():
            _require_command(name)
        command, outputs = (
            importlib.import_module(f"iwps_jax.app.commands.{module}")
            for module in (name, "outputs")
        )
        with exit_status.naming_output():
            options = parse(
                command.Options,
                prog=f"iwps {name}",
                about=command.__doc__,
                arguments=arguments,
            )
        outputs.require_no_loss(options)
    except BaseException as error:
        sys.exit(exit_status.tell(error))
    sys.exit(command.run(options))


def _require_command(name: str) -> None:
    """Ends the program after the help, or if there is no such command."""
    if name in ("-h", "--help"):
        print(_help())
        sys.exit(0)
    if name not in COMMANDS:
        unknown = nearest(name, "command", tuple(COMMANDS))
        print(unknown if name else _help(), file=sys.stderr)
        sys.exit(2)
    _require_packages(name)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()]
    text = ["usage: iwps COMMAND [OPTIONS]", "", *lines, ""]
    text += ["iwps COMMAND --help shows the options of a command."]
    return "\n".join(text + [_what_to_install("Each command")]).rstrip()


def _require_packages(command: str) -> None:
    """Ends the program with one sentence if the extra `app` is not installed."""
    sentence = _what_to_install(f"iwps {command}")
    if sentence:
        print(sentence, file=sys.stderr)
        sys.exit(2)


def _what_to_install(command: str) -> str:
    """Says what the extra `app` would bring; "" if all of it is installed."""
    missing = [package for name, package in PACKAGES.items() if find_spec(name) is None]
    if not missing:
        return ""
    return (
        f"{command} needs {', '.join(missing)}: install them with "
        "pip install 'iwps-jax[app]'"
    )


if __name__ == "__main__":
    program()
