"""Chooses the samples that a campaign asks for next."""

import numpy as np

from iwps_jax import checks, methods
from iwps_jax.app import naming
from iwps_jax.app.campaign.events import NO_MODEL, Batch
from iwps_jax.app.campaign.scaling import ScaledRows
from iwps_jax.app.campaign.state import (
    Campaign,
    batches_of,
    free_rows,
    holdout_of,
    ids_of,
    labels_of,
    task_of,
)
from iwps_jax.explanations import predictions
from iwps_jax.method import Method, Model
from iwps_jax.picking import pick, require_memory
from iwps_jax.recommendations import recommend
from iwps_jax.refusal import Refusal, refusing
from iwps_jax.types import Head, Holdout

FIRST = methods.row_of(recommend(()).method)
"""Stands in for methods that need a head, where there is none."""
FIRST_ROWS = 8_192
"""It sees at most so many rows, drawn at random: a pool may have any size."""


def ask(state: Campaign, k: int) -> tuple[Campaign, list[str]]:
    """Hands out the k samples to label next, and no sample twice.

    The campaign's method picks them. As long as fewer than two classes have labels,
    there is no head; for a method that needs one, `FIRST` then picks them from up to
    `FIRST_ROWS` rows.

    Args:
        state: state of the campaign.
        k: number of samples.

    Returns:
        The state after this batch, and the ids in the order of the picks.

    Raises:
        Refusal: if k is not in [1, n]; n rows were neither asked for nor answered.
        PoolError: if rows cannot be read or their scores are NaN; the message names
            the rows.
    """
    k = checks.require_integer("k", k)
    where = free_rows(state)
    if not where.any():
        raise Refusal("no sample is left: each is labeled, skipped or asked for.")
    if not 1 <= k <= where.sum():
        raise Refusal(
            f"k must be in [1, {where.sum()}], the number of samples left, got {k}."
        )
    batch = _batch(state, k, where)
    return state._replace(events=(*state.events, batch)), ids_of(state.task, batch.rows)


def needs_head(method: Method) -> bool:
    """Whether a method can pick nothing before there is a head.

    Example:
        >>> needs_head(methods.MARGIN), needs_head(methods.RANDOM)
        (True, False)
    """
    return not {*method.needs} <= {"features"}


def _batch(state, k, where) -> Batch:
    task, head, judged = task_of(state), state.head, holdout_of(state)
    method = methods.row_of(task.method)
    if head is None and needs_head(method):
        return _first_batch(state, k, where)
    model = Model(seed=task.seed, steps=task.steps, learning_rate=task.learning_rate)
    # Two batches without an answer between them draw other rows.
    model = model._replace(batch=len(batches_of(state)))
    if head is not None:
        model = model._replace(
            head=Head(head.kernel, head.bias),
            holdout=Holdout(task.scaling.of(judged.features), judged.labels),
        )
    if "labels" in method.needs:  # for others it is enough that no such row is free
        labels = labels_of(state)
        known = task.scaling.rows(task.pool, list(labels))
        classes = np.array(list(labels.values()), np.int32)
        model = model._replace(labeled=Holdout(known, classes))
    pool = ScaledRows(task.pool, task.scaling)
    with refusing(ValueError):  # a head too large for the method
        require_memory(method, model, pool)
    top = pick(method, model, pool, where, k)
    predicted, confidence = _predictions(state, top.rows)
    rows = np.asarray(top.rows, np.int64)
    return Batch(rows, np.asarray(top.scores), predicted, confidence, method.name)


def _first_batch(state, k, where) -> Batch:
    """Rows that cover the pool, where there is no head."""
    task = state.task
    free, taken = np.flatnonzero(where), np.flatnonzero(~where)
    generator = np.random.default_rng((task.seed, len(batches_of(state))))
    drawn, seen = (
        np.sort(generator.permutation(rows)[:most])
        for rows, most in ((free, max(FIRST_ROWS, k)), (taken, FIRST_ROWS))
    )
    features = task.scaling.rows(task.pool, drawn.tolist())
    naming.require_finite(naming.ids_of(task.ids, drawn), drawn, features)
    model, known = Model(seed=task.seed), features[:0]
    if len(seen):
        known = task.scaling.rows(task.pool, seen.tolist())
        known = known[np.isfinite(known).all(axis=1)]
    if len(known):
        model = model._replace(labeled=Holdout(known, np.zeros(len(known), np.int32)))
    top = pick(FIRST, model, features, None, k)
    rows = drawn[np.asarray(top.rows)]
    predicted, confidence = _predictions(state, rows)
    return Batch(rows, np.asarray(top.scores), predicted, confidence, FIRST.name)


def _predictions(state, rows):
    """The head's classes and their probabilities."""
    if state.head is None:
        return np.full(len(rows), NO_MODEL), np.zeros(len(rows), np.float32)
    told = predictions(
        state.task.scaling.rows(state.task.pool, rows.tolist()),
        head=Head(state.head.kernel, state.head.bias),
    )
    return np.asarray(told.predicted, np.int64), np.asarray(told.confidence)
