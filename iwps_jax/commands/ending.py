"""How a command ends: its exit status, and one sentence for what it refuses."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from iwps_jax.pool.sources import PoolError

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


def status_of(work: Callable[[], None]) -> int:
    """Does the work; returns the exit status.

    Args:
        work: what the command does. Raises what it refuses: a `ValueError` or
            `TypeError` of ours, an `OSError`, a `PoolError` or a `MemoryError`.

    Returns:
        0, 2 after a refusal, which is one sentence on standard error, 130 when
        interrupted, or 1 after any other error, which is shown with its traceback.
    """
    try:
        work()
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
    if not _is_refusal(error):
        traceback.print_exception(error)
        return FAILED
    print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
    return REFUSED


def _is_refusal(error):
    if isinstance(error, PoolError | OSError | MemoryError):
        return True
    origin = traceback.extract_tb(error.__traceback__)[-1].filename
    is_ours = Path(origin).is_relative_to(Path(__file__).parents[1])
    return is_ours and isinstance(error, ValueError | TypeError)
