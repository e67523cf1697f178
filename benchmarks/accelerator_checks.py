"""Every public score and selector on this device, against float64.

The oracles are those of the tests, NumPy loops over real gradients; where there is
none, the function itself runs in float64 on the CPU of the same machine, for which the
tests have compared it. A GPU or TPU shortens the factors of a float32 product to ten
bits or fewer unless it is told not to. The inputs are traps for that: a common offset
cancels in every first product, so that short factors leave a score visibly wrong. Each
row says how wrong: the reference of inputs rounded to ten bits, in units of what is
allowed. A trap that would not catch it says "blunt".
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RTOL = 1e-5
SURE = 3.0
"""Times what is allowed, that a trap must be wrong by."""
ROUGHLY = {"xla_backend_optimization_level": "0"}


class Check(NamedTuple):
    """One function to check.

    Attributes:
        name: in the table.
        function: called with `arguments` as keywords, compiled.
        arguments: NumPy arrays and keys by name.
        oracle: `oracle(**arguments) -> expected, scale`, the float64 reference and the
            natural size of its terms; None for the function in float64 on the CPU.
        rtol: allowed error, relative to the larger of |expected| and scale, some fifty
            times that of a CPU; 0 for picks.
        asked: which of the pool the oracle is asked of.
        is_trap: whether short factors must show.
    """

    name: str
    function: Callable[..., Any]
    arguments: dict[str, Any]
    oracle: Callable[..., tuple[np.ndarray, Any]] | None = None
    rtol: float = RTOL
    asked: slice = slice(None)
    is_trap: bool = True


class Found(NamedTuple):
    """What a check gave.

    Attributes:
        worst: the largest error in units of what is allowed; picks: how many differ.
        of_short_factors: the same of inputs of ten bits; None where it says nothing.
        met: whether the function is right, and the trap sharp.
    """

    worst: float
    of_short_factors: float | None
    met: bool


def oracles(name: str) -> Any:
    """A module of the tests, which are no package: this needs a clone."""
    folder = str(Path(__file__).parents[1] / "tests")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


def shortened(tree: Any) -> Any:
    """Float32 leaves rounded to the ten bits that TF32 keeps of a factor.

    Example:
        >>> print(shortened(np.float32([1, 1 + 2**-10, 1 + 2**-12])))
        [1.        1.0009766 1.       ]
    """

    def shorten(leaf):
        if getattr(leaf, "dtype", None) != np.float32:
            return leaf
        bits = np.asarray(leaf).view(np.uint32)
        return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)

    return jax.tree.map(shorten, tree)


def in_float64(check: Check) -> Callable[..., tuple[np.ndarray, Any]]:
    """An oracle: the function itself, in float64 on the CPU."""
    cpu = jax.devices("cpu")[0]
    compiled: Any = None

    def widen(leaf):
        if getattr(leaf, "dtype", None) == np.float32:
            return jnp.asarray(leaf, jnp.float64)
        return jax.device_put(leaf, cpu)

    def oracle(**arguments):
        nonlocal compiled
        with jax.enable_x64(True), jax.default_device(cpu):
            wide = jax.tree.map(widen, arguments)
            if compiled is None:
                program = jax.jit(lambda given: check.function(**given))
                compiled = program.lower(wide).compile(ROUGHLY)
            found = as_array(compiled(wide))
        return found, np.mean(np.abs(found))

    return oracle


def as_array(tree: Any) -> np.ndarray:
    """All numbers of a result as one array; a single one stays what it is."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    if len(leaves) == 1:
        return leaves[0]
    return np.concatenate([leaf.ravel() for leaf in leaves])


def run(check: Check) -> Found:
    """Runs the function on this device, and its reference."""
    oracle = check.oracle or in_float64(check)
    given = jax.tree.map(jnp.asarray, check.arguments)
    found = as_array(jax.jit(lambda given: check.function(**given))(given))
    found = found[check.asked]
    expected, scale = oracle(**check.arguments)
    worst = _worst(found, expected, scale, check.rtol)
    if not check.is_trap:
        return Found(worst, None, worst <= bool(check.rtol))
    short, _ = oracle(**shortened(check.arguments))
    of_short = _worst(short, expected, scale, check.rtol)
    is_sharp = of_short >= (SURE if check.rtol else 1)
    return Found(worst, of_short, worst <= bool(check.rtol) and is_sharp)


def run_all(checks: Iterable[Check]) -> Iterator[tuple[str, Found | str]]:
    """Every check as it ends, by name; one that fails gives its error.

    Most of the time is the compilers', which work on as many as there are cores.
    """
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        waiting = {workers.submit(run, check): check.name for check in checks}
        for done in as_completed(waiting):
            error = done.exception()
            result = f"{type(error).__name__}: {error}" if error else done.result()
            yield waiting[done], result


def _worst(found, expected, scale, rtol) -> float:
    if not rtol:
        return float((found != expected).sum())
    allowed = rtol * np.maximum(np.abs(expected), scale) + 1e-35
    excess = np.abs(found.astype(np.float64) - expected) / allowed
    return float(np.where(np.isnan(excess), np.inf, excess).max())
