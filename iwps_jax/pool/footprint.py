"""How much memory and work a score needs, told from its trace: nothing is compiled."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

WRITTEN = (
    *("dot_general", "conv_general_dilated", "reduce_window", "select_and", "fft"),
    *("sort", "top_k", "gather", "scatter", "dynamic_update_slice", "concatenate"),
    *("cum", "custom", "random", "rng", "linalg"),
)
"""Operations, by how their names begin, whose results XLA writes to memory; it fuses
others into their reader if that is only one."""


class Footprint(NamedTuple):
    """Memory and work of a traced program.

    Attributes:
        working_bytes: the most that is held at once, beside the arguments. XLA's own
            account is known once the program is compiled; of the scores and networks
            of this package, it is 0.3 to 2.7 times as much.
        flops: floating-point operations; those of a loop of unknown length once.
    """

    working_bytes: int
    flops: float


def footprint(jaxpr: Jaxpr) -> Footprint:
    """Walks a trace from its first operation to its last.

    An array is held from where it is computed to where it is read for the last time.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def score(rows):
        ...     return (rows @ jnp.ones((3, 1000))).max(1)
        >>> shape = jax.ShapeDtypeStruct((8, 3), jnp.float32)
        >>> traced = jax.jit(score).trace(shape)
        >>> footprint(traced.jaxpr.jaxpr).working_bytes >= 8 * 1000 * 4
        True
    """
    num_readers: Counter[Any] = Counter()
    last_read: dict[Any, int] = {}
    for number, operation in enumerate(jaxpr.eqns):
        for read in operation.invars:
            if not isinstance(read, Literal):
                num_readers[read] += 1
                last_read[read] = number
    for read in jaxpr.outvars:
        if not isinstance(read, Literal):
            num_readers[read] += 2  # never fused
            last_read[read] = len(jaxpr.eqns)
    held: dict[Any, int] = {}
    most, flops = 0, 0.0
    for number, operation in enumerate(jaxpr.eqns):
        inner = [footprint(each) for each in _inner(operation)]
        is_written = inner or operation.primitive.name.startswith(WRITTEN)
        for result in operation.outvars:
            if is_written or num_readers[result] > 1:
                held[result] = _bytes(result.aval)
        within = max((each.working_bytes for each in inner), default=0)
        most = max(most, sum(held.values()) + within)
        flops += _flops(operation, inner)
        for array in [a for a in held if last_read.get(a, -1) <= number]:
            del held[array]
    return Footprint(most, flops)


def _inner(operation) -> Iterator[Jaxpr]:
    """The programs inside of an operation: of a loop, a branch, a call."""
    for parameter in operation.params.values():
        for each in parameter if isinstance(parameter, list | tuple) else [parameter]:
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each


def _bytes(aval) -> int:
    return getattr(aval, "size", 0) * getattr(aval.dtype, "itemsize", 0)


def _flops(operation, inner) -> float:
    name, parameters = operation.primitive.name, operation.params
    if name == "cond":  # the dearest branch
        return max(each.flops for each in inner)
    if inner:
        return parameters.get("length", 1) * sum(each.flops for each in inner)
    sizes = [math.prod(getattr(out.aval, "shape", ())) for out in operation.outvars]
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        shape = operation.invars[0].aval.shape
        return 2.0 * sum(sizes) * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = operation.invars[1].aval.shape
        features = kernel[parameters["dimension_numbers"].rhs_spec[0]]
        return 2.0 * sum(sizes) * math.prod(kernel) / features
    return float(sum(sizes))
