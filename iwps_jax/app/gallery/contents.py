"""What cards can show of samples, by id and row: images, texts or rows of a table."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from iwps_jax.app.gallery.page import Content

Place = tuple[str, int | None]
"""The id of a sample, and its row of the pool if that is known."""


class Contents(NamedTuple):
    """What there is to show of a pool.

    Attributes:
        size: how many rows it has; None if the source does not say so.
        read: function of places and of the largest side of an image in pixels. Raises a
            `Refusal` that names the id, if no sample or several have it; an image that
            cannot be read has a flaw.
    """

    size: int | None
    read: Callable[[Sequence[Place], int], Sequence[Content]]
