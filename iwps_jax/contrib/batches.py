"""Batch selectors: high scores that are unlike each other.

All have one signature, so that one can take the place of another:

    select(key, scores, space, k, *, candidates_per_pick, where) -> [k]

The candidates are the `candidates_per_pick · k` eligible rows with the highest scores;
of these the selector picks one after another, ties to the higher score unless it draws.
With one candidate a pick, all choose the rows of `top_k`, each in its own order.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import checks, numerics
from iwps_jax.selection import spaces
from iwps_jax.selection.candidates import number_of_candidates
from iwps_jax.selection.highest import top_rows
from iwps_jax.selection.spaces import Space
from iwps_jax.types import AnyArray

# Of the float's precision: what rounding leaves of a squared length that is covered.
COVERED = 100


def farthest_first(
    key: Key[jax.Array, ""],
    scores: Float[AnyArray, " pool"],
    space: Space,
    k: int,
    *,
    candidates_per_pick: int = 4,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """The highest score, then always the candidate farthest from all picks.

        next = argmax_i min_(j picked) ‖x_i - x_j‖²

    Scores only choose the candidates: the more there are, the more the picks are
    spread and the less they score. The core-set's greedy steps, without its centers.

    Args:
        key: not used; for one signature of all.
        scores: one number per row; infinities rank as such.
        space: the points x, from `feature_space` or `gradient_space`.
        k: how many rows to choose.
        candidates_per_pick: so many times k candidates.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows; copies of picks come last, by their scores.

    Raises:
        ValueError: if k is not in [1, rows left], there is no candidate a pick or
            shapes disagree; outside `jax.jit` also for a score of NaN.
        TypeError: if scores are not floating point or `where` is not boolean.

    References:
        Gonzalez 1985, "Clustering to Minimize the Maximum Intercluster Distance", the
        greedy steps; restricted to the best candidates (inferred).

    Example:
        >>> scores = jnp.array([0.9, 0.8, 0.7, 0.1])
        >>> line = spaces.feature_space(jnp.array([[0.0], [0.1], [1.0], [9.0]]))
        >>> key = jax.random.key(0)
        >>> print(farthest_first(key, scores, line, 2, candidates_per_pick=1))
        [0 1]
        >>> print(farthest_first(key, scores, line, 2, candidates_per_pick=2))
        [0 3]
    """
    number, where = _check(key, scores, space, k, candidates_per_pick, where)
    return _farthest_first(scores, space, where, k=int(k), number=number)


@partial(jax.jit, static_argnames=("k", "number"))
def _farthest_first(scores, space, where, *, k, number):
    candidates = _candidates(scores, space, where, number)
    return _pick_in_turn(candidates, k, lambda i, nearest: nearest)


def score_weighted(
    key: Key[jax.Array, ""],
    scores: Float[AnyArray, " pool"],
    space: Space,
    k: int,
    *,
    candidates_per_pick: int = 4,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """The highest score, then always the largest score times distance to all picks.

        next = argmax_i max(score_i, 0) min_(j picked) ‖x_i - x_j‖

    For scores whose zero means "of no use", as that of IWPS and of entropy does: what
    scores zero or less is picked last, by its score, as are copies of picks.

    Args:
        key: not used; for one signature of all.
        scores: one number per row; infinities rank as such.
        space: the points x, from `feature_space` or `gradient_space`.
        k: how many rows to choose.
        candidates_per_pick: so many times k candidates.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows.

    Raises:
        ValueError: if k is not in [1, rows left], there is no candidate a pick or
            shapes disagree; outside `jax.jit` also for a score of NaN.
        TypeError: if scores are not floating point or `where` is not boolean.

    References:
        The greedy steps of Gonzalez 1985 with weighted points; Dyer and Frieze 1985,
        "A Simple Heuristic for the p-Centre Problem".

    Example:
        >>> scores = jnp.array([0.9, 0.8, 0.1, -1.0])
        >>> line = spaces.feature_space(jnp.array([[0.0], [1.0], [2.0], [9.0]]))
        >>> print(score_weighted(jax.random.key(0), scores, line, 3))
        [0 1 2]
    """
    number, where = _check(key, scores, space, k, candidates_per_pick, where)
    return _score_weighted(scores, space, where, k=int(k), number=number)


@partial(jax.jit, static_argnames=("k", "number"))
def _score_weighted(scores, space, where, *, k, number):
    candidates = _candidates(scores, space, where, number)
    positive = jnp.where(candidates.eligible, jnp.maximum(candidates.scores, 0), 0)
    highest = positive.max()
    # An infinite score leaves nothing to the finite ones.
    relative = positive / jnp.where(highest > 0, highest, 1)
    weights = jnp.where((positive == highest) & (highest > 0), 1, relative)
    return _pick_in_turn(candidates, k, lambda i, nearest: weights * jnp.sqrt(nearest))


def k_means_plus_plus(
    key: Key[jax.Array, ""],
    scores: Float[AnyArray, " pool"],
    space: Space,
    k: int,
    *,
    candidates_per_pick: int = 4,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """The highest score, then candidates at random, far ones more often.

        P(next = i) ∝ D_i² = min_(j picked) ‖x_i - x_j‖²

    uniformly once all of those are zero. Less drawn to outliers than `farthest_first`;
    in the gradient space with all rows as candidates it is `badge`, but for the first
    pick and the bias.

    Args:
        key: randomness of the D² sampling.
        scores: one number per row; infinities rank as such.
        space: the points x, from `feature_space` or `gradient_space`.
        k: how many rows to choose.
        candidates_per_pick: so many times k candidates.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows.

    Raises:
        ValueError: if k is not in [1, rows left], there is no candidate a pick or
            shapes disagree; outside `jax.jit` also for a score of NaN.
        TypeError: if scores are not floating point or `where` is not boolean.

    References:
        Arthur, Vassilvitskii 2007, "k-means++: The Advantages of Careful Seeding",
        Section 2.2, with a first pick that is not random.

    Example:
        >>> scores = jnp.array([0.9, 0.8, 0.7, 0.1])
        >>> line = spaces.feature_space(jnp.array([[0.0], [0.0], [1.0], [9.0]]))
        >>> key = jax.random.key(0)
        >>> print(k_means_plus_plus(key, scores, line, 3, candidates_per_pick=1))
        [0 2 1]
    """
    number, where = _check(key, scores, space, k, candidates_per_pick, where)
    return _k_means_plus_plus(key, scores, space, where, k=int(k), number=number)


@partial(jax.jit, static_argnames=("k", "number"))
def _k_means_plus_plus(key, scores, space, where, *, k, number):
    candidates = _candidates(scores, space, where, number)

    def draw(i, nearest):
        # Gumbel noise turns an argmax into a draw in proportion to the distance.
        noise = jax.random.gumbel(jax.random.fold_in(key, i), nearest.shape)
        log_weight = jnp.where(nearest.max() > 0, jnp.log(nearest), 0.0)
        return log_weight + noise.astype(nearest.dtype)

    return _pick_in_turn(candidates, k, draw)


def greedy_volume(
    key: Key[jax.Array, ""],
    scores: Float[AnyArray, " pool"],
    space: Space,
    k: int,
    *,
    candidates_per_pick: int = 4,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """Candidates that span a large volume: the mode of a determinantal point process.

        next = argmax_i det L_(picked + i),    L_ij = ⟨x_i, x_j⟩

    one after another, that is always the candidate with most of its length outside the
    span of the picks. A length of which less than about 0.3 % is outside, what float32
    can tell, counts as covered; once all are, the rest goes by score. Memory beside
    the arguments: candidates · k.

    Args:
        key: not used; for one signature of all.
        scores: one number per row; infinities rank as such.
        space: the points x, from `feature_space` or `gradient_space`.
        k: how many rows to choose.
        candidates_per_pick: so many times k candidates.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows.

    Raises:
        ValueError: if k is not in [1, rows left], there is no candidate a pick or
            shapes disagree; outside `jax.jit` also for a score of NaN.
        TypeError: if scores are not floating point or `where` is not boolean.

    References:
        Chen, Zhang, Zhou 2018, "Fast Greedy MAP Inference for Determinantal Point
        Process to Improve Recommendation Diversity", Algorithm 1.
        https://arxiv.org/abs/1709.05135

    Example:
        >>> scores = jnp.array([0.9, 0.8, 0.7])
        >>> features = jnp.array([[3.0, 0.0], [2.9, 0.1], [0.0, 1.0]])
        >>> plane = spaces.feature_space(features)
        >>> print(greedy_volume(jax.random.key(0), scores, plane, 2))
        [0 2]
    """
    number, where = _check(key, scores, space, k, candidates_per_pick, where)
    return _greedy_volume(scores, space, where, k=int(k), number=number)


@partial(jax.jit, static_argnames=("k", "number"))
def _greedy_volume(scores, space, where, *, k, number):
    candidates = _candidates(scores, space, where, number)
    points, eligible = candidates.points, candidates.eligible
    squares = spaces.squared_norms(points)
    limit = COVERED * jnp.finfo(squares.dtype).eps * squares

    def pick(i, carry):
        outside, columns, eligible, picks = carry
        value = jnp.where(outside > limit, outside, 0)
        row = _best(candidates, value, eligible)
        # One more column of the Cholesky factor of L.
        shared = jnp.matmul(columns[:, row], columns, precision=numerics.PRECISION)
        length = jnp.where(value[row] > 0, value[row], 1)
        column = (spaces.inner_products(points, row) - shared) / jnp.sqrt(length)
        column = jnp.where(value[row] > 0, column, 0)
        columns = columns.at[i].set(column)
        eligible = eligible.at[row].set(False)
        return outside - column**2, columns, eligible, picks.at[i].set(row)

    columns = jnp.zeros((k, len(squares)), squares.dtype)
    picks = jnp.zeros(k, jnp.int32)
    carry = squares, columns, eligible, picks
    return candidates.rows[jax.lax.fori_loop(0, k, pick, carry)[-1]]


def _check(key, scores, space, k, candidates_per_pick, where):
    """The number of candidates and the mask; refuses what no selector can use."""
    checks.require_key("key", key)
    checks.require_no_nan("scores", scores, "pool")
    for name, array in zip(Space._fields, space, strict=True):
        if array is not None:
            checks.require_size(f"space.{name}", array, 0, len(scores), "scores")
    return number_of_candidates(scores, k, candidates_per_pick, where)


class _Candidates(NamedTuple):
    """The rows with the best scores; positions among them are what is picked.

    Attributes:
        points: where they lie.
        scores: of each.
        eligible: false for rows of the mask, there if too few others are.
        rows: in the pool.
        ranks: by score, from 0.
        order: the position of each rank.
    """

    points: spaces.Geometry
    scores: Float[jax.Array, " candidates"]
    eligible: Bool[jax.Array, " candidates"]
    rows: Int[jax.Array, " candidates"]
    ranks: Int[jax.Array, " candidates"]
    order: Int[jax.Array, " candidates"]


def _candidates(scores, space, where, number):
    where = jnp.asarray(where)
    best, numbers = top_rows(scores, where, k=number), jnp.arange(number)
    if number < len(scores):
        scores, where, space = jax.tree.map(
            lambda array: jnp.asarray(array)[best], (scores, where, space)
        )
        rows, ranks, order = best, numbers, numbers
    else:  # a copy of the whole pool would only put it in order
        ranks = jnp.zeros_like(best).at[best].set(numbers.astype(best.dtype))
        rows, order = numbers.astype(best.dtype), best
    points = spaces.geometry(space, where)
    return _Candidates(points, numerics.upcast(scores), where, rows, ranks, order)


def _best(candidates, value, eligible):
    """The position of the largest value; ties go to the higher score."""
    value = jnp.where(eligible, value, -jnp.inf)
    is_best = eligible & (value == value.max())
    rank = jnp.where(is_best, candidates.ranks, len(value) - 1).min()
    return candidates.order[rank].astype(jnp.int32)


def _pick_in_turn(
    candidates: _Candidates, k: int, value_of: Callable[..., jax.Array]
) -> Int[jax.Array, " k"]:
    """The highest score, then the largest `value_of(i, nearest)`, one after another.

    `nearest` holds the squared distance to the nearest pick, zero for what is picked.
    """

    def pick(i, carry):
        nearest, eligible, picks = carry
        value = value_of(i, jnp.where(eligible, nearest, 0))
        row = _best(candidates, jnp.where(i == 0, 0, value), eligible)
        nearest = spaces.nearer(candidates.points, row, nearest)
        return nearest, eligible.at[row].set(False), picks.at[i].set(row)

    nearest = jnp.full_like(candidates.points.right_squares, jnp.inf)
    carry = nearest, candidates.eligible, jnp.zeros(k, jnp.int32)
    return candidates.rows[jax.lax.fori_loop(0, k, pick, carry)[-1]]
