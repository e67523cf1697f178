"""GALAXY: bisection for the places where a class ends, on a line for each class."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks
from iwps_jax.selection import line
from iwps_jax.selection.line import FAR
from iwps_jax.types import AnyArray


def galaxy(
    key: Key[jax.Array, ""],
    logits: Float[AnyArray, "pool classes"],
    labeled_logits: Float[AnyArray, "m classes"],
    labels: Int[AnyArray, " m"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """GALAXY of a batch whose labels come after it: the predictions stand for them.

        next = the middle of the shortest run of unlabeled points between two labeled
               ones, one of class c and one of another, on the line of a random c

        δ_c(x) = p_c - max_c' p_c'        orders the line, ties by p_c

    On the line are the rows that may be picked and the labeled samples. Without such
    a run, next is the row nearest to where two labeled neighbors differ, and without
    such a place a row at random. Ties go to the end of the line that is more like c.
    With two classes, whose lines are one line, c is the first.

    The paper's algorithm learns each label before the next pick. Here the class that
    the head predicts stands for the label of a pick until the batch is complete, so
    bisection leads to the head's own boundary within each run: `galaxy_sequential` is
    the paper's algorithm. With nothing labeled, or one class only, there is no run and
    no such place at first, and rows are drawn at random until the predictions of two
    picks differ about c.

    Each pick takes O(pool + m); the lines take min(k, classes) sorts, and 4 min(k,
    classes) (pool + m) bytes.

    Args:
        key: draws the classes, and the rows that are picked at random.
        logits: the head's outputs.
        labeled_logits: those of the labeled samples.
        labels: classes of these; negative in empty places.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows.

    Raises:
        ValueError: if k is not in [1, rows left] or shapes disagree; outside
            `jax.jit` also if a row has no softmax or a label is no class.
        TypeError: if logits are not floating point, labels are not integers or `where`
            is not boolean.

    References:
        Zhang, Katz-Samuels, Nowak 2022, "GALAXY: Graph-based Active Learning at the
        Extreme", the linear graphs of several classes and their bisection; the
        bisection is S² of Dasarathy, Nowak, Zhu 2015.
        https://arxiv.org/abs/2202.01402

    Example:
        >>> logits = jnp.array([[4.0, 0.0], [2.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> ends = jnp.array([[9.0, 0.0], [-9.0, 0.0]])
        >>> print(galaxy(jax.random.key(0), logits, ends, jnp.array([0, 1]), 2))
        [1 2]
    """
    checks.require_key("key", key)
    labels, labeled_logits = line.with_a_place(labels, labeled_logits)
    where = line.check(logits, labeled_logits, labels, k, where)
    return _galaxy(key, logits, labeled_logits, labels, None, where, k=int(k))


def galaxy_sequential(
    key: Key[jax.Array, ""],
    logits: Float[AnyArray, "pool classes"],
    labeled_logits: Float[AnyArray, "m classes"],
    labels: Int[AnyArray, " m"],
    answers: Int[AnyArray, " pool"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """GALAXY as the paper has it: each label is known before the next pick.

        next = the middle of the shortest run of unlabeled points between two labeled
               ones, one of class c and one of another, on the line of a random c

    See `galaxy`, which says what the line is and what happens without such a run. The
    answer of a row is looked at once the row is picked, and no other answer is.

    Args:
        key: draws the classes, and the rows that are picked at random.
        logits: the head's outputs.
        labeled_logits: those of the labeled samples.
        labels: classes of these; negative in empty places.
        answers: the class of each row, as it is given if the row is picked; a negative
            one is none of the classes.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows, in the order in which they are to be labeled.

    Raises:
        ValueError: if k is not in [1, rows left] or shapes disagree; outside
            `jax.jit` also if a row has no softmax or a label is no class.
        TypeError: if logits are not floating point, labels are not integers or `where`
            is not boolean.

    References:
        Zhang, Katz-Samuels, Nowak 2022, "GALAXY: Graph-based Active Learning at the
        Extreme". https://arxiv.org/abs/2202.01402

    Example:
        >>> logits = jnp.array([[4.0, 0.0], [2.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> ends, labels = jnp.array([[9.0, 0.0], [-9.0, 0.0]]), jnp.array([0, 1])
        >>> answers, key = jnp.array([0, 1, 1, 1]), jax.random.key(0)
        >>> print(galaxy_sequential(key, logits, ends, labels, answers, 2))
        [1 0]
    """
    checks.require_key("key", key)
    labels, labeled_logits = line.with_a_place(labels, labeled_logits)
    where = line.check(logits, labeled_logits, labels, k, where)
    line.check_answers(answers, len(logits), logits.shape[1])
    return _galaxy(key, logits, labeled_logits, labels, answers, where, k=int(k))


def draws_of(key, k, num_classes, num_rows):
    """The class of each pick's line, and what orders rows that are picked at random."""
    class_key, row_key = jax.random.split(key)
    drawn = jax.random.randint(class_key, (k,), 0, num_classes, jnp.int32)
    if num_classes == 2:
        drawn = jnp.zeros_like(drawn)
    return drawn, line.random_draws(row_key, num_rows)


@partial(jax.jit, static_argnames="k")
def _galaxy(key, logits, labeled_logits, labels, answers, where, *, k):
    num_rows, num_classes = logits.shape
    points = line.points_of(logits, labeled_logits, labels, where)
    if answers is None:
        answers = points.softmax[0].predicted
    answers = jnp.asarray(answers).astype(jnp.int32)
    answers = jnp.where(answers < 0, num_classes, answers)
    drawn, draws = draws_of(key, k, num_classes, num_rows)
    # A line for each class that is drawn, however often.
    most = min(k, num_classes)
    classes = jnp.unique(drawn, size=most, fill_value=num_classes).astype(jnp.int32)
    lines = jax.lax.map(
        lambda c: line.order_of(points, jnp.minimum(c, num_classes - 1)), classes
    )
    which = jnp.searchsorted(classes, drawn).astype(jnp.int32)

    def pick(i, state):
        labels, picks = state
        order = lines[which[i]]
        place, is_found = next_place(labels[order], drawn[i], points.number)
        is_left = points.is_on_line[:num_rows] & (labels[:num_rows] < 0)
        at_random = blocks.argmax(jnp.where(is_left, draws, -1))
        row = jnp.where(is_found, order[place], at_random).astype(jnp.int32)
        return labels.at[row].set(answers[row]), picks.at[i].set(row)

    state = points.labels, jnp.zeros(k, jnp.int32)
    return jax.lax.fori_loop(0, k, pick, state)[1]


def next_place(
    labels: Int[jax.Array, " points"],
    c: Int[jax.Array, ""],
    number: Int[jax.Array, ""],
) -> tuple[Int[jax.Array, ""], Bool[jax.Array, ""]]:
    """The place to label next on the line of class c, and whether there is one.

    Args:
        labels: of the points in their order on the line; negative if not known.
        c: the class.
        number: places that are taken.
    """
    places = jnp.arange(len(labels), dtype=jnp.int32)
    is_taken = places < number
    is_known, is_class = (labels >= 0) & is_taken, labels == c
    is_open = is_taken & ~is_known
    # A place and, in the lowest bit, whether the class stands there.
    marks = 2 * places + is_class.astype(jnp.int32)
    before = jax.lax.cummax(jnp.where(is_known, marks, -1))
    after = jax.lax.cummin(jnp.where(is_known, marks, 2 * FAR - 1), reverse=True)
    is_between = is_open & (before >= 0) & (after < 2 * FAR - 1)
    is_between &= (before & 1) != (after & 1)
    lengths = jnp.where(is_between, (after >> 1) - (before >> 1), FAR)
    first = blocks.argmax(-lengths)
    middle = ((before[first] >> 1) + (after[first] >> 1)) // 2

    # Where neighbors differ: the left one's place, seen from the left and the right.
    is_cut = is_known[:-1] & is_known[1:] & (is_class[:-1] != is_class[1:])
    is_cut = jnp.pad(is_cut, (0, 1))
    to_right = jax.lax.cummin(jnp.where(is_cut, places, FAR), reverse=True) - places
    to_left = places - jax.lax.cummax(jnp.where(is_cut, places + 1, -FAR))
    near = jnp.where(is_open, jnp.minimum(to_right, to_left), FAR)
    nearest = blocks.argmax(-near)

    is_run = lengths[first] < FAR
    # A distance to no cut is above all places, but not much above `FAR`.
    is_found = is_run | (near[nearest] < len(labels))
    return jnp.where(is_run, middle, nearest), is_found
