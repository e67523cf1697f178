"""Control rows: a simple random sample of the pool, to measure by.

The rows of the pool have a random order that follows from the seed alone. A batch hands
out the next rows of this order beside the picks. So all rows that the order has passed
are a simple random sample of the pool, whatever the methods picked: if one of them was
picked before, it moves from the training set to the sample. No control row trains a
head before the final one.

Methods do not pick the rows that come first in the order, as many as the share of
control rows can ever ask for. Rows with features that are not finite take no part.
"""

import functools
import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from iwps_jax.app.campaign.events import Batch
from iwps_jax.app.campaign.scaling import rows_of
from iwps_jax.app.campaign.state import (
    Campaign,
    Task,
    batches_of,
    counts_as,
    free_rows,
    holdout_of,
    labels_of,
    last_answers,
    task_of,
)
from iwps_jax.types import Holdout

PURPOSE = "control"
FEWEST = 2
"""Control rows in a batch of twice as many rows or more; half of a smaller one."""
TRUSTED = 5
"""Control rows of every class from which on they can judge as a holdout set."""
# The increment of SplitMix64 and its two multipliers.
INCREMENT = 0x9E3779B97F4A7C15
MULTIPLIERS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def order_of(task: Task) -> np.ndarray:
    """All rows of the pool in the random order of its control rows.

    Rows are sorted by SplitMix64 of seed and row number, so that the order is the same
    with every version of NumPy.

    References:
        Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators",
        Figure 17.
    """
    return _order(task.seed, len(task.pool))[0]


@functools.lru_cache(maxsize=2)
def _order(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The order, and the place of every row in it."""
    stream = _mixed(np.array([seed % 2**64], np.uint64))
    with np.errstate(over="ignore"):
        rows = np.arange(1, size + 1, dtype=np.uint64)
        order = np.argsort(_mixed(stream + rows * np.uint64(INCREMENT)), kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(size)
    for array in (order, places):
        array.setflags(write=False)
    return order, places


def _mixed(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(MULTIPLIERS[0])
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(MULTIPLIERS[1])
    return numbers ^ (numbers >> np.uint64(31))


def control_rows(state: Campaign) -> np.ndarray:
    """The rows that the order has passed, but for holdout samples, in its order."""
    passed = order_of(state.task)[: _num_passed(state)]
    return passed[~np.isin(passed, state.task.holdout_rows)]


def _num_passed(state) -> int:
    """How many rows of the order are up to the last control row handed out."""
    handed = [batch.rows for batch in batches_of(state) if batch.purpose == PURPOSE]
    if not handed:
        return 0
    places = _order(state.task.seed, len(state.task.pool))[1]
    return int(places[np.concatenate(handed)].max()) + 1


def kept_rows(state: Campaign) -> np.ndarray:
    """The rows that methods leave alone: all that are, or are to be, control rows."""
    if not state.task.control:
        return np.zeros(0, np.int64)
    number = math.ceil(state.task.control * len(state.task.pool))
    return np.union1d(order_of(state.task)[:number], control_rows(state))


def pickable_rows(state: Campaign) -> np.ndarray:
    """Mask [pool] of the rows that a method may pick: free, and not kept."""
    is_free = free_rows(state)
    is_free[kept_rows(state)] = False
    return is_free


def num_control(state: Campaign, k: int) -> int:
    """How many control rows a batch of k rows has.

    With them their share of all rows handed out is as wanted, and no batch of four or
    more has fewer than `FEWEST`.
    """
    share = state.task.control
    if not share:
        return 0
    batches = batches_of(state)
    before = sum(len(batch.rows) for batch in batches)
    drawn = sum(len(batch.rows) for batch in batches if batch.purpose == PURPOSE)
    wanted = round(share * (before + k)) - drawn
    return min(k, max(wanted, min(FEWEST, k // 2)))


def next_rows(state: Campaign, number: int) -> np.ndarray:
    """The next rows of the order that may still be asked for, with finite features."""
    ahead = order_of(state.task)[_num_passed(state) :]
    waiting, found = ahead[free_rows(state)[ahead]], []
    for at in range(0, len(waiting), max(number, 1)):
        some = waiting[at : at + number]
        features = state.task.scaling.of(rows_of(state.task.pool, some.tolist()))
        found += some[np.isfinite(features).all(axis=1)].tolist()
        if len(found) >= number:
            break
    return np.array(found[:number], np.int64)


def training_labels(state: Campaign) -> dict[int, int]:
    """The class of every labeled row that trains heads: all but the control rows."""
    is_control = {*control_rows(state).tolist()}
    return {r: c for r, c in labels_of(state).items() if r not in is_control}


def control_labels(state: Campaign) -> dict[int, int]:
    """The class of every labeled control row."""
    labels = labels_of(state)
    return {row: labels[row] for row in control_rows(state).tolist() if row in labels}


class Measured(NamedTuple):
    """How the head does on the labeled control rows.

    Attributes:
        right: how many it classifies right.
        total: how many there are; those of retired classes are wrong.
        unclear: control rows that were skipped, or of which people were unsure.
        interval: exact 95 % interval of the accuracy in the pool.
        balanced: mean share over the open classes; None if one has no control row.
    """

    right: int
    total: int
    unclear: int
    interval: tuple[float, float]
    balanced: float | None

    @property
    def accuracy(self) -> float:
        """Their share."""
        return self.right / self.total


def measure(state: Campaign) -> Measured | None:
    """The accuracy of the head in the pool; None without a head or control rows.

    Args:
        state: with the head fitted to its labels.
    """
    is_control = {*control_rows(state).tolist()}
    answers = {row: c for row, c in last_answers(state) if row in is_control}
    labels = {row: c for row, c in answers.items() if c >= 0}
    if state.head is None or not labels:
        return None
    task, true = task_of(state), counts_as(state)[[*labels.values()]]
    features = task.scaling.rows(task.pool, [*labels])
    logits = features @ state.head.kernel + state.head.bias
    is_right = logits.argmax(-1) == true
    right, total = int(is_right.sum()), len(true)
    numbers, balanced = _open_numbers(state), None
    if {*numbers} <= {*true.tolist()}:
        shares = [is_right[true == number].mean() for number in numbers]
        balanced = float(np.mean(shares))
    unclear = len(answers) - total
    return Measured(right, total, unclear, clopper_pearson(right, total), balanced)


def clopper_pearson(count: int, total: int) -> tuple[float, float]:
    """The exact 95 % confidence interval of a rate, from `count` of `total`.

        [B(0.025; x, n - x + 1), B(0.975; x + 1, n - x)]

    with B the quantiles of the beta distribution, x of n counted.

    References:
        Clopper & Pearson 1934, "The use of confidence or fiducial limits illustrated in
        the case of the binomial".

    Example:
        >>> low, high = clopper_pearson(0, 10)
        >>> print(f"{low:.4f} {high:.4f}")
        0.0000 0.3085
    """
    from scipy.special import betaincinv

    low = betaincinv(count, total - count + 1, 0.025) if count else 0.0
    high = betaincinv(count + 1, total - count, 0.975) if count < total else 1.0
    return float(low), float(high)


def judges_of(state: Campaign) -> Holdout | None:
    """Samples that can judge predictions, scaled: the holdout set, or control rows.

    Control rows judge once every open class has `TRUSTED` labels among them.
    """
    scaling, given = state.task.scaling, holdout_of(state)
    if len(given.labels):
        return Holdout(scaling.of(given.features), given.labels)
    if not can_judge(state):
        return None
    labels = control_labels(state)
    rows = scaling.rows(state.task.pool, [*labels])
    return Holdout(rows, np.array([*labels.values()], np.int32))


def can_judge(state: Campaign) -> bool:
    """Whether `judges_of` finds any."""
    if len(holdout_of(state).labels):
        return True
    counts = Counter(control_labels(state).values())
    numbers = _open_numbers(state)
    return bool(numbers) and min(counts[number] for number in numbers) >= TRUSTED


def _open_numbers(state) -> list[int]:
    """The classes that count as themselves."""
    target = counts_as(state).tolist()
    return [number for number, other in enumerate(target) if number == other]


def handed_out(state: Campaign) -> list[list[tuple[Batch, int]]]:
    """What every command has handed out, in the order of its file.

    Returns:
        For each command its rows, each as its batch and its place there. Picks keep
        their order; control rows stand anywhere between them, so that nobody can tell
        one from the other, and who answers a part of the file answers some of both.
    """
    groups: list[list[Batch]] = []
    for batch in batches_of(state):
        if groups and batch.purpose == PURPOSE and groups[-1][-1].purpose != PURPOSE:
            groups[-1].append(batch)
        else:
            groups.append([batch])
    return [_mixed_up((state.task.seed, at), group) for at, group in enumerate(groups)]


def _mixed_up(seed, batches):
    places = [iter([(batch, at) for at in range(len(batch.rows))]) for batch in batches]
    order = np.repeat(np.arange(len(batches)), [len(batch.rows) for batch in batches])
    order = np.random.default_rng(seed).permutation(order)
    return [next(places[number]) for number in order.tolist()]
