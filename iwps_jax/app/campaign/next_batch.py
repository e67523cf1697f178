"""Chooses the samples that a campaign asks for next."""

import numpy as np
from jaxtyping import Bool, Int

from iwps_jax import checks, methods
from iwps_jax.app import naming
from iwps_jax.app.campaign import control
from iwps_jax.app.campaign.events import NO_MODEL, Batch
from iwps_jax.app.campaign.scaling import ScaledRows
from iwps_jax.app.campaign.state import (
    RECOMMENDED,
    Campaign,
    batches_of,
    free_rows,
    holdout_of,
    ids_of,
    task_of,
)
from iwps_jax.explanations import predictions
from iwps_jax.method import Method, Model
from iwps_jax.picking import pick, require_memory
from iwps_jax.recommendations import recommend
from iwps_jax.refusal import Refusal, refusing
from iwps_jax.scores.weights import class_balanced_weights
from iwps_jax.types import AnyArray, Head, Holdout

FIRST = methods.row_of(recommend(()).method)
"""Picks as long as there is no head, where a method needs one."""
FIRST_ROWS = 8_192
"""It sees at most so many rows, drawn at random: a pool may have any size."""
MOST_ROWS = 20_000
"""So many see other methods that are recommended and compare all rows they see."""


def ask(state: Campaign, k: int) -> tuple[Campaign, list[str]]:
    """Hands out the k samples to label next, and no sample twice.

    Some are control rows, see `iwps_jax.app.campaign.control`; the method picks the
    others. Where the campaign's method lacks a head, or samples that can judge it, the
    recommended method for what is there picks; without a head it sees up to
    `FIRST_ROWS` rows.

    Args:
        state: state of the campaign.
        k: number of samples.

    Returns:
        The state after this batch, and the ids in the order in which they are handed
        out: picks best first, control rows anywhere between them.

    Raises:
        Refusal: if k is not in [1, n]; n rows were neither asked for nor answered.
        PoolError: if rows cannot be read or their scores are NaN; the message names
            the rows.
    """
    k = checks.require_integer("k", k)
    is_free = free_rows(state)
    if not is_free.any():
        raise Refusal("no sample is left: each is labeled, skipped or asked for.")
    if not 1 <= k <= is_free.sum():
        raise Refusal(
            f"k must be in [1, {is_free.sum()}], the number of samples left, got {k}."
        )
    after = state._replace(events=(*state.events, *_batches(state, k)))
    rows = [batch.rows[place] for batch, place in control.handed_out(after)[-1]]
    return after, ids_of(state.task, np.array(rows))


def method_now(state: Campaign) -> Method:
    """The method that picks the next batch, by what is there."""
    has_head, can_judge = state.head is not None, control.can_judge(state)
    there = {"head", "labels", "logits"} if has_head else set()
    there |= {"holdout"} if has_head and can_judge else set()
    name = task_of(state).method
    if name != RECOMMENDED:
        method = methods.row_of(name)
        if {*method.needs} - {"features"} <= there:
            return method
    return methods.row_of(recommend(there).method)


def _batches(state, k) -> list[Batch]:
    """The picks of the method, and the control rows."""
    where = control.pickable_rows(state)
    number = max(control.num_control(state, k), k - int(where.sum()))
    drawn = control.next_rows(state, number)
    where[drawn] = False
    if k - len(drawn) > where.sum():
        raise Refusal(
            f"k must be at most {where.sum() + len(drawn)}, got {k}: the features of "
            "all other samples that are left are not finite."
        )
    found = []
    if len(drawn) < k:
        found.append(_picked(state, k - len(drawn), where))
    if len(drawn):
        predicted, confidence = _predictions(state, drawn)
        none = np.full(len(drawn), np.nan, np.float32)
        name = methods.RANDOM.name
        found.append(Batch(drawn, none, predicted, confidence, name, control.PURPOSE))
    return found


def _picked(state, k, where) -> Batch:
    """The method picks k of the rows in `where`."""
    task, method = task_of(state), method_now(state)
    model = _model(state, method)
    if method.is_scan:
        top = pick(method, model, ScaledRows(task.pool, task.scaling), where, k)
        rows = np.asarray(top.rows, np.int64)
    else:
        seen = _seen_rows(state, method, k, where)
        stub = ScaledRows(task.pool, task.scaling, seen)
        with refusing(ValueError):  # a head too large for the method
            require_memory(method, model, stub)
        features = stub[:]
        is_whole = np.isfinite(features).all(axis=1)
        free = where[seen]
        naming.require_finite(
            naming.ids_of(task.ids, seen[free]), seen[free], features[free]
        )
        seen = seen[is_whole]  # those that may be picked, at least
        top = pick(method, model, features[is_whole], where[seen], k)
        rows = seen[np.asarray(top.rows)]
    predicted, confidence = _predictions(state, rows)
    return Batch(rows, np.asarray(top.scores), predicted, confidence, method.name)


def _model(state: Campaign, method: Method) -> Model:
    """All that a method may know."""
    task, head = task_of(state), state.head
    model = Model(
        seed=task.seed,
        steps=task.steps,
        learning_rate=task.learning_rate,
        rarity=task.rarity,
    )
    # Two batches without an answer between them draw other rows.
    model = model._replace(batch=len(batches_of(state)))
    if head is not None:
        own = Head(np.asarray(head.kernel), np.asarray(head.bias))
        model = model._replace(head=own)
        looks = "holdout" in {*method.needs, *method.uses}
        judges = control.judges_of(state) if looks else None
        if judges is not None:
            model = model._replace(holdout=judges)
            if not len(holdout_of(state).labels):
                weights = class_balanced_weights(judges.labels, len(task.classes))
                model = model._replace(holdout_weights=weights)
    if "labels" in method.needs:  # for others it is enough that no such row is free
        labels = control.training_labels(state)
        known = task.scaling.rows(task.pool, [*labels])
        model = model._replace(
            labeled=Holdout(known, np.array([*labels.values()], np.int32))
        )
    return model


def _seen_rows(
    state: Campaign, method: Method, k: int, where: Bool[AnyArray, " pool"]
) -> Int[np.ndarray, " seen"]:
    """The rows that a method sees which compares all of them.

    A row that it sees and may not pick is covered: control rows, which no head learns,
    are not among them. A method that the user has named sees all others.
    """
    is_seen = np.ones(len(where), bool)
    is_seen[control.kept_rows(state)] = False
    is_named = task_of(state).method == method.name
    if is_named:
        return np.flatnonzero(is_seen)
    most = FIRST_ROWS if state.head is None else MOST_ROWS
    generator = np.random.default_rng((state.task.seed, len(batches_of(state))))
    parts = (
        (np.flatnonzero(is_seen & where), max(most, k)),
        (np.flatnonzero(is_seen & ~where), most),
    )
    return np.sort(
        np.concatenate([generator.permutation(rows)[:some] for rows, some in parts])
    )


def _predictions(state, rows):
    """The head's classes and their probabilities."""
    if state.head is None:
        return np.full(len(rows), NO_MODEL), np.zeros(len(rows), np.float32)
    told = predictions(
        state.task.scaling.rows(state.task.pool, rows.tolist()),
        head=Head(state.head.kernel, state.head.bias),
    )
    return np.asarray(told.predicted, np.int64), np.asarray(told.confidence)
