"""Who takes part: the rows of the table of methods, and variants that only studies run.

    iwps_cross_fitted      IWPS judged by the labeled set: five heads that have each not
                           seen a fifth of it
    iwps_batch_no_holdout  iwps_batch on these scores, its targets all from the pool
    gain                   the gain and the rarity of iwps_batch alone, of all rows
    k_means_centers        the rows nearest to k centers
    batch-...              iwps_batch by its parts: score, rarity, gain, targets
    herding-...            balanced_herding by its parts
    joined-...             balanced_herding joined with the gain of a Gaussian process
    ...-CONSTANT-VALUE     a method with another constant

All `batch-...` choose by a head that has not learned the holdout set, whether their
score and targets need the set or not: else a part would come with other labels.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

from experiments.classification.batch_variants import cross_fitted_scores
from experiments.classification.methods import Setting as Sizes
from experiments.classification.methods import competitor
from experiments.engine.method import Method
from experiments.linear_heads import joined, parts
from experiments.linear_heads.parts import BatchParts, HerdingParts
from iwps_jax import methods
from iwps_jax.method import Method as Row
from iwps_jax.refusal import Refusal, nearest

GAINS = ("off", "candidates", "all")
TARGETS = ("holdout", "pool", "both")


class Competitor(NamedTuple):
    """Somebody who takes part.

    Attributes:
        row: what it needs and how it selects.
        make: `make(sizes, row)`, the method for the loop.
        starts_cold: whether it can choose with nothing labeled.
    """

    row: Row
    make: Callable[[Sizes, Row], Method] = competitor
    starts_cold: bool = True

    @property
    def asks_holdout(self) -> bool:
        """Whether it cannot do without a holdout set."""
        return "holdout" in self.row.needs


def named(name: str) -> Competitor:
    """The competitor of a name.

    Raises:
        Refusal: if there is none.
    """
    if name in VARIANTS:
        return VARIANTS[name]
    if name in methods.ROWS:
        return Competitor(methods.row_of(name))
    raise Refusal(nearest(name, "method", (*methods.ROWS, *VARIANTS)))


def _scored_by_cross_fitting(sizes: Sizes, row: Row) -> Method:
    """A row with the scores of cross-fitted IWPS in place of its own."""
    alone = competitor(sizes, row)
    scores_of = cross_fitted_scores(sizes)

    def score(key, variables, view):
        scores = scores_of(key, variables, view)
        seen = alone.score(key, variables, view)
        return (scores, *seen[1:]) if row.select else scores

    return Method(score, alone.select)


def _without_holdout(one: Competitor) -> Competitor:
    """The same without a holdout set: its targets must be the pool's rows."""
    needs = tuple(need for need in one.row.needs if need != "holdout")
    return one._replace(row=one.row._replace(needs=needs))


SCORES = {
    "none": Competitor(methods.IWPS_BATCH_ALONE),
    methods.MARGIN.name: Competitor(methods.IWPS_BATCH_MARGIN),
    "cross_fitted": Competitor(
        methods.IWPS_BATCH_ALONE, _scored_by_cross_fitting, starts_cold=False
    ),
    methods.IWPS.name: Competitor(methods.IWPS_BATCH),
}
"""The scores that IWPS-batch may have, each as a row and the way to make it."""


def _batch(score: str, chosen: BatchParts) -> Competitor:
    """IWPS-batch of these parts."""
    scored = SCORES[score]
    return scored._replace(
        row=scored.row._replace(select=partial(parts.pick_batch, chosen))
    )


def _factorial() -> dict[str, Competitor]:
    """All combinations of the parts of IWPS-batch."""
    found = {}
    for score in SCORES:
        for rarity in (True, False):
            for gain in GAINS:
                for targets in TARGETS if gain != "off" else ("",):
                    words = ("batch", score, "rare" if rarity else "even", gain)
                    name = "-".join(filter(None, (*words, targets)))
                    chosen = BatchParts(
                        rarity=rarity, gain=gain, targets=targets or "pool"
                    )
                    found[name] = _batch(score, chosen)
    return found


def _other_steps(row: Row, **changes) -> Competitor:
    def make(sizes, row):
        return competitor(sizes._replace(**changes), row)

    return Competitor(row, make)


def _herding(**changes) -> Competitor:
    """Balanced herding of these parts."""
    select = partial(parts.herd, HerdingParts(**changes))
    return Competitor(methods.BALANCED_HERDING._replace(select=select))


ABLATION = _factorial()
HERDING = {
    "herding-all-even": _herding(power=0.0, rarity=0.0),
    "herding-all-rare": _herding(power=0.0),
    "herding-unsure-even": _herding(rarity=0.0),
    "herding-unsure-rare": _herding(),
    "herding-unsure-rare-least": _herding(bandwidth="least"),
    "herding-unsure-rare-median": _herding(bandwidth="median"),
}
"""Balanced herding by its parts: which rows are targets, what they weigh, how wide the
kernel is."""
JOINED = {
    f"joined-{name}": Competitor(
        methods.BALANCED_HERDING._replace(select=partial(joined.select, join))
    )
    for name, join in joined.JOINS.items()
}
CONSTANTS_OF_BATCH = {
    name: BatchParts._field_defaults[name]
    for name in ("prior", "num_drawn", "least_variance", "candidates_per_pick")
}
CONSTANTS = {
    "herding-rarity-0.5": _herding(rarity=0.5),
    "herding-rarity-2": _herding(rarity=2.0),
    "herding-width-0.5": _herding(width=0.5),
    "herding-width-2": _herding(width=2.0),
    "herding-power-0.5": _herding(power=0.5),
    "herding-power-2": _herding(power=2.0),
    "herding-targets-600": _herding(num_targets=600),
    "herding-targets-1200": _herding(num_targets=1200),
    **{
        f"batch-{name}-{value:g}": _batch(
            methods.IWPS.name, BatchParts(**{name: type(default)(value)})
        )
        for name, default in CONSTANTS_OF_BATCH.items()
        for value in (default / 2, default * 2)
    },
    "iwps-steps-1": _other_steps(methods.IWPS, steps=1),
    "iwps-steps-6": _other_steps(methods.IWPS, steps=6),
    "iwps-rate-0.0005": _other_steps(methods.IWPS, learning_rate=5e-4),
    "iwps-rate-0.002": _other_steps(methods.IWPS, learning_rate=2e-3),
}
"""Constants halved and doubled, but for T, which is 3: 1 and 6. 8,192 targets are more
than the pools have rows: 600 and 1,200 stand for them."""
VARIANTS: dict[str, Competitor] = {
    "iwps_cross_fitted": Competitor(
        methods.IWPS._replace(
            needs=("features", "head", "labels"),
            reads=("numbers",),
            score=lambda rows, model: jnp.zeros(len(rows.numbers)),
        ),
        _scored_by_cross_fitting,
        starts_cold=False,
    ),
    "iwps_batch_no_holdout": _without_holdout(
        _batch("cross_fitted", BatchParts(targets="pool"))
    ),
    "gain": _without_holdout(_batch("none", BatchParts(gain="all", targets="pool"))),
    "k_means_centers": Competitor(
        methods.TYPICLUST._replace(select=parts.nearest_to_centers)
    ),
    **ABLATION,
    **HERDING,
    **JOINED,
    **CONSTANTS,
}
"""By name; `methods.ROWS` has the others."""
