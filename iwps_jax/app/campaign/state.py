"""A labeling campaign as a value: what was asked, what was answered, what to ask next.

    state = start(pool, holdout_features, holdout_labels, classes=("cat", "dog"))
    state = tell(state, ids, labels)      # what is labeled already; may come later
    state, ids = ask(state, 50)           # which to label next
    state = tell(state, ids, labels)      # as far as they are answered

Nothing here writes a file: `iwps_jax.app.campaign.folder` keeps a campaign on disk.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from iwps_jax import checks, methods
from iwps_jax.app import naming
from iwps_jax.app.campaign.scaling import Scaling, scaling_of
from iwps_jax.app.naming import SKIP, SKIPPED, is_skip
from iwps_jax.heads.linear_probe import LinearProbe
from iwps_jax.method import LEARNING_RATE, STEPS
from iwps_jax.refusal import Refusal, refusing
from iwps_jax.types import AnyArray

NO_MODEL = -1
METHODS = tuple(row.name for row in methods.ROWS.values() if "draws" not in row.needs)
"""The methods that a campaign can use: its head draws no dropout masks."""


class Task(NamedTuple):
    """What a campaign is about; it never changes.

    Attributes:
        pool: features [pool, d], an array or a memory map.
        ids: names of the rows, of a StringDType, or None for their numbers.
        holdout_features: [m, d].
        holdout_labels: [m], in [0, classes).
        holdout_rows: rows of the pool that are holdout samples: never asked for.
        classes: names.
        method: one of `METHODS`.
        steps: T of the look-ahead.
        learning_rate: η of the look-ahead.
        seed: of random picks, and of the targets of iwps_batch.
        scaling: what the head and the scores see of the features.
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


class Batch(NamedTuple):
    """Rows handed out to be labeled, best first.

    Attributes:
        rows: [k], of the pool.
        scores: [k], of the method; they need not fall where it picks rows together,
            and are NaN where it has none.
        predicted: [k], the head's class, or `NO_MODEL`.
        confidence: [k], its probability.
        method: that chose them; random while there is no head.
    """

    rows: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    method: str


class Answers(NamedTuple):
    """What people said of some rows; a later answer overrules an earlier one.

    Attributes:
        rows: [n], of the pool.
        labels: [n], classes, or `SKIPPED`.
        num_labeled: rows with a label after them.
        holdout_loss: of the head fitted after them, in nats; None without one.
        holdout_accuracy: likewise.
    """

    rows: np.ndarray
    labels: np.ndarray
    num_labeled: int
    holdout_loss: float | None
    holdout_accuracy: float | None


class Campaign(NamedTuple):
    """All there is to know.

    Attributes:
        task: what it is about.
        events: batches and answers, in order: the rest follows from them.
        head: fitted to the labels, on scaled features; None with fewer than two
            classes labeled.
    """

    task: Task
    events: tuple[Batch | Answers, ...]
    head: LinearProbe | None


def start(
    pool: Any,
    holdout_features: AnyArray,
    holdout_labels: AnyArray,
    *,
    classes: Sequence[str],
    ids: Sequence[str] | np.ndarray | None = None,
    holdout_rows: Sequence[int] | np.ndarray = (),
    method: str = methods.IWPS_BATCH.name,
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
) -> Campaign:
    """A campaign in which nothing is labeled yet.

    Args:
        pool: features [pool, d]: an array, or a memory map of any size.
        holdout_features: [m, d], of samples whose labels are known.
        holdout_labels: their classes, in [0, classes).
        classes: names; `skip` is none.
        ids: distinct names of the rows; their numbers by default.
        holdout_rows: rows of the pool that are among the holdout samples.
        method: how to choose, one of `METHODS`.
        steps: T of IWPS.
        learning_rate: η of IWPS, for features scaled to unit mean square.
        seed: of random picks, and of the targets of iwps_batch.

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
    names = _checked_classes(classes)
    if len(getattr(pool, "shape", ())) != 2 or not len(pool):
        raise Refusal("pool must have 2 axes [pool, d] and at least one row.")
    with refusing(ValueError):
        checks.require_finite("holdout_features", holdout_features, "m d")
        size = checks.batch_size("holdout_features", holdout_features)
        checks.require_labels("holdout_labels", holdout_labels, len(names))
        checks.require_size(
            "holdout_labels", holdout_labels, 0, size, "holdout_features"
        )
        checks.require_size(
            "holdout_features", holdout_features, 1, pool.shape[1], "pool"
        )
        checks.require_steps(steps, learning_rate)
    if method not in METHODS:
        raise Refusal(f"method must be one of {', '.join(METHODS)}, got {method}.")
    holdout_rows = np.asarray(holdout_rows, np.int64)
    if holdout_rows.size and not 0 <= holdout_rows.min() <= holdout_rows.max() < len(
        pool
    ):
        raise Refusal(f"holdout_rows must be in [0, {len(pool)}).")
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
    )
    return Campaign(task, (), None)


def _checked_classes(classes) -> tuple[str, ...]:
    classes = tuple(str(name) for name in classes)
    if len(classes) < 2 or len(set(classes)) < len(classes) or "" in classes:
        raise Refusal(f"classes must be two or more distinct names, got {classes}.")
    if any(map(is_skip, classes)):
        raise Refusal(f"classes must not have one called {SKIP}: it is an answer.")
    return classes


def _checked_ids(ids, size):
    if ids is None:
        return None
    names = [str(name) for name in ids]
    if len(names) != size or len(set(names)) < size:
        raise Refusal(f"ids must be {size} distinct names, one for each row.")
    return np.array(names, np.dtypes.StringDType())


# What follows from the events


def labels_of(state: Campaign) -> dict[int, int]:
    """The class of every row that has one, rows in order."""
    return {row: label for row, label in _last_answers(state) if label != SKIPPED}


def skipped_of(state: Campaign) -> list[int]:
    """The rows that people passed over, in order."""
    return [row for row, label in _last_answers(state) if label == SKIPPED]


def unanswered_of(state: Campaign) -> list[int]:
    """The rows that were asked for and have no answer, in the order of asking."""
    answered = {row for row, _ in _last_answers(state)}
    asked = (row for batch in batches_of(state) for row in batch.rows.tolist())
    return [row for row in asked if row not in answered]


def batches_of(state: Campaign) -> list[Batch]:
    """What was asked for, in order."""
    return [event for event in state.events if isinstance(event, Batch)]


def answers_of(state: Campaign) -> list[Answers]:
    """What was answered, in order."""
    return [event for event in state.events if isinstance(event, Answers)]


def free_rows(state: Campaign) -> np.ndarray:
    """Mask [pool] of the rows that may still be asked for."""
    is_free = np.ones(len(state.task.pool), bool)
    is_free[state.task.holdout_rows] = False
    for event in state.events:
        is_free[event.rows] = False
    return is_free


def ids_of(task: Task, rows: np.ndarray) -> list[str]:
    """The names of these rows."""
    return naming.ids_of(task.ids, rows)


def _last_answers(state) -> list[tuple[int, int]]:
    last: dict[int, int] = {}
    for answers in answers_of(state):
        last.update(zip(answers.rows.tolist(), answers.labels.tolist(), strict=True))
    return sorted(last.items())
