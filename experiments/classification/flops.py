"""How many operations a program takes, as the compiler counts them, loops in full.

XLA's count has two traps: it takes the body of a loop once, however often it runs, and
the dearer branch of a conditional, whichever is taken. So what is counted here is a
copy of the program in which every `scan`, and every `fori_loop` with fixed bounds, is
unrolled, and in which all branches are the one named. Products of a convolution with
its zero padding are not in the count.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

# The passes that change the count all run; only the machine code is left rough.
FAST_COMPILE = {"xla_backend_optimization_level": "0"}


class Count(NamedTuple):
    """What the compiler counts.

    Attributes:
        flops: additions, multiplications, comparisons and the like, of floating-point
            numbers and integers; exponentials and other transcendentals are apart.
        loops: loops left, of which one turn each is in the count: those with bounds
            that are data, and that of the random bits.
    """

    flops: float
    loops: int


def count(program: Callable, *arguments: Any, branch: int | None = None) -> Count:
    """Counts the operations of one call.

    Args:
        program: a function that `jax.jit` takes.
        arguments: what it is called with; values do not matter, and the shapes of
            `jax.eval_shape` suffice.
        branch: which branch of every `cond` is taken, 0 for false and 1 for true;
            None counts the dearest.

    Returns:
        The count of the compiled program, on the platform at hand.

    Example:
        >>> import jax.numpy as jnp
        >>> def thrice(x):
        ...     return jax.lax.scan(lambda y, _: (y @ x, None), x, length=3)[0]
        >>> print(count(thrice, jnp.ones((10, 10))).flops)
        6000.0
    """
    copy = unrolled(program, *arguments, branch=branch)
    compiled = jax.jit(copy).lower(*arguments).compile(FAST_COMPILE)
    return Count(
        flops=float(compiled.cost_analysis().get("flops", 0)),
        loops=compiled.as_text().count(" while("),
    )


def unrolled(
    program: Callable, *arguments: Any, branch: int | None = None
) -> Callable[..., list[jax.Array]]:
    """The same program without loops, for arguments of the same shapes.

    Args:
        program: a function that `jax.jit` takes.
        arguments: what it is called with, or their shapes.
        branch: the branch that every `cond` is reduced to; None keeps all.

    Returns:
        A function of such arguments that returns the leaves of the result.
    """
    traced = jax.make_jaxpr(program)(*arguments)
    flat = jaxpr_as_fun(ClosedJaxpr(_unroll(traced.jaxpr, branch), traced.consts))
    return lambda *arguments: flat(*jax.tree.leaves(arguments))


def _unroll(jaxpr: Jaxpr, branch: int | None) -> Jaxpr:
    def rewritten(value):
        if isinstance(value, ClosedJaxpr):
            return value.replace(jaxpr=_unroll(value.jaxpr, branch))
        if isinstance(value, Jaxpr):
            return _unroll(value, branch)
        if type(value) is tuple:  # not one of the named tuples that say dimensions
            return tuple(map(rewritten, value))
        return value

    equations = []
    for equation in jaxpr.eqns:
        params = {name: rewritten(value) for name, value in equation.params.items()}
        if equation.primitive.name == "scan":
            params["unroll"] = max(params["length"], 1)
        elif _asks_data(equation) and branch is not None:
            branches = params["branches"]
            params["branches"] = (branches[branch],) * len(branches)
        equations.append(equation.replace(params=params))
    return jaxpr.replace(eqns=equations)


def _asks_data(equation) -> bool:
    """Whether it is a `cond`, and not one whose branch the platform chooses."""
    is_cond = equation.primitive.name == "cond"
    return is_cond and equation.params.get("branches_platforms") is None
