"""The folder of a pool: features, ids, where the samples are, and what was left out."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.embedding import duplicates
from iwps_jax.app.embedding.blocks import SIZE
from iwps_jax.app.files.tables import guarded, table_of
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.atomic_write import naming_file, sync_folder, write_atomically
from iwps_jax.refusal import printable

POOL, IDS, ABOUT = "pool.npy", "ids.txt", "source.json"
SKIPPED, DUPLICATES, UNFINISHED = "skipped.csv", "duplicates.csv", "unfinished"
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


class Written(NamedTuple):
    """How many rows the pool has, and how many nearly repeat an earlier one."""

    rows: int
    duplicates: int


def holds_unfinished(out: Path) -> bool:
    """Whether a folder holds unfinished work of ours; if not, it is new or empty.

    Raises:
        FileError: if it holds anything else, or a finished pool.
    """
    if out.exists() and not out.is_dir():
        raise FileError(f"--out must be a folder, and {out} is none.")
    if out.is_symlink() and not out.exists():
        raise FileError(f"--out must be a folder, and {out} is a link to nothing.")
    if (out / ABOUT).exists():
        raise FileError(f"{out} holds a pool already: name another --out.")
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    unfinished = out / UNFINISHED
    is_ours = not unfinished.is_symlink() and (unfinished / WORK).is_file()
    ours = {POOL, IDS, SKIPPED, DUPLICATES, UNFINISHED} if is_ours else ()
    strangers = sorted(name for name in there - {*ours} if not name.startswith("."))
    if strangers:
        raise FileError(
            f"--out must be a new or empty folder, and {out} has {strangers[0]}."
        )
    return is_ours


def begin(out: Path, identity: Mapping[str, Any]) -> Path:
    """Makes the folder of unfinished work, or finds that of an earlier attempt.

    Args:
        out: the folder of the pool.
        identity: all that its content depends on.

    Returns:
        The folder of unfinished work.

    Raises:
        FileError: see `holds_unfinished`; or if the work is of another identity.
            Nothing is changed then.
    """
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
    _write_rows(out / POOL, shape, content.parts())
    all_ = np.load(out / POOL, mmap_mode="r")
    if keeps != "all":
        found = duplicates.find(all_)
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
    if keeps == "one" and len(found.rows):
        keep = np.delete(np.arange(len(ids)), found.rows)
        some = (all_[keep[at : at + SIZE]] for at in range(0, len(keep), SIZE))
        _write_rows(out / POOL, (len(keep), content.width), some)
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
