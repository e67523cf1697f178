"""A week of labeling: a campaign without a holdout set against random samples.

Both campaigns get as many labels, control rows counted, and deliver a head that has
learned all of them.
"""

from typing import NamedTuple

import numpy as np

from experiments.labeling.pools import Embedded
from iwps_jax import methods
from iwps_jax.app.campaign import (
    Campaign,
    add_classes,
    ask,
    measure,
    start,
    tell,
    unknown_names,
)
from iwps_jax.app.campaign.learn import final_head
from iwps_jax.app.campaign.state import RECOMMENDED, task_of

ARMS = {
    RECOMMENDED: {"method": RECOMMENDED},
    methods.RANDOM.name: {"method": methods.RANDOM.name, "control": 0},
}
"""By name the options of a campaign: the default, and what it is compared with."""


class Day(NamedTuple):
    """The campaign in the evening.

    Attributes:
        balanced_accuracy: of the delivered head on the test samples.
        covered: whether the interval of the control rows holds the accuracy that the
            campaign's own head has in the pool; None without control rows.
        half_width: of the interval, likewise.
    """

    balanced_accuracy: float
    covered: bool | None
    half_width: float | None


def play(
    pool: Embedded,
    test: Embedded,
    names: tuple[str, ...],
    arm: str,
    seed: int,
    days: int,
    labels_a_day: int,
) -> list[Day]:
    """The evenings of a week.

    Args:
        pool: what is there to label.
        test: what the delivered head is judged by.
        names: of the classes; no campaign knows them before an answer names them.
        arm: one of `ARMS`.
        seed: of the campaign.
        days: how many.
        labels_a_day: how many.
    """
    state, evenings = start(pool.features, seed=seed, **ARMS[arm]), []
    for _ in range(days):
        state, ids = ask(state, labels_a_day)
        answers = [names[pool.labels[int(id_)]] for id_ in ids]
        state = add_classes(state, unknown_names(state, answers))
        state = tell(state, ids, answers)
        evenings.append(_judged(state, pool, test, names))
    return evenings


def _judged(state: Campaign, pool, test, names) -> Day:
    # A head before two classes are there says nothing.
    head, measured = final_head(state), measure(state)
    if head is None:
        return Day(1 / len(names), None, None)
    numbers = np.array([names.index(name) for name in task_of(state).classes])
    predicted = numbers[_logits(state, head, test.features).argmax(1)]
    is_right = predicted == test.labels
    classes = np.unique(test.labels)
    balanced = np.mean([is_right[test.labels == label].mean() for label in classes])
    if measured is None:
        return Day(float(balanced), None, None)
    own = numbers[_logits(state, state.head, pool.features).argmax(1)]
    low, high = measured.interval
    covered = low <= (own == pool.labels).mean() <= high
    return Day(float(balanced), bool(covered), (high - low) / 2)


def _logits(state, head, features):
    return state.task.scaling.of(features) @ head.kernel + head.bias
