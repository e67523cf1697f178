"""The loop of all selectors that pick one row after another.

A selector is what it hands in: a gain, what a pick changes, and who wins a tie.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PyTree


def greedy(
    k: int,
    state: PyTree,
    eligible: Bool[jax.Array, " candidates"],
    *,
    gain: Callable[..., jax.Array],
    update: Callable[..., PyTree],
    best: Callable[[jax.Array], jax.Array],
) -> Int[jax.Array, " k"]:
    """Always the candidate of the largest gain, given the picks before.

        row = best(gain(i, state, eligible)),    state ← update(i, state, row)

    Args:
        k: how many candidates to pick.
        state: what a gain depends on and a pick changes, before the first pick.
        eligible: candidates that may be picked; a pick may not be picked again.
        gain: (i, state, eligible) -> a number for every candidate, eligible or not.
        update: (i, state, row) -> the state once `row` is pick i.
        best: the row of the largest of these numbers, which are -inf where a candidate
            is not eligible; settles ties.

    Returns:
        Positions of the picks, in order of choice.
    """

    def pick(i, carry):
        state, eligible, picks = carry
        gains = jnp.where(eligible, gain(i, state, eligible), -jnp.inf)
        row = best(gains).astype(jnp.int32)
        state = update(i, state, row)
        return state, eligible.at[row].set(False), picks.at[i].set(row)

    carry = state, eligible, jnp.zeros(k, jnp.int32)
    return jax.lax.fori_loop(0, k, pick, carry)[-1]


def draw_gain(
    weights: Float[jax.Array, " candidates"], noise: Float[jax.Array, " candidates"]
) -> Float[jax.Array, " candidates"]:
    """A gain whose largest is a draw in proportion to weights, given Gumbel noise.

    Uniform where all weights are zero.
    """
    noise = noise.astype(weights.dtype)
    return jnp.where(weights.max() > 0, jnp.log(weights), 0.0) + noise
