"""Samples of a pool once more, for people: where `source.json` says that they are.

Only the samples that are asked for are kept, and a file is read once from its start.
Nothing outside the source is read, whatever the ids say.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from iwps_jax.app.embedding.pool_folder import ABOUT, IDS
from iwps_jax.app.embedding.records import SUFFIXES, id_in, records_of
from iwps_jax.app.embedding.source import IMAGES, ROWS, TEXTS, sha256_of
from iwps_jax.app.embedding.source_file import read_about
from iwps_jax.app.embedding.texts import Columns, cells_of
from iwps_jax.app.files.tables import opened
from iwps_jax.app.files.unreadable import FileError, require_file
from iwps_jax.app.naming import form
from iwps_jax.refusal import short

UNSEEN = re.compile("[\0\ud800-\udfff]")
"""Letters that no file of text keeps."""
Value = Path | str | dict[str, str]
"""The file of an image, a text, or the values of a row by the names of its columns."""


class Samples(NamedTuple):
    """The samples of a pool.

    Attributes:
        kind: `IMAGES`, `TEXTS` or `ROWS`.
        source: the folder of images, or the file.
        ids: file of the names of the rows.
        size: rows of the pool.
        text: column of the texts; None for the lines of a file.
        id: column of the ids; None if they are the numbers of the rows.
    """

    kind: str
    source: Path
    ids: Path
    size: int
    text: str | None = None
    id: str | None = None


def open_samples(pool: Path, size: int) -> Samples | None:
    """The samples of a pool that `iwps embed` has made; None of any other pool.

    Args:
        pool: file of its features.
        size: how many rows it has.

    Raises:
        FileError: if `source.json` is damaged or belongs to another pool, or the source
            is gone.
    """
    about = read_about(pool, size)
    if about is None:
        return None
    path, place = pool.parent / ABOUT, about["source"]
    kind = about.get("kind")
    if kind not in _READ or not _is_place(kind, place):
        raise FileError(f"{path} is damaged: it does not say where the samples are.")
    key = "folder" if kind == IMAGES else "file"
    source = _found(pool.parent, Path(place[key]), kind)
    if kind != IMAGES:
        _require_same(source, place["sha256"])
    return Samples(
        kind, source, pool.parent / IDS, size, place.get("text"), place.get("id")
    )


def read(samples: Samples, rows: Sequence[int]) -> list[Value]:
    """The samples of these rows of the pool, in the order of the rows.

    Raises:
        FileError: if one of them is not there, or would be outside the source.
    """
    ids = _ids(samples, rows)
    return [*_READ[samples.kind](samples, ids)]


def _is_place(kind: str, place: dict[str, Any]) -> bool:
    """Whether the entry has all that the reader of this kind needs."""
    texts = ("folder",) if kind == IMAGES else ("file", "sha256")
    maybe = ("text", "id")
    return all(isinstance(place.get(name), str) for name in texts) and all(
        isinstance(place.get(name), str | None) for name in maybe
    )


def _found(folder: Path, source: Path, kind: str) -> Path:
    """The source where it was, or beside the folder of the pool: both may move."""
    beside = folder.absolute().parent / source.name
    found = source if source.exists() or not beside.exists() else beside
    if not found.exists():
        remedy = "put it back, or move it into the folder"
        other = ", or name another folder: iwps show --images DIR" * (kind == IMAGES)
        raise FileError(
            f"{found}, from which {folder} was made, does not exist any more: {remedy} "
            f"{folder.absolute().parent}{other}."
        )
    return found


def _require_same(source: Path, sha256: str) -> None:
    require_file(source)
    if sha256_of(source) != sha256:
        raise FileError(
            f"{source} has changed since iwps embed read it: put the old file back, or "
            "embed the new one and begin anew."
        )


def _ids(samples: Samples, rows: Sequence[int]) -> list[str]:
    """The names of rows of the pool, from its own list."""
    wanted, names = {*rows}, dict[int, str]()
    if max(wanted, default=-1) >= samples.size:
        raise FileError(f"{samples.ids} has no row {max(wanted)}.")
    with opened(samples.ids, None) as file:
        for row, line in enumerate(file):
            if row in wanted:
                names[row] = line.rstrip("\n")
            if len(names) == len(wanted):
                break
    for row in rows:
        if row not in names:
            raise FileError(f"{samples.ids} is damaged: it has no row {row}.")
    return [names[row] for row in rows]


def _images(samples: Samples, ids: Iterable[str]) -> Iterator[Value]:
    inside = os.path.realpath(samples.source)
    for id_ in ids:
        is_bad = ".." in re.split(r"[/\\]", id_) or "\0" in id_
        path = samples.source / id_
        if is_bad or not Path(os.path.realpath(path)).is_relative_to(inside):
            raise FileError(
                f"{samples.source}: an image must be inside, and {short(repr(id_))} "
                "leads out."
            )
        yield path


def _texts(samples: Samples, ids: Sequence[str]) -> list[Value]:
    columns = Columns(samples.source, samples.text, samples.id)
    return _chosen(samples, ids, cells_of(columns), _as_text)


def _rows(samples: Samples, ids: Sequence[str]) -> list[Value]:
    def named():
        for row, record in enumerate(records_of(samples.source)):
            name = str(row)
            if samples.id is not None:
                name = id_in(samples.source, record, samples.id)
            yield name, record.values

    def without_id(values):
        return {
            _as_text(name): _as_text(value)
            for name, value in values.items()
            if name != samples.id
        }

    return _chosen(samples, ids, named(), without_id)


def _chosen(
    samples: Samples,
    ids: Sequence[str],
    all_: Iterable[tuple[str, Any]],
    shown: Callable[[Any], Any],
) -> list[Any]:
    """The values of these ids, out of all; stops at the last of them."""
    if samples.source.suffix.lower() not in (*SUFFIXES, ".txt"):
        raise FileError(f"{samples.source} must be a table or a text.")
    wanted, values = {form(id_) for id_ in ids}, dict[str, Any]()
    for id_, value in all_:
        if form(id_) in wanted:
            values[form(id_)] = shown(value)
            if len(values) == len(wanted):
                break
    for id_ in ids:
        if form(id_) not in values:
            raise FileError(f"{samples.source} has no sample {short(repr(id_))}.")
    return [values[form(id_)] for id_ in ids]


def _as_text(value: Any) -> str:
    """A value of any type as people read it, and as every file keeps it."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return UNSEEN.sub("\ufffd", "" if value is None else str(value))


_READ: dict[str, Callable[[Samples, Sequence[str]], Iterable[Value]]] = {
    IMAGES: _images,
    TEXTS: _texts,
    ROWS: _rows,
}
