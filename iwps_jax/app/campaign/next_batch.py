"""Chooses the samples that a campaign asks for next."""

import numpy as np

from iwps_jax import checks, methods
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
from iwps_jax.method import Model
from iwps_jax.picking import pick, require_memory
from iwps_jax.refusal import Refusal, refusing
from iwps_jax.types import Head, Holdout


def ask(state: Campaign, k: int) -> tuple[Campaign, list[str]]:
    """Hands out the k samples to label next, and no sample twice.

    The campaign's method picks them. As long as fewer than two classes have labels,
    there is no head, and the samples are drawn at random.

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


def _batch(state, k, where) -> Batch:
    task, head, judged = task_of(state), state.head, holdout_of(state)
    # Without a head there are no predictions: rows are drawn at random.
    method = methods.RANDOM if head is None else methods.row_of(task.method)
    model = Model(seed=task.seed, steps=task.steps, learning_rate=task.learning_rate)
    if head is not None:
        model = model._replace(
            head=Head(head.kernel, head.bias),
            holdout=Holdout(task.scaling.of(judged.features), judged.labels),
            # Two batches without an answer between them draw other rows.
            batch=len(batches_of(state)),
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


def _predictions(state, rows):
    """The head's classes and their probabilities."""
    if state.head is None:
        return np.full(len(rows), NO_MODEL), np.zeros(len(rows), np.float32)
    told = predictions(
        state.task.scaling.rows(state.task.pool, rows.tolist()),
        head=Head(state.head.kernel, state.head.bias),
    )
    return np.asarray(told.predicted, np.int64), np.asarray(told.confidence)
