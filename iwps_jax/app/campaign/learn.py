"""Takes answers, and fits the head to them."""

from collections.abc import Sequence

import numpy as np

from iwps_jax.app import naming
from iwps_jax.app.campaign.control import control_labels, training_labels
from iwps_jax.app.campaign.events import Answers
from iwps_jax.app.campaign.state import (
    Campaign,
    all_names,
    answers_of,
    counts_as,
    holdout_of,
    labels_of,
    last_answers,
    task_of,
)
from iwps_jax.heads.linear_probe import (
    LinearProbe,
    fit_cross_validated_probe,
    fit_linear_probe,
    fit_to_all,
)
from iwps_jax.refusal import Refusal

NO_ANSWER = -3


def tell(
    state: Campaign,
    ids: Sequence[str | int],
    labels: Sequence[str | int | None],
    *,
    annotator: str | Sequence[str] = "",
) -> Campaign:
    """Takes answers, all or none, and fits the head again.

    An answer that differs from an earlier one to the same row corrects it.

    Args:
        state: state of the campaign.
        ids: distinct names of rows; the campaign need not have asked for them, and
            they may have a label already.
        labels: for each id the name of its class, or its number as an int; `skip`, in
            any case; `unsure`, likewise; None or "" if there is no answer yet. Text is
            never a number: "1" is the class called 1.
        annotator: who answered: one name, or one for each id.

    Returns:
        The state after the answers; the same state if there are none.

    Raises:
        AnswerError: for the first id that is unknown, occurs twice, is a holdout
            sample, has an impossible label, or has a label but features that are not
            finite.
    """
    return learned(state, note(state, ids, labels, annotator=annotator))


def note(
    state: Campaign,
    ids: Sequence[str | int],
    labels: Sequence[str | int | None],
    *,
    annotator: str | Sequence[str] = "",
) -> Campaign:
    """As `tell`, but fits no head: that of the state is as before."""
    task = task_of(state)
    if len(ids) != len(labels):
        raise Refusal(
            f"labels must have one entry per id ({len(ids)}), got {len(labels)}."
        )
    names = [str(name) for name in ids]
    rows = naming.rows_of(task.ids, len(task.pool), names)
    _refuse_holdout(task, names, rows)
    classes = naming.classes_of(task.classes, names, _renamed(state, labels))
    _refuse_retired(state, names, classes)
    rows = rows[[c is not None for c in classes]]
    told = np.array([c for c in classes if c is not None], int)
    if not len(rows):
        return state
    _refuse_broken(task, rows[told >= 0])
    before = dict(last_answers(state))
    known = np.array([before.get(row, NO_ANSWER) for row in rows.tolist()], int)
    is_changed = (known != NO_ANSWER) & (known != told)
    who = _checked_annotators(annotator, len(ids))
    who = [name for name, c in zip(who, classes, strict=True) if c is not None]
    events = []
    for name in dict.fromkeys(who):
        is_of = np.array([other == name for other in who])
        for part, is_correction in (
            (is_of & is_changed, True),
            (is_of & ~is_changed, False),
        ):
            if part.any():
                previous = known[part] if is_correction else None
                events.append(
                    Answers(rows[part], told[part], 0, None, None, name, previous)
                )
    return state._replace(events=(*state.events, *events))


def learned(before: Campaign, noted: Campaign) -> Campaign:
    """The state with the head fitted to the answers that were noted since `before`.

    They say how it does. If there are none, the state is the same.
    """
    told = answers_of(noted)[len(answers_of(before)) :]
    if not told:
        return noted
    after = refitted(noted)
    head, num_labeled = after.head, len(labels_of(after))
    events = [
        event._replace(
            num_labeled=num_labeled,
            holdout_loss=None if head is None else head.holdout_loss,
            holdout_accuracy=None if head is None else head.holdout_accuracy,
        )
        for event in told
    ]
    return after._replace(events=(*noted.events[: -len(told)], *events))


def refitted(state: Campaign) -> Campaign:
    """The state with the head fitted to its labels."""
    return state._replace(head=_fitted(state))


def final_head(state: Campaign) -> LinearProbe | None:
    """The head to deliver: it has learned control rows and holdout samples as well.

    Its penalty is that of the campaign's head. If there is none, because all labels but
    those of control rows are of one class, it is cross-validated anew.

    Args:
        state: with the head fitted to its labels, as `refitted` returns it.

    Returns:
        The head for scaled features, with what is known of the campaign's head; None if
        fewer than two classes are labeled.
    """
    learned = [
        _samples(state, training_labels(state)),
        _samples(state, control_labels(state)),
        _holdout(state),
    ]
    features, classes = map(np.concatenate, zip(*learned, strict=True))
    if len({*labels_of(state).values()}) < 2:
        return None
    if state.head is None:
        num_classes = len(task_of(state).classes)
        return fit_cross_validated_probe(features, classes, num_classes=num_classes)
    kernel, bias = fit_to_all(state.head, features, classes, features[:0], classes[:0])
    return state.head._replace(kernel=kernel, bias=bias)


def _fitted(state) -> LinearProbe | None:
    labels, num_classes = training_labels(state), len(task_of(state).classes)
    if len({*labels.values()}) < 2:
        return None
    learned, judges = _samples(state, labels), _holdout(state)
    if len(judges[1]):
        return fit_linear_probe(*learned, *judges, num_classes=num_classes)
    return fit_cross_validated_probe(*learned, num_classes=num_classes)


def _samples(state, labels):
    """Scaled features and classes of labeled rows."""
    task, rows = task_of(state), [*labels]
    features = np.zeros((0, task.pool.shape[1]), np.float32)
    if rows:
        features = task.scaling.rows(task.pool, rows)
    return features, np.array([*labels.values()], np.int64)


def _holdout(state):
    """Scaled features and classes of the holdout set, if there is one."""
    holdout = holdout_of(state)
    return state.task.scaling.of(holdout.features), holdout.labels


def _renamed(state, labels):
    """Labels by the names that classes have now: a file may have an older one."""
    now = task_of(state).classes
    old = {naming.form(name): now[c] for name, c in all_names(state).items()}
    old |= {naming.form(name): name for name in now}
    return [
        old.get(naming.form(label), label) if isinstance(label, str) else label
        for label in labels
    ]


def _checked_annotators(annotator, size) -> list[str]:
    who = [annotator] * size if isinstance(annotator, str) else [*annotator]
    if len(who) != size:
        raise Refusal(f"annotator must have one name per id ({size}), got {len(who)}.")
    for name in dict.fromkeys(who):
        flaw = name and naming.flaw_of(name)
        if flaw:
            raise Refusal(f"an annotator's name {flaw}, got {name!r}.")
    return who


def _refuse_retired(state, ids, classes):
    is_retired = counts_as(state) == naming.SKIPPED
    for name, label in zip(ids, classes, strict=True):
        if label is not None and label >= 0 and is_retired[label]:
            retired = task_of(state).classes[label]
            raise naming.AnswerError(
                name,
                f"the label of {name!r} must not be {retired!r}, a retired class, "
                "unless the class is added again.",
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
