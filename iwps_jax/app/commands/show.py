"""`iwps show`: make a page with the images of the picks, for people who label them.

    iwps show picks.csv --images photos --classes cat,dog --out picks.html

The page is one HTML file, which any browser opens without a network. A key labels an
image. The browser keeps the labels and saves them as labels.csv, which `iwps label`
reads. With --campaign, or with --pool and --labels, the page shows the nearest labeled
example beside each pick. An image that cannot be shown has a card that says why.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

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
from iwps_jax.app.commands import exit_status
from iwps_jax.app.commands.answers import naming_source
from iwps_jax.app.files.file_array import AnyRows
from iwps_jax.app.files.picks import Pick, read_answers, read_picks
from iwps_jax.app.files.readers import read_classes, read_ids, read_pool
from iwps_jax.app.gallery.images import open_images
from iwps_jax.app.gallery.nearest import nearest_rows
from iwps_jax.app.gallery.page import Card, Neighbor, page
from iwps_jax.atomic_write import write_atomically
from iwps_jax.refusal import Refusal

SIDES = 16, 1024


class Known(NamedTuple):
    """What is known of the pool besides the picks.

    Attributes:
        pool: its features, which stay in their file; None if there are none.
        ids: of its rows; None if the numbers of the rows are the ids.
        labels: names of classes by id, of what is labeled.
        classes: their names; None if nobody named them.
        renamed: for every name that a class had, its name of now; empty if it has none.
    """

    pool: AnyRows | None = None
    ids: naming.Ids = None
    labels: Mapping[str, str] = {}
    classes: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options.Options):
    """The options of the command."""

    writes: ClassVar = ("out",)
    picks: conf.Positional[Path]
    """file of picks, written by `iwps next` or `iwps score`"""
    images: Path
    """a folder or an .npy file: in a folder, the id of an image is the path of its
    file, with or without the suffix, or a number, with or without leading zeros; an
    .npy file holds [pool, height, width] or [pool, height, width, 1 | 3 | 4]"""
    out: Path = Path("picks.html")
    """file to write"""
    thumbnail: Annotated[int, conf.arg(metavar="PIXELS")] = 160
    """largest side of an image"""
    title: str | None = None
    """title of the page (default: from the name of the picks file)"""
    classes: str | None = None
    """names of the classes: cat,dog,... or a file with one name per line (default:
    those of the campaign, or else those among predictions and labels)"""
    campaign: Path | None = None
    """folder of the campaign"""
    pool: Path | None = None
    """features of the whole pool, without a campaign, to find the nearest labeled
    examples"""
    labels: Path | None = None
    """CSV with id and label, for --pool"""
    ids: Path | None = None
    """names of the rows of the pool (default: 0, 1, …)"""


def run(options: Options) -> int:
    """Writes the page; returns the exit status."""
    return exit_status.run(lambda: _show(options))


def _show(options: Options) -> None:
    _check(options)
    picks = _merged(options.picks, read_picks(options.picks))
    images = open_images(options.images)
    known = _known(options, images)
    picks = [_renamed(pick, known.renamed) for pick in picks]
    classes = known.classes or _classes_in(options.picks, picks, known.labels)
    cards = _cards(options, picks, images, known, classes)
    flaws = [card.picture.flaw for card in cards if card.picture.flaw]
    if len(flaws) == len(cards):
        raise Refusal(f"no image can be shown: {flaws[0]}.")
    title = options.title or f"Picks of {options.picks.name}"
    write_atomically(options.out, page(cards, classes, title, side=options.thumbnail))
    print(f"{len(cards):,} picks to label in {options.out}")
    if flaws:
        print(
            f"Images that cannot be shown: {len(flaws):,} of {len(cards):,}; their "
            f"cards say why. The first: {flaws[0]}."
        )
    if known.classes is None:
        print(
            f"The page knows the {len(classes)} classes among predictions and labels; "
            "use --classes to name all classes."
        )


def _check(options: Options) -> None:
    """What can be refused before a file is read."""
    low, high = SIDES
    if not low <= options.thumbnail <= high:
        raise Refusal(
            f"--thumbnail must be in [{low}, {high}], got {options.thumbnail}."
        )
    if options.out.is_dir() or not options.out.parent.is_dir():
        raise Refusal(f"--out must be a file in a folder that exists: {options.out}.")
    if (options.pool is None) != (options.labels is None):
        raise Refusal("--pool and --labels must be given together, got one of them.")
    if options.campaign and (options.pool or options.ids):
        raise Refusal("--campaign already has a pool, labels and ids: give no others.")


def _merged(path, picks) -> list[Pick]:
    """One pick for each id, where it comes first; of several methods all are named."""
    same = defaultdict(list)
    for pick in picks:
        same[naming.form(pick.id)].append(pick)
    return [_joined(path, of_id) for of_id in same.values()]


def _joined(path, picks) -> Pick:
    first, names = picks[0], [pick.method for pick in picks]
    if len(set(names)) < len(names):
        raise Refusal(
            f"{path}: ids must be distinct within a method, but {first.id} is "
            "there twice."
        )
    for field in ("row", "predicted", "label"):
        said = {getattr(pick, field): None for pick in picks}
        if len(said) > 1:
            raise Refusal(
                f"{path}: picks of one id must have one {field}, but {first.id} has "
                f"{' and '.join(text or 'none' for text in said)}."
            )
    if len(picks) == 1:
        return first
    # Their scores cannot be compared, so that none is shown.
    return first._replace(method=", ".join(names), score="")


def _renamed(pick: Pick, renamed: Mapping[str, str]) -> Pick:
    """A pick by the names of now, if its file is older than them."""
    now = {
        field: renamed.get(getattr(pick, field), getattr(pick, field))
        for field in ("predicted", "label")
    }
    return pick._replace(**now)


def _known(options: Options, images) -> Known:
    if options.campaign:
        known = _known_of_campaign(options.campaign)
    else:
        known = _known_of_files(options, images)
    size = images.size if known.pool is None else len(known.pool)
    if images.size not in (None, size):
        raise Refusal(
            f"{options.images} must have an image for each of the {size:,} "
            f"rows of the pool, got {images.size:,}."
        )
    if options.classes is None:
        return known
    return known._replace(classes=read_classes(options.classes))


def _known_of_campaign(path: Path) -> Known:
    state = folder.read_record(path)
    task, labels = task_of(state), labels_of(state)
    ids = ids_of(task, np.array([*labels], np.int64))
    names = (task.classes[label] for label in labels.values())
    counts = counts_as(state).tolist()
    targets = {name: counts[label] for name, label in all_names(state).items()}
    return Known(
        task.pool,
        task.ids,
        dict(zip(ids, names, strict=True)),
        open_classes(state),
        {
            name: "" if target == naming.SKIPPED else task.classes[target]
            for name, target in targets.items()
        },
    )


def _known_of_files(options: Options, images) -> Known:
    pool = None if options.pool is None else read_pool(options.pool)
    size = images.size if pool is None else len(pool)
    if options.ids is not None and size is None:
        raise Refusal("--ids names rows: give --pool, or an .npy file of --images.")
    ids = None if options.ids is None else read_ids(options.ids, size)
    labels = {}
    if options.labels is not None:
        answers = read_answers(options.labels)
        labels = {a.id: a.label for a in answers if naming.is_class(a.label)}
    return Known(pool, ids, labels)


def _classes_in(path, picks, labels) -> tuple[str, ...]:
    """Classes where nobody named them: what was predicted or labeled, in order."""
    seen = {pick.predicted for pick in picks} | {pick.label for pick in picks}
    named = sorted(filter(naming.is_class, seen | set(labels.values())))
    seen = {*{naming.form(name): name for name in named}.values()}
    if len(seen) < 2:
        raise Refusal(
            f"{path} must have 2 predicted classes for a page without --classes, got "
            f"{', '.join(seen) or 'none'}."
        )
    return tuple(sorted(seen, key=_in_order))


def _in_order(name):
    """Numbers before names, by their size."""
    number = naming.number_of(name)
    return (number is None, number, name)


def _cards(options: Options, picks, images, known, classes) -> list[Card]:
    rows = _rows(options, known, {pick.id: pick.row for pick in picks})
    predicted = _predicted(options.picks, picks, classes)
    answers = _answers(options.picks, {pick.id: pick.label for pick in picks}, classes)
    neighbors = _neighbors(options, rows, images, known, classes)
    return [
        Card(
            pick.id,
            images.thumbnail(pick.id, row, options.thumbnail),
            name,
            _number(options.picks, pick, "confidence"),
            _number(options.picks, pick, "score"),
            pick.method,
            _hurts(options.picks, pick),
            neighbor,
            answer,
        )
        for pick, row, name, answer, neighbor in zip(
            picks, rows, predicted, answers, neighbors, strict=True
        )
    ]


def _rows(options: Options, known, stated: Mapping[str, str]) -> list[int | None]:
    """The rows of ids, with what a pick file says of each, or nothing."""
    size = None if known.pool is None else len(known.pool)
    if known.ids is None:
        return [_row(id_, text, size) for id_, text in stated.items()]
    source = str(options.campaign or options.ids)
    with naming_source(source):
        rows = naming.rows_of(known.ids, len(known.ids), [*stated]).tolist()
    for (id_, text), row in zip(stated.items(), rows, strict=True):
        if text not in ("", str(row)):
            raise Refusal(f"{id_} must be row {row} as in {source}, got {text}.")
    return rows


def _row(id_, stated, size) -> int | None:
    """Where there are no ids: the row as stated, or that the id is the number of."""
    row = naming.number_of(stated or id_)
    if stated and row is None:
        raise Refusal(f"the row of {id_} must be a number, got {stated}.")
    if stated not in ("", id_) and size is not None:
        raise Refusal(
            f"{id_} is row {stated} in the picks, but without --ids an id must be the "
            "number of its row: give the --ids that the picks were made with."
        )
    if row is not None and size is not None and row >= size:
        raise Refusal(f"{id_} must be a row in [0, {size}), got {row}.")
    return row


def _neighbors(options: Options, rows, images, known, classes):
    """The nearest labeled example of each pick, or None."""
    if known.pool is None or not known.labels:
        return [None] * len(rows)
    source = options.campaign or options.labels
    examples = zip(known.labels, _answers(source, known.labels, classes), strict=True)
    of_labels = _rows(options, known, dict.fromkeys(known.labels, ""))
    labeled = dict(zip(of_labels, examples, strict=True))
    if None in labeled or None in rows:
        raise Refusal(
            "--ids must be given if ids are not row numbers, to find their features in "
            f"{options.pool}."
        )
    nearest = nearest_rows(known.pool, np.array(rows), np.array([*labeled]))
    pictures = {
        row: images.thumbnail(labeled[row][0], row, options.thumbnail)
        for row in sorted(set(nearest.tolist()) - {-1})
    }
    return [
        None if row == -1 else Neighbor(*labeled[row], pictures[row])
        for row in nearest.tolist()
    ]


def _predicted(path, picks, classes) -> list[str]:
    """Names of predicted classes; where nobody named them `iwps score` has numbers."""
    called = {naming.form(name): name for name in classes}
    predicted = {naming.form(pick.predicted) for pick in picks} - {""}
    numbers = {str(number): name for number, name in enumerate(classes)}
    are_numbers = all(naming.number_of(name) is not None for name in predicted)
    are_names = predicted <= called.keys() or not are_numbers
    legal = {"": ""} | (called if are_names else numbers)
    for pick in picks:
        if naming.form(pick.predicted) not in legal:
            raise Refusal(
                f"{path}: predictions must be names of the {len(classes)} classes, or "
                f"all be their numbers, but that of {pick.id} is {pick.predicted}."
            )
    return [legal[naming.form(pick.predicted)] for pick in picks]


def _answers(path, label_of: Mapping[str, str], classes) -> list[str]:
    """Labels by id as they are written on the page."""
    with naming_source(path):
        numbers = naming.classes_of(classes, [*label_of], [*label_of.values()])
    written = {None: "", naming.SKIPPED: naming.SKIP, naming.UNSURED: naming.UNSURE}
    return [written[n] if n in written else classes[n] for n in numbers]


def _number(path, pick, name) -> float | None:
    text = getattr(pick, name)
    return _finite(path, pick, name, text) if text else None


def _hurts(path, pick) -> tuple[tuple[str, float], ...]:
    rows, changes = pick.hurts.split(), pick.hurts_by.split()
    if len(rows) != len(changes):
        raise Refusal(
            f"{path}: hurts and hurts_by of {pick.id} must be equally long, got "
            f"{len(rows)} and {len(changes)}."
        )
    numbers = [_finite(path, pick, "hurts_by", text) for text in changes]
    return tuple(zip(rows, numbers, strict=True))


def _finite(path, pick, name, text) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Refusal(f"{path}: {name} of {pick.id} must be a number, got {text}.")
    return number
