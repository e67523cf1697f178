"""Who is labeled at first, who is in the pool, who is held out: one split a seed."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """One seed's division of the training scenes.

    Attributes:
        pool_ids: sorted ids of the scenes that active learning works on, initially
            labeled or not; a *row* of the loop is a position in this array.
        labeled: which of those rows are labeled at first.
        holdout_ids: sorted ids of the validation and holdout set.
    """

    pool_ids: np.ndarray
    labeled: np.ndarray
    holdout_ids: np.ndarray


def make_split(
    num_scenes: int, seed: int, *, initial_size: int, holdout_size: int
) -> Split:
    """Draws holdout and initial set; all other scenes are the unlabeled pool.

    References:
        Aljundi et al. 2020, supplement §6: drawn at random.

    Example:
        >>> split = make_split(10, seed=0, initial_size=3, holdout_size=2)
        >>> len(split.pool_ids), int(split.labeled.sum()), len(split.holdout_ids)
        (8, 3, 2)
    """
    order = np.random.default_rng(seed).permutation(num_scenes).astype(np.int32)
    holdout, rest = order[:holdout_size], order[holdout_size:]
    pool = np.sort(rest)
    return Split(pool, np.isin(pool, rest[:initial_size]), np.sort(holdout))
