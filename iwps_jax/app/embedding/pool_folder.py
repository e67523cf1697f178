"""The folder of a pool: features, ids, where the samples are, and what was left out."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np

from iwps_jax.app.embedding.blocks import SIZE
from iwps_jax.app.embedding.duplicates import NONE, Duplicates
from iwps_jax.app.files.tables import guarded, table_of
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.atomic_write import naming_file, sync_folder, write_atomically
from iwps_jax.refusal import printable

POOL, IDS, ABOUT = "pool.npy", "ids.txt", "source.json"
SKIPPED, DUPLICATES, UNFINISHED = "skipped.csv", "duplicates.csv", "unfinished"
LOCK = ".lock"
WORK = "about.json"
"""In the folder of unfinished work: what it is on. It marks the folder as ours."""
FORMAT = 1
"""Of source.json."""


class Content(NamedTuple):
    """What goes into the folder.

    Attributes:
        about: what `source.json` says beside the numbers of rows.
        ids: names of the rows.
        width: how many features each row has.
        parts: `parts()`, the features of the rows, some rows after the other.
        skipped: id and reason of each sample that has no row.
    """

    about: dict[str, Any]
    ids: Sequence[str]
    width: int
    parts: Callable[[], Iterable[np.ndarray]]
    skipped: Sequence[tuple[str, str]] = ()


def holds_unfinished(out: Path) -> bool:
    """Whether a folder holds unfinished work of ours; if not, it is new or empty.

    Beside a finished pool, the work that it was made of is removed: a command was
    killed before it could do so.

    Raises:
        FileError: if it holds anything else, or a finished pool.
    """
    if out.exists() and not out.is_dir():
        raise FileError(f"--out must be a folder, and {out} is none.")
    if out.is_symlink() and not out.exists():
        raise FileError(f"--out must be a folder, and {out} is a link to nothing.")
    unfinished = out / UNFINISHED
    is_ours = not unfinished.is_symlink() and (unfinished / WORK).is_file()
    if (out / ABOUT).exists():
        if is_ours:
            shutil.rmtree(unfinished, ignore_errors=True)
        raise FileError(f"{out} holds a finished pool already: name another --out.")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    ours = {POOL, IDS, SKIPPED, DUPLICATES, UNFINISHED} if is_ours else ()
    strangers = sorted(name for name in there - {*ours} if not name.startswith("."))
    if strangers:
        raise FileError(
            f"--out must be a new or empty folder, and {out} has {strangers[0]}."
        )
    return is_ours


@contextmanager
def unfinished_work(out: Path, identity: Mapping[str, Any]) -> Iterator[Path]:
    """Makes the folder of unfinished work, or finds that of an earlier attempt.

    Until the block ends, no other command works on the same pool. When it has
    succeeded, the folder is removed.

    Args:
        out: the folder of the pool.
        identity: all that its content depends on.

    Yields:
        The folder of unfinished work.

    Raises:
        FileError: see `holds_unfinished`; if the work is of another identity; or if
            another command works on it. Nothing is changed then.
        OSError: if the file system has no locks.
    """
    with naming_file(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / LOCK, timeout=0, fallback_to_soft=False)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise FileError(
                f"{out} is in use by another iwps embed: wait for its end, or name "
                "another --out."
            ) from error
    try:
        unfinished = _begun(out, identity)
        yield unfinished
        shutil.rmtree(unfinished)
    finally:
        if (out / ABOUT).exists():  # else somebody may be waiting for this file
            (out / LOCK).unlink(missing_ok=True)
        lock.release()


def _begun(out: Path, identity: Mapping[str, Any]) -> Path:
    about = json.dumps(identity, sort_keys=True)
    unfinished = out / UNFINISHED
    if not holds_unfinished(out):
        unfinished.mkdir(parents=True, exist_ok=True)
        write_atomically(unfinished / WORK, about)
    elif (unfinished / WORK).read_text(encoding="utf-8") != about:
        raise FileError(
            f"{unfinished} holds unfinished work on other samples, or with another "
            "backbone or other options: delete it, or name another --out."
        )
    return unfinished


def write_features(out: Path, content: Content) -> np.ndarray:
    """Writes the features of all rows; returns them, still in the file."""
    _write_rows(out / POOL, (len(content.ids), content.width), content.parts())
    return np.load(out / POOL, mmap_mode="r")


def finish(
    out: Path, content: Content, found: Duplicates = NONE, *, drops: bool = False
) -> int:
    """Writes all but the features; `source.json` comes last, and says all are there.

    Args:
        out: the folder, with the features.
        content: what goes into it.
        found: the rows that nearly repeat an earlier one, which are listed.
        drops: whether these are left out of the pool.

    Returns:
        How many rows the pool has.
    """
    ids = [*content.ids]
    _write_table(
        out / DUPLICATES,
        ("id", "duplicate_of", "cosine"),
        [
            (ids[row], ids[original], f"{cosine:.4f}")
            for row, original, cosine in zip(*found, strict=True)
        ],
    )
    skipped = [(printable(id_), printable(flaw)) for id_, flaw in content.skipped]
    _write_table(out / SKIPPED, ("id", "reason"), skipped)
    if drops and len(found.rows):
        features = np.load(out / POOL, mmap_mode="r")
        keep = np.delete(np.arange(len(ids)), found.rows)
        some = (features[keep[at : at + SIZE]] for at in range(0, len(keep), SIZE))
        _write_rows(out / POOL, (len(keep), content.width), some)
        ids = [ids[row] for row in keep]
    write_atomically(out / IDS, "".join(f"{id_}\n" for id_ in ids))
    about = {
        "format": FORMAT,
        **content.about,
        "rows": len(ids),
        "skipped": len(content.skipped),
        "duplicates": len(found.rows),
        "duplicates_dropped": drops,
    }
    write_atomically(out / ABOUT, json.dumps(about, indent=1) + "\n")
    return len(ids)


def _write_table(path: Path, header, rows) -> None:
    """Writes a table, if it has rows."""
    if rows:
        cells = [[guarded(cell) for cell in row] for row in rows]
        write_atomically(path, table_of([header, *cells]))


def _write_rows(path: Path, shape: tuple[int, int], parts) -> None:
    """Writes features; the file gets its name when all of them are on the disk."""
    half = path.with_name(f".{path.name}")
    with naming_file(path), half.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, "<f4").data)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
    sync_folder(path.parent)
