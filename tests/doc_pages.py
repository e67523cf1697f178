"""The blocks of a page of documentation, and a reader who runs them all in order.

A fenced block is run if it is

    ```python               in one namespace for the page
    ```bash                 lines of `iwps ...` or `python -m iwps_jax ...`, in-process

in one folder for the page. A title in the opening line, seen by readers, changes that:

    ```csv title="answers.csv"               any language: written to that file
    ```bash title="not run by the tests"     shown only

A page whose first line is <!-- requires: torch --> is run where torch is installed.
"""

import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from iwps_jax.__main__ import main

NOT_RUN = "not run by the tests"
COMMANDS = ("iwps ", "python -m iwps_jax ")
SHELL_ONLY = re.compile(r"[|&;<>$`*]")
FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One fenced block; `line` is that of its first line of text."""

    language: str
    title: str
    text: str
    line: int


def blocks_of(text):
    """Every fenced block, in order."""
    for match in FENCE.finditer(text):
        _, language, info, body = match.groups()
        title = re.search(r'title="([^"]*)"', info)
        yield Block(
            language,
            title[1] if title else "",
            textwrap.dedent(body),
            text.count("\n", 0, match.start()) + 2,
        )


def is_file(title):
    return re.fullmatch(r"[\w./-]+\.[a-z]+", title) is not None


def commands_of(block):
    """The argument lists of a block of commands; refuses what is no command of ours."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = next((start for start in COMMANDS if line.startswith(start)), None)
        if start is None:
            raise ValueError(
                f"a block of commands must be of `iwps` alone, or have the title "
                f"{NOT_RUN!r}: line {block.line}: {line}"
            )
        words = shlex.split(line.removeprefix(start), comments=True)
        for word in words:
            if SHELL_ONLY.search(word):
                raise ValueError(f"what only a shell can do: {word}: {line}")
        yield words


def requirements_of(text):
    """Modules without which a page cannot be run."""
    found = re.match(r"<!-- requires: ([\w., ]+) -->\n", text)
    return re.split(r"[, ]+", found[1].strip()) if found else []


def run_page(path, folder):
    """Runs a page's blocks in `folder`, the present one; returns their namespace."""
    text = path.read_text(encoding="utf-8")
    for module in requirements_of(text):
        pytest.importorskip(module)
    scope = {"__name__": "page"}
    for block in blocks_of(text):
        if block.title == NOT_RUN:
            continue
        if is_file(block.title):
            file = folder / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            padded = "\n" * (block.line - 1) + block.text  # errors name the page's line
            exec(compile(padded, str(path), "exec"), scope)
        elif block.language == "bash":
            for words in commands_of(block):
                with pytest.raises(SystemExit) as end:
                    main(words)
                assert not end.value.code, f"{path}: {words}: {end.value.code}"
    return scope


def pages_below(folder):
    """Every page, as a path relative to the folder."""
    return sorted(page.relative_to(folder) for page in Path(folder).rglob("*.md"))
