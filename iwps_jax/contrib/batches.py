"""Batch selectors: high scores that are unlike each other.

All have one signature, so that one can take the place of another:

    select(key, scores, space, k, *, candidates_per_pick, where) -> [k]

The candidates are the `candidates_per_pick · k` eligible rows with the highest scores;
of these the selector picks one after another, ties to the higher score unless it draws.
With one candidate a pick, all choose the rows of `top_k`, each in its own order.

Args:
    key: randomness of the draws; only `k_means_plus_plus` uses it.
    scores: one number per row; infinities rank as such.
    space: the points x, from `feature_space` or `gradient_space`.
    k: how many rows to choose.
    candidates_per_pick: how many candidates there are for every pick.
    where: rows that may be chosen; all by default.

Raises:
    ValueError: if k is not in [1, rows left], there is no candidate a pick or shapes
        disagree; outside `jax.jit` also for a score of NaN.
    TypeError: if scores are not floating point or `where` is not boolean.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import checks, numerics
from iwps_jax.selection import spaces
from iwps_jax.selection.candidates import number_of_candidates, relative
from iwps_jax.selection.greedy import draw_gain, greedy
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

    Returns:
        k distinct rows; copies of picks come last, by their scores.

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
    return _select(_farthest_first, key, scores, space, k, candidates_per_pick, where)


def _farthest_first(key, candidates, k):
    return _spread(candidates, lambda i, nearest: nearest)


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

    Returns:
        k distinct rows.

    References:
        The greedy steps of Gonzalez 1985 with weighted points; Dyer and Frieze 1985,
        "A Simple Heuristic for the p-Centre Problem".

    Example:
        >>> scores = jnp.array([0.9, 0.8, 0.1, -1.0])
        >>> line = spaces.feature_space(jnp.array([[0.0], [1.0], [2.0], [9.0]]))
        >>> print(score_weighted(jax.random.key(0), scores, line, 3))
        [0 1 2]
    """
    return _select(_score_weighted, key, scores, space, k, candidates_per_pick, where)


def _score_weighted(key, candidates, k):
    weights = relative(jnp.where(candidates.eligible, candidates.scores, 0))
    weights = weights.astype(candidates.points.right_squares.dtype)
    return _spread(candidates, lambda i, nearest: weights * jnp.sqrt(nearest))


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

    Returns:
        k distinct rows.

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
    return _select(
        _k_means_plus_plus, key, scores, space, k, candidates_per_pick, where
    )


def _k_means_plus_plus(key, candidates, k):
    def draw(i, nearest):
        noise = numerics.gumbel(jax.random.fold_in(key, i), nearest.shape)
        return draw_gain(nearest, noise.astype(nearest.dtype))

    return _spread(candidates, draw)


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

    Returns:
        k distinct rows.

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
    return _select(_greedy_volume, key, scores, space, k, candidates_per_pick, where)


def _greedy_volume(key, candidates, k):
    points = candidates.points
    squares = spaces.squared_norms(points)
    limit = COVERED * jnp.finfo(squares.dtype).eps * squares

    def uncovered(outside):
        return jnp.where(outside > limit, outside, 0)

    def gain(i, state, eligible):
        outside, _ = state
        return uncovered(outside)

    def update(i, state, row):
        outside, columns = state
        value = uncovered(outside)[row]
        # One more column of the Cholesky factor of L.
        shared = jnp.matmul(columns[:, row], columns, precision=numerics.PRECISION)
        length = jnp.where(value > 0, value, 1)
        column = (spaces.inner_products(points, row) - shared) / jnp.sqrt(length)
        column = jnp.where(value > 0, column, 0)
        return outside - column**2, columns.at[i].set(column)

    columns = jnp.zeros((k, len(squares)), squares.dtype)
    return (squares, columns), gain, update


def _spread(candidates, value_of):
    """The highest score, then the largest `value_of(i, nearest)`.

    `nearest` holds the squared distance to the nearest pick, zero for what is picked.
    """

    def gain(i, nearest, eligible):
        value = value_of(i, jnp.where(eligible, nearest, 0))
        return jnp.where(i == 0, 0, value)

    def update(i, nearest, row):
        return spaces.nearer(candidates.points, row, nearest)

    nearest = jnp.full_like(candidates.points.right_squares, jnp.inf)
    return nearest, gain, update


def _select(rule, key, scores, space, k, candidates_per_pick, where):
    """Refuses what no selector can use; then the picks of one."""
    checks.require_key("key", key)
    checks.require_no_nan("scores", scores, "pool")
    for name, array in zip(Space._fields, space, strict=True):
        if array is not None:
            checks.require_floating(f"space.{name}", array, "pool d")
            checks.require_size(f"space.{name}", array, 0, len(scores), "scores")
    number, where = number_of_candidates(scores, k, candidates_per_pick, where)
    return _pick(key, scores, space, where, rule=rule, k=int(k), number=number)


@partial(jax.jit, static_argnames=("rule", "k", "number"))
def _pick(key, scores, space, where, *, rule, k, number):
    """The picks by `rule(key, candidates, k) -> state, gain, update` of `greedy`."""
    candidates = _candidates(scores, space, where, number)
    state, gain, update = rule(key, candidates, k)

    def best(gains):  # ties go to the higher score
        is_best = gains == gains.max()
        rank = jnp.where(is_best, candidates.ranks, len(gains) - 1).min()
        return candidates.order[rank]

    picks = greedy(k, state, candidates.eligible, gain=gain, update=update, best=best)
    return candidates.rows[picks]


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
