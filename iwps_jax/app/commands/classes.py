"""`iwps classes`: list the classes of a campaign, and change them.

    iwps classes
    iwps classes --add owl --add "barn owl"
    iwps classes --rename owl "tawny owl"
    iwps classes --merge "barn owl" "tawny owl"
    iwps classes --retire fish

A renamed class keeps its labels. A merged class gives its labels, also later ones, to
another class; no command undoes this, but the journal of the campaign keeps every label
as it was given. A retired class is no answer any more, and its labels do not count;
--add NAME brings it back with its labels. No other class ever has a name again.
"""

import dataclasses
import shlex
from collections.abc import Iterable
from typing import Annotated

from tyro import conf

from iwps_jax.app.campaign import (
    Campaign,
    add_classes,
    folder,
    labels_of,
    merge_classes,
    open_classes,
    rename_class,
    retire_class,
)
from iwps_jax.app.campaign.control import control_labels
from iwps_jax.app.campaign.state import holdout_of, task_of
from iwps_jax.app.commands import answers, exit_status
from iwps_jax.app.commands.jax_settings import Computing, start_jax
from iwps_jax.app.naming import close_to

Pair = tuple[str, str] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(answers.Changing, Computing):
    """The options of the command."""

    texts = (*answers.Changing.texts, "add", "rename", "merge", "retire")
    add: Annotated[tuple[str, ...], conf.UseAppendAction, conf.arg(metavar="NAME")] = ()
    """a new class, or a retired one again; give it once for each"""
    rename: Annotated[Pair, conf.arg(metavar="NAME NEW")] = None
    """another name for a class"""
    merge: Annotated[Pair, conf.arg(metavar="NAME INTO")] = None
    """a class, and the one that its labels count as from now on; it cannot be undone"""
    retire: Annotated[str | None, conf.arg(metavar="NAME")] = None
    """a class that is no answer any more; --add brings it back"""


def run(options: Options) -> int:
    """Changes what is asked for, all or nothing; lists the classes."""
    return exit_status.run(lambda: _classes(options))


def _classes(options: Options) -> None:
    if not (options.add or options.rename or options.merge or options.retire):
        print(_table(folder.read_record(options.campaign)))
        return
    start_jax(options)
    with folder.locked(options.campaign, wait=options.wait):
        before = folder.read_record(options.campaign)
        state = add_classes(before, options.add)
        if options.rename is not None:
            state = rename_class(state, *options.rename)
        if options.merge is not None:
            state = merge_classes(state, *options.merge)
        if options.retire is not None:
            state = retire_class(state, options.retire)
        folder.commit(options.campaign, before, state)
    for name, other in _alike(before, options.add):
        print(f"{name!r} and {other!r} are two classes that look alike.")
    print(_table(state))
    _say_ways_back(options)


def _say_ways_back(options: Options) -> None:
    """Tells how to get back what is no answer any more."""
    if options.merge is not None:
        name, into = options.merge
        print(
            f"The labels of {name} now count as {into}. No command undoes this; the "
            "journal of the campaign keeps every label as it was given."
        )
    if options.retire is not None:
        name = shlex.quote(options.retire)
        print(
            f"The labels of {options.retire} do not count any more. iwps classes --add "
            f"{name} brings them back."
        )


def _alike(state: Campaign, names: Iterable[str]) -> list[tuple[str, str]]:
    known = open_classes(state)
    pairs = ((name, close_to(name, known)) for name in names)
    return [(name, other) for name, other in pairs if other is not None]


def _table(state: Campaign) -> str:
    """A line for each class: its labels, and those of control rows and holdout set."""
    if not open_classes(state):
        return "No class yet: answers may name them, or iwps classes --add NAME."
    classes = task_of(state).classes
    columns = {
        "labels": [*labels_of(state).values()],
        "control": [*control_labels(state).values()],
        "holdout": holdout_of(state).labels.tolist(),
    }
    columns = {name: labels for name, labels in columns.items() if labels}
    lines = ["".join(f"{name:>9}" for name in columns) + "  class"]
    for name in open_classes(state):
        number = classes.index(name)
        counts = (labels.count(number) for labels in columns.values())
        lines.append("".join(f"{count:9,}" for count in counts) + f"  {name}")
    return "\n".join(lines)
