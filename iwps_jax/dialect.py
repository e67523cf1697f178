"""Operations that have one form for a CPU and the native one on other platforms.

XLA for CPUs leaves some operations to slow loops: no vector unit runs them, or a
temporary array is written out. Each function here has the form that a CPU runs fast,
with the reason beside it, and is the plain operation elsewhere. Which one is chosen
while a program is lowered, so that it suits the device that will run it and not the
one that is at hand. "2.0×" is how many times longer the native form takes on a CPU, in
one run of `python -m benchmarks.dialect` (`benchmarks/RESULTS.md` has the spread).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from iwps_jax.series import expm1_series, interpolate, polynomial
from iwps_jax.types import AnyArray

# Ranks are decided far below the 1e-3 that TF32 keeps of a float32 product.
PRECISION = jax.lax.Precision.HIGHEST

# Rows of a pool at once. A CPU's block stays in its caches; elsewhere each block is a
# launch, or several, and a million rows were 123 of them for every pick.
CPU_ROWS, OTHER_ROWS = 8192, 2**18
# A CPU sums the rows of a last, half-filled vector in another order than full ones, and
# copies of a row would not tie.
LANES = 8
# Classes that are one fusion elsewhere: each more would read and write its sums anew.
CLASSES_OF_A_FUSION = 16


def by_platform(cpu: Callable, others: Callable) -> Callable[..., Any]:
    """Calls `cpu` in programs for CPUs and `others` in all the rest.

    Both are traced; functions of a module are so once, closures at every call.
    """
    return partial(jax.lax.platform_dependent, cpu=cpu, default=others)


# Exponentials and logarithms


# 2 artanh(s) / s as a polynomial in s², for s up to tanh(1).
_ARTANH_SERIES = interpolate(
    lambda square: 2 * np.arctanh(np.sqrt(square)) / np.sqrt(square),
    12,
    (0.0, float(np.tanh(1) ** 2)),
)
_LOG_2 = float(np.log(2))


def moderate_log1p(x: jax.Array) -> jax.Array:
    """log1p(x) to float32 rounding where |log1p(x)| <= 2.

    On a CPU a quotient and a polynomial, log1p(x) = 2 artanh(x / (2 + x)): 2.0×.
    """
    return by_platform(_log1p_by_artanh, jnp.log1p)(x)


def _log1p_by_artanh(x):
    ratio = x / (2 + x)
    return ratio * polynomial(_ARTANH_SERIES, ratio**2)


def exp_and_expm1(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """exp(x) and expm1(x) for |x| <= 64.

    On a CPU both from one polynomial on |r| <= log(2) / 2, for all signs, 3.1×:

        expm1(x) = 2^n expm1(r) + (2^n - 1),    r = x - n log 2
    """
    return by_platform(_exp_and_expm1_by_doubling, _exp_and_expm1)(x)


def _exp_and_expm1(x):
    return jnp.exp(x), jnp.expm1(x)


def _exp_and_expm1_by_doubling(x):
    doublings = jnp.round(x * (1 / _LOG_2))
    rest = x - doublings * _LOG_2
    power = _power_of_two(doublings)
    grown = power * polynomial((0.0, *expm1_series(0.36, 6)), rest)
    return grown + power, grown + (power - 1)


def _power_of_two(n):
    """2^n for whole n, written into the exponent's bits."""
    info = jnp.finfo(n.dtype)
    exponent = n.astype(f"int{info.bits}") + (info.maxexp - 1)
    return jax.lax.bitcast_convert_type(exponent << info.nmant, n.dtype)


# Reductions


def argmax(values: AnyArray) -> jax.Array:
    """The first row of the largest value: on a CPU two vectorized passes, 4.8×."""
    return by_platform(_argmax_by_comparing, _argmax)(values)


def _argmax(values):
    return jax.lax.argmax(values, 0, jnp.int32)


def _argmax_by_comparing(values):
    is_largest = values == values.max(0, keepdims=True)
    numbers = jax.lax.broadcasted_iota(jnp.int32, values.shape, 0)
    return jnp.where(is_largest, numbers, len(values) - 1).min(0)


def sum_rows(entries: AnyArray) -> jax.Array:
    """Sums over the last axis.

    On a CPU a product with ones, 3.6×: a library runs it and no copy of what is summed
    is written. Elsewhere a sum is fused with what makes its entries, a product is not.
    """
    return by_platform(_sum_by_product, _sum)(entries)


def _sum(entries):
    return entries.sum(-1)


def _sum_by_product(entries):
    ones = jnp.ones(entries.shape[-1], entries.dtype)
    return jnp.matmul(entries, ones, precision=PRECISION)


def read_after(earlier: PyTree, block: PyTree) -> PyTree:
    """The block, for what is computed after `earlier`.

    On a CPU products of one block at once are several of its size in memory. Elsewhere
    they are fused with the sums that read them, which an order would prevent.
    """
    return by_platform(_in_order, _in_any_order)(earlier, block)


def _in_order(earlier, block):
    return jax.lax.optimization_barrier((block, earlier))[0]


def _in_any_order(earlier, block):
    return block


# Loops


def fold(
    add: Callable[[PyTree, PyTree], PyTree], total: PyTree, items: PyTree
) -> PyTree:
    """Adds items of a leading axis one after the other: `add(total, item) -> total`.

    As `jax.lax.scan`, but on a CPU an item is read a turn ahead: 4.0× where it is used.
    Read in the same turn, the slice becomes part of the loops that use it, which XLA
    then does not vectorize.
    """
    add = jax.jit(add)  # traced once for both forms, however deep folds are in folds
    return by_platform(partial(_fold_ahead, add), partial(_scan, add, unroll=1))(
        total, items
    )


def _fold_ahead(add, total, items):
    last = _number(items) - 1

    def read(i):
        return jax.tree.map(
            lambda leaf: jax.lax.dynamic_index_in_dim(leaf, i, keepdims=False), items
        )

    def turn(i, state):
        total, item = state
        return add(total, item), read(jnp.minimum(i + 1, last))

    return jax.lax.fori_loop(0, last + 1, turn, (total, read(0)))[0]


def over_classes(
    add: Callable[[PyTree, PyTree], PyTree],
    total: PyTree,
    of_classes: PyTree,
    *,
    on_cpu: int,
) -> PyTree:
    """The same over classes, `on_cpu` of them in a turn there.

    A CPU wants so many that the loop costs little, and its caches hold what a turn
    needs: 1.25× for five of forty, not `CLASSES_OF_A_FUSION`. Elsewhere a turn is a
    launch that reads and writes the sums: as few as can be, with programs that stay
    small.
    """
    number, add = _number(of_classes), jax.jit(add)  # traced once for both forms
    return by_platform(
        *(
            partial(_scan, add, unroll=min(at_once, number))
            for at_once in (on_cpu, CLASSES_OF_A_FUSION)
        )
    )(total, of_classes)


def _scan(add, total, items, *, unroll):
    def turn(total, item):
        return add(total, item), None

    return jax.lax.scan(turn, total, items, unroll=unroll)[0]


def _number(items):
    return len(jax.tree.leaves(items)[0])
