"""The holdout set of a new campaign, the labels that exist already, and the classes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app import naming
from iwps_jax.app.campaign import scaling
from iwps_jax.app.commands import new_classes
from iwps_jax.app.commands.answers import naming_line
from iwps_jax.app.files.labels import require_single
from iwps_jax.app.files.picks import Answer, read_answers
from iwps_jax.app.files.readers import (
    places_of,
    read_classes,
    read_holdout,
    require_classes,
    require_few_classes,
    warn_of_lookalikes,
)
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import NAMED
from iwps_jax.app.options import Flag, Options
from iwps_jax.types import Holdout
from iwps_jax.wording import plural


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfHoldout(Options):
    """The options that name what is known at the start."""

    holdout: Path | None = None
    """a few labeled samples that judge the head: .npz or .safetensors with features
    [m, d] and integer labels [m], or .csv with id,label that names rows of the pool"""
    labels: Path | None = None
    """labels that you already have: .csv with the columns id and label"""
    classes: str | None = None
    """names of the classes: cat,dog,... or a file with one name per line (default:
    those in the files; without --holdout, answers may then name new ones)"""
    new_classes: Flag = False
    """take every name in --labels for a class of its own, even if it may be another
    one, misspelled"""


class Judges(NamedTuple):
    """What is known of classes and holdout samples.

    Attributes:
        classes: names of the classes; None if none is known.
        rows: rows of the pool that are holdout samples.
        holdout: features and classes of the holdout samples, or nothing.
        told: labels that exist already, corrected by whoever was asked.
    """

    classes: tuple[str, ...] | None
    rows: Sequence[int] | np.ndarray
    holdout: Holdout | tuple[()]
    told: Sequence[Answer]


def read_judges(
    options: OfHoldout, told: Sequence[Answer], path: Path, pool: Any, ids: naming.Ids
) -> Judges:
    """Reads the holdout set, if there is one, and the classes.

    Args:
        options: the files.
        told: labels that exist already.
        path: the file of the pool.
        pool: its features.
        ids: names of its rows.

    Raises:
        FileError: if a file cannot be read, or they do not fit together.
        AnswerError: if a holdout sample is no row of the pool, or has no class.
    """
    if options.holdout is None:
        classes = None if options.classes is None else read_classes(options.classes)
        if classes is None and options.labels is not None:
            classes, told = _names_in(options, options.labels, told)
        return Judges(classes or None, (), (), told)
    if options.holdout.suffix.lower() == ".csv":
        judged = read_answers(options.holdout)
        classes = _classes(options, told, judged, None)
        with naming_line(options.holdout, judged):
            rows, holdout = _holdout_of_pool(options, judged, pool, ids, classes)
        return Judges(classes, rows, holdout, told)
    holdout = read_holdout(options.holdout)
    classes = _classes(options, told, [], holdout)
    _require_holdout(options.holdout, holdout, path, pool, classes)
    return Judges(classes, (), holdout, told)


def _names_in(
    options: OfHoldout, path: Path, told: Sequence[Answer]
) -> tuple[tuple[str, ...], Sequence[Answer]]:
    """The classes in a file of answers, numbers in their order, then other names."""
    require_single(path, told)
    named: dict[str, str] = {}
    for answer in told:
        if naming.is_class(answer.label):
            named.setdefault(naming.form(answer.label), answer.label)
    names: Sequence[str] = [*named.values()]
    if options.new_classes:
        warn_of_lookalikes(f"{path}", names)
    else:
        names, told = new_classes.settle(path, names, told)
    numbers = [name for name in names if naming.number_of(name) is not None]
    others = [name for name in names if naming.number_of(name) is None]
    return (*sorted(numbers, key=int), *sorted(others)), told


def _classes(options: OfHoldout, told, judged, holdout) -> tuple[str, ...]:
    """As given, or names from the answers, or numbers up to the largest of all."""
    if options.classes is not None:
        classes = read_classes(options.classes)
        if holdout is not None:
            _require_order(classes)
        return classes
    names: dict[str, str] = {}  # by their form: of two spellings the first counts
    places: dict[int, str] = {}
    for path, answers in ((options.labels, told), (options.holdout, judged)):
        require_single(path, answers)
        for answer in answers:
            number = naming.number_of(answer.label)
            if number is not None:
                places.setdefault(number, f"{path}: line {answer.line}")
            if naming.is_class(answer.label):
                names.setdefault(naming.form(answer.label), answer.label)
    if len(places) < len(names):
        if holdout is not None:
            raise FileError(
                "--classes must be given if labels are names: their order says which "
                "name belongs to which number in the holdout file."
            )
        classes = tuple(sorted(names.values()))
        warn_of_lookalikes(f"{options.labels or options.holdout}", classes)
    else:
        if holdout is not None:
            places |= places_of(f"{options.holdout}", holdout.labels)
        require_few_classes(places)
        classes = tuple(map(str, range(max(places, default=0) + 1)))
    if len(classes) < 2:
        raise FileError(
            "--classes must be given if fewer than two classes have labels."
        )
    return classes


def _require_order(classes):
    """Refuses names that are numbers but others than the holdout file's."""
    numbers = [naming.number_of(name) for name in classes]
    if None not in numbers and numbers != list(range(len(classes))):
        raise FileError(
            "--classes must be 0, 1, ... in this order if they are numbers, as in "
            f"the holdout file, got {', '.join(classes[:NAMED])}."
        )


def _require_holdout(source: Path, holdout, path, pool, classes):
    """Refuses a holdout set that does not fit the pool or the classes."""
    d, width = holdout.features.shape[1], pool.shape[1]
    if d != width:
        raise FileError(
            f"{source} must have {plural(width, 'column')} like the pool {path}, got "
            f"{d}."
        )
    require_classes(source, holdout.labels, len(classes))


def _holdout_of_pool(options: OfHoldout, judged, pool, ids, classes):
    """Rows of the pool that are holdout samples, with their features and labels."""
    if not judged:
        raise FileError(f"{options.holdout} must have a holdout sample, got none.")
    names = [answer.id for answer in judged]
    rows = naming.rows_of(ids, len(pool), names)
    labels = naming.classes_of(classes, names, [answer.label for answer in judged])
    for name, label in zip(names, labels, strict=True):
        if label is None or label < 0:
            raise naming.AnswerError(
                name, f"a holdout sample must have a class, {name!r} has none."
            )
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        features = scaling.rows_of(pool, rows.tolist()).astype(np.float32)
    naming.require_finite(names, rows, features)
    return rows, Holdout(features, np.array(labels, np.int32))
