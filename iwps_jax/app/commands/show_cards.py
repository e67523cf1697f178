"""The cards of `iwps show`: from lines of a pick file to what the page says of each."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from iwps_jax.app import naming
from iwps_jax.app.commands.answers import naming_source
from iwps_jax.app.files.file_array import AnyRows
from iwps_jax.app.files.picks import Pick
from iwps_jax.app.gallery.contents import Contents
from iwps_jax.app.gallery.nearest import nearest_rows
from iwps_jax.app.gallery.page import Card, Neighbor
from iwps_jax.refusal import Refusal
from iwps_jax.wording import plural


class Known(NamedTuple):
    """What is known of the pool besides the picks.

    Attributes:
        contents: what there is to show.
        pool: its features, which stay in their file; None if there are none.
        ids: of its rows; None if the numbers of the rows are the ids.
        labels: names of classes by id, of what is labeled.
        classes: their names; None if nobody named them.
        renamed: for every name that a class had, its name of now; empty if it has none.
        grows: whether an answer may name a class that is not there yet.
        names_of: the file or folder that says the ids, for messages.
        labels_of: the same of the labels.
        pool_of: the same of the features.
    """

    contents: Contents
    pool: AnyRows | None = None
    ids: naming.Ids = None
    labels: Mapping[str, str] = {}
    classes: tuple[str, ...] | None = None
    renamed: Mapping[str, str] = {}
    grows: bool = False
    names_of: Path | None = None
    labels_of: Path | None = None
    pool_of: Path | None = None


def merged(path: Path, picks: Sequence[Pick]) -> list[Pick]:
    """One pick for each id, where it comes first; of several methods all are named.

    Raises:
        Refusal: if an id occurs twice within a method, or its lines disagree.
    """
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


def renamed(pick: Pick, names: Mapping[str, str]) -> Pick:
    """A pick by the names of now, if its file is older than them."""
    now = {
        field: names.get(getattr(pick, field), getattr(pick, field))
        for field in ("predicted", "label")
    }
    return pick._replace(**now)


def classes_in(
    path: Path, picks: Sequence[Pick], labels: Mapping[str, str]
) -> tuple[str, ...]:
    """Classes where nobody named them: what was predicted or labeled, in order.

    Raises:
        Refusal: if there are fewer than two.
    """
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


def cards_of(
    path: Path,
    picks: Sequence[Pick],
    known: Known,
    classes: Sequence[str],
    side: int,
) -> list[Card]:
    """The cards of the picks, in their order.

    Args:
        path: the pick file, for messages.
        picks: its lines, one for each id.
        known: what is known of the pool.
        classes: names of the classes.
        side: the largest side of an image in pixels.

    Raises:
        Refusal: if an id, a row, a class or a number is impossible, or a sample is not
            there.
    """
    rows = _rows(known, {pick.id: pick.row for pick in picks})
    predicted = _predicted(path, picks, classes)
    answers = _answers(path, {pick.id: pick.label for pick in picks}, classes)
    nearest, labeled = _nearest(known, rows, classes)
    # In one go, since all samples may be in one file.
    examples = sorted({*nearest} - {-1})
    places = [(pick.id, row) for pick, row in zip(picks, rows, strict=True)]
    places += [(labeled[row][0], row) for row in examples]
    contents = known.contents.read(places, side)
    neighbors: dict[int, Neighbor | None] = {
        row: Neighbor(labeled[row][0], labeled[row][1], content)
        for row, content in zip(examples, contents[len(picks) :], strict=True)
    }
    return [
        Card(
            pick.id,
            content,
            name,
            _number(path, pick, "confidence") if name else None,
            _number(path, pick, "score"),
            pick.method,
            _hurts(path, pick),
            neighbors.get(example),
            answer,
        )
        for pick, content, name, answer, example in zip(
            picks, contents[: len(picks)], predicted, answers, nearest, strict=True
        )
    ]


def _rows(known: Known, stated: Mapping[str, str]) -> list[int | None]:
    """The rows of ids, with what a pick file says of each, or nothing."""
    size = None if known.pool is None else len(known.pool)
    if known.ids is None:
        return [_row(id_, text, size) for id_, text in stated.items()]
    with naming_source(str(known.names_of)):
        rows = naming.rows_of(known.ids, len(known.ids), [*stated]).tolist()
    for (id_, text), row in zip(stated.items(), rows, strict=True):
        if naming.whole(text) not in ("", str(row)):
            raise Refusal(
                f"{id_} must be row {row} as in {known.names_of}, got {text}."
            )
    return rows


def _row(id_, stated, size) -> int | None:
    """Where there are no ids: the row as stated, or that the id is the number of."""
    row = naming.number_of(naming.whole(stated or id_))
    if stated and row is None:
        raise Refusal(f"the row of {id_} must be a number, got {stated}.")
    if naming.whole(stated) not in ("", naming.whole(id_)) and size is not None:
        raise Refusal(
            f"{id_} is row {stated} in the picks, but without --ids an id must be the "
            "number of its row: give the --ids that the picks were made with."
        )
    if row is not None and size is not None and row >= size:
        raise Refusal(f"{id_} must be a row in [0, {size}), got {row}.")
    return row


def _nearest(
    known: Known, rows, classes
) -> tuple[list[int], dict[int, tuple[str, str]]]:
    """For each pick the row of the nearest example or -1; id and label by row."""
    if known.pool is None or not known.labels:
        return [-1] * len(rows), {}
    examples = zip(
        known.labels, _answers(known.labels_of, known.labels, classes), strict=True
    )
    of_labels = _rows(known, dict.fromkeys(known.labels, ""))
    labeled = {
        row: example
        for row, example in zip(of_labels, examples, strict=True)
        if row is not None
    }
    if None in of_labels or None in rows:
        raise Refusal(
            "--ids must be given if ids are not row numbers, to find their features in "
            f"{known.pool_of}."
        )
    found = nearest_rows(known.pool, np.array(rows), np.array([*labeled]))
    return found.tolist(), labeled


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
                f"{path}: predictions must be names of the "
                f"{plural(len(classes), 'class')}, or all be their numbers, but that "
                f"of {pick.id} is {pick.predicted}."
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
