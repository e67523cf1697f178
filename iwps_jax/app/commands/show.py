"""`iwps show`: make a page with the samples of the picks, for people who label them.

    iwps show monday.csv
    iwps show picks.csv --images photos --classes cat,dog --out photos.html

The page, monday.html in the first form, is one HTML file, which any browser opens
without a network; an older page of that name is replaced. A key labels a
sample. The browser keeps the labels and saves them as labels.csv, which `iwps label`
reads. The first form finds the photos, texts or rows from which `iwps embed` has made
the pool: that of --campaign, of the folder campaign, or of --pool. With a campaign, or
with --pool and --labels, the page shows the nearest labeled example beside each pick.
An image that cannot be shown has a card that says why.
"""

import dataclasses
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from tyro import conf

from iwps_jax.app import naming, options
from iwps_jax.app.campaign import folder, labels_of
from iwps_jax.app.campaign.state import (
    all_names,
    counts_as,
    ids_of,
    open_classes,
    task_of,
)
from iwps_jax.app.commands import exit_status, outputs
from iwps_jax.app.commands.advice import warn
from iwps_jax.app.commands.show_cards import (
    Known,
    cards_of,
    classes_in,
    merged,
    renamed,
)
from iwps_jax.app.embedding import pool_folder, samples
from iwps_jax.app.files.picks import Pick, read_answers, read_picks
from iwps_jax.app.files.readers import read_classes, read_ids, read_pool
from iwps_jax.app.gallery import thumbnails
from iwps_jax.app.gallery.contents import Content, Contents, Place
from iwps_jax.app.gallery.images import open_images
from iwps_jax.app.gallery.page import Picture, Row, Text, page
from iwps_jax.atomic_write import write_atomically
from iwps_jax.refusal import Refusal
from iwps_jax.wording import plural

SIDES = 16, 1024
CAMPAIGN = Path("campaign")
MOST_BYTES = 10_000_000
"""Of a page that every browser opens at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """The options of the command."""

    writes: ClassVar = ("out",)
    picks: conf.Positional[Path]
    """file of picks, written by `iwps next` or `iwps score`"""
    images: Path | None = None
    """a folder or an .npy file: in a folder, the id of an image is the path of its
    file, with or without the suffix, or a number, with or without leading zeros; an
    .npy file holds [pool, height, width] or [pool, height, width, 1 | 3 | 4] (default:
    what iwps embed has read)"""
    out: Path | None = None
    """file to write (default: in the working folder, with the name of the picks file:
    monday.html for monday.csv)"""
    thumbnail: Annotated[int, conf.arg(metavar="PIXELS")] = 160
    """largest side of an image"""
    title: str | None = None
    """title of the page (default: from the name of the picks file)"""
    classes: str | None = None
    """names of the classes: cat,dog,... or a file with one name per line (default:
    those of the campaign, or else those among predictions and labels)"""
    campaign: Path | None = None
    """folder of the campaign (default: campaign, without --images and --pool)"""
    pool: Path | None = None
    """features of the whole pool, without a campaign, to find the nearest labeled
    examples; or the folder that iwps embed has made"""
    labels: Path | None = None
    """CSV with id and label, for --pool"""
    ids: Path | None = None
    """names of the rows of the pool (default: those of iwps embed, or else 0, 1, …)"""

    @property
    def page(self) -> Path:
        """The file to write."""
        return self.out or Path(f"{self.picks.stem or 'picks'}.html")


def run(options: Options) -> int:
    """Writes the page; returns the exit status."""
    return exit_status.run(lambda: _show(_completed(options)))


def _completed(options: Options) -> Options:
    """With the files that no option names."""
    if options.pool is not None and options.pool.is_dir():
        pool = options.pool / pool_folder.POOL
        options = dataclasses.replace(options, pool=pool)
    if options.pool is not None:
        is_embedded = options.pool.with_name(pool_folder.ABOUT).exists()
        if options.ids is None and is_embedded:
            ids = options.pool.with_name(pool_folder.IDS)
            options = dataclasses.replace(options, ids=ids)
    elif options.images is None and options.campaign is None and options.ids is None:
        if (CAMPAIGN / folder.TASK).is_file():
            options = dataclasses.replace(options, campaign=CAMPAIGN)
    options = dataclasses.replace(options, out=options.page)
    outputs.require_no_loss(options)  # by what it is now
    return options


def _show(options: Options) -> None:
    _check(options)
    picks = merged(options.picks, read_picks(options.picks))
    known = _known(options)
    picks = [renamed(pick, known.renamed) for pick in picks]
    classes = _classes(options, picks, known)
    cards = cards_of(options.picks, picks, known, classes, options.thumbnail)
    flaws = [
        card.content.flaw
        for card in cards
        if isinstance(card.content, Picture) and card.content.flaw
    ]
    if len(flaws) == len(cards):
        raise Refusal(f"no image can be shown: {flaws[0]}.")
    title = options.title or f"Picks of {options.picks.name}"
    html = page(
        cards, classes, title, side=options.thumbnail, grows=known.grows
    ).encode()
    write_atomically(options.page, html)
    print(f"{plural(len(cards), 'pick')} to label in {options.page}")
    _warn_of_size(options, len(html), len(cards))
    if flaws:
        print(
            f"Images that cannot be shown: {len(flaws):,} of {len(cards):,}; their "
            f"cards say why. The first: {flaws[0]}."
        )
    if known.classes is None:
        print(
            f"The page knows the {plural(len(classes), 'class')} among predictions and "
            "labels; use --classes to name all classes."
        )


def _check(options: Options) -> None:
    """What can be refused before a file is read."""
    low, high = SIDES
    if not low <= options.thumbnail <= high:
        raise Refusal(
            f"--thumbnail must be in [{low}, {high}], got {options.thumbnail}."
        )
    if options.page.is_dir() or not options.page.parent.is_dir():
        raise Refusal(f"--out must be a file in a folder that exists: {options.page}.")
    needs_labels = options.pool is not None and options.images is not None
    if options.labels and not options.pool or needs_labels and not options.labels:
        raise Refusal("--pool and --labels must be given together, got one of them.")
    if options.campaign and (options.pool or options.ids):
        raise Refusal("--campaign already has a pool, labels and ids: give no others.")
    if (options.images, options.campaign, options.pool) == (None, None, None):
        raise Refusal(
            "iwps show needs --images, or a pool that iwps embed has made: name its "
            "--campaign or its --pool."
        )


def _warn_of_size(options: Options, size: int, count: int) -> None:
    if size > MOST_BYTES:
        fewer = max(1, int(count * MOST_BYTES / size))
        smaller = int(options.thumbnail * (MOST_BYTES / size) ** 0.5)
        images = f", or a smaller --thumbnail ({smaller})" * (smaller >= SIDES[0])
        warn(
            [
                f"the page has {size / 1e6:.1f} MB, and browsers are slow to open more "
                f"than {MOST_BYTES / 1e6:.0f}: take at most "
                f"{plural(fewer, 'pick')} a page{images}."
            ]
        )


def _classes(options: Options, picks: Sequence[Pick], known: Known) -> tuple[str, ...]:
    """All classes, with those that people have named in the file, if they may."""
    if known.classes is None:
        return classes_in(options.picks, picks, known.labels)
    there = {*map(naming.form, known.classes)}
    new = {naming.form(p.label): p.label for p in picks if naming.is_class(p.label)}
    more = [name for form, name in new.items() if form not in there]
    return (*known.classes, *(more if known.grows else ()))


def _known(options: Options) -> Known:
    if options.campaign:
        known = _known_of_campaign(options, options.campaign)
    else:
        known = _known_of_files(options)
    size = 0 if known.pool is None else len(known.pool)
    if known.pool is not None and known.contents.size not in (None, size):
        raise Refusal(
            f"{options.images} must have an image for each of the "
            f"{plural(size, 'row')} of the pool, got {known.contents.size:,}."
        )
    if options.classes is None:
        return known
    return known._replace(classes=read_classes(options.classes), grows=False)


def _known_of_campaign(options: Options, path: Path) -> Known:
    contents = None if options.images is None else open_images(options.images)
    state = folder.read_record(path)
    task, labels = task_of(state), labels_of(state)
    if contents is None:
        contents = _embedded(options, folder.paths_of(path).pool, len(task.pool))
    ids = ids_of(task, np.array([*labels], np.int64))
    names = (task.classes[label] for label in labels.values())
    counts = counts_as(state).tolist()
    targets = {name: counts[label] for name, label in all_names(state).items()}
    return Known(
        contents,
        task.pool,
        task.ids,
        dict(zip(ids, names, strict=True)),
        open_classes(state),
        {
            name: "" if target == naming.SKIPPED else task.classes[target]
            for name, target in targets.items()
        },
        # Campaigns whose classes are not settled say so.
        state.task.is_open,
        *(path, path, path),
    )


def _known_of_files(options: Options) -> Known:
    contents = None if options.images is None else open_images(options.images)
    pool = None if options.pool is None else read_pool(options.pool)
    if contents is None:
        contents = _embedded(options, options.pool, 0 if pool is None else len(pool))
    size = contents.size if pool is None else len(pool)
    if options.ids is not None and size is None:
        raise Refusal("--ids names rows: give --pool, or an .npy file of --images.")
    ids = None if options.ids is None or size is None else read_ids(options.ids, size)
    labels = {}
    if options.labels is not None:
        answers = read_answers(options.labels)
        labels = {a.id: a.label for a in answers if naming.is_class(a.label)}
    return Known(
        *(contents, pool, ids, labels),
        names_of=options.ids,
        labels_of=options.labels,
        pool_of=options.pool,
    )


# What iwps embed has read


def _embedded(options: Options, pool: Path | None, size: int) -> Contents:
    """The samples of which a pool was made."""
    found = None if pool is None else samples.open_samples(pool, size)
    if found is None:
        raise Refusal(
            f"iwps show needs --images, because {pool} was not made by iwps embed."
        )
    real = Path(os.path.realpath(options.page))
    for path in (found.source, found.ids, found.ids.with_name(pool_folder.ABOUT)):
        if outputs.is_same(real, path):
            raise Refusal(
                f"--out must not replace {options.page}: the command reads it."
            )
    return Contents(size, partial(_read, found))


def _read(
    source: samples.Samples, places: Sequence[Place], side: int
) -> Sequence[Content]:
    for id_, row in places:
        if row is None:
            raise Refusal(f"the row of {id_!r} must be known: give --ids.")
    values = samples.read(source, [row for _, row in places if row is not None])
    paths = [value for value in values if isinstance(value, Path)]
    if paths:
        return thumbnails.of_files(paths, side)
    return [
        Text(value) if isinstance(value, str) else Row(tuple(value.items()))
        for value in values
        if not isinstance(value, Path)
    ]
