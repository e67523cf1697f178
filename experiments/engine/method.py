"""How a method turns a model into picks: a score and a selector for the loop."""

from collections.abc import Callable
from typing import NamedTuple

import iwps_jax


class Method(NamedTuple):
    """A score and a selector.

    Attributes:
        score: `score(key, variables, view) -> [pool, ...]`.
        select: `select(key, scores, where) -> [k]`.
    """

    score: Callable
    select: Callable


def take_highest(acquire_size: int) -> Callable:
    """The selector that takes the highest scores."""

    def select(key, scores, where):
        del key
        return iwps_jax.top_k(scores, acquire_size, where)

    return select
