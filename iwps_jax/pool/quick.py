"""A score with a form that is quicker to compile, or to run, and serves most rows."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from iwps_jax.pool.devices import Program, sharded


class Quick(NamedTuple):
    """Two forms of one score.

    Whoever scans a pool runs the quick form alone until it does not hold for some row:
    those rows, and all that come later, go through the full form. Anyone else who calls
    it gets the full form.

    Attributes:
        quick: `quick(rows) -> scores [n], holds [n]`; scores are right where all of
            `holds`, of rows that are scored together, is true.
        full: `full(rows) -> scores [n]`, of any rows.

    Example:
        >>> import jax.numpy as jnp
        >>> score = Quick(lambda x: (x - x**3 / 6, abs(x) < 0.01), jnp.sin)
        >>> float(score(jnp.zeros(1))[0])
        0.0
    """

    quick: Callable[[PyTree], tuple[PyTree, PyTree]]
    full: Callable[[PyTree], PyTree]

    def __call__(self, rows: PyTree) -> PyTree:
        """The full form."""
        return self.full(rows)


def first_form(score_fn: Callable[[PyTree], PyTree] | Quick) -> Callable:
    """The form that a scan begins with."""
    return score_fn.quick if isinstance(score_fn, Quick) else score_fn


def program_of(
    score_fn: Callable[[PyTree], PyTree] | Quick,
    row: PyTree,
    devices: Sequence[jax.Device],
    *,
    chunk_size: int,
    chunks: int,
) -> Program:
    """`sharded`, also of a score that has a quick form.

    Raises:
        ValueError: if the score does not return one row for each row.
    """
    make = partial(sharded, row=row, devices=devices)
    if not isinstance(score_fn, Quick):
        return make(score_fn, chunk_size=chunk_size, chunks=chunks)
    quick = make(score_fn.quick, chunk_size=chunk_size, chunks=chunks)
    full = cache(partial(make, score_fn.full, chunk_size=chunk_size, chunks=chunks))
    has_failed = False

    def run(rows: PyTree) -> Any:
        return (full().run(rows), None) if has_failed else quick.run(rows)

    def settle(rows: PyTree, found: Any) -> PyTree:
        nonlocal has_failed
        scores, holds = found
        if holds is None or np.asarray(holds).all():
            return scores
        has_failed = True
        return full().run(rows)

    return quick._replace(run=run, settle=settle, scores=quick.scores[0])
