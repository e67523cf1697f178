"""`iwps embed`: turn a folder of photos, or a file of texts, into a pool.

    iwps embed photos/ --out pool
    iwps embed mails.csv --text body --id number --out pool

A frozen network makes one row of features of each sample. The folder --out gets
pool.npy with the features, ids.txt with the names of the rows, and source.json, which
says where each sample is. The id of a photo is the path of its file; that of a text is
its number, from 0, or what --id names. Nothing outside the source is read.

Samples that cannot be used, such as damaged photos, are listed with the reason in
skipped.csv. Rows that nearly repeat an earlier one (cosine above 0.995) are listed in
duplicates.csv; with --drop-duplicates they are left out.

Rerun the same command to resume one that was killed. The backbones are:

{backbones}
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tyro import conf

from iwps_jax.app import options
from iwps_jax.app.commands import exit_status
from iwps_jax.app.embedding import blocks, duplicates, encoders
from iwps_jax.app.embedding.photos import open_photos
from iwps_jax.app.embedding.source import IMAGES, TEXTS, Source
from iwps_jax.app.embedding.texts import open_texts
from iwps_jax.app.files.tables import guarded, table_of
from iwps_jax.app.files.unreadable import FileError, require_no_address
from iwps_jax.app.options import Flag
from iwps_jax.atomic_write import sync_folder, write_atomically
from iwps_jax.backbones.published import BackboneError
from iwps_jax.pool.progress import progress_bar
from iwps_jax.refusal import Refusal, refusing

POOL, IDS, ABOUT = "pool.npy", "ids.txt", "source.json"
SKIPPED, DUPLICATES, UNFINISHED = "skipped.csv", "duplicates.csv", "unfinished"
FORMAT = 1
"""Of source.json."""
__doc__ = (__doc__ or "").replace("{backbones}", encoders.about_backbones())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """The options of the command."""

    source: conf.Positional[Path | None] = None
    """a folder of images, or a .csv, .tsv, .jsonl, .txt or .parquet of texts"""
    out: Path = Path("pool")
    """folder to make"""
    text: str | None = None
    """column of the texts (default: text)"""
    id: str | None = None
    """column of the ids of texts (default: the numbers of the rows, from 0)"""
    backbone: str | None = None
    """network that makes the features; `help` lists them"""
    drop_duplicates: Flag = False
    """keep one of each group of near-duplicates"""


def run(options: Options) -> int:
    """Embeds the source; returns the exit status."""
    return exit_status.run(lambda: _embed(options))


def _embed(options: Options) -> None:
    if options.backbone == "help":
        print(encoders.about_backbones())
        return
    if options.source is None:
        raise Refusal("iwps embed needs a folder of images, or a file of texts.")
    require_no_address(options.source)
    _require_new(options.out)
    kind = IMAGES if options.source.is_dir() else TEXTS
    backbone = encoders.backbone_of(options.backbone, kind)
    source = _open(options, options.source, kind, backbone.side)
    with refusing(BackboneError):
        encoder = backbone.load()
    unfinished = options.out / UNFINISHED
    blocks.begin(source, encoder, unfinished)
    done = min(blocks.SIZE * blocks.done_of(source, unfinished), source.size)
    with progress_bar(True, source.size, done, doing="embedding") as advance:
        paths = blocks.embed(source, encoder, unfinished, advance)
    _finish(options, source, {"name": backbone.name, **encoder.identity}, paths)
    shutil.rmtree(unfinished)


def _open(options: Options, path: Path, kind: str, side: int | None) -> Source:
    if kind == TEXTS:
        return open_texts(path, options.text, options.id)
    for name in ("text", "id"):
        if getattr(options, name) is not None:
            raise Refusal(f"--{name} names a column, and {path} is a folder.")
    return open_photos(path, side)


def _require_new(out: Path) -> None:
    """Refuses a folder that holds anything but unfinished work."""
    if (out / ABOUT).exists():
        shutil.rmtree(out / UNFINISHED, ignore_errors=True)  # killed at the very end
        raise FileError(f"{out} holds a pool already: name another --out.")
    if out.exists() and not out.is_dir():
        raise FileError(f"--out must be a folder, and {out} is none.")
    ours = {POOL, IDS, SKIPPED, DUPLICATES, UNFINISHED}
    if out.is_dir() and not (out / UNFINISHED).is_dir() and any(out.iterdir()):
        raise FileError(f"--out must be a new or empty folder, and {out} is not.")
    strangers = {path.name for path in out.iterdir()} - ours if out.is_dir() else ()
    if any(not name.startswith(".") for name in strangers):
        raise FileError(f"{out} must hold nothing else, got {sorted(strangers)[0]}.")


def _finish(options: Options, source: Source, made_by: dict, paths) -> None:
    """Writes the files of the pool from its blocks; source.json comes last."""
    ids: list[str] = []
    skipped: list[tuple[str, str]] = []
    widths = set()
    for block in blocks.read(paths):
        ids += block.ids
        skipped += zip(block.flawed, block.flaws, strict=True)
        widths |= {block.features.shape[1]} if block.ids else set()
    if not ids:
        raise FileError(
            f"{options.source} has no sample that can be used; the first, "
            f"{skipped[0][0]}: {skipped[0][1]}."
        )
    if len(widths) > 1:
        raise Refusal(
            "a backbone must return as many numbers for each sample, got "
            f"{' and '.join(map(str, sorted(widths)))}."
        )
    shape = len(ids), widths.pop()
    with _written(options.out / POOL, shape) as features:
        _fill(features, (block.features for block in blocks.read(paths) if block.ids))
        found = duplicates.find(features)
    _write_table(
        options.out / DUPLICATES,
        ("id", "duplicate_of", "cosine"),
        [
            (ids[row], ids[original], f"{cosine:.4f}")
            for row, original, cosine in zip(*found, strict=True)
        ],
    )
    _write_table(options.out / SKIPPED, ("id", "reason"), skipped)
    if options.drop_duplicates and len(found.rows):
        keep = np.delete(np.arange(len(ids)), found.rows)
        all_ = np.load(options.out / POOL, mmap_mode="r")
        with _written(options.out / POOL, (len(keep), shape[1])) as features:
            starts = range(0, len(keep), blocks.SIZE)
            _fill(features, (all_[keep[at : at + blocks.SIZE]] for at in starts))
        ids = [ids[row] for row in keep]
    write_atomically(options.out / IDS, "".join(f"{id_}\n" for id_ in ids))
    about = {
        "format": FORMAT,
        "kind": source.kind,
        "source": {
            name: os.path.abspath(value) if name in ("folder", "file") else value
            for name, value in source.about.items()
        },
        "backbone": made_by,
        "rows": len(ids),
        "skipped": len(skipped),
        "duplicates": len(found.rows),
        "duplicates_dropped": options.drop_duplicates,
    }
    write_atomically(options.out / ABOUT, json.dumps(about, indent=1) + "\n")
    _tell(options, source, (len(ids), shape[1]), skipped, found)


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


def _tell(options: Options, source: Source, shape, skipped, found) -> None:
    rows, width = shape
    print(f"{rows:,} rows of {width:,} features of {source.kind} in {options.out}")
    if skipped:
        print(
            f"Samples that could not be used: {len(skipped):,}; "
            f"{options.out / SKIPPED} says why. The first, {skipped[0][0]}: "
            f"{skipped[0][1]}."
        )
    if len(found.rows):
        fate = "left out" if options.drop_duplicates else "kept"
        print(
            f"Rows that nearly repeat an earlier one: {len(found.rows):,}, {fate}; "
            f"{options.out / DUPLICATES} lists them."
        )
    images = f" --images {options.source}" if source.kind == IMAGES else ""
    print(
        f"Next: iwps init --pool {options.out / POOL} --ids {options.out / IDS}; then "
        f"iwps next, and iwps show{images}."
    )
