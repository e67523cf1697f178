"""Labels of which each must be one class: one-hot and multi-label ones are refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from iwps_jax.app.files.file_array import AnyRows
from iwps_jax.app.files.picks import Answer
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import ONE_CLASS, form, several_in
from iwps_jax.refusal import short


def require_one_class(path: str | Path, labels: AnyRows) -> None:
    """Refuses labels that are no vector, and says what kind they are.

    Args:
        path: of their file.
        labels: class numbers [m], or else [m, classes], of zeros and ones, as other
            programs keep labels that are one-hot (one class each) or multi-label.

    Raises:
        FileError: if they have another shape than [m].
    """
    if labels.ndim == 1:
        return
    sentence = f"{path}: labels must have 1 axis [m] of class numbers, got shape "
    sentence += f"{tuple(labels.shape)}"
    if labels.ndim != 2 or 0 in labels.shape or labels.dtype.kind not in "biuf":
        raise FileError(f"{sentence}.")
    if labels.shape[1] == 1:
        raise FileError(f"{sentence}: save labels[:, 0].")
    marks = np.asarray(labels[:])
    if not ((marks == 0) | (marks == 1)).all():
        raise FileError(f"{sentence}.")
    num_classes = np.count_nonzero(marks, axis=1)
    if (num_classes == 1).all():
        raise FileError(f"{sentence}: they are one-hot, save labels.argmax(axis=1).")
    row = int(np.argmax(num_classes != 1))
    raise FileError(
        f"{sentence}: they are multi-label, row {row} has {num_classes[row]} classes. "
        f"{ONE_CLASS} Class c has the labels labels[:, c]."
    )


def require_single(
    path: str | Path | None, answers: Sequence[Answer], classes: Sequence[str] = ()
) -> None:
    """Refuses answers such as "cat;dog" among those from which classes are taken.

    Only where cat and dog are answers or classes too: a class may have such a name.

    Args:
        path: the file of the answers.
        answers: in it.
        classes: that are known.

    Raises:
        FileError: with the line, or task, of the first.
    """
    named = {form(name) for name in classes}
    known = named | {form(answer.label) for answer in answers}
    for answer in answers:
        if form(answer.label) in named:
            continue
        if several := several_in(answer.label, known):
            raise FileError(
                f"{path}: {answer.unit} {answer.line}: {short(answer.label)} is "
                f"multi-label, because {' and '.join(several)} are classes too. "
                f"{ONE_CLASS}"
            )
