"""A score with forms that are quicker to compile, or to run, than one for all rows."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from iwps_jax.blocks import LANES
from iwps_jax.pool.devices import Program, sharded

SHARE = 4
"""A later form scores so many times fewer rows at once: it may need more memory."""


class Quick(NamedTuple):
    """Several forms of one score, of which a scan compiles what its rows need.

    A scan begins with the first form alone. Rows that it does not serve go through the
    next, and so on. So the form of a row depends on this row alone, and its score on no
    chunk, device or attempt. Whoever calls it as a function gets the full form.

    Attributes:
        forms: `form(rows) -> scores [n], holds [n]`; a row's score is right where
            `holds`. The last one holds for all rows.
        full: `full(rows) -> scores [n]`, of any rows.

    Example:
        >>> import jax.numpy as jnp
        >>> cubic = lambda x: (x - x**3 / 6, abs(x) < 0.01)
        >>> score = Quick((cubic, lambda x: (jnp.sin(x), x == x)), jnp.sin)
        >>> float(score(jnp.zeros(1))[0])
        0.0
    """

    forms: tuple[Callable[[PyTree], tuple[PyTree, PyTree]], ...]
    full: Callable[[PyTree], PyTree]

    def __call__(self, rows: PyTree) -> PyTree:
        """The full form."""
        return self.full(rows)


def first_form(score_fn: Callable[[PyTree], PyTree] | Quick) -> Callable:
    """The form that a scan begins with."""
    return score_fn.forms[0] if isinstance(score_fn, Quick) else score_fn


def program_of(
    score_fn: Callable[[PyTree], PyTree] | Quick,
    row: PyTree,
    devices: Sequence[jax.Device],
    *,
    chunk_size: int,
    chunks: int,
) -> Program:
    """`sharded`, also of a score that has several forms.

    Raises:
        ValueError: if the score does not return one row for each row.
    """
    make = partial(sharded, row=row, devices=devices)
    if not isinstance(score_fn, Quick):
        return make(score_fn, chunk_size=chunk_size, chunks=chunks)
    first, *others = score_fn.forms
    program = make(first, chunk_size=chunk_size, chunks=chunks)
    share = SHARE if chunk_size % (SHARE * LANES) == 0 else 1
    sizes = {"chunk_size": chunk_size // share, "chunks": chunks * share}
    later = [cache(partial(make, form, **sizes)) for form in others]

    def settle(rows: PyTree, found: Any) -> np.ndarray:
        scores, holds = map(np.asarray, found)
        for other in later:
            if holds.all():
                break
            next_scores, next_holds = map(np.asarray, other().run(rows))
            scores, holds = np.where(holds, scores, next_scores), holds | next_holds
        return scores

    return program._replace(settle=settle, scores=program.scores[0])
