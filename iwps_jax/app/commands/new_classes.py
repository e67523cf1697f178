"""New classes in a file of answers: taken, asked about, or refused."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from iwps_jax.app.campaign import Campaign, add_classes, open_classes, unknown_names
from iwps_jax.app.campaign.state import task_of
from iwps_jax.app.commands.answers import naming_source
from iwps_jax.app.files.labels import require_single
from iwps_jax.app.files.picks import Answer
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.app.naming import NAMED, SKIP, UNSURE, close_to, form, some_of
from iwps_jax.refusal import printable

NEW, STOP = "n", "q"
"""Answers on the terminal; the empty one takes the known class."""
NO_ANSWER = ""
MISSING = ("nan", "null", "none", "na", "n/a", "?")
"""Names that programs write, or people, into a cell without an answer."""


def take(
    state: Campaign, path: Path, answers: Sequence[Answer], *, takes_all: bool
) -> tuple[Campaign, Sequence[Answer]]:
    """Adds the classes that answers name and the campaign does not know.

    Args:
        state: of the campaign.
        path: file of the answers.
        answers: in it.
        takes_all: whether every unknown name is a new class.

    Returns:
        The campaign with the new classes, and the answers, corrected where somebody at
        the terminal said so. A campaign that takes no new names stays as it is.

    Raises:
        FileError: if a name may be a known class, misspelled, and nobody can be asked;
            or if the file seems to hold no classes but free text.
    """
    names = unknown_names(state, [answer.label for answer in answers])
    if not names:
        return state, answers
    if not takes_all:
        require_single(path, answers, open_classes(state))
    if not (takes_all or state.task.is_open):
        _refuse_strangers(state, path, answers, {*map(form, names)})
        return state, answers  # what is left is refused as misspelled
    if not takes_all:
        _refuse_free_text(path, names, answers)
        remedy = "Correct the file, or add a class with iwps classes --add {name!r}"
        names, answers = settle(path, names, answers, open_classes(state), remedy)
    with naming_source(path):
        return add_classes(state, names), answers


def settle(
    path: Path,
    names: Sequence[str],
    answers: Sequence[Answer],
    known: Sequence[str] = (),
    remedy: str = "Correct the file",
) -> tuple[list[str], Sequence[Answer]]:
    """Asks which new names are other answers, misspelled.

    Args:
        path: file of the answers.
        names: the new ones.
        answers: in the file.
        known: classes that are there.
        remedy: what to do where nobody can be asked; `{name!r}` is the first such name.

    Returns:
        The names and answers, corrected as somebody at the terminal said.

    Raises:
        FileError: if a name may be misspelled, and nobody can be asked.
    """
    corrected = _asked(path, _doubtful([*known, SKIP, UNSURE], names), remedy)
    left = [name for name in names if form(name) not in corrected]
    return left, [
        answer._replace(label=corrected.get(form(answer.label), answer.label))
        for answer in answers
    ]


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def say(before: Campaign, after: Campaign) -> None:
    """Tells which classes are new."""
    new = task_of(after).classes[len(task_of(before).classes) :]
    if new:
        print(f"New classes: {some_of(new)}.")


def _refuse_strangers(state, path, answers, unknown):
    """Refuses a name that is no misspelled class, and says how to add it."""
    for answer in answers:
        name = answer.label
        if form(name) in unknown and close_to(name, open_classes(state)) is None:
            raise FileError(
                f"{path}: {answer.unit} {answer.line}: the label of {answer.id!r} must "
                f"be {some_of(open_classes(state))}, {SKIP} or {UNSURE}, got {name!r}. "
                f"iwps classes --add {name!r} adds it; --new-classes adds all that are "
                "new in the file."
            )


def _refuse_free_text(path, names, answers):
    """Refuses many names that are hardly ever used twice."""
    count = sum(answer.label != "" for answer in answers)
    if len(names) > NAMED and 2 * len(names) > count:
        raise FileError(
            f"{path} has {len(names)} new names in {count} answers: are they classes? "
            "--new-classes takes them all."
        )


def _doubtful(known: list[str], names: Iterable[str]) -> list[tuple[str, str]]:
    """New names that may be known answers, or one another, misspelled."""
    found = []
    for name in names:
        other = NO_ANSWER if name.casefold() in MISSING else close_to(name, known)
        if other is not None:
            found.append((name, other))
        known.append(name)
    return found


def _asked(
    path: Path, doubtful: Sequence[tuple[str, str]], remedy: str
) -> dict[str, str]:
    """By the form of a misspelled name the class that was meant."""
    if doubtful and not is_terminal():
        pairs = ", ".join(
            f"{name!r} ({_shown(other)}?)" for name, other in doubtful[:NAMED]
        )
        raise FileError(
            f"{path} has names that may be other answers, misspelled: {pairs}. "
            f"{remedy.format(name=doubtful[0][0])}; --new-classes takes all names as "
            "they are."
        )
    meant: dict[str, str] = {}
    for name, other in doubtful:
        other = meant.get(form(other), other)
        question = (
            f"{name!r} is no class yet. Enter: it is {_shown(other)}. {NEW}: it is a "
            f"new class. {STOP}: stop. "
        )
        reply = input(printable(question)).strip().casefold()
        if reply == "":
            meant[form(name)] = other
        elif reply != NEW:
            raise FileError(f"{path} was not taken.")
    return meant


def _shown(other: str) -> str:
    return repr(other) if other else "no answer"
