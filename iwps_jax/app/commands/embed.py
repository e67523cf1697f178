"""`iwps embed`: turn a folder of photos, or a file of texts, into a pool.

    iwps embed photos/ --out pool
    iwps embed mails.csv --text body --id number --out pool
    iwps embed patients.csv --table --id number --without diagnosis --out pool

A frozen network makes one row of features of each photo or text. Of a table, numbers
and dates are scaled by their quartiles, and categories become columns. --out gets
pool.npy with the features, ids.txt with the names of the rows, and source.json, which
says where each sample is. The id of a photo is the path of its file; that of a text or
a row is its number, from 0, or what --id names. Nothing outside the source is read.

Samples that cannot be used, such as damaged photos, are listed with the reason in
skipped.csv. Rows that nearly repeat an earlier one (cosine above 0.995) are listed in
duplicates.csv; with --drop-duplicates they are left out.

Rerun the same command to resume one that was killed. The backbones are:

{backbones}
"""

import csv
import dataclasses
import io
import shlex
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro import conf

from iwps_jax.app.commands import exit_status
from iwps_jax.app.commands.jax_settings import Computing, start_jax
from iwps_jax.app.embedding import blocks, duplicates, encoders, pool_folder, rows
from iwps_jax.app.embedding.duplicates import Duplicates
from iwps_jax.app.embedding.photos import open_photos
from iwps_jax.app.embedding.pool_folder import Content
from iwps_jax.app.embedding.source import (
    IMAGES,
    ROWS,
    TEXTS,
    Source,
    digest_of_file,
    sha256_of,
)
from iwps_jax.app.embedding.texts import open_texts
from iwps_jax.app.files.unreadable import FileError, require_file, require_no_address
from iwps_jax.app.naming import some_of
from iwps_jax.app.options import Flag
from iwps_jax.backbones.published import BackboneError
from iwps_jax.pool.progress import progress_bar
from iwps_jax.refusal import Refusal, refusing
from iwps_jax.wording import plural

CLASSES = {"class", "label", "target", "y"}
"""Names of columns that are often the answer."""
CODES_NAMED = 3
"""So many columns of few whole numbers have a note each."""
__doc__ = (__doc__ or "").replace("{backbones}", encoders.about_backbones())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Computing):
    """The options of the command."""

    writes: ClassVar = ("out",)
    texts: ClassVar = ("text", "id", "without", "backbone")
    source: conf.Positional[str | None] = None
    """a folder of images, or a .csv, .tsv, .jsonl, .parquet or .txt of texts or rows"""
    out: Annotated[str, conf.arg(metavar="DIR")] = "pool"
    """folder to make"""
    text: str | None = None
    """column of the texts (default: text)"""
    table: Flag = False
    """embed the rows of the file: numbers, dates and categories"""
    without: str | None = None
    """columns of a table that do not count, such as the classes: a,b,..."""
    id: str | None = None
    """column of the ids (default: the numbers of the rows, from 0)"""
    backbone: str | None = None
    """network that makes the features; `help` lists them"""
    drop_duplicates: Flag = False
    """keep one of each group of near-duplicates"""

    def __post_init__(self):
        """Refuses names that a shell has left empty: a path makes "." of them."""
        if self.source == "":
            raise Refusal("iwps embed needs a folder of images, or a file, got ''.")
        if not self.out:
            raise Refusal("--out must name a folder, got ''.")

    @property
    def folder(self) -> Path:
        """The folder of the pool."""
        return Path(self.out)


def run(options: Options) -> int:
    """Embeds the source; returns the exit status."""
    return exit_status.run(lambda: _embed(options))


def _embed(options: Options) -> None:
    if options.backbone == "help":
        print(encoders.about_backbones())
        return
    if options.source is None:
        raise Refusal("iwps embed needs a folder of images, or a file.")
    source = Path(options.source)
    require_no_address(options.source)
    _check(options, source)
    pool_folder.holds_unfinished(options.folder)
    if options.table:
        _embed_table(options, source)
    else:
        _embed_samples(options, source)
    print(f"Next: iwps init {shlex.quote(str(options.folder))}")


def _check(options: Options, path: Path) -> None:
    """What can be refused before a file is read."""
    if not path.is_dir():
        require_file(path)
    if options.table:
        for name in ("text", "backbone"):
            if getattr(options, name) is not None:
                raise Refusal(f"--{name} applies to photos or texts, not with --table.")
        if options.drop_duplicates:
            raise Refusal("--drop-duplicates applies only to photos and texts.")
    elif options.without is not None:
        raise Refusal("--without applies only with --table.")
    if path.is_dir():
        for name in ("text", "id", "table"):
            if getattr(options, name):
                raise Refusal(f"--{name} applies to a file, and {path} is a folder.")


def _embed_table(options: Options, path: Path) -> None:
    names = next(csv.reader([options.without or ""], skipinitialspace=True), [])
    without = [name.strip() for name in names if name.strip()]
    identity = {"digest": digest_of_file(path), "id": options.id, "without": without}
    table = rows.read_table(path, options.id, without)
    about = {
        "file": str(path.absolute()),
        "sha256": sha256_of(path),
        "id": options.id,
        "columns": table.kinds,
    }
    content = Content(
        {"kind": ROWS, "source": about},
        table.ids,
        table.features.shape[1],
        lambda: [table.features],
    )
    with pool_folder.unfinished_work(options.folder, identity):
        pool_folder.write_features(options.folder, content)
        num_rows = pool_folder.finish(options.folder, content)
    print(
        f"{plural(num_rows, 'row')} of {plural(content.width, 'feature')} in "
        f"{options.folder}, from {plural(len(table.kinds), 'column')}: "
        + ", ".join(f"{name} ({kind})" for name, kind in table.kinds.items())
    )
    for name, flaw in table.left_out.items():
        print(f"The column {name} does not count: {flaw}.")
    _note_classes(options.folder, table, without)


def _note_classes(out: Path, table: rows.Table, without: list[str]) -> None:
    """Names the columns that may be the class, by their names or by their values."""
    named = [name for name in table.kinds if name.casefold() in CLASSES]
    others = [name for name in table.codes if name not in named]
    notes = {name: f"If {name} is the class that you want to learn" for name in named}
    for name in others[:CODES_NAMED]:
        values = ", ".join(table.codes[name])
        notes[name] = f"{name} has only the values {values}: if it is the label"
    for name, note in notes.items():
        print(f"{note}, delete {out} and rerun with {_leaving_out(*without, name)}.")
    if len(others) > CODES_NAMED:
        print(
            f"Other columns with at most {rows.MOST_CODES} whole numbers as values: "
            f"{some_of(others[CODES_NAMED:])}."
        )


def _leaving_out(*names: str) -> str:
    """The option that leaves out these columns, as a shell takes it."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return f"--without {shlex.quote(line.getvalue())}"


def _embed_samples(options: Options, path: Path) -> None:
    kind = IMAGES if path.is_dir() else TEXTS
    backbone = encoders.backbone_of(options.backbone, kind)
    if kind == IMAGES:
        source = open_photos(path, backbone.side)
    else:
        source = open_texts(path, options.text, options.id)
    start_jax(options)
    with refusing(BackboneError):
        encoder = backbone.load()
    identity: dict[str, Any] = {"digest": source.digest, "encoder": encoder.identity}
    identity["block"] = size = blocks.size_of(encoder)
    with pool_folder.unfinished_work(options.folder, identity) as unfinished:
        begun = blocks.done_of(blocks.files_of(source, size, unfinished))
        done = min(size * begun, source.size)
        with progress_bar(True, source.size, done, doing="embedding") as advance:
            paths = blocks.embed(source, encoder, unfinished, advance)
        content = _content(source, paths, {"name": backbone.name, **encoder.identity})
        if content.ids:
            found = _write(options, content)
    if not content.ids:  # and nothing is left that is worth going on with
        id_, reason = content.skipped[0]
        raise FileError(f"no sample can be used; the first, {id_}: {reason}.")
    _tell(options, content, len(found.rows), source.kind)


def _write(options: Options, content: Content) -> Duplicates:
    """Writes the pool; returns its near-duplicates."""
    features = pool_folder.write_features(options.folder, content)
    with progress_bar(True, len(features), 0, doing="comparing") as advance:
        found = duplicates.find(features, advance)
    pool_folder.finish(options.folder, content, found, drops=options.drop_duplicates)
    return found


def _content(source: Source, paths: list[Path], made_by: dict) -> Content:
    """What the blocks hold."""
    ids: list[str] = []
    skipped: list[tuple[str, str]] = []
    widths = set()
    for block in blocks.read(paths):
        ids += block.ids
        skipped += zip(block.flawed, block.flaws, strict=True)
        widths |= {block.features[0].shape[1]} if block.ids else set()
    if len(widths) > 1:
        raise Refusal(
            "a backbone must return as many numbers for each sample, got "
            f"{' and '.join(map(str, sorted(widths)))}: if it has changed, delete "
            f"{paths[0].parent}."
        )
    return Content(
        {"kind": source.kind, "source": source.about, "backbone": made_by},
        ids,
        max(widths, default=0),
        lambda: (block.features[0] for block in blocks.read(paths) if block.ids),
        skipped,
    )


def _tell(options: Options, content: Content, repeated: int, kind: str) -> None:
    num_rows = len(content.ids) - repeated * options.drop_duplicates
    print(
        f"{plural(num_rows, 'row')} of {plural(content.width, 'feature')} of {kind} in "
        f"{options.folder}"
    )
    if content.skipped:
        (id_, reason), file = content.skipped[0], options.folder / pool_folder.SKIPPED
        print(
            f"Samples that could not be used: {len(content.skipped):,}; {file} says "
            f"why. The first, {id_}: {reason}."
        )
    if repeated:
        fate = "left out" if options.drop_duplicates else "kept"
        print(
            f"Rows that nearly repeat an earlier one: {repeated:,}, {fate}; "
            f"{options.folder / pool_folder.DUPLICATES} lists them."
        )
