"""The folder of a pool: features, ids, where the samples are, and what was left out."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.embedding import duplicates
from iwps_jax.app.embedding.blocks import SIZE
from iwps_jax.app.files.tables import guarded, table_of
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.atomic_write import sync_folder, write_atomically

POOL, IDS, ABOUT = "pool.npy", "ids.txt", "source.json"
SKIPPED, DUPLICATES, UNFINISHED = "skipped.csv", "duplicates.csv", "unfinished"
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
    parts: Any
    skipped: Sequence[tuple[str, str]] = ()


class Written(NamedTuple):
    """How many rows the pool has, and how many nearly repeat an earlier one."""

    rows: int
    duplicates: int


def require_new(out: Path) -> None:
    """Refuses a folder that holds anything but unfinished work.

    Raises:
        FileError: if it does.
    """
    if (out / ABOUT).exists():
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)  # killed at the very end
        raise FileError(f"{out} holds a pool already: name another --out.")
    if out.exists() and not out.is_dir():
        raise FileError(f"--out must be a folder, and {out} is none.")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    ours = {POOL, IDS, SKIPPED, DUPLICATES, UNFINISHED} if UNFINISHED in there else ()
    strangers = sorted(name for name in there - {*ours} if not name.startswith("."))
    if strangers:
        raise FileError(
            f"--out must be a new or empty folder, and {out} has {strangers[0]}."
        )


def write(out: Path, content: Content, *, keeps: str) -> Written:
    """Writes the files; `source.json` comes last, and says that all are there.

    Args:
        out: the folder.
        content: what goes into it.
        keeps: "all" rows, and looks for no duplicates; "listed", which lists them; or
            "one", which leaves them out.
    """
    ids, shape = [*content.ids], (len(content.ids), content.width)
    found = duplicates.find(np.zeros((0, 1)))
    with _written(out / POOL, shape) as features:
        _fill(features, content.parts())
        if keeps != "all":
            found = duplicates.find(features)
    _write_table(
        out / DUPLICATES,
        ("id", "duplicate_of", "cosine"),
        [
            (ids[row], ids[original], f"{cosine:.4f}")
            for row, original, cosine in zip(*found, strict=True)
        ],
    )
    _write_table(out / SKIPPED, ("id", "reason"), content.skipped)
    if keeps == "one" and len(found.rows):
        keep = np.delete(np.arange(len(ids)), found.rows)
        all_ = np.load(out / POOL, mmap_mode="r")
        with _written(out / POOL, (len(keep), content.width)) as features:
            starts = range(0, len(keep), SIZE)
            _fill(features, (all_[keep[at : at + SIZE]] for at in starts))
        ids = [ids[row] for row in keep]
    write_atomically(out / IDS, "".join(f"{id_}\n" for id_ in ids))
    about = {
        "format": FORMAT,
        **content.about,
        "rows": len(ids),
        "skipped": len(content.skipped),
        "duplicates": len(found.rows),
        "duplicates_dropped": keeps == "one",
    }
    write_atomically(out / ABOUT, json.dumps(about, indent=1) + "\n")
    return Written(len(ids), len(found.rows))


def _write_table(path: Path, header, rows) -> None:
    """Writes a table, if it has rows."""
    if rows:
        cells = [[guarded(cell) for cell in row] for row in rows]
        write_atomically(path, table_of([header, *cells]))


@contextmanager
def _written(path: Path, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Rows to fill, in a file that gets its name when all of them are on the disk."""
    half = path.with_name(f".{path.name}")
    rows = np.lib.format.open_memmap(half, "w+", np.float32, shape)
    yield rows
    rows.flush()
    with half.open("rb+") as file:
        os.fsync(file.fileno())
    half.replace(path)
    sync_folder(path.parent)


def _fill(rows: np.ndarray, parts: Iterable[np.ndarray]) -> None:
    filled = 0
    for part in parts:
        rows[filled : filled + len(part)] = part
        filled += len(part)
