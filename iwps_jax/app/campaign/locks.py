"""The lock of a campaign's folder, and who holds it."""

import getpass
import glob
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from iwps_jax.app.campaign.journal import share, shared_mode
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.atomic_write import UNFINISHED, prefix_of_process, write_atomically
from iwps_jax.refusal import Refusal

LOCK, HOLDER = "lock", "holder.json"
PREFIX = re.compile(r"\.[0-9a-f]{16}\.\d+\.")


@contextmanager
def hold(
    folder: Path, *, wait: int | float, inside: Sequence[str], outputs: Sequence[Path]
) -> Iterator[None]:
    """Keeps other commands from changing a campaign in the meantime.

    The system releases the lock when the process ends, even if it is killed. Files
    that killed commands left are removed.

    Args:
        folder: of the campaign.
        wait: seconds to wait for another command.
        inside: names of the folders in it to which only holders of the lock write.
        outputs: other folders to which this command writes.

    Raises:
        FileError: if another command holds the lock for more than `wait` seconds, or
            this account may not write to the folder; the message names the holder, or
            the missing permission.
        Refusal: if `wait` is negative or NaN.
        OSError: if the file system has no locks.
    """
    if not wait >= 0:
        raise Refusal(f"wait must be at least 0 seconds, got {wait}.")
    # A file in place of a lock would outlive a process that is killed.
    lock = filelock.FileLock(
        folder / LOCK, timeout=wait, mode=shared_mode(folder), fallback_to_soft=False
    )
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise FileError(
            f"{folder} is in use by {_holder(folder)}, which did not end within "
            f"{wait:g} seconds: try again."
        ) from error
    except PermissionError as error:
        raise FileError(_missing_permission(folder)) from error
    try:
        share(folder / LOCK)
        _clean_up(folder, inside)
        with suppress(OSError):  # it only helps others to know
            write_atomically(folder / HOLDER, json.dumps(_me(outputs)))
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER).unlink()
        lock.release()


@contextmanager
def hold_half_made(folder: Path) -> Iterator[None]:
    """Shows others that a new campaign's folder is being made."""
    with filelock.FileLock(folder / LOCK, timeout=0, fallback_to_soft=False):
        yield


def remove_half_made(folder: Path) -> None:
    """Removes a campaign's folder that a killed command left half made."""
    lock = filelock.FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    with suppress(filelock.Timeout, OSError):  # it is alive, or has just ended
        with lock:
            shutil.rmtree(folder)


def _clean_up(folder, inside):
    """Removes what the last holder left, if it was killed."""
    for place in (folder, *(folder / name for name in inside)):
        _remove(place, ".")
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((folder / HOLDER).read_text("utf-8"))
        if PREFIX.fullmatch(told["prefix"]):  # no other files, whoever wrote this
            for place in told["outputs"]:
                _remove(Path(place), told["prefix"])


def _remove(folder, prefix):
    for path in folder.glob(f"{glob.escape(prefix)}*{UNFINISHED}"):
        with suppress(OSError):
            path.unlink()


def _me(outputs):
    return {
        "process": os.getpid(),
        "account": _account(),
        "machine": socket.gethostname(),
        "prefix": prefix_of_process(),
        "outputs": [str(path.absolute()) for path in outputs],
    }


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        return str(getattr(os, "getuid", lambda: "")())


def _holder(folder) -> str:
    """Another command, as far as it is known."""
    try:
        told = json.loads((folder / HOLDER).read_text("utf-8"))
        return f"process {told['process']} of {told['account']} on {told['machine']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"


def _missing_permission(folder) -> str:
    path = folder / LOCK
    missing = folder if not os.access(folder, os.W_OK | os.X_OK) else path
    owner = ""
    with suppress(OSError, KeyError):
        owner = f", which belongs to {missing.owner()}"
    return (
        f"{_account()} may not write to {missing}{owner}: everyone who labels needs "
        f"read and write permission for {folder} and all in it, as by chmod -R g+rwX."
    )
