"""The one error that people see as a sentence: a request that cannot be met.

Commands and studies check what they are given at the door and raise a `Refusal`, which
ends them with status 2. The library raises ValueError, TypeError and PoolError. Where
one of these, or any other error, reaches the end of a command, the fault is in the
code: the command shows a traceback and ends with status 1.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that control a terminal, turn the direction of writing, or hide."""
MOST_SAID = 200
"""Characters that a sentence quotes of a file."""


def printable(text: str) -> str:
    r"""A text that shows on a terminal and does nothing else to it.

    Names of files, ids and classes are somebody else's: they may hold escapes that move
    the cursor, or invisible characters. These are spelled out. Line breaks and tabs
    stay.

    Example:
        >>> print(printable("cat\x1b[2J, \u202egnp.exe"))
        cat\x1b[2J, \u202egnp.exe
    """
    return CONTROLS.sub(lambda m: m[0].encode("unicode_escape").decode(), text)


def short(quoted: str) -> str:
    """What a sentence quotes of a file, in one short line.

    Example:
        >>> short("a  b"), short("c" * 1000)[-6:]
        ('a b', 'ccc...')
    """
    line = " ".join(quoted.split())
    return line if len(line) <= MOST_SAID else f"{line[:MOST_SAID]}..."


class Refusal(ValueError):
    """A request that cannot be met; one or more sentences say why and what to do."""


@contextmanager
def refusing(*kinds: type[Exception], about: str | None = None) -> Iterator[None]:
    """Turns errors of these kinds into refusals with the same sentence.

    With `about`, the sentence begins with that name of a file or option. Only for a few
    lines at the door, where such an error can only say that what was given is wrong.

    Example:
        >>> with refusing(ZeroDivisionError):
        ...     1 / 0
        Traceback (most recent call last):
        iwps_jax.refusal.Refusal: division by zero
    """
    try:
        yield
    except Refusal:
        raise
    except kinds as error:
        sentence = str(error) if about is None else f"{about}: {error}"
        raise Refusal(sentence) from error


def sentence_of(error: BaseException) -> str | None:
    """The sentence of a refusal, the operating system's of a named file included.

    None for any other error: that is a fault in the code.

    Example:
        >>> print(sentence_of(FileNotFoundError(2, "No such file", "pool.npy")))
        pool.npy: No such file.
        >>> print(sentence_of(ValueError("of the code")))
        None
    """
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    return None


def nearest(name: str, what: str, names: Sequence[str]) -> str:
    """A sentence that refuses `name` and suggests the nearest valid one.

    Example:
        >>> print(nearest("MNST", "dataset", ("digits", "mnist")))
        unknown dataset 'MNST': did you mean 'mnist'? One of ('digits', 'mnist').
    """
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}? One of" if close else "it must be one of"
    return f"unknown {what} {name!r}: {meant} {names}."
