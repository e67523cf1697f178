"""Events as the records of a journal, and back; what is read is checked.

A field of a record has the name of the event's attribute. Answers are class numbers,
"skip" or "unsure"; a score that is not there is null.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from iwps_jax.app.campaign.events import (
    NO_MODEL,
    PURPOSES,
    REPEATING,
    Answers,
    Batch,
    ClassAdded,
    ClassMerged,
    ClassRenamed,
    ClassRestored,
    ClassRetired,
    Event,
    Reissue,
    SettingsChanged,
)
from iwps_jax.app.campaign.journal import Record
from iwps_jax.app.campaign.state import METHODS, RECOMMENDED, Task, ids_of
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import SKIP, SKIPPED, UNSURE, UNSURED

KINDS = {
    "handed_out": Batch,
    "reissued": Reissue,
    "answered": Answers,
    "corrected": Answers,
    "class_added": ClassAdded,
    "class_renamed": ClassRenamed,
    "class_merged": ClassMerged,
    "class_retired": ClassRetired,
    "class_restored": ClassRestored,
    "settings_changed": SettingsChanged,
}
TYPES = {
    "rows": np.int64,
    "scores": np.float32,
    "predicted": np.int64,
    "confidence": np.float32,
    "labels": np.int64,
    "previous": np.int64,
}
WORDS = {SKIPPED: SKIP, UNSURED: UNSURE}
NUMBERS = {word: number for number, word in WORDS.items()}


def record_of(event: Event, task: Task) -> Record:
    """An event as a record, without number and time."""
    (kind, *_) = (name for name, cls in KINDS.items() if isinstance(event, cls))
    if isinstance(event, Answers) and event.previous is not None:
        kind = "corrected"
    told: Record = {"event": kind}
    if isinstance(event, Batch | Reissue | Answers):
        told["ids"] = ids_of(task, event.rows)
    for name, value in event._asdict().items():
        if name == "previous" and value is None:  # answers that correct nothing
            continue
        if name in ("labels", "previous"):
            told[name] = [WORDS.get(label, label) for label in value.tolist()]
        elif name == "scores":
            told[name] = [None if np.isnan(x) else x for x in value.tolist()]
        else:
            told[name] = value.tolist() if isinstance(value, np.ndarray) else value
    return told


def events_of(records: Sequence[Record], task: Task, source: str) -> tuple[Event, ...]:
    """The events that records tell of, each checked against those before.

    Args:
        records: in order.
        task: what the campaign began with.
        source: the journal, for the message.

    Raises:
        FileError: for the first that is not an event of this campaign.
    """
    found = []
    history = _History(task)
    for number, record in enumerate(records, start=1):
        try:
            found.append(history.take(record))
        except KeyError as error:
            raise FileError(
                f"{source}: event {number} is damaged: it has no {error.args[0]}."
            ) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise FileError(f"{source}: event {number} is damaged: {error}") from error
    return tuple(found)


class _History:
    """What the events so far allow the next one to be."""

    def __init__(self, task: Task):
        self._task, self._num_classes = task, len(task.classes)
        self._handed_out: set[int] = set()
        self._last: dict[int, int] = {}

    def take(self, record: Record) -> Event:
        """The event; a ValueError, TypeError or KeyError if there can be no such."""
        kind = KINDS.get(record["event"])
        if kind is None:
            raise ValueError(f"there is no event {record['event']!r}.")
        event = kind(**_values(kind, record))
        match event:
            case Batch() | Reissue() | Answers():
                self._check_rows(event, record["ids"])
        match event:
            case Batch():
                self._check_batch(event)
                self._handed_out |= set(event.rows.tolist())
            case Reissue():
                if not self._handed_out >= set(event.rows.tolist()):
                    raise ValueError("it repeats samples that were not handed out.")
            case Answers():
                self._check_answers(event, record["event"])
                rows, labels = event.rows.tolist(), event.labels.tolist()
                self._last |= dict(zip(rows, labels, strict=True))
                self._handed_out |= set(rows)
            case ClassAdded():
                self._num_classes += 1
            case ClassRenamed(label) | ClassRetired(label) | ClassRestored(label):
                self._require_classes([label], 0)
            case ClassMerged(label, into):
                self._require_classes([label, into], 0)
            case SettingsChanged(method):
                if method not in (RECOMMENDED, *METHODS):
                    raise ValueError(f"there is no method {method!r}.")
        return event

    def _check_rows(self, event, ids):
        rows = event.rows
        if rows.ndim != 1 or not rows.size:
            raise ValueError("it has no rows.")
        if not 0 <= rows.min() <= rows.max() < len(self._task.pool):
            raise ValueError("it has rows that are not in the pool.")
        if rows.size > 1 and len(set(rows.tolist())) < rows.size:
            raise ValueError("it repeats a sample.")
        if ids != ids_of(self._task, rows):
            raise ValueError("its ids are not those of its rows.")
        columns = (x for x in event if isinstance(x, np.ndarray))
        if {column.shape for column in columns} != {rows.shape}:
            raise ValueError("its columns differ in length.")

    def _check_batch(self, event):
        if event.purpose not in PURPOSES:
            raise ValueError(f"there is no purpose {event.purpose!r}.")
        if event.purpose not in REPEATING and self._handed_out & set(
            event.rows.tolist()
        ):
            raise ValueError("it hands out a sample again.")
        if event.method not in METHODS:
            raise ValueError(f"there is no method {event.method!r}.")
        if np.isinf(event.scores).any():
            raise ValueError("a score is infinite.")
        self._require_classes(event.predicted.tolist(), NO_MODEL)

    def _check_answers(self, event, kind):
        self._require_classes(event.labels.tolist(), UNSURED)
        if type(event.num_labeled) is not int or not all(
            value is None or (type(value) is float and math.isfinite(value))
            for value in (event.holdout_loss, event.holdout_accuracy)
        ):
            raise ValueError("its numbers are not those of a head.")
        if (event.previous is None) != (kind == "answered"):
            raise ValueError("its previous answers are not there, or should not be.")
        if event.previous is not None:
            known = [self._last.get(row) for row in event.rows.tolist()]
            if known != event.previous.tolist():
                raise ValueError("it corrects answers that there are not.")

    def _require_classes(self, numbers, lowest):
        if not lowest <= min(numbers) <= max(numbers) < self._num_classes:
            raise ValueError("it has classes that do not exist.")


def _values(kind, record) -> dict[str, Any]:
    """The attributes of an event, arrays as arrays."""
    values = {}
    for name in kind._fields:
        if name in kind._field_defaults and name not in record:
            continue
        value = record[name]
        if name in ("labels", "previous"):
            value = [NUMBERS.get(x, x) if isinstance(x, str) else x for x in value]
        if name == "scores":
            value = [np.nan if x is None else x for x in value]
        values[name] = np.array(value, TYPES[name]) if name in TYPES else value
    return values
