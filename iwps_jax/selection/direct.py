"""DIRECT: where a class separates best from the others, on a line for each class."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import checks
from iwps_jax.selection import line
from iwps_jax.selection.line import FAR
from iwps_jax.types import AnyArray

NUM_PARALLEL = 20


def direct(
    key: Key[jax.Array, ""],
    logits: Float[AnyArray, "pool classes"],
    labeled_logits: Float[AnyArray, "m classes"],
    labels: Int[AnyArray, " m"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """DIRECT of a batch whose labels come after it: no label of a pick is used.

        threshold_c = argmax_h #{labeled c before h} + #{labeled others from h on}

    over the places h of the line of class c, which `iwps_jax.selection.line` defines;
    ties go to the end that is more like c. Half of the batch, rounded down, is drawn
    at random from the intervals in which the thresholds may lie: that of c begins at
    the last labeled c before all labeled others, and ends at the first labeled other
    behind all labeled c. The rest are the unlabeled rows next to the thresholds, one
    of each side in turn, the side of c first. Classes take turns, those with the fewest
    labels first, and share either half evenly; what does not divide goes to the first
    ones, and what the intervals do not hold goes to the thresholds.

    With nothing labeled, all is one interval, and each threshold is the first end of
    the line: half of the rows are random, and half are those that are most like a
    class. So are the rows next to the threshold of a class without a label.

    The time is that of min(classes, k / 2) + min(classes, k) sorts of the pool and the
    labeled samples; memory is a few numbers a row.

    Args:
        key: draws from the intervals.
        logits: the head's outputs.
        labeled_logits: those of the labeled samples.
        labels: classes of these; negative in empty places.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows, those of the intervals first.

    Raises:
        ValueError: if k is not in [1, rows left] or shapes disagree; outside
            `jax.jit` also if a row has no softmax or a label is no class.
        TypeError: if logits are not floating point, labels are not integers or `where`
            is not boolean.

    References:
        Nuggehalli, Zhang, Jain, Nowak 2023, "DIRECT: Deep Active Learning under
        Imbalance and Label Noise": the reduction to thresholds and VReduce, here with
        as many parallel annotators as rows. https://arxiv.org/abs/2312.09196

    Example:
        >>> logits = jnp.array([[4.0, 0.0], [2.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> known = jnp.array([[3.0, 0.0], [1.5, 0.0]])
        >>> print(direct(jax.random.key(0), logits, known, jnp.array([0, 1]), 1))
        [1]
    """
    checks.require_key("key", key)
    labels, labeled_logits = line.with_a_place(labels, labeled_logits)
    where = line.check(logits, labeled_logits, labels, k, where)
    return _direct(
        key, logits, labeled_logits, labels, None, where, k=int(k), parallel=int(k)
    )


def direct_sequential(
    key: Key[jax.Array, ""],
    logits: Float[AnyArray, "pool classes"],
    labeled_logits: Float[AnyArray, "m classes"],
    labels: Int[AnyArray, " m"],
    answers: Int[AnyArray, " pool"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
    *,
    num_parallel: int = NUM_PARALLEL,
) -> Int[jax.Array, " k"]:
    """DIRECT as the paper has it: labels come back after `num_parallel` picks.

        threshold_c = argmax_h #{labeled c before h} + #{labeled others from h on}

    See `direct`, which says what the lines, the intervals and the halves are. Here a
    class draws `num_parallel` rows at a time from its interval [I, J]. With r draws of
    this size left, this one included, and b unlabeled rows still in the interval, it
    then shrinks until b^(1 - 1/r) of them are left: the end falls away whose threshold
    has more errors; where both have as many, I and J take turns. The thresholds of the
    second half know all labels of the picks before, those of other classes as well.

    The answer of a row is looked at once the row is picked, and no other answer is.

    Args:
        key: draws from the intervals.
        logits: the head's outputs.
        labeled_logits: those of the labeled samples.
        labels: classes of these; negative in empty places.
        answers: the class of each row, as it is given if the row is picked; a negative
            one is none of the classes.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.
        num_parallel: rows of an interval that are labeled at a time, B_parallel.

    Returns:
        k distinct rows, in the order in which they are to be labeled.

    Raises:
        ValueError: if k is not in [1, rows left], `num_parallel` is below one or shapes
            disagree; outside `jax.jit` also if a row has no softmax or a label is no
            class.
        TypeError: if logits are not floating point, labels are not integers or `where`
            is not boolean.

    References:
        Nuggehalli, Zhang, Jain, Nowak 2023, "DIRECT: Deep Active Learning under
        Imbalance and Label Noise", VReduce. https://arxiv.org/abs/2312.09196

    Example:
        >>> logits = jnp.array([[4.0, 0.0], [2.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> known, labels = jnp.array([[3.0, 0.0], [1.5, 0.0]]), jnp.array([0, 1])
        >>> answers = jnp.array([0, 1, 1, 1])
        >>> key = jax.random.key(0)
        >>> print(direct_sequential(key, logits, known, labels, answers, 1))
        [1]
    """
    checks.require_key("key", key)
    labels, labeled_logits = line.with_a_place(labels, labeled_logits)
    where = line.check(logits, labeled_logits, labels, k, where)
    line.check_answers(answers, len(logits), logits.shape[1])
    checks.require_at_most("num_parallel", num_parallel, FAR, "places")
    return _direct(
        *(key, logits, labeled_logits, labels, answers, where),
        k=int(k),
        parallel=int(num_parallel),
    )


class _State(NamedTuple):
    """The batch so far.

    Attributes:
        labels: of the points; negative where not known.
        is_taken: whether a point is a pick.
        picks: rows, and room behind them.
        number: how many there are.
    """

    labels: jax.Array
    is_taken: jax.Array
    picks: jax.Array
    number: jax.Array

    def add(self, rows, number, answers):
        """The first `number` of these rows, and the answers, if there are any."""
        is_new = jnp.arange(len(rows), dtype=jnp.int32) < number
        picks = jax.lax.dynamic_update_slice(self.picks, rows, (self.number,))
        # A row too many is written beyond the points, that is nowhere.
        new = jnp.where(is_new, rows, len(self.labels))
        labels = self.labels
        if answers is not None:
            labels = labels.at[new].set(answers[rows], mode="drop")
        is_taken = self.is_taken.at[new].set(True, mode="drop")
        return _State(labels, is_taken, picks, self.number + number)


class _Line(NamedTuple):
    """A class's line.

    Attributes:
        order: points by place.
        is_class: labeled c.
        is_other: labeled, not c.
        is_open: rows that may be picked.
        right: #{labeled c before h} - #{labeled others before h}, for all places h and
            the one behind them.
    """

    order: jax.Array
    is_class: jax.Array
    is_other: jax.Array
    is_open: jax.Array
    right: jax.Array


@partial(jax.jit, static_argnames=("k", "parallel"))
def _direct(key, logits, labeled_logits, labels, answers, where, *, k, parallel):
    num_rows, num_classes = logits.shape
    points = line.points_of(logits, labeled_logits, labels, where)
    classes = jnp.arange(num_classes, dtype=jnp.int32)
    counts = (points.labels[:, None] == classes[None]).sum(0)
    turns = jnp.argsort(counts, stable=True).astype(jnp.int32)
    if answers is not None:
        answers = jnp.asarray(answers).astype(jnp.int32)
        answers = jnp.where(answers < 0, num_classes, answers)
    most = -(-k // num_classes)
    state = _State(
        points.labels,
        jnp.zeros(len(points.labels), bool),
        jnp.zeros(k + max(most, min(parallel, k)), jnp.int32),
        jnp.int32(0),
    )

    def share(number, turn):
        return number // num_classes + (turn < number % num_classes).astype(jnp.int32)

    def narrow(turn, state):
        c = turns[turn]
        order = line.order_of(points, c)
        left = share(jnp.int32(k // 2), turn)
        draws_key = jax.random.fold_in(key, c)
        return _narrow(
            *(draws_key, points, order, c, left, state, answers),
            at_once=min(parallel, max(1, -(-(k // 2) // num_classes))),
        )

    state = jax.lax.fori_loop(0, min(num_classes, k // 2), narrow, state)
    rest = k - state.number

    def surround(turn, state):
        c = turns[turn]
        at = _line_of(points, line.order_of(points, c), state, c)
        return _surround(at, share(rest, turn), state, answers, most=most)

    number = jnp.minimum(num_classes, rest)
    return jax.lax.fori_loop(0, number, surround, state).picks[:k]


def _line_of(points, order, state, c):
    labels = state.labels[order]
    is_known, is_class = labels >= 0, labels == c
    is_open = points.is_on_line[order] & ~is_known & ~state.is_taken[order]
    is_class, is_other = is_known & is_class, is_known & ~is_class
    steps = is_class.astype(jnp.int32) - is_other.astype(jnp.int32)
    right = jnp.pad(jnp.cumsum(steps, dtype=jnp.int32), (1, 0))
    return _Line(order, is_class, is_other, is_open, right)


def _interval(at, number):
    """The places I and J between which all thresholds of the fewest errors lie."""
    places = jnp.arange(len(at.order), dtype=jnp.int32)
    first_other = jnp.where(at.is_other, places, FAR).min()
    last_class = jnp.where(at.is_class, places, -1).max()
    begin = jnp.where(at.is_class & (places < first_other), places, 0).max()
    end = jnp.where(at.is_other & (places > last_class), places, number - 1).min()
    return begin, end


def _narrow(key, points, order, c, left, state, answers, *, at_once):
    """Draws `left` rows from the interval, which shrinks whenever labels come back."""
    at = _line_of(points, order, state, c)
    interval = _interval(at, points.number)

    def draw(carry):
        turn, left, (begin, end), _, state = carry
        at = _line_of(points, order, state, c)
        places = jnp.arange(len(order), dtype=jnp.int32)
        is_inside = at.is_open & (places >= begin) & (places <= end)
        draws = line.random_draws(jax.random.fold_in(key, turn), len(order))
        _, chosen = jax.lax.top_k(jnp.where(is_inside, draws[order], -1), at_once)
        inside = is_inside.sum(dtype=jnp.int32)
        number = jnp.minimum(jnp.minimum(left, at_once), inside)
        state = state.add(order[chosen], number, answers)
        if answers is None:
            return turn + 1, left - number, (begin, end), inside - number, state
        rounds = left // at_once
        at = _line_of(points, order, state, c)
        interval = _shrunk(at, begin, end, inside - number, rounds)
        return turn + 1, left - number, interval, inside - number, state

    def goes_on(carry):
        _, left, _, inside, _ = carry
        return (left > 0) & (inside > 0)

    carry = jnp.int32(0), left, interval, jnp.int32(1), state
    return jax.lax.while_loop(goes_on, draw, carry)[-1]


def _shrunk(at, begin, end, inside, rounds):
    """The interval once the ends with more errors have fallen away."""
    number = jnp.maximum(inside, 1).astype(jnp.float32)
    power = number ** (1 - 1 / jnp.maximum(rounds, 1).astype(jnp.float32))
    # What rounding adds to a whole number must not make it the next one.
    target = jnp.where(rounds > 1, jnp.ceil(power * (1 - 1e-5)), number)
    target = target.astype(jnp.int32)

    def drop(carry):
        begin, end, inside, is_turn = carry
        low, high = at.right[begin], at.right[end]
        from_begin = (low < high) | ((low == high) & is_turn)
        fallen = jnp.where(from_begin, at.is_open[begin], at.is_open[end])
        step = from_begin.astype(jnp.int32)
        is_turn = is_turn ^ (low == high)
        return begin + step, end - 1 + step, inside - fallen.astype(jnp.int32), is_turn

    def goes_on(carry):
        begin, end, inside, _ = carry
        return (inside > target) & (begin < end)

    carry = begin, end, inside, jnp.bool_(True)
    return jax.lax.while_loop(goes_on, drop, carry)[:2]


def _surround(at, number, state, answers, *, most):
    """The open rows next to the threshold, from both sides in turn."""
    threshold = jnp.argmax(at.right).astype(jnp.int32)
    places = jnp.arange(len(at.order), dtype=jnp.int32)
    before, behind = threshold - 1 - places, places - threshold
    turns = jnp.where(places < threshold, 2 * before, 2 * behind + 1)
    _, chosen = jax.lax.top_k(-jnp.where(at.is_open, turns, 2 * FAR - 1), most)
    return state.add(at.order[chosen], number, answers)
