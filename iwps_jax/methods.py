"""The methods that the commands know by name, and what there is to say about a pick.

Each is a score of rows for `iwps_jax.top_k_of_pool`: rows of features, or of logits
where there is no head, or, for random, row numbers. iwps_batch is one more step: its
score finds candidates, of which `pick_together` picks.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from iwps_jax import numerics
from iwps_jax.pool.chunks import sample_keys
from iwps_jax.pool.ranking import TopK
from iwps_jax.scores.head import head_logits
from iwps_jax.scores.kernel import gradient_kernel, iwps_app_last_layer
from iwps_jax.scores.lookahead import holdout_changes, iwps_last_layer
from iwps_jax.scores.predictive import entropy, least_confidence, margin
from iwps_jax.selection.iwps_batch import NUM_DRAWN, Evidence, iwps_batch
from iwps_jax.types import AnyArray, Head, Holdout

JUDGED = ("iwps", "iwps_app", "iwps_batch")  # by a holdout set
OF_LOGITS = {
    "entropy": entropy,
    "margin": margin,
    "least_confidence": least_confidence,
}
NAMES = (*JUDGED, *OF_LOGITS, "random")
STEPS, LEARNING_RATE = 3, 1e-3  # the defaults of `iwps_last_layer`
MOST_HURT = 3
CANDIDATES_PER_PICK = 10  # the default of `iwps_batch`


class Predictions(NamedTuple):
    """What a head says of some rows.

    Attributes:
        predicted: their predicted classes.
        confidence: the largest class probability.
    """

    predicted: Int[AnyArray, " n"]
    confidence: Float[AnyArray, " n"]


class Explanation(NamedTuple):
    """Why some rows were picked.

    Attributes:
        predicted: their predicted classes.
        confidence: the largest class probability.
        hurts: rows of the holdout set that learning the prediction hurts most, most
            first; None without a holdout set.
        hurts_by: by how much; where not positive it does not hurt.
    """

    predicted: Int[AnyArray, " n"]
    confidence: Float[AnyArray, " n"]
    hurts: Int[AnyArray, "n most"] | None
    hurts_by: Float[AnyArray, "n most"] | None


def make_score(
    method: str,
    head: Head | None = None,
    holdout: Holdout | None = None,
    *,
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
    seed: int = 0,
) -> Callable[[AnyArray], jax.Array]:
    """The score of a method, bound to a model as `top_k_of_pool` wants it.

    Args:
        method: one of `NAMES`. iwps is `iwps_last_layer`, iwps_app
            `iwps_app_last_layer`; iwps_batch finds its candidates by that of iwps.
        head: for rows of features; None for rows of logits, or row numbers.
        holdout: for those of `JUDGED`.
        steps: T of iwps and iwps_batch.
        learning_rate: η of them.
        seed: of random, which folds a key from each row number.

    Raises:
        ValueError: if the method is unknown or lacks a head or holdout set.

    Example:
        >>> print(make_score("margin")(jnp.zeros((1, 2))))
        [1.]
    """
    if method == "random":
        return partial(_random, seed=seed)
    if method in OF_LOGITS:
        return partial(_of_logits, score_fn=OF_LOGITS[method], head=head)
    if method not in JUDGED:
        raise ValueError(f"method must be one of {', '.join(NAMES)}, got {method}.")
    if head is None or holdout is None:
        raise ValueError(f"{method} needs a head and a holdout set.")
    if method == "iwps_app":
        return partial(_iwps_app, head=head, holdout=holdout)
    return partial(
        _iwps, head=head, holdout=holdout, steps=steps, learning_rate=learning_rate
    )


def _iwps(rows, *, head, holdout, steps, learning_rate):
    return iwps_last_layer(
        _floating(rows), *head, *holdout, steps=steps, learning_rate=learning_rate
    )


def _iwps_app(rows, *, head, holdout):
    return iwps_app_last_layer(_floating(rows), *head, *holdout)


def _of_logits(rows, *, score_fn, head):
    return score_fn(logits_of(rows, head))


def _random(rows, *, seed):
    return jax.vmap(jax.random.uniform)(sample_keys(jax.random.key(seed), rows))


def _floating(rows):
    rows = jnp.asarray(rows)
    is_floating = jnp.issubdtype(rows.dtype, jnp.floating)
    return rows if is_floating else rows.astype(jnp.float32)


def num_candidates(k: int, left: int) -> int:
    """How many rows to scan for, of which `pick_together` picks k.

    A k that is impossible stays so, for the scan to refuse.

    Args:
        k: how many are to be picked.
        left: rows that may be picked.

    Example:
        >>> num_candidates(5, 1000), num_candidates(5, 30), num_candidates(50, 30)
        (50, 30, 50)
    """
    return max(k, min(CANDIDATES_PER_PICK * k, left))


def draw_rows(
    seed: int, turn: int, where: Bool[np.ndarray, " pool"]
) -> Int[np.ndarray, " drawn"]:
    """Rows of the pool drawn at random, sorted: the `pool_sample` of `iwps_batch`.

    Args:
        seed: of the draw.
        turn: a number that differs from batch to batch.
        where: rows that may be drawn; fewer than 300 are all taken.

    Example:
        >>> print(draw_rows(0, 0, np.array([True, False, True])))
        [0 2]
    """
    left = np.flatnonzero(where)
    generator = np.random.default_rng((seed, turn))
    size = min(NUM_DRAWN, len(left))
    return np.sort(generator.choice(left, size, replace=False))


def pick_together(candidates: TopK, evidence: Evidence, k: int) -> TopK:
    """Picks k of the candidates of a scan by `iwps_batch`.

    In place of the pool it sees the candidates alone, those with the highest scores,
    and not with the highest products of score and rarity: a scan of any size keeps
    them without a look at the labels.

    Args:
        candidates: with the scores of iwps.
        evidence: its features are those of the candidates, in their order, and its
            `pool_sample` is of the pool.
        k: how many.

    Returns:
        Rows in order of choice, with their scores, which need not fall.
    """
    no_draw = jax.random.key(0)  # with a sample of the pool nothing is drawn
    picks = np.asarray(iwps_batch(no_draw, candidates.scores, evidence, k))
    return TopK(candidates.rows[picks], candidates.scores[picks])


def logits_of(
    rows: AnyArray, head: Head | None = None
) -> Float[jax.Array, "n classes"]:
    """The logits of rows of features, or, without a head, the rows themselves."""
    wide = numerics.upcast(_floating(rows))
    return wide if head is None else head_logits(wide, *map(jnp.asarray, head))


def predictions(rows: AnyArray, *, head: Head | None = None) -> Predictions:
    """What is predicted of some rows.

    Args:
        rows: features, or logits without a head.
        head: the last layer, or None.

    Example:
        >>> told = predictions(jnp.array([[0.0, 100.0]]))
        >>> int(told.predicted[0]), float(told.confidence[0])
        (1, 1.0)
    """
    logits = logits_of(rows, head)
    return Predictions(logits.argmax(-1), jax.nn.softmax(logits).max(-1))


def explain(
    rows: AnyArray,
    *,
    method: str,
    head: Head | None,
    holdout: Holdout | None,
    steps: int = STEPS,
    learning_rate: float = LEARNING_RATE,
) -> Explanation:
    """What is predicted of some rows, and whom learning it would hurt most.

    By iwps_app the changes are those to first order, per unit of step length, minus
    the rows of `gradient_kernel`; by all other methods those of `holdout_changes`, in
    nats. Their mean over the holdout set is the score of iwps_app, or of iwps.

    Args:
        rows: features, or logits without a head.
        method: what chose them.
        head: the last layer, or None.
        holdout: who may be hurt, or None.
        steps: T of the look-ahead.
        learning_rate: η of it.
    """
    predicted, confidence = predictions(rows, head=head)
    if head is None or holdout is None:
        return Explanation(predicted, confidence, None, None)
    features = numerics.upcast(_floating(rows))
    if method == "iwps_app":
        changes = -gradient_kernel(_apply_head, head, features, predicted, *holdout)
    else:
        changes = holdout_changes(
            features, *head, *holdout, steps=steps, learning_rate=learning_rate
        )
    hurts_by, hurts = jax.lax.top_k(changes, min(MOST_HURT, len(holdout.labels)))
    return Explanation(predicted, confidence, hurts, hurts_by)


def _apply_head(head, features):
    return head_logits(features, *head)


def holdout_predictions(head: Head, holdout: Holdout) -> Int[np.ndarray, " m"]:
    """The classes that the head predicts for the holdout set."""
    return np.asarray(predictions(holdout.features, head=head).predicted)
