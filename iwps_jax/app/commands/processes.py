"""One scan by several processes: who joins, and what is said when one is ended."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import jax
from tyro import conf

from iwps_jax.app.options import Flag, Options
from iwps_jax.refusal import Refusal

SECONDS_TO_SPEAK = 2.0
"""How long process 0 waits for the last words of the others."""

# Waits for the end of its parent, which JAX may abort or the system kill.
LAST_WORDS = """
import sys
if sys.stdin.buffer.read() != b"done":
    print(sys.argv[1], file=sys.stderr, flush=True)
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes(Options):
    """How this process joins others, if it does."""

    distributed: Flag = False
    """one of several processes that a launcher starts that JAX knows: Slurm, a TPU
    pod, ..."""
    coordinator: Annotated[str | None, conf.arg(metavar="HOST:PORT")] = None
    """address of process 0, for several processes without a launcher"""
    processes: int | None = None
    """number of processes"""
    process: int | None = None
    """number of this process, from 0"""
    peer_timeout: Annotated[int, conf.arg(metavar="SECONDS")] = 60
    """seconds after which a silent process counts as dead"""


def require_described(options: Processes) -> None:
    """Refuses processes that are described in part, or wrongly.

    Raises:
        Refusal: with the option.
    """
    coordinator, processes, process = several = (
        options.coordinator,
        options.processes,
        options.process,
    )
    if not options.distributed and several != (None, None, None):
        if coordinator is None or processes is None or process is None:
            raise Refusal(
                "--coordinator, --processes and --process must be given together, or "
                "--distributed for a launcher that JAX knows."
            )
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise Refusal(f"--coordinator must be host:port: {coordinator}.")
        if not 0 <= process < processes:
            raise Refusal(f"--process must be in [0, {processes}), got {process}.")
    if options.peer_timeout < 1:
        raise Refusal(f"--peer-timeout must be at least 1, got {options.peer_timeout}.")


def join(options: Processes) -> bool:
    """Makes this process one of several where the options say so.

    Raises:
        Refusal: if it cannot.
    """
    if not options.distributed and options.coordinator is None:
        return False
    try:
        jax.distributed.initialize(
            options.coordinator,
            options.processes,
            options.process,
            heartbeat_timeout_seconds=options.peer_timeout,
        )
    except (RuntimeError, ValueError) as error:
        raise Refusal(f"the processes cannot be joined: {error}") from error
    return True


def watch_over(folder: Path | None) -> Callable[[], object]:
    """Says what to do should this process be ended from outside.

    When another process dies, JAX aborts this one, and no line of Python runs.

    Args:
        folder: where the scan keeps what is finished, if it does.

    Returns:
        To be called when it comes to its own end.
    """
    if folder is None:
        kept = "Nothing was kept: give the command a --folder to be able to resume."
    else:
        kept = f"The finished part is in {folder}: rerun the same command to resume."
    message = (
        f"Process {jax.process_index()} of {jax.process_count()} ended before the scan "
        "was finished, most likely because it or another process died; no picks were "
        f"written. {kept}"
    )
    watcher = subprocess.Popen(
        [sys.executable, "-c", LAST_WORDS, message],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    return lambda: watcher.communicate(b"done")


def leave(status: int) -> None:
    """Ends this process after an error, where it is one of several.

    An orderly end would wait for the others, who may be waiting for this. Process 0
    stays a little longer, since JAX aborts those whose coordinator has left, and they
    may be about to say what they know of the error.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if jax.process_index() == 0:
        time.sleep(SECONDS_TO_SPEAK)
    os._exit(status)
