"""A labeling campaign as a value: its settings, batches, answers and head.

    state = start(pool, holdout_features, holdout_labels, classes=("cat", "dog"))
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
    """Settings and data of a campaign; they never change.

    Attributes:
        pool: features [pool, d], an array or a memory map.
        ids: names of the rows, of a StringDType, or None for their numbers.
        holdout_features: [m, d].
        holdout_labels: [m], in [0, classes).
        holdout_rows: rows of the pool that are holdout samples; the campaign never
            asks for them.
        classes: names of the classes.
        method: one of `METHODS`.
        steps: T of the look-ahead.
        learning_rate: η of the look-ahead.
        seed: seed of the methods that draw at random.
        scaling: scaling of the features for head and scores.
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
        rows: [k], rows of the pool.
        scores: [k], scores of the method; NaN if it has none. They need not decrease if
            the method picks rows together.
        predicted: [k], the head's class, or `NO_MODEL`.
        confidence: [k], its probability.
        method: the method that chose them; random as long as there is no head.
    """

    rows: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    method: str


class Answers(NamedTuple):
    """Answers of people; a later answer replaces an earlier one.

    Attributes:
        rows: [n], rows of the pool.
        labels: [n], classes, or `SKIPPED`.
        num_labeled: number of labeled rows after these answers.
        holdout_loss: loss of the head fitted after them, in nats; None without a head.
        holdout_accuracy: accuracy of that head; None without a head.
    """

    rows: np.ndarray
    labels: np.ndarray
    num_labeled: int
    holdout_loss: float | None
    holdout_accuracy: float | None


class Campaign(NamedTuple):
    """The complete state of a campaign.

    Attributes:
        task: settings and data.
        events: batches and answers, in order; the head follows from them.
        head: fitted to the labels, on scaled features; None if fewer than two classes
            have labels.
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
    """A campaign without labels.

    Args:
        pool: features [pool, d]: an array, or a memory map of any size.
        holdout_features: [m, d], features of the holdout samples.
        holdout_labels: their classes, in [0, classes).
        classes: names of the classes; none may be `skip`.
        ids: distinct names of the rows; the row numbers by default.
        holdout_rows: rows of the pool that are among the holdout samples.
        method: one of `METHODS`.
        steps: T of IWPS.
        learning_rate: η of IWPS, for features scaled to unit mean square.
        seed: seed of the methods that draw at random.

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
        raise Refusal(f"classes must not contain {SKIP}, which is an answer.")
    return classes


def _checked_ids(ids, size):
    if ids is None:
        return None
    names = [str(name) for name in ids]
    if len(names) != size or len(set(names)) < size:
        raise Refusal(f"ids must be {size} distinct names, one for each row.")
    return np.array(names, np.dtypes.StringDType())


# Derived from the events


def labels_of(state: Campaign) -> dict[int, int]:
    """The class of every labeled row, in the order of the rows."""
    return {row: label for row, label in _last_answers(state) if label != SKIPPED}


def skipped_of(state: Campaign) -> list[int]:
    """The skipped rows, in order."""
    return [row for row, label in _last_answers(state) if label == SKIPPED]


def unanswered_of(state: Campaign) -> list[int]:
    """The rows that the campaign asked for and that have no answer, in that order."""
    answered = {row for row, _ in _last_answers(state)}
    asked = (row for batch in batches_of(state) for row in batch.rows.tolist())
    return [row for row in asked if row not in answered]


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
