"""Changes of a campaign's classes and settings, each an event.

A state that has a head gets one that fits its classes. A state without one stays so,
because a change labels nothing, unless a retired class comes back with its labels.
"""

from collections.abc import Iterable

import numpy as np

from iwps_jax import checks
from iwps_jax.app import naming
from iwps_jax.app.campaign.events import (
    ClassAdded,
    ClassMerged,
    ClassRenamed,
    ClassRestored,
    ClassRetired,
    Event,
    SettingsChanged,
)
from iwps_jax.app.campaign.learn import refitted
from iwps_jax.app.campaign.state import (
    METHODS,
    RECOMMENDED,
    Campaign,
    all_names,
    counts_as,
    holdout_of,
    require_class_name,
    retired_classes,
    task_of,
)
from iwps_jax.refusal import Refusal, nearest, refusing

LESS = ClassMerged, ClassRetired
"""The events that leave fewer classes."""
SAME_HEAD = ClassRenamed, SettingsChanged
"""The events after which the head is as before."""


def add_class(state: Campaign, name: str) -> Campaign:
    """One more class, or a retired one again, which then has its labels back.

    Samples that were labeled before are not asked for again.

    Raises:
        Refusal: if there is, or ever was, another class with this name.
    """
    return add_classes(state, [name])


def unknown_names(state: Campaign, labels: Iterable[str]) -> list[str]:
    """The names among answers that no class has or had, each once, in their order."""
    known = {*map(naming.form, all_names(state))}
    found: dict[str, str] = {}
    for label in filter(naming.is_class, labels):
        if naming.form(label) not in known:
            found.setdefault(naming.form(label), label)
    return [*found.values()]


def add_classes(state: Campaign, names: Iterable[str]) -> Campaign:
    """Several classes more, as `add_class` adds one; one head is fitted for all."""
    grown = state
    for name in names:
        grown = grown._replace(events=(*grown.events, _added(grown, name)))
    added = grown.events[len(state.events) :]
    has_labels = any(isinstance(event, ClassRestored) for event in added)
    is_same = not added or (state.head is None and not has_labels)
    return grown if is_same else refitted(grown)


def _added(state: Campaign, name: str) -> Event:
    """A retired class of this name comes back; otherwise it is a new class."""
    names = task_of(state).classes
    for number in retired_classes(state):
        if naming.form(names[number]) == naming.form(name):
            return ClassRestored(number)
    _require_new(state, name)
    return ClassAdded(name)


def rename_class(state: Campaign, name: str, new_name: str) -> Campaign:
    """The class under another name; its labels stay.

    Raises:
        Refusal: if there is no such class, or there is or was one with the new name.
    """
    number = _number_of(state, name)
    _require_new(state, new_name)
    return _after(state, ClassRenamed(number, new_name))


def merge_classes(state: Campaign, name: str, into: str) -> Campaign:
    """All labels of one class count as those of another, also later ones.

    No function undoes it. The events keep every label as it was given.

    Raises:
        Refusal: if there are no two such classes.
    """
    number, target = _number_of(state, name), _number_of(state, into)
    if number == target:
        raise Refusal(f"a class must be merged into another one, got {name!r} twice.")
    return _after(state, ClassMerged(number, target))


def retire_class(state: Campaign, name: str) -> Campaign:
    """The class is no answer any more, and its labels no longer count.

    `add_class` brings it back.

    Raises:
        Refusal: if there is no such class, or without it no holdout sample, or only
            one class, is left.
    """
    return _after(state, ClassRetired(_number_of(state, name)))


def change_settings(
    state: Campaign,
    *,
    method: str | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    rarity: float | None = None,
) -> Campaign:
    """Other settings for the next batches; None keeps a setting.

    Raises:
        Refusal: if there is no such method, or a number is not positive.
    """
    now = task_of(state)
    settings = SettingsChanged(
        now.method if method is None else method,
        now.steps if steps is None else checks.require_integer("steps", steps),
        now.learning_rate if learning_rate is None else float(learning_rate),
        now.rarity if rarity is None else float(rarity),
    )
    if settings.method not in (RECOMMENDED, *METHODS):
        raise Refusal(nearest(settings.method, "method", METHODS))
    with refusing(ValueError, TypeError):
        checks.require_steps(settings.steps, settings.learning_rate)
        checks.require_not_negative("rarity", settings.rarity)
    return _after(state, settings)


def _number_of(state, name) -> int:
    """The number of a class that still counts as itself."""
    names, target = task_of(state).classes, counts_as(state)
    is_open = target == np.arange(len(names))
    open_names = [n for n, is_it in zip(names, is_open, strict=True) if is_it]
    for number, known in enumerate(names):
        if naming.form(known) == naming.form(name) and is_open[number]:
            return number
    raise Refusal(nearest(name, "class", open_names))


def _require_new(state, name):
    require_class_name(name)
    if naming.form(name) in map(naming.form, all_names(state)):
        raise Refusal(f"a new class must have a name that no class had, got {name!r}.")


def _after(state: Campaign, event: Event) -> Campaign:
    after = state._replace(events=(*state.events, event))
    num_open = len({*counts_as(after).tolist()} - {naming.SKIPPED})
    if num_open < 2 and not state.task.is_open and isinstance(event, LESS):
        raise Refusal("a campaign must keep two or more classes.")
    if len(holdout_of(state).labels) and not len(holdout_of(after).labels):
        raise Refusal("a campaign must keep a class that has a holdout sample.")
    is_same = state.head is None or isinstance(event, SAME_HEAD)
    return after if is_same else refitted(after)
