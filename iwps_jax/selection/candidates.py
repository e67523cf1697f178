"""The candidates of a batch: how many, and what a score is worth among others."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax import checks
from iwps_jax.selection.highest import check_where
from iwps_jax.types import AnyArray


def number_of_candidates(
    scores: AnyArray, k: int, candidates_per_pick: int, where: AnyArray | None
) -> tuple[int, AnyArray]:
    """How many candidates there are, at most, and the mask; refuses impossible ones."""
    where = check_where(scores, k, where)
    if checks.require_integer("candidates_per_pick", candidates_per_pick) < 1:
        raise ValueError(
            f"candidates_per_pick must be at least 1, got {candidates_per_pick}."
        )
    return min(int(candidates_per_pick) * int(k), len(scores)), where


def relative(scores: Float[jax.Array, " rows"]) -> Float[jax.Array, " rows"]:
    """Scores from 0 to 1, in units of the highest; what is below zero counts as zero.

    An infinite score leaves nothing to the finite ones.
    """
    scores = jnp.maximum(scores, 0)
    highest = scores.max()
    relative = scores / jnp.where(highest > 0, highest, 1)
    return jnp.where((scores == highest) & (highest > 0), 1, relative)
