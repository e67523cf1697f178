"""`iwps show`: a page with the picks' images, for people who label them.

    iwps show picks.csv --images photos --classes cat,dog --out picks.html

One HTML file, which any browser opens without a network. A key labels an image; what is
labeled is kept in the browser, and saved as labels.csv, which `iwps label` reads. With
--campaign, or with --pool and --labels, the nearest labeled example is shown beside
each pick.
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.campaign import folder, labels_of
from iwps_jax.campaign.state import ids_of
from iwps_jax.commands import ending
from iwps_jax.commands.parsing import add_command
from iwps_jax.files.inputs import SKIP, read_classes, read_ids, read_pool
from iwps_jax.files.picks import Pick, read_answers, read_picks
from iwps_jax.files.whole import write_whole
from iwps_jax.gallery.nearest import nearest_rows
from iwps_jax.gallery.page import Card, Neighbor, page
from iwps_jax.gallery.sources import open_images

SIDES = 16, 1024


class Known(NamedTuple):
    """What is known of the pool besides the picks.

    Attributes:
        pool: its features, a memory map; None if there are none.
        ids: of its rows; None if the numbers of the rows are the ids.
        labels: names of classes by id, of what is labeled.
        classes: their names; None if nobody named them.
    """

    pool: np.ndarray | None = None
    ids: Sequence[str] | None = None
    labels: Mapping[str, str] = {}
    classes: tuple[str, ...] | None = None


def add_to(commands: Any) -> None:
    """Adds the command and its options to those of `iwps`."""
    parser = add_command(
        commands,
        "show",
        run,
        summary="a page with the picks' images, for people who label them",
        description=__doc__,
    )
    parser.add_argument("picks", type=Path, help="of `iwps next` or `iwps score`")
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        help="a folder, where an id is a file's path with or without its suffix, or a "
        "number with or without zeros before it; or an .npy file of [pool, height, "
        "width] or [pool, height, width, 1 | 3 | 4]",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("picks.html"), help="default %(default)s"
    )
    parser.add_argument(
        "--thumbnail",
        type=int,
        default=160,
        metavar="PIXELS",
        help="largest side of an image (default %(default)s)",
    )
    parser.add_argument("--title", help="of the page, default: the name of the picks")
    parser.add_argument(
        "--classes",
        help="cat,dog,... or a file with one a line; default: those of the campaign, "
        "or else of the predictions and labels",
    )
    parser.add_argument("--campaign", type=Path, help="folder of `iwps init`")
    beside = parser.add_argument_group("without a campaign: nearest labeled examples")
    beside.add_argument("--pool", type=Path, help="features of the whole pool")
    beside.add_argument("--labels", type=Path, help="CSV with id and label")
    beside.add_argument("--ids", type=Path, help="of the pool's rows, default: 0, 1, …")


def run(options: argparse.Namespace) -> int:
    """Writes the page; returns the exit status."""
    return ending.status_of(lambda: _show(options))


def _show(options):
    _check(options)
    picks = _merged(options.picks, read_picks(options.picks))
    images = open_images(options.images)
    known = _known(options, images)
    classes = known.classes or _classes_in(options.picks, picks, known.labels)
    cards = _cards(options, picks, images, known, classes)
    title = options.title or f"Picks of {options.picks.name}"
    write_whole(options.out, page(cards, classes, title, side=options.thumbnail))
    print(f"{len(cards):,} picks to label in {options.out}")
    if known.classes is None:
        print(
            f"Its classes are the {len(classes)} among predictions and labels; "
            "--classes names all."
        )


def _check(options):
    """What can be refused before a file is read."""
    low, high = SIDES
    if not low <= options.thumbnail <= high:
        raise ValueError(
            f"--thumbnail must be in [{low}, {high}], got {options.thumbnail}."
        )
    if options.out.is_dir() or not options.out.parent.is_dir():
        raise ValueError(f"--out must be a file in a folder there is: {options.out}.")
    if (options.pool is None) != (options.labels is None):
        raise ValueError("--pool and --labels must be given together, got one of them.")
    if options.campaign and (options.pool or options.ids):
        raise ValueError("--campaign has a pool, labels and ids: give no others.")


def _merged(path, picks) -> list[Pick]:
    """One pick for each id, where it comes first; of several methods all are named."""
    same = defaultdict(list)
    for pick in picks:
        same[pick.id].append(pick)
    return [_joined(path, of_id) for of_id in same.values()]


def _joined(path, picks) -> Pick:
    first, names = picks[0], [pick.method for pick in picks]
    if len(set(names)) < len(names):
        raise ValueError(
            f"{path}: ids must be distinct but for several methods, {first.id} is "
            "there twice."
        )
    for field in ("row", "predicted", "label"):
        said = {getattr(pick, field): None for pick in picks}
        if len(said) > 1:
            raise ValueError(
                f"{path}: picks of one id must have one {field}, {first.id} has "
                f"{' and '.join(text or 'none' for text in said)}."
            )
    if len(picks) == 1:
        return first
    # Their scores cannot be compared, so that none is shown.
    return first._replace(method=", ".join(names), score="")


def _known(options, images) -> Known:
    if options.campaign:
        known = _known_of_campaign(options.campaign)
    else:
        known = _known_of_files(options, images)
    size = images.size if known.pool is None else len(known.pool)
    if images.size not in (None, size):
        raise ValueError(
            f"{options.images} must have an image for each of the {size:,} "
            f"rows of the pool, got {images.size:,}."
        )
    if options.classes is None:
        return known
    return known._replace(classes=read_classes(options.classes))


def _known_of_campaign(path: Path) -> Known:
    state = folder.read_record(path)
    task, labels = state.task, labels_of(state)
    ids = ids_of(task, np.array([*labels], np.int64))
    names = (task.classes[label] for label in labels.values())
    return Known(
        task.pool,
        None if task.ids is None else task.ids.tolist(),
        dict(zip(ids, names, strict=True)),
        task.classes,
    )


def _known_of_files(options, images) -> Known:
    pool = None if options.pool is None else read_pool(options.pool)
    size = images.size if pool is None else len(pool)
    if options.ids is not None and size is None:
        raise ValueError("--ids names rows: give --pool, or an array of --images.")
    ids = None if options.ids is None else read_ids(options.ids, size).tolist()
    labels = {}
    if options.labels is not None:
        answers = read_answers(options.labels)
        labels = {a.id: a.label for a in answers if _is_label(a.label)}
    return Known(pool, ids, labels)


def _classes_in(path, picks, labels) -> tuple[str, ...]:
    """Classes where nobody named them: what was predicted or labeled, in order."""
    seen = {pick.predicted for pick in picks} | {pick.label for pick in picks}
    seen = set(filter(_is_label, seen | set(labels.values())))
    if len(seen) < 2:
        raise ValueError(
            f"{path} must have 2 predicted classes for a page without --classes, got "
            f"{', '.join(seen) or 'none'}."
        )
    numbers = sorted(filter(_is_number, seen), key=int)
    return (*numbers, *sorted(seen - set(numbers)))


def _cards(options, picks, images, known, classes) -> list[Card]:
    row_of = _rows_by_id(options, known)
    rows = [row_of(pick.id, pick.row) for pick in picks]
    predicted = _named(options.picks, {p.id: p.predicted for p in picks}, classes)
    labels = {p.id: p.label if _is_label(p.label) else p.label.lower() for p in picks}
    answers = _named(options.picks, labels, classes)
    neighbors = _neighbors(options, rows, row_of, images, known, classes)
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


def _rows_by_id(options, known) -> Callable[[str, str], int | None]:
    """How to get the row of an id, with what a pick file says of it."""
    numbers = None if known.ids is None else {v: i for i, v in enumerate(known.ids)}
    source = options.campaign or options.ids
    size = None if known.pool is None else len(known.pool)

    def row_of(id_: str, stated: str = "") -> int | None:
        if numbers is not None:
            if id_ not in numbers:
                raise ValueError(f"{source} has no id {id_}.")
            if stated and stated != str(numbers[id_]):
                raise ValueError(
                    f"{id_} must be row {numbers[id_]}, as {source} has it, got "
                    f"{stated}."
                )
            return numbers[id_]
        text = stated or id_
        if not _is_number(text):
            if stated:
                raise ValueError(f"the row of {id_} must be a number, got {stated}.")
            return None
        if size is not None and int(text) >= size:
            raise ValueError(f"{id_} must be a row in [0, {size}), got {text}.")
        return int(text)

    return row_of


def _neighbors(options, rows, row_of, images, known, classes):
    """The nearest labeled example of each pick, or None."""
    if known.pool is None or not known.labels:
        return [None] * len(rows)
    source = options.campaign or options.labels
    names = _named(source, known.labels, classes)
    labeled = {
        row_of(id_): (id_, name) for id_, name in zip(known.labels, names, strict=True)
    }
    if None in labeled or None in rows:
        raise ValueError(
            "ids that are no numbers of rows need --ids, to find their features in "
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


def _named(path, label_of, classes) -> list[str]:
    """Labels by id as names of classes; all are names, or all are numbers of them."""
    answered = set(filter(_is_label, label_of.values()))
    if answered <= set(classes):
        return list(label_of.values())
    are_numbers = all(map(_is_number, answered))
    legal = map(str, range(len(classes))) if are_numbers else classes
    bad = answered - set(legal)
    for id_, label in label_of.items():
        if label in bad:
            raise ValueError(
                f"{path}: labels must be names of the {len(classes)} classes, or all "
                f"be their numbers, that of {id_} is {label}."
            )
    return [classes[int(x)] if x in answered else x for x in label_of.values()]


def _number(path, pick, name) -> float | None:
    text = getattr(pick, name)
    return _finite(path, pick, name, text) if text else None


def _hurts(path, pick) -> tuple[tuple[str, float], ...]:
    rows, changes = pick.hurts.split(), pick.hurts_by.split()
    if len(rows) != len(changes):
        raise ValueError(
            f"{path}: hurts and hurts_by of {pick.id} must have one length, got "
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
        raise ValueError(f"{path}: {name} of {pick.id} must be a number, got {text}.")
    return number


def _is_label(text: str) -> bool:
    """Whether an answer names a class; else there is none yet, or it was skipped."""
    return text.lower() not in ("", SKIP)


def _is_number(text: str) -> bool:
    # Only as it is written: 07 may be another system's 7.
    return text.isascii() and text.isdigit() and str(int(text)) == text
