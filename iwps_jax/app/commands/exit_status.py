"""How a command ends: its exit status, and one sentence for what it refuses."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

from iwps_jax.refusal import printable, sentence_of

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
UNREAD = 141  # as of a program that SIGPIPE ends
OUTPUT = "standard output"


class _Printed:
    """Standard output that shows every text and obeys none; its errors name it."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        with naming_output():
            return self._stream.write(printable(text))

    def flush(self):
        with naming_output():
            self._stream.flush()


@contextmanager
def naming_output() -> Iterator[None]:
    """Names standard output in an error of the system that can be of nothing else."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:  # as where the disk is full
        raise OSError(error.errno, error.strerror, OUTPUT) from error


def run(work: Callable[[], None]) -> int:
    """Does the work; returns the exit status.

    Args:
        work: what the command does. Raises a `Refusal` for a request that it cannot
            meet.

    Returns:
        0, 2 after a refusal, which is one sentence on standard error, 130 when
        interrupted, 141 when nobody reads what it prints, as after `| head`, or 1 after
        any other error, which is shown with its traceback. The operating system's
        refusal of a named file is a refusal, too. Control characters of names are
        spelled out, whatever prints them. `sys.path` is as before.
    """
    path = sys.path.copy()
    try:
        with redirect_stdout(_Printed(sys.stdout)):
            work()
            print(end="", flush=True)
        return DONE
    except BaseException as error:
        return tell(error)
    finally:
        sys.path[:] = path


def tell(error: BaseException) -> int:
    """One sentence for a refusal, or the traceback of an error; its status."""
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, SystemExit):  # after --help, or a wrong option
        try:
            with naming_output():
                print(end="", flush=True)
        except OSError as unwritten:
            return tell(unwritten)
        raise error
    if isinstance(error, BrokenPipeError) and error.filename is None:  # of our output
        _write_no_more()
        return UNREAD
    if isinstance(error, OSError) and error.filename == OUTPUT:
        _write_no_more()
    sentence = sentence_of(error)
    if sentence is None:
        lines = "".join(traceback.format_exception(error))
        print(printable(lines), end="", file=sys.stderr)
        return FAILED
    print(printable(" ".join(sentence.split())), file=sys.stderr)
    return REFUSED


def _write_no_more():
    """Python would complain once more when it closes standard output."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
