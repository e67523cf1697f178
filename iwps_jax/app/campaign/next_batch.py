"""Which samples a campaign asks for next."""

import numpy as np

from iwps_jax import checks, methods
from iwps_jax.app.campaign.scaling import ScaledRows
from iwps_jax.app.campaign.state import (
    NO_MODEL,
    Batch,
    Campaign,
    batches_of,
    free_rows,
    ids_of,
    labels_of,
)
from iwps_jax.pool.scan import top_k_of_pool
from iwps_jax.refusal import Refusal
from iwps_jax.selection.iwps_batch import Evidence
from iwps_jax.types import Head, Holdout


def ask(state: Campaign, k: int) -> tuple[Campaign, list[str]]:
    """Hands out the k samples to label next, none of them a second time.

    Those with the highest scores under the campaign's method; by iwps_batch k of the
    10 k highest, picked together. While fewer than two classes are labeled there is no
    head to ask, and they are drawn at random.

    Args:
        state: of the campaign.
        k: how many.

    Returns:
        The state in which they are asked for, and their ids, best first, by iwps_batch
        in order of choice.

    Raises:
        Refusal: if k is not in [1, rows that were neither asked for nor answered].
        PoolError: if rows cannot be read or their scores are NaN; names the rows.
    """
    k = checks.require_integer("k", k)
    where = free_rows(state)
    if not where.any():
        raise Refusal("no sample is left: each is labeled, skipped or asked for.")
    if not 1 <= k <= where.sum():
        raise Refusal(
            f"k must be in [1, {where.sum()}], the samples that are left, got {k}."
        )
    batch = _batch(state, k, where)
    return state._replace(events=(*state.events, batch)), ids_of(state.task, batch.rows)


def _batch(state, k, where) -> Batch:
    if state.head is None or state.task.method == "random":
        choose, method = _at_random, "random"
    else:
        method = state.task.method
        choose = _together if method == "iwps_batch" else _highest
    top = choose(state, k, where)
    predicted, confidence = _predictions(state, top.rows)
    rows = np.asarray(top.rows, np.int64)
    return Batch(rows, np.asarray(top.scores), predicted, confidence, method)


def _at_random(state, k, where):
    task = state.task
    score_fn = methods.make_score("random", seed=task.seed)
    return top_k_of_pool(score_fn, range(len(task.pool)), k, where=where)


def _highest(state, k, where):
    task = state.task
    score_fn = methods.make_score(
        task.method,
        Head(state.head.kernel, state.head.bias),
        Holdout(task.scaling.of(task.holdout_features), task.holdout_labels),
        steps=task.steps,
        learning_rate=task.learning_rate,
    )
    return top_k_of_pool(score_fn, ScaledRows(task.pool, task.scaling), k, where=where)


def _together(state, k, where):
    task, labels = state.task, labels_of(state)
    number = methods.num_candidates(k, int(where.sum()))
    candidates = _highest(state, number, where)
    # Two batches without an answer between them draw other targets.
    drawn = methods.draw_rows(task.seed, len(batches_of(state)), where)
    evidence = Evidence(
        task.scaling.rows(task.pool, candidates.rows.tolist()),
        state.head.kernel,
        state.head.bias,
        task.scaling.of(task.holdout_features),
        task.scaling.rows(task.pool, list(labels)),
        np.array(list(labels.values()), np.int32),
        task.scaling.rows(task.pool, drawn.tolist()),
    )
    return methods.pick_together(candidates, evidence, k)


def _predictions(state, rows):
    """Classes and their probabilities, by the head."""
    if state.head is None:
        return np.full(len(rows), NO_MODEL), np.zeros(len(rows), np.float32)
    told = methods.predictions(
        state.task.scaling.rows(state.task.pool, rows.tolist()),
        head=Head(state.head.kernel, state.head.bias),
    )
    return np.asarray(told.predicted, np.int64), np.asarray(told.confidence)
