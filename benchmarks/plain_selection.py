"""k-center and BADGE as they were before they were lazy: each pick reads the pool.

The reference of `benchmarks.selection` and of the tests.
"""

from functools import partial

import jax
import jax.numpy as jnp

from iwps_jax import blocks, numerics
from iwps_jax.selection import spaces
from iwps_jax.selection.greedy import draw_gain, greedy


@partial(jax.jit, static_argnames="k")
def k_center_greedy(features, labeled, *, k):
    """The picks of `iwps_jax.k_center_greedy`, one reading of the pool for each."""
    labeled = jnp.asarray(labeled)
    points = spaces.geometry(spaces.Space(features, None), jnp.ones_like(labeled))
    rows = jnp.argsort(~labeled, stable=True)
    nearest = jax.lax.fori_loop(
        0,
        labeled.sum(),
        lambda i, nearest: spaces.nearer(points, rows[i], nearest),
        jnp.full(len(features), jnp.inf, points.right_scale.dtype),
    )
    return greedy(
        k,
        nearest,
        ~labeled,
        gain=lambda i, nearest, eligible: nearest,
        update=lambda i, nearest, row: spaces.nearer(points, row, nearest),
        best=blocks.argmax,
    )


@partial(jax.jit, static_argnames="k")
def badge(key, features, logits, where, *, k):
    """Picks by the law of `iwps_jax.badge`, one reading of the pool for each."""
    where = jnp.asarray(where)
    points = spaces.geometry(spaces.Space(features, logits), where, bias=0.0)
    largest = blocks.argmax(jnp.where(where, spaces.squared_norms(points), -1))

    def gain(i, nearest, eligible):
        noise = numerics.gumbel(jax.random.fold_in(key, i), nearest.shape)
        return draw_gain(jnp.where(eligible, nearest, 0), noise)

    def best(gains):  # before the first pick all are infinite: the largest wins the tie
        is_tie = gains[largest] == gains.max()
        return jnp.where(is_tie, largest, blocks.argmax(gains))

    return greedy(
        k,
        jnp.full_like(points.right_squares, jnp.inf),
        where,
        gain=gain,
        update=lambda i, nearest, row: spaces.nearer(points, row, nearest),
        best=best,
    )
