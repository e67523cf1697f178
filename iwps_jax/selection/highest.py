"""The highest scores, and what selectors ask of a mask."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from iwps_jax import checks, numerics
from iwps_jax.types import AnyArray


def top_k(
    scores: Float[AnyArray, " pool"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """The k highest scores, best first, ties to the lower row.

    Args:
        scores: one number per row; infinities rank as such.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows.

    Raises:
        ValueError: if k is not in [1, rows left]; outside `jax.jit` also for NaN.
        TypeError: if scores are not floating point or `where` is not boolean.

    References:
        Aljundi et al. 2020: plain top-b, without a diversity term (inferred).

    Example:
        >>> scores = jnp.array([0.1, 0.9, 0.5])
        >>> print(top_k(scores, 2, where=jnp.array([True, False, True])))
        [2 0]
    """
    checks.require_no_nan("scores", scores, "pool")
    where = check_where(scores, k, where)
    return top_rows(scores, where, k=int(k))


def check_where(rows, k, where):
    """All rows if `where` is None; refuses a mask that leaves fewer than k."""
    if where is None:
        where = jnp.ones(len(rows), bool)
    checks.require_mask("where", where, len(rows))
    checks.require_at_most("k", k, len(rows))
    checks.require_at_most("k", k, jnp.asarray(where).sum())
    return where


@partial(jax.jit, static_argnames="k")
def top_rows(scores, where, *, k):
    """`top_k` without its checks; excluded rows follow where too few others are."""
    scores = numerics.upcast(scores)
    # -0.0 ties with 0.0, and a legal -inf must still beat every excluded row.
    scores = jnp.where(scores == 0, 0, scores)
    eligible = jnp.maximum(scores, jnp.finfo(scores.dtype).min)
    _, rows = jax.lax.top_k(jnp.where(where, eligible, -jnp.inf), k)
    return rows.astype(jnp.int32)
