"""Files that are there whole or not at all, whenever the process is killed."""

import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Writes a file in one step; one that is there before is replaced.

    The content is on the disk when the name points to it, so that neither a kill nor a
    full disk leaves a part of it under that name.

    Args:
        path: the file; its folder must exist.
        content: text is written as UTF-8.

    Raises:
        OSError: if it cannot be written; what was there before still is.
    """
    path = Path(path)
    if isinstance(content, str):
        content = content.encode("utf-8")
    handle, half = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(half, 0o666 & ~_umask())
        os.replace(half, path)
    except BaseException:
        os.unlink(half)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder):
    """So that the name survives a power cut, where the system can be asked for it."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_arrays_whole(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz file of these arrays, likewise.

    Raises:
        OSError: if it cannot be written; what was there before still is.
    """
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_whole(path, content.getvalue())


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
