"""Polynomials that equal a function within a radius, nearly the best ones there."""

from collections.abc import Callable, Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np


@cache
def expm1_series(radius: float, order: int) -> tuple[float, ...]:
    """a_1 … a_order of the polynomial Σ_j a_j x^j that is expm1(x) for |x| <= radius.

    Nearly the best one in relative error, which is about
    radius^order / ((order + 1)! 2^(order - 1)): 2^(order - 1) times less than what
    the Taylor series leaves out.
    """
    # An odd number of nodes has one at zero, where the quotient is its limit.
    return interpolate(
        lambda x: np.where(x == 0, 1, np.expm1(x) / np.where(x == 0, 1, x)),
        order,
        (-radius, radius),
    )


def interpolate(
    function: Callable[[np.ndarray], np.ndarray],
    num_terms: int,
    domain: tuple[float, float],
) -> tuple[float, ...]:
    """Coefficients, constant first, of the interpolation at the Chebyshev nodes."""
    nodes = np.polynomial.Chebyshev.interpolate(function, num_terms - 1, domain)
    return tuple(nodes.convert(kind=np.polynomial.Polynomial).coef.tolist())


def polynomial(coefficients: Sequence[float], x: jax.Array) -> jax.Array:
    """Σ_j a_j x^j, the constant first."""
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total
