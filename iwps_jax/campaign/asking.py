"""Which samples a campaign asks for next."""

from functools import partial

import jax.numpy as jnp
import numpy as np

from iwps_jax import checks
from iwps_jax.campaign.state import (
    NO_MODEL,
    Batch,
    Campaign,
    free_rows,
    ids_of,
)
from iwps_jax.numerics import PRECISION
from iwps_jax.pool.scan import top_k_of_pool
from iwps_jax.scores.kernel import iwps_app_last_layer
from iwps_jax.scores.lookahead import iwps_last_layer
from iwps_jax.scores.predictive import entropy, least_confidence, margin


def _of_logits(score_fn, features, kernel, bias):
    return score_fn(jnp.matmul(features, kernel, precision=PRECISION) + bias[None])


# One object each, so that a method is one program in all rounds.
OF_LOGITS = {
    "entropy": partial(_of_logits, entropy),
    "margin": partial(_of_logits, margin),
    "least_confidence": partial(_of_logits, least_confidence),
}


def ask(state: Campaign, k: int) -> tuple[Campaign, list[str]]:
    """Hands out the k samples to label next, none of them a second time.

    Those with the highest scores under the campaign's method; while fewer than two
    classes are labeled there is no head to ask, and they are drawn at random.

    Args:
        state: of the campaign.
        k: how many.

    Returns:
        The state in which they are asked for, and their ids, best first.

    Raises:
        ValueError: if k is not in [1, rows that were neither asked for nor answered].
        PoolError: if rows cannot be read or their scores are NaN; names the rows.
    """
    k = checks.require_integer("k", k)
    where = free_rows(state)
    if not 1 <= k <= where.sum():
        raise ValueError(
            f"k must be in [1, {where.sum()}], the samples that are left, got {k}."
        )
    batch = _batch(state, k, where)
    return state._replace(events=(*state.events, batch)), ids_of(state.task, batch.rows)


def _batch(state, k, where) -> Batch:
    task, head = state.task, state.head
    if head is None or task.method == "random":
        rng = np.random.default_rng([task.seed, len(state.events)])
        rows = rng.choice(np.flatnonzero(where), k, replace=False)
        scores, method = np.zeros(k, np.float32), "random"
    else:
        top = top_k_of_pool(_score(task, head), task.pool, k, where=where)
        rows, scores, method = top.rows, top.scores, task.method
    predicted, confidence = _predictions(task, head, rows)
    return Batch(rows.astype(np.int64), scores, predicted, confidence, method)


def _score(task, head):
    """The method as a function of rows of the pool."""
    mean, factor = task.scaling
    model = {"kernel": head.kernel, "bias": head.bias}
    options = {}
    if task.method in OF_LOGITS:
        score_fn = OF_LOGITS[task.method]
    else:
        model["holdout_features"] = task.scaling.of(task.holdout_features)
        model["holdout_labels"] = task.holdout_labels
        score_fn = iwps_app_last_layer
    if task.method == "iwps":
        score_fn = iwps_last_layer
        options = {"steps": task.steps, "learning_rate": task.learning_rate}
    of_pool = {"mean": mean, "factor": np.float32(factor)}
    return partial(_of_scaled, score_fn, model=model, options=options, of_pool=of_pool)


def _of_scaled(score_fn, rows, *, model, options, of_pool):
    features = rows.astype(jnp.float32) - of_pool["mean"][None]
    return score_fn(features * of_pool["factor"], **model, **options)


def _predictions(task, head, rows):
    """Classes and their probabilities, by the head."""
    if head is None:
        return np.full(len(rows), NO_MODEL), np.zeros(len(rows), np.float32)
    features = task.scaling.rows(task.pool, rows.tolist()).astype(np.float64)
    logits = features @ head.kernel + head.bias
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    return probs.argmax(axis=1), probs.max(axis=1).astype(np.float32)
