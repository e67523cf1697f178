"""Answers of people, and the head that they give."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from iwps_jax.campaign.state import (
    SKIP,
    SKIPPED,
    Answers,
    Campaign,
    labels_of,
)
from iwps_jax.linear_probe import LinearProbe, fit_linear_probe


def tell(
    state: Campaign, ids: Sequence[str | int], labels: Sequence[str | int | None]
) -> Campaign:
    """Takes answers in, all or none, and fits the head again.

    Args:
        state: of the campaign.
        ids: names of rows, each once: asked for or not, labeled before or not.
        labels: for each the name of its class, or its number, `skip`, or None or
            nothing where it is not answered yet.

    Returns:
        The state after them; the same state if nothing was answered.

    Raises:
        ValueError: naming the first id that is unknown, twice there, a holdout
            sample's, or has an impossible label.
    """
    task = state.task
    if len(ids) != len(labels):
        raise ValueError(f"there must be a label for each of {len(ids)} ids.")
    rows = _rows_of(task, [str(name) for name in ids])
    told = [
        _class_of(task, name, label) for name, label in zip(ids, labels, strict=True)
    ]
    is_answered = [label is not None for label in told]
    rows, told = rows[is_answered], np.array([t for t in told if t is not None], int)
    if not len(rows):
        return state
    answers = Answers(rows, told, 0, None, None)
    state = state._replace(events=(*state.events, answers))
    head = _fitted(state)
    answers = Answers(
        rows,
        told,
        len(labels_of(state)),
        None if head is None else head.holdout_loss,
        None if head is None else head.holdout_accuracy,
    )
    return state._replace(events=(*state.events[:-1], answers), head=head)


def refitted(state: Campaign) -> Campaign:
    """With the head that its labels give."""
    return state._replace(head=_fitted(state))


def _fitted(state) -> LinearProbe | None:
    labels = labels_of(state)
    if len(set(labels.values())) < 2:
        return None
    task = state.task
    return fit_linear_probe(
        task.scaling.rows(task.pool, list(labels)),
        np.array(list(labels.values())),
        task.scaling.of(task.holdout_features),
        task.holdout_labels,
        num_classes=len(task.classes),
    )


def _rows_of(task, ids) -> np.ndarray:
    """The rows with these names."""
    name, count = Counter(ids).most_common(1)[0] if ids else ("", 0)
    if count > 1:
        raise ValueError(f"every id must be there once, got {name!r} {count} times.")
    if task.ids is None:
        size = len(task.pool)
        known = [n.isascii() and n.isdecimal() and int(n) < size for n in ids]
        rows = np.array(
            [int(n) if k else -1 for n, k in zip(ids, known, strict=True)], np.int64
        )
    else:
        found = np.flatnonzero(np.isin(task.ids, np.array(ids, str)))
        row_of = dict(zip(task.ids[found].tolist(), found.tolist(), strict=True))
        rows = np.array([row_of.get(name, -1) for name in ids], np.int64)
    for name, row in zip(ids, rows.tolist(), strict=True):
        if row < 0:
            raise ValueError(f"ids must be in the pool, got {name!r}.")
        if row in task.holdout_rows:
            raise ValueError(f"ids must not be of holdout samples, got {name!r}.")
    return rows


def _class_of(task, name, label) -> int | None:
    """The class of an answer, `SKIPPED`, or None if there is no answer."""
    if label is None or label == "":
        return None
    if isinstance(label, str):
        if label in task.classes:
            return task.classes.index(label)
        if label.casefold() == SKIP:
            return SKIPPED
    elif not isinstance(label, bool) and 0 <= label < len(task.classes):
        return int(label)
    raise ValueError(
        f"the label of {name!r} must be {', '.join(task.classes[:20])}"
        f"{', ...' * (len(task.classes) > 20)} or {SKIP}, got {label!r}."
    )
