"""Research alternatives: tested and documented, but no study recommends them.

    batches    high scores that are unlike each other, measured in a space
    rescored   IWPS of the head that has learned the picks before

They have the oracles and contracts of all other functions; what they lack is evidence.
Names and signatures here may change in any release.
"""

from iwps_jax.contrib.batches import (
    farthest_first,
    greedy_volume,
    k_means_plus_plus,
    score_weighted,
)
from iwps_jax.contrib.rescored import LookAhead, rescored_iwps

__all__ = [
    "LookAhead",
    "farthest_first",
    "greedy_volume",
    "k_means_plus_plus",
    "rescored_iwps",
    "score_weighted",
]
