"""Turns the words of a command line into one typed value.

Commands, studies and benchmarks declare their options as a frozen dataclass: a field is
an option, its annotation the type, the docstring below it the text of `--help`. tyro
reads them. It is imported when a command line is read: the library does without it.
"""

import ast
import dataclasses
import inspect
import io
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from itertools import pairwise
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from iwps_jax.refusal import printable

Kind = TypeVar("Kind")


def parse(
    kind: type[Kind],
    *,
    prog: str,
    about: str | None,
    arguments: Sequence[str] | None,
    default: Kind | None = None,
) -> Kind:
    """Reads the options of a command; `--help` and mistakes end the program.

    An unknown option is named before a missing one: it may be that one, misspelled.

    Args:
        kind: a frozen dataclass; fields without a default must be given.
        prog: how the command is called.
        about: what `--help` says of it.
        arguments: the words after its name; None for those that the program has.
        default: values that take the place of the defaults of `kind`.

    Raises:
        Refusal: if `kind` refuses the values.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Options:
        ...     k: int
        >>> parse(Options, prog="pick", about="Picks.", arguments=["--k", "3"])
        Options(k=3)
    """
    import tyro

    words = sys.argv[1:] if arguments is None else list(arguments)

    def read(asked: type) -> Any:
        with _printable_output(words):
            return tyro.cli(asked, prog=prog, description="", args=words)

    if {"-h", "--help"} & {*words}:
        print(about or "")  # here, because tyro would break its lines elsewhere
    elif _requires(kind, default):
        read(_shown(kind, default, is_all_optional=True))
    return kind(**_values(kind, read(_shown(kind, default))))


@contextmanager
def _printable_output(words: Sequence[str]) -> Iterator[None]:
    """Spells out control characters of the words where they are quoted.

    The colors of tyro are such characters, too: it uses none for what is no terminal.
    """
    if all(word == printable(word) for word in words):
        yield
        return
    out, err = sys.stdout, sys.stderr
    try:
        with (
            redirect_stdout(io.StringIO()) as told_out,
            redirect_stderr(io.StringIO()) as told_err,
        ):
            yield
    finally:
        print(printable(told_out.getvalue()), end="", file=out)
        print(printable(told_err.getvalue()), end="", file=err)


def _values(kind, given) -> dict[str, Any]:
    return {f.name: getattr(given, f.name) for f in dataclasses.fields(kind)}


def _requires(kind, default) -> bool:
    """Whether a command line can lack something."""
    fields = dataclasses.fields(kind)
    return default is None and any(f.default is dataclasses.MISSING for f in fields)


def _shown(kind, default, *, is_all_optional=False) -> type:
    """The kind as tyro is to show and read it; it checks no values.

    Where the default is None, the help neither shows it nor offers the word None.
    """
    from tyro import conf

    hints = get_type_hints(kind, include_extras=True)
    given = {} if default is None else _values(kind, default)
    declared = {field.name: field.default for field in dataclasses.fields(kind)}
    fields = []
    for name, text in _help_of(kind).items():
        hint, value = hints[name], given.get(name, declared[name])
        hint = Annotated[hint, conf.arg(help=text or None)]
        if is_all_optional and value is dataclasses.MISSING:
            value = _any_value(hint)
            hint = Annotated[hint, conf.arg(help_behavior_hint="(required)")]
        if value is None:
            silent = conf.arg(help_behavior_hint="")
            hint = Annotated[hint, silent, conf.DisallowNone]
        fields.append((name, hint, dataclasses.field(default=value)))
    return dataclasses.make_dataclass(kind.__name__, fields, frozen=True, kw_only=True)


def _help_of(kind) -> dict[str, str]:
    """The docstring below each field in one line; own fields before inherited ones."""
    texts: dict[str, str] = {}
    for owner in kind.__mro__:
        with suppress(OSError, TypeError):  # a class that no file holds
            source = textwrap.dedent(inspect.getsource(owner))
            definition: Any = ast.parse(source).body[0]
            for field, below in pairwise([*definition.body, ast.Pass()]):
                match field, below:
                    case ast.AnnAssign(), ast.Expr(ast.Constant(str(text))):
                        name = ast.unparse(field.target)
                        texts[name] = texts.get(name) or " ".join(text.split())
                    case ast.AnnAssign(), _:
                        texts.setdefault(ast.unparse(field.target), "")
    names = [field.name for field in dataclasses.fields(kind)]
    known = {name: text for name, text in texts.items() if name in names}
    return known | {name: "" for name in names if name not in texts}


def _any_value(hint) -> Any:
    """An empty path, text or tuple, or 0."""
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return (get_origin(inner) or inner)()
