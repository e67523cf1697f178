"""What there is to say about picks: what is predicted, and whom learning it hurts."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from iwps_jax import numerics
from iwps_jax.method import Model
from iwps_jax.picking import floating, logits_of
from iwps_jax.scores.lookahead import holdout_changes
from iwps_jax.types import AnyArray, Head, Holdout

MOST_HURT = 3


class Predictions(NamedTuple):
    """What a head predicts for some rows.

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


def predictions(rows: AnyArray, *, head: Head | None = None) -> Predictions:
    """What is predicted for some rows.

    Args:
        rows: features, or logits without a head.
        head: the last layer, or None.

    Example:
        >>> told = predictions(np.array([[0.0, 100.0]], np.float32))
        >>> int(told.predicted[0]), float(told.confidence[0])
        (1, 1.0)
    """
    logits = logits_of(rows, head)
    return Predictions(logits.argmax(-1), jax.nn.softmax(logits).max(-1))


def explain(
    rows: AnyArray, *, model: Model, changes: Callable | None = None
) -> Explanation:
    """What is predicted for some rows, and whom learning it would hurt most.

    Args:
        rows: features, or logits without a head.
        model: head, holdout set, T and η.
        changes: `Method.changes` of the method that chose the rows; None for those of
            the exact look-ahead, `holdout_changes`, in nats. Their mean over the
            holdout set is the score of iwps; with those of iwps_app, to first order
            and per unit of step length, it is the score of iwps_app.
    """
    predicted, confidence = predictions(rows, head=model.head)
    if model.head is None or model.holdout is None:
        return Explanation(predicted, confidence, None, None)
    features = numerics.upcast(floating(rows))
    changed = (changes or _exact_changes)(features, predicted, model)
    number = min(MOST_HURT, len(model.holdout.labels))
    hurts_by, hurts = jax.lax.top_k(changed, number)
    return Explanation(predicted, confidence, hurts, hurts_by)


def _exact_changes(features, predicted, model):
    return holdout_changes(
        features,
        *model.head,
        *model.holdout,
        steps=model.steps,
        learning_rate=model.learning_rate,
    )


def holdout_predictions(head: Head, holdout: Holdout) -> Int[np.ndarray, " m"]:
    """The classes that the head predicts for the holdout set."""
    return np.asarray(predictions(holdout.features, head=head).predicted)
