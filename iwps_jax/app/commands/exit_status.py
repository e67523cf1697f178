"""How a command ends: its exit status, and one sentence for what it refuses."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import iwps_jax
from iwps_jax.pool.sources import PoolError

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
PACKAGE = Path(iwps_jax.__file__).parent
UNREAD = 141  # as of a program that SIGPIPE ends


def run(work: Callable[[], None]) -> int:
    """Does the work; returns the exit status.

    Args:
        work: what the command does. Raises what it refuses: a `ValueError` or
            `TypeError` of ours, an `OSError`, a `PoolError` or a `MemoryError`.

    Returns:
        0, 2 after a refusal, which is one sentence on standard error, 130 when
        interrupted, 141 when nobody reads what it prints, as after `| head`, or 1 after
        any other error, which is shown with its traceback.
    """
    try:
        work()
        print(end="", flush=True)
        return DONE
    except BaseException as error:
        return tell(error)


def tell(error: BaseException) -> int:
    """One sentence, or the traceback of an error not of our making; its status."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, BrokenPipeError) and _is_ours(error):  # we print to no other
        _write_no_more()
        return UNREAD
    if not _is_refusal(error):
        traceback.print_exception(error)
        return FAILED
    print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
    return REFUSED


def _write_no_more():
    """Python would complain once more when it closes standard output."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _is_refusal(error):
    if isinstance(error, PoolError | OSError | MemoryError):
        return True
    is_text = isinstance(error, UnicodeError)  # that a terminal or file cannot take
    return _is_ours(error) and isinstance(error, ValueError | TypeError) and not is_text


def _is_ours(error):
    """Whether it was raised in this package."""
    origin = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(origin).is_relative_to(PACKAGE)
