"""Takes answers, and fits the head to them."""

from collections.abc import Sequence

import numpy as np

from iwps_jax.app import naming
from iwps_jax.app.campaign.state import Answers, Campaign, labels_of
from iwps_jax.heads.linear_probe import LinearProbe, fit_linear_probe
from iwps_jax.refusal import Refusal


def tell(
    state: Campaign, ids: Sequence[str | int], labels: Sequence[str | int | None]
) -> Campaign:
    """Takes answers, all or none, and fits the head again.

    Args:
        state: state of the campaign.
        ids: distinct names of rows; the campaign need not have asked for them, and
            they may have a label already.
        labels: for each id the name of its class, or its number as an int; `skip`, in
            any case; None or "" if there is no answer yet. Text is never a number: "1"
            is the class called 1.

    Returns:
        The state after the answers; the same state if there are none.

    Raises:
        AnswerError: for the first id that is unknown, occurs twice, is a holdout
            sample, has an impossible label, or has a label but features that are not
            finite.
    """
    task = state.task
    if len(ids) != len(labels):
        raise Refusal(
            f"labels must have one entry per id ({len(ids)}), got {len(labels)}."
        )
    names = [str(name) for name in ids]
    rows = naming.rows_of(task.ids, len(task.pool), names)
    _refuse_holdout(task, names, rows)
    classes = naming.classes_of(task.classes, names, labels)
    rows = rows[[c is not None for c in classes]]
    told = np.array([c for c in classes if c is not None], int)
    if not len(rows):
        return state
    _refuse_broken(task, rows[told != naming.SKIPPED])
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
    """The state with the head fitted to its labels."""
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


def _refuse_holdout(task, ids, rows):
    is_holdout = np.isin(rows, task.holdout_rows)
    if is_holdout.any():
        name = ids[int(np.argmax(is_holdout))]
        raise naming.AnswerError(
            name, f"ids to label must not be holdout samples, got {name!r}."
        )


def _refuse_broken(task, rows):
    # Even without a head: a stored label like that would block every later one.
    if len(rows):
        with np.errstate(over="ignore", invalid="ignore"):
            features = task.scaling.rows(task.pool, rows.tolist())
        naming.require_finite(naming.ids_of(task.ids, rows), rows, features)
