"""The candidates of a batch: how many of the highest scores are looked at."""

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
