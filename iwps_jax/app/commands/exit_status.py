"""How a command ends: its exit status, and one sentence for what it refuses."""

import os
import sys
import traceback
from collections.abc import Callable

from iwps_jax.refusal import sentence_of

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
UNREAD = 141  # as of a program that SIGPIPE ends


def run(work: Callable[[], None]) -> int:
    """Does the work; returns the exit status.

    Args:
        work: what the command does. Raises a `Refusal` for a request that it cannot
            meet.

    Returns:
        0, 2 after a refusal, which is one sentence on standard error, 130 when
        interrupted, 141 when nobody reads what it prints, as after `| head`, or 1 after
        any other error, which is shown with its traceback. The operating system's
        refusal of a named file is a refusal, too.
    """
    try:
        work()
        print(end="", flush=True)
        return DONE
    except BaseException as error:
        return tell(error)


def tell(error: BaseException) -> int:
    """One sentence for a refusal, or the traceback of an error; its status."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, SystemExit):  # after --help, or a wrong option
        try:
            print(end="", flush=True)
        except BrokenPipeError:
            _write_no_more()
            return UNREAD
        raise error
    if isinstance(error, BrokenPipeError) and error.filename is None:  # of our output
        _write_no_more()
        return UNREAD
    sentence = sentence_of(error)
    if sentence is None:
        traceback.print_exception(error)
        return FAILED
    print(" ".join(sentence.split()), file=sys.stderr)
    return REFUSED


def _write_no_more():
    """Python would complain once more when it closes standard output."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
