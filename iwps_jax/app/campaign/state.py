"""A labeling campaign as a value: its settings, batches, answers and head.

    state = start(pool)                   # or with a holdout set, and with classes
    state = tell(state, ids, labels)      # labels that exist already
    state, ids = ask(state, 50)           # the samples to label next
    state = tell(state, ids, labels)      # their answers; may be incomplete

No function here writes a file: `iwps_jax.app.campaign.folder` stores a campaign.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from iwps_jax import checks, methods
from iwps_jax.app import naming
from iwps_jax.app.campaign.events import (
    Answers,
    Batch,
    ClassAdded,
    ClassMerged,
    ClassRenamed,
    ClassRestored,
    ClassRetired,
    Event,
    SettingsChanged,
)
from iwps_jax.app.campaign.scaling import Scaling, scaling_of
from iwps_jax.app.naming import SKIPPED, UNSURED
from iwps_jax.heads.linear_probe import LinearProbe
from iwps_jax.method import LEARNING_RATE, RARITY, STEPS
from iwps_jax.refusal import Refusal, refusing
from iwps_jax.types import AnyArray, Holdout
from iwps_jax.wording import plural

METHODS = tuple(row.name for row in methods.ROWS.values() if "draws" not in row.needs)
"""The methods that a campaign can use: its head draws no dropout masks."""
RECOMMENDED = "recommended"
"""In place of a method: the one that is recommended when a batch is picked."""
CONTROL = 0.1
"""The share of control rows where there is no holdout set."""
MOST_CONTROL = 0.5
"""The largest share of control rows."""


class Task(NamedTuple):
    """Settings and data of a campaign.

    Attributes:
        pool: features [pool, d], an array or a memory map.
        ids: names of the rows, of a StringDType, or None for their numbers.
        holdout_features: [m, d]; m is 0 if there is no holdout set.
        holdout_labels: [m], in [0, classes).
        holdout_rows: rows of the pool that are holdout samples; the campaign never
            asks for them.
        classes: names of the classes.
        method: one of `METHODS`, or `RECOMMENDED`.
        steps: T of the look-ahead.
        learning_rate: η of the look-ahead.
        seed: seed of the methods that draw at random.
        scaling: scaling of the features for head and scores.
        control: share of each batch that is drawn at random, to measure.
        is_open: whether an answer may name a new class.
        rarity: γ of herding, see `iwps_jax.method.Model`.
    """

    pool: Any
    ids: np.ndarray | None
    holdout_features: np.ndarray
    holdout_labels: np.ndarray
    holdout_rows: np.ndarray
    classes: tuple[str, ...]
    method: str
    steps: int
    learning_rate: float
    seed: int
    scaling: Scaling
    control: float = 0.0
    is_open: bool = False
    rarity: float = RARITY


class Campaign(NamedTuple):
    """The complete state of a campaign.

    Attributes:
        task: data, and settings at the start; see `task_of` for those of now.
        events: all that happened, in order; the head follows from them.
        head: fitted to the labels, on scaled features; None if fewer than two classes
            have labels.
    """

    task: Task
    events: tuple[Event, ...]
    head: LinearProbe | None


def start(
    pool: Any,
    holdout_features: AnyArray | None = None,
    holdout_labels: AnyArray | None = None,
    *,
    classes: Sequence[str] | None = None,
    ids: Sequence[str] | np.ndarray | None = None,
    holdout_rows: Sequence[int] | np.ndarray = (),
    method: str | None = None,
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
    control: float | int | None = None,
    is_open: bool | None = None,
    rarity: float = RARITY,
) -> Campaign:
    """A campaign without labels.

    Args:
        pool: features [pool, d]: an array, or a memory map of any size.
        holdout_features: [m, d], features of the holdout samples, if there are any.
        holdout_labels: their classes, in [0, classes).
        classes: names of the classes; none may be `skip`. None: no class is known yet.
        ids: distinct names of the rows; the row numbers by default.
        holdout_rows: rows of the pool that are among the holdout samples.
        method: one of `METHODS`, or `RECOMMENDED`; None: iwps_batch with a holdout set,
            and `RECOMMENDED` without.
        steps: T of IWPS.
        learning_rate: η of IWPS, for features scaled to unit mean square.
        seed: seed of the methods that draw at random, and of the control rows.
        control: share of each batch that is drawn at random to measure the accuracy, at
            most 0.5; None: 0.1, or 0 with a holdout set.
        is_open: whether an answer may name a new class; None: if no class was given.
        rarity: γ of herding: 1 for the mean recall of the classes, 0 for the accuracy
            on samples as frequent as in the pool, or between.

    Raises:
        Refusal: if shapes, names or numbers do not fit together.
        TypeError: if features are not numbers or labels not integers.

    Example:
        >>> from iwps_jax.app.campaign import ask, tell
        >>> pool = np.array([[0.0], [1.0], [9.0]], np.float32)
        >>> state = start(pool, pool[1:], np.array([0, 1]), classes=("low", "high"))
        >>> state = tell(state, ["0", "2"], ["low", "high"])
        >>> state, ids = ask(state, 1)
        >>> ids
        ['1']
    """
    has_holdout = holdout_features is not None
    if is_open is None:
        is_open = classes is None
    names = () if classes is None else _checked_classes(classes, fewest=2 - is_open)
    if len(getattr(pool, "shape", ())) != 2 or not len(pool):
        raise Refusal("pool must have 2 axes [pool, d] and at least one row.")
    with refusing(ValueError):
        checks.require_steps(steps, learning_rate)
        checks.require_not_negative("rarity", rarity)
        if has_holdout:
            _check_holdout(pool, holdout_features, holdout_labels, len(names))
    if method is None:
        method = methods.IWPS_BATCH.name if has_holdout else RECOMMENDED
    if method not in (RECOMMENDED, *METHODS):
        raise Refusal(f"method must be one of {', '.join(METHODS)}, got {method}.")
    if control is None:
        control = 0.0 if has_holdout else CONTROL
    if not 0 <= control <= MOST_CONTROL:
        raise Refusal(f"control must be in [0, {MOST_CONTROL}], got {control}.")
    holdout_rows = np.asarray(holdout_rows, np.int64)
    if holdout_rows.size and not 0 <= holdout_rows.min() <= holdout_rows.max() < len(
        pool
    ):
        raise Refusal(f"holdout_rows must be in [0, {len(pool)}).")
    if not has_holdout:
        holdout_features = np.zeros((0, pool.shape[1]), np.float32)
        holdout_labels = np.zeros(0, np.int32)
    task = Task(
        pool,
        _checked_ids(ids, len(pool)),
        np.asarray(holdout_features, np.float32),
        np.asarray(holdout_labels, np.int32),
        holdout_rows,
        names,
        method,
        int(steps),
        float(learning_rate),
        checks.require_integer("seed", seed),
        scaling_of(pool),
        float(control),
        bool(is_open),
        float(rarity),
    )
    return Campaign(task, (), None)


def _check_holdout(pool, features, labels, num_classes):
    checks.require_finite("holdout_features", features, "m d")
    size = checks.batch_size("holdout_features", features)
    checks.require_labels("holdout_labels", labels, num_classes)
    checks.require_size("holdout_labels", labels, 0, size, "holdout_features")
    checks.require_size("holdout_features", features, 1, pool.shape[1], "pool")


def _checked_classes(classes, fewest) -> tuple[str, ...]:
    classes = tuple(str(name) for name in classes)
    if len(classes) < fewest or len(set(map(naming.form, classes))) < len(classes):
        raise Refusal(f"classes must be two or more distinct names, got {classes}.")
    for name in classes:
        require_class_name(name)
    return classes


def require_class_name(name: str) -> None:
    """Refuses what cannot be the name of a class.

    Raises:
        Refusal: if it is empty, `skip` or `unsure`, which are answers, or has a flaw
            with which no file would keep it.
    """
    if not isinstance(name, str) or not name:
        raise Refusal(f"a class must have a name, got {name!r}.")
    if not naming.is_class(name):
        raise Refusal(
            f"classes must not contain {name or 'an empty name'}, which is an answer."
        )
    flaw = naming.flaw_of(name)
    if flaw is not None:
        raise Refusal(f"a class {flaw}, got {name!r}.")


def _checked_ids(ids, size):
    if ids is None:
        return None
    names = [str(name) for name in ids]
    if len(names) != size or len(set(map(naming.form, names))) < size:
        raise Refusal(f"ids must be {plural(size, 'distinct name')}, one for each row.")
    for row, name in enumerate(names):
        flaw = naming.flaw_of(name)
        if flaw is not None:
            raise Refusal(f"ids: row {row} {flaw}, got {name!r}.")
    return np.array(names, np.dtypes.StringDType())


# Derived from the events


def task_of(state: Campaign) -> Task:
    """The task with its classes and settings after all events.

    `classes` names every class that there ever was, by its number.
    """
    names, task = list(state.task.classes), state.task
    for event in state.events:
        match event:
            case ClassAdded(name):
                names.append(name)
            case ClassRenamed(label, name):
                names[label] = name
            case SettingsChanged():
                task = task._replace(**event._asdict())
    return task._replace(classes=tuple(names))


def all_names(state: Campaign) -> dict[str, int]:
    """The class of every name that a class ever had; names are not used twice."""
    names = list(state.task.classes)
    known = {name: label for label, name in enumerate(names)}
    for event in state.events:
        match event:
            case ClassAdded(name):
                known[name] = len(names)
                names.append(name)
            case ClassRenamed(label, name):
                known[name] = label
    return known


def open_classes(state: Campaign) -> tuple[str, ...]:
    """The classes that count as themselves: neither merged nor retired."""
    names, target = task_of(state).classes, counts_as(state).tolist()
    return tuple(name for label, name in enumerate(names) if target[label] == label)


def counts_as(state: Campaign) -> np.ndarray:
    """For each class the one that its labels count as; `SKIPPED` if they do not count.

    Returns:
        [classes], the class itself unless it was merged or retired.
    """
    target = list(range(len(state.task.classes)))
    retired = retired_classes(state)
    for event in state.events:
        match event:
            case ClassAdded():
                target.append(len(target))
            case ClassMerged(label, into):
                target = [into if c == label else c for c in target]
    return np.array([SKIPPED if c in retired else c for c in target], np.int64)


def retired_classes(state: Campaign) -> set[int]:
    """The classes that were retired and not added again."""
    retired: set[int] = set()
    for event in state.events:
        match event:
            case ClassRetired(label):
                retired.add(label)
            case ClassRestored(label):
                retired.discard(label)
    return retired


def holdout_of(state: Campaign) -> Holdout:
    """The holdout set, unscaled, by the classes that count."""
    labels = counts_as(state)[state.task.holdout_labels]
    is_judged = labels != SKIPPED
    return Holdout(
        state.task.holdout_features[is_judged], labels[is_judged].astype(np.int32)
    )


def labels_of(state: Campaign) -> dict[int, int]:
    """The class of every labeled row, in the order of the rows."""
    target = counts_as(state).tolist()
    labels = ((row, label) for row, label in last_answers(state) if label >= 0)
    counted = ((row, target[label]) for row, label in labels)
    return {row: label for row, label in counted if label != SKIPPED}


def skipped_of(state: Campaign) -> list[int]:
    """The skipped rows, in order."""
    return [row for row, label in last_answers(state) if label == SKIPPED]


def unsure_of(state: Campaign) -> list[int]:
    """The rows of which people could not decide the class, in order."""
    return [row for row, label in last_answers(state) if label == UNSURED]


def unanswered_of(state: Campaign) -> list[int]:
    """The rows that the campaign asked for and that have no answer, in that order."""
    answered = {row for row, _ in last_answers(state)}
    asked = (row for batch in batches_of(state) for row in batch.rows.tolist())
    return list(dict.fromkeys(row for row in asked if row not in answered))


def batches_of(state: Campaign) -> list[Batch]:
    """All batches, in order."""
    return [event for event in state.events if isinstance(event, Batch)]


def answers_of(state: Campaign) -> list[Answers]:
    """All answers, in order."""
    return [event for event in state.events if isinstance(event, Answers)]


def free_rows(state: Campaign) -> np.ndarray:
    """Mask [pool] of the rows that may still be asked for."""
    is_free = np.ones(len(state.task.pool), bool)
    is_free[state.task.holdout_rows] = False
    for event in state.events:
        if isinstance(event, Batch | Answers):
            is_free[event.rows] = False
    return is_free


def ids_of(task: Task, rows: np.ndarray) -> list[str]:
    """The names of these rows."""
    return naming.ids_of(task.ids, rows)


def last_answers(state: Campaign) -> list[tuple[int, int]]:
    """The last answer to each row that has one, in the order of the rows."""
    last: dict[int, int] = {}
    for answers in answers_of(state):
        last.update(zip(answers.rows.tolist(), answers.labels.tolist(), strict=True))
    return sorted(last.items())
