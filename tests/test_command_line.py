"""One way from the words of a command line to typed values, for all commands."""

import ast
import dataclasses
import importlib
from pathlib import Path
from typing import Annotated

import pytest
from command_output import words
from tyro import conf

import iwps_jax
from iwps_jax.__main__ import COMMANDS
from iwps_jax.__main__ import main as iwps
from iwps_jax.command_line import parse
from iwps_jax.refusal import Refusal, printable

ROOT = Path(iwps_jax.__file__).parents[1]


PROGRAMS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("experiments", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "\ndef main(arguments" in path.read_text()
]
ONE_POOL = conf.create_mutex_group(required=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """What several commands read."""

    pool: Annotated[str | None, ONE_POOL] = None
    """features of
    the pool"""
    logits: Annotated[str | None, ONE_POOL] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Files):
    """What one command reads."""

    k: int
    """how many"""
    picks: conf.Positional[Path]
    out: Path = Path("out.csv")

    def __post_init__(self):
        if self.k < 1:
            raise Refusal(f"--k must be at least 1, got {self.k}.")


def read(*arguments, default=None):
    return parse(
        Options, prog="pick", about="Picks.", arguments=arguments, default=default
    )


def refused(call, capsys):
    with pytest.raises(SystemExit) as end:
        call()
    assert end.value.code == 2
    return words(capsys.readouterr().err)


# Every program


def assert_names_the_unknown(call, capsys):
    text = refused(lambda: call(["--no-such-option", "3"]), capsys)
    assert "--no-such-option" in text
    assert "required" not in text.partition("--no-such-option")[0].lower()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_names_an_unknown_option_first(name, capsys):
    assert_names_the_unknown(lambda given: iwps([name, *given]), capsys)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["next"], "iwps next needs --k, or --unanswered."),
        (["score", "--k", "3"], "iwps score needs --pool, or --logits."),
        (["scroe"], "unknown command 'scroe': did you mean 'score'?"),
    ],
)
def test_a_command_says_what_it_needs(arguments, sentence, capsys):
    assert sentence in refused(lambda: iwps(arguments), capsys)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_names_an_unknown_option_first(name, capsys):
    assert_names_the_unknown(importlib.import_module(name).main, capsys)


def test_one_module_calls_tyro_and_none_argparse():
    callers = set()
    for package in ("iwps_jax", "experiments", "benchmarks"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [alias.name for alias in node.names]
                    assert "argparse" not in [*names, getattr(node, "module", "")], path
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "tyro.cli":
                    callers.add(str(path.relative_to(ROOT)))
    assert callers == {"iwps_jax/command_line.py"}


# Reading


def test_the_value_has_the_type_and_the_defaults_asked_for():
    given = read("picks.csv", "--k", "3", "--pool", "pool.npy")
    expected = Options(k=3, picks=Path("picks.csv"), pool="pool.npy")
    assert given == expected and type(given) is Options
    again = read("--logits", "l.npy", "--out", "new.csv", default=expected)
    changed = {"pool": "pool.npy", "logits": "l.npy", "out": Path("new.csv")}
    assert again == dataclasses.replace(expected, **changed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ks", "3"), ("--ks", "Perhaps you meant: --k INT how many (required)")),
        (("--ks", "3", "picks.csv"), ("--ks",)),
        (("picks.csv", "--pool", "p"), ("Required options", "--k INT")),
        (("--k", "3", "--pool", "p"), ("picks",)),
        (("p", "--k", "3", "--pool", "p", "--logits", "l"), ("not allowed together",)),
        (("p", "--k", "many", "--pool", "p"), ("--k", "'many'")),
    ],
)
def test_mistakes_are_named(arguments, said, capsys):
    text = refused(lambda: read(*arguments), capsys)
    assert all(part in text for part in said), text


@pytest.mark.parametrize(
    "arguments", [("--m\x1b[31mx", "3"), ("p", "--k", "\x9b2J"), ("p", "\u202ea")]
)
def test_a_mistake_is_shown_and_not_obeyed(arguments, capsys):
    text = refused(lambda: read("--pool", "p", *arguments), capsys)
    assert printable(text) == text
    (evil,) = (word for word in arguments if printable(word) != word)
    assert printable(evil) in text


def test_words_with_control_characters_are_read_as_they_are():
    assert read("\x1b[2J", "--k", "3", "--pool", "\u202e").picks == Path("\x1b[2J")


def test_what_the_type_refuses_is_refused():
    with pytest.raises(Refusal, match="--k must be at least 1, got 0"):
        read("picks.csv", "--pool", "pool.npy", "--k", "0")


def test_help_is_plain(capsys):
    about = "Picks.\n\n    pick --k 3    # three\n\nNothing else."
    with pytest.raises(SystemExit) as end:
        parse(Options, prog="pick", about=about, arguments=["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(about)
    text = words(shown)
    assert "None" not in text and "--pool STR features of the pool" in text
    assert "--out PATH (default: out.csv)" in text
    # A class's own options come before those that it shares.
    assert text.index("--k INT") < text.index("--pool STR")
