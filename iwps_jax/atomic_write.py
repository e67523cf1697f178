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
from typing import BinaryIO

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
def open_atomically(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write part by part, which replaces the one before when the block ends.

    For files larger than the memory; all else is as in `write_atomically`. If the block
    raises, what was there before still is.

    Args:
        path: the file; its folder must exist.

    Raises:
        OSError: if it cannot be written; names the file.
        Refusal: see `write_atomically`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "numbers.txt")
        ...     with open_atomically(path) as file:
        ...         _ = [file.write(b"%d;" % number) for number in range(3)]
        ...     print(path.read_text())
        0;1;2;
    """
    target = Path(os.path.realpath(path))
    with _half(path, target, _mode_of(path, target)) as (half, file):
        yield file
        _finish(path, file)
        with naming_file(path):
            os.replace(half, target)


@contextmanager
def _written(path, target, content, mode) -> Iterator[Path]:
    """A finished file beside the target, which the block gives its name."""
    if isinstance(content, str):
        content = _encoded(path, content)
    with naming_file(path), _half(path, target, mode) as (half, file):
        file.write(content)
        _finish(path, file)
        yield half


class _NamedFile(io.FileIO):
    """A file whose errors name the one that the user knows."""

    def __init__(self, handle, path):
        super().__init__(handle, "wb")
        self._path = path

    def write(self, part):
        with naming_file(self._path):
            return super().write(part)


@contextmanager
def _half(path, target, mode) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside the target; deleted if the block does not give it its name."""
    half = target.with_name(f"{prefix_of_process()}{next(_count)}{UNFINISHED}")
    # With the mode of a new file, which the umask narrows by itself.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with naming_file(path):
        handle = os.open(half, flags, 0o666 if mode is None else mode)
    try:
        with io.BufferedWriter(_NamedFile(handle, path)) as file:
            if mode is not None:
                with naming_file(path):
                    _keep_owners(half, target, mode)
            yield half, file
    except BaseException:
        with suppress(FileNotFoundError):  # interrupted just after it got its name
            os.unlink(half)
        raise
    sync_folder(target.parent)


def _finish(path, file):
    """Writes a file to the disk, and closes it: some systems rename no open file."""
    with naming_file(path):
        file.flush()
        os.fsync(file.fileno())
        file.close()


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
