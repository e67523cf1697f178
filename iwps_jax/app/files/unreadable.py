"""Files that cannot be read, and the sentence that says why."""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iwps_jax.refusal import Refusal, short

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
"""A URL, also one that `Path` has taken a slash from; `C:/x` is a file."""


class FileError(Refusal):
    """A file cannot be used; the message is one sentence that names it."""


def require_file(path: str | Path, *, most_bytes: int | None = None) -> None:
    """Refuses a path that is not a readable file with content.

    Args:
        path: the file.
        most_bytes: refuse a larger one, because what it holds takes many times its size
            in memory.

    Raises:
        FileError: if it is missing, a URL, a folder, empty, larger or not readable.
    """
    path = Path(path)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe may never end
            kind = "folder" if stat.S_ISDIR(about.st_mode) else "pipe or device"
            raise FileError(f"{path} must be a file, got a {kind}.")
        size = about.st_size
        path.open("rb").close()
    except FileNotFoundError:
        require_no_address(path)
        raise FileError(f"{path} does not exist.") from None
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path} cannot be read: {_reason(error)}.") from error
    if size == 0:
        raise FileError(f"{path} must not be empty.")
    if most_bytes is not None and size > most_bytes:
        raise FileError(
            f"{path} must be at most {most_bytes:,} bytes, got {size:,}: divide it "
            "into several files."
        )


def require_no_address(name: str | Path) -> None:
    """Refuses a URL where a file is expected.

    Raises:
        FileError: if it is one; shows it as it was given.
    """
    address = ADDRESS.fullmatch(str(name))
    if address:
        scheme, rest = address.groups()
        slashes = ":///" if scheme.lower() == "file" else "://"
        raise FileError(
            f"{scheme}{slashes}{rest} must be a file: download it, and "
            "give the path of the copy."
        )


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Names the file in the system's errors while it is read, which do not.

    Raises:
        FileError: if the block raises an OSError, as of a disk that fails.
    """
    try:
        yield
    except OSError as error:
        raise FileError(f"{path} cannot be read: {_reason(error)}.") from error


@contextmanager
def readable(path: str | Path, what: str) -> Iterator[None]:
    """Turns an error while reading a format into a sentence about the file.

    Only for code that raises nothing of these kinds by a fault of its own.

    Raises:
        FileError: if the block raises one; a FileError stays as it is.
    """
    from safetensors import SafetensorError  # here: campaigns as values need no package

    try:
        with naming(path):
            yield
    except FileError:
        raise
    except MemoryError as error:
        raise FileError(f"{path} needs more memory than is free.") from error
    except (
        *(ValueError, EOFError, KeyError, struct.error, SafetensorError),
        *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError),
    ) as error:
        raise FileError(
            f"{path} must be {what}, but it is damaged or has another format: "
            f"{_reason(error)}."
        ) from error


def _reason(error) -> str:
    reason = short(str(getattr(error, "strerror", None) or error))
    return reason.rstrip(".") or type(error).__name__
