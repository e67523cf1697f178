"""The research selectors as a row of the table of methods holds them, `Method.select`.

    select(key, scores, features, model, k, where) -> rows [k]

`iwps_jax.method` says what the arguments are.
"""

from collections.abc import Callable

from iwps_jax.contrib.rescored import LookAhead, rescored_iwps
from iwps_jax.method import Model
from iwps_jax.scores.head import head_logits
from iwps_jax.selection.spaces import Space, feature_space, gradient_space
from iwps_jax.types import AnyArray

CANDIDATES_PER_PICK = 4


def spread(selector: Callable, space: Callable, candidates_per_pick: int) -> Callable:
    """A selector of `contrib.batches` in a space that features and model make."""

    def select(key, scores, features, model, k, where):
        return selector(
            key,
            scores,
            space(features, model),
            k,
            candidates_per_pick=candidates_per_pick,
            where=where,
        )

    return select


def of_features(features: AnyArray, model: Model) -> Space:
    """The space of the features as they are."""
    return feature_space(features)


def of_gradients(features: AnyArray, model: Model) -> Space:
    """The space of the head's gradients under its predictions."""
    return gradient_space(features, head_logits(features, *model.head))


def rescored(key, scores, features, model, k, where):
    """IWPS once more after every pick."""
    return rescored_iwps(
        key,
        scores,
        LookAhead(features, *model.head, *model.holdout),
        k,
        steps=model.steps,
        learning_rate=model.learning_rate,
        candidates_per_pick=CANDIDATES_PER_PICK,
        where=where,
    )
