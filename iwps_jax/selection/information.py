"""Picks by what labels tell of the targets, one after another: the loop of IWPS-batch.

All of it happens in the d + 1 dimensions of the head, whatever the number of picks.
Samples are columns L⁻¹ a, where A = L Lᵀ before the first pick: A⁻¹ is one there, and
every pick takes one outer product from it, A⁻¹ ← A⁻¹ - u uᵀ.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from iwps_jax import blocks, numerics
from iwps_jax.selection.greedy import greedy

# Sums are formed anew when the best gain has fallen so many times: what they were
# before leaves its rounding behind, and only beside the best gain does that matter.
FALL = 8.0
# And after so many picks, for each of them rounds.
PICKS = 512


class Candidates(NamedTuple):
    """The candidates, as they are before the first pick.

    Attributes:
        usefulness: of their scores, from 0 to 1.
        points: L⁻¹ a, a column each.
        probs: of their classes.
        variance: v of their labels.
    """

    usefulness: Float[jax.Array, " candidates"]
    points: Float[jax.Array, "dims candidates"]
    probs: Float[jax.Array, "candidates classes"]
    variance: Float[jax.Array, " candidates"]


class Targets(NamedTuple):
    """Where it counts.

    Attributes:
        points: L⁻¹ a, a column each.
        weights: w v.
    """

    points: Float[jax.Array, "dims m"]
    weights: Float[jax.Array, " m"]


class _Sums(NamedTuple):
    """Products of the candidates with A⁻¹.

    Attributes:
        own: a_iᵀ A⁻¹ a_i.
        told: Σ_m w_m v_m (a_iᵀ A⁻¹ a_m)².
    """

    own: jax.Array
    told: jax.Array


class _State(NamedTuple):
    """The batch so far: all that a pick changes.

    Attributes:
        factor: of A⁻¹.
        sums: of all candidates.
        counts: n_c.
        usefulness: zero once picked.
        gains: of the next pick.
        best: the best gain when the sums were last formed anew.
        since: picks since then.
    """

    factor: jax.Array
    sums: _Sums
    counts: jax.Array
    usefulness: jax.Array
    gains: jax.Array
    best: jax.Array
    since: jax.Array


class _Inverse(NamedTuple):
    """A form of A⁻¹.

    Attributes:
        start: the factor where A⁻¹ is one.
        times: (factor, columns) -> A⁻¹ times these.
        learn: (factor, i, a, v) -> (u, factor after pick i): A ← A + v a aᵀ.
    """

    start: jax.Array
    times: Callable[[jax.Array, jax.Array], jax.Array]
    learn: Callable[..., tuple[jax.Array, jax.Array]]


_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


def pick_in_turn(
    k: int,
    eligible: Bool[jax.Array, " candidates"],
    candidates: Candidates,
    targets: Targets,
    counts: Float[jax.Array, " classes"],
) -> Int[jax.Array, " k"]:
    """Always the candidate of the largest usefulness · rarity · gain; see `iwps_batch`.

    When r is picked, the sums of all others follow from one product with the points:

        own_i  ← own_i - c_i²
        told_i ← told_i - 2 c_i e_i - c_i² Σ_m w_m v_m (a_mᵀ u)²

        u = A⁻¹ a_r √(v_r / (1 + v_r own_r)),  c_i = a_iᵀ u
        e_i = Σ_m w_m v_m (a_iᵀ (A⁻¹ - u uᵀ) a_m) (a_mᵀ u)

    A pick so takes some (candidates + targets + min(k, d)) · d operations.

    Args:
        k: how many candidates to pick.
        eligible: candidates that may be picked.
        candidates: what is known of them.
        targets: where it counts.
        counts: labeled samples of each class.

    Returns:
        Positions of the picks, in order of choice; ties go to the earlier one.
    """
    _, points, probs, variance = candidates
    inverse = _by_picks(k, points) if k < len(points) else _by_dims(points)

    def gains_of(state):
        told = variance * state.sums.told / (1 + variance * state.sums.own)
        return state.usefulness * _matmul(probs, 1 / (1 + state.counts)) * told

    def anew(state):
        sums = _sums(inverse, state.factor, points, targets)
        state = state._replace(sums=sums)
        gains = gains_of(state)
        return state._replace(gains=gains, best=gains.max(), since=jnp.int32(0))

    def update(i, state, row):
        u, factor = inverse.learn(state.factor, i, points[:, row], variance[row])
        along = _matmul(u, targets.points)
        pull = _matmul(targets.points, targets.weights * along)
        both = jnp.stack([u, inverse.times(factor, pull)])
        c, e = _matmul(both, points)
        told = state.sums.told - c * (2 * e + c * _matmul(targets.weights, along**2))
        state = state._replace(
            factor=factor,
            sums=_Sums(*(jnp.maximum(s, 0) for s in (state.sums.own - c**2, told))),
            counts=state.counts + probs[row],
            usefulness=state.usefulness.at[row].set(0),
            since=state.since + 1,
        )
        state = state._replace(gains=gains_of(state))
        is_exact = (FALL * state.gains.max() >= state.best) & (state.since < PICKS)
        return jax.lax.cond(
            numerics.all_of_batch(is_exact), lambda state: state, anew, state
        )

    zeros = jnp.zeros_like(variance)
    start = _State(
        factor=inverse.start,
        sums=_Sums(zeros, zeros),
        counts=counts,
        usefulness=candidates.usefulness,
        gains=zeros,
        best=jnp.zeros_like(zeros[0]),
        since=jnp.int32(0),
    )
    return greedy(
        k,
        anew(start),
        eligible,
        gain=lambda i, state, eligible: state.gains,
        update=update,
        best=jnp.argmax,
    )


def _sums(inverse, factor, points, targets):
    """The sums of all candidates by their definition, a block at a time."""

    def of_block(start, size, _):
        block = jax.lax.dynamic_slice_in_dim(points, start, size, axis=1)
        image = inverse.times(factor, block)
        covariance = _matmul(targets.points.T, image)
        own = jnp.maximum((block * image).sum(0), 0)
        return _Sums(own, _matmul(targets.weights, covariance**2))

    zeros = jnp.zeros(points.shape[1], points.dtype)
    return blocks.in_blocks(of_block, _Sums(zeros, zeros))


def _by_picks(k, points):
    """A⁻¹ = I - Uᵀ U: a row for every pick, for fewer of them than dimensions."""

    def times(factor, columns):
        return columns - _matmul(factor.T, _matmul(factor, columns))

    def learn(factor, i, point, variance):
        image = times(factor, point)
        own = jnp.maximum(_matmul(point, image), 0)
        u = image * jnp.sqrt(variance / (1 + variance * own))
        return u, factor.at[i].set(u)

    return _Inverse(jnp.zeros((k, len(points)), points.dtype), times, learn)


def _by_dims(points):
    """A⁻¹ = S Sᵀ, which no number of picks makes larger or less than zero.

    S ← S (I - β f fᵀ) with f = Sᵀ a, Potter's square root of Kalman's update: as A⁻¹
    shrinks, so do the errors of S. See Bierman 1977, "Factorization Methods for
    Discrete Sequential Estimation".
    """

    def times(factor, columns):
        return _matmul(factor, _matmul(factor.T, columns))

    def learn(factor, i, point, variance):
        del i
        f = _matmul(point, factor)
        image = _matmul(factor, f)
        left = 1 / (1 + variance * _matmul(f, f))
        beta = variance * left / (1 + jnp.sqrt(left))
        u = image * jnp.sqrt(variance * left)
        return u, factor - image[:, None] * (beta * f)[None]

    return _Inverse(jnp.eye(len(points), dtype=points.dtype), times, learn)
