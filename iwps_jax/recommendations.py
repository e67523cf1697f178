"""Which method, when: one table for the commands and the documentation's overview."""

from collections.abc import Collection
from typing import NamedTuple

from iwps_jax import methods


class Recommendation(NamedTuple):
    """A line of the table.

    Attributes:
        supplied: what must be there, of `iwps_jax.method.NEEDS`.
        method: the one to use.
        when: to readers of the page, as a clause after "if".
        reason: to somebody who uses a command: a clause that ends a sentence.
    """

    supplied: tuple[str, ...]
    method: str
    when: str
    reason: str


TABLE = (
    Recommendation(
        ("holdout", "labels"),
        methods.IWPS_BATCH.name,
        "you have a labeled holdout set and the samples that the head learned from",
        "the holdout set can judge each prediction, and the samples that the head was "
        "trained on (--training-set of iwps score, --labels of iwps init) say which "
        "classes are rare and what the head knows already.",
    ),
    Recommendation(
        ("holdout",),
        methods.IWPS.name,
        "you have a labeled holdout set and no other labels",
        "the holdout set can judge each prediction; iwps_batch also needs the samples "
        "that the head was trained on (--training-set).",
    ),
    Recommendation(
        ("head", "labels"),
        methods.BALANCED_HERDING.name,
        "you have a head and the samples that it learned from, and no holdout set",
        "balanced_herding covers the samples that margin is unsure of, and counts each "
        "class as much; on data that had not chosen it, and with as many labels for "
        "all, no other method was better on average.",
    ),
    Recommendation(
        ("head",),
        methods.MARGIN.name,
        "you have a head, or its predictions, and nothing else",
        "without a head and a holdout set nothing can judge the predictions, and "
        "margin needs nothing but them; it does not look at labeled samples.",
    ),
    Recommendation(
        (),
        methods.MAX_HERDING.name,
        "you have features alone, with nothing labeled",
        "without a head there are no predictions, and max_herding covers the pool; in "
        "a study it was the best first batch.",
    ),
)
"""The first line whose supplies are there counts.

The lines with a holdout set follow the first study in docs/results.md, in which the
labels of the holdout set count for nobody: `iwps_batch` was significantly better than
each of ten other methods in some of 27 settings, and significantly worse in none. The
lines for labels without a holdout set and for features alone follow the study
`experiments.referee`. There all labels count, and `balanced_herding` was ahead of
`iwps_batch` as well.
"""


def recommend(supplied: Collection[str]) -> Recommendation:
    """The line of the table for what somebody has beside features or logits.

    Args:
        supplied: of `iwps_jax.method.NEEDS`; a head's logits count as a head, and a
            holdout set counts with a head alone.

    Example:
        >>> recommend(["holdout"]).method
        'iwps'
    """
    return next(line for line in TABLE if {*line.supplied} <= {*supplied})
