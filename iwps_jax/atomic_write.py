"""Files that are there whole or not at all, whenever the process is killed."""

import errno
import io
import itertools
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from iwps_jax.refusal import Refusal

WITHOUT_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
UNFINISHED = ".half"
"""How the names of files end that a killed process left; safe to delete."""


_TOKEN, _count = secrets.token_hex(8), itertools.count()


def prefix_of_process() -> str:
    """How the names of this process's unfinished files begin, and of no other's."""
    return f".{_TOKEN}.{os.getpid()}."


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Writes a file in one step; one that is there before is replaced.

    The content is on the disk when the name points to it, so that neither a kill nor a
    full disk leaves a part of it under that name. What a link points to is replaced,
    not the link, and a file that was there keeps its mode.

    Args:
        path: the file; its folder must exist.
        content: text is written as UTF-8.

    Raises:
        OSError: if it cannot be written; what was there before still is.
        Refusal: if it is there and no regular file, or the text has a character that
            is none of Unicode's, as names of files may have.
    """
    target = Path(os.path.realpath(path))
    with _written(path, target, content, _mode_of(path, target)) as half:
        os.replace(half, target)


def create_atomically(path: str | Path, content: bytes | str) -> None:
    """The same for a file that must not be there before, at no moment.

    Raises:
        FileExistsError: if it is there; it stays as it is.
        OSError: if it cannot be written; nothing is there then.
        Refusal: see `write_atomically`.
    """
    path = Path(path)
    with _written(path, path, content, None) as half:
        try:
            os.link(half, path)
        except OSError as error:
            if error.errno not in WITHOUT_LINKS:
                raise
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            os.replace(half, path)
        else:
            os.unlink(half)


@contextmanager
def _written(path, target, content, mode) -> Iterator[Path]:
    """A finished file beside the target, which the block gives its name."""
    if isinstance(content, str):
        content = _encoded(path, content)
    half = target.with_name(f"{prefix_of_process()}{next(_count)}{UNFINISHED}")
    # With the mode of a new file, which the umask narrows by itself.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with naming_file(path):
        handle = os.open(half, flags, 0o666 if mode is None else mode)
        try:
            with os.fdopen(handle, "wb") as file:
                if mode is not None:
                    _keep_owners(half, target, mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield half
        except BaseException:
            with suppress(FileNotFoundError):  # interrupted just after it got its name
                os.unlink(half)
            raise
    sync_folder(target.parent)


def _keep_owners(half, target, mode):
    """Gives a file the mode and the group of the one that it replaces."""
    if hasattr(os, "chown"):
        with suppress(OSError):  # the user is not in that group
            os.chown(half, -1, os.stat(target).st_gid)
    os.chmod(half, mode)


@contextmanager
def naming_file(path: str | Path) -> Iterator[None]:
    """Makes errors of the operating system name the file that the user knows.

    Raises:
        OSError: as the block does, of this file.
    """
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error


def _encoded(path, text) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        bad = error.object[error.start : error.end]
        raise Refusal(f"{path} must be Unicode text, got {bad!a}.") from error


def _mode_of(path, target) -> int | None:
    """The mode of the regular file that is there; None if nothing is."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
        raise Refusal(f"{path} must be a file that can be replaced, is {kind}.")
    return stat.S_IMODE(mode)


def sync_folder(folder: Path) -> None:
    """Writes a folder's names to the disk, so that they survive a power cut.

    Only where the system can be asked for it.
    """
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):  # some network file systems cannot
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def write_arrays_atomically(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz file of these arrays, likewise.

    Raises:
        OSError: if it cannot be written; what was there before still is.
    """
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]  # no name is allow_pickle
    write_atomically(path, content.getvalue())
