"""How the benchmarks time programs: in turns within one run, compared as ratios.

Absolute times on a shared machine drift by a factor of two within minutes; the ratio of
two programs that take turns does not. Every benchmark therefore quotes medians of such
ratios with their lowest and highest turn, and keeps all seconds in its JSON.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

import iwps_jax


class Program(NamedTuple):
    """Something to time.

    Attributes:
        run: called with `arguments`; what `jax.jit` returned is compiled before its
            first turn, anything else is called once to warm up.
        arguments: of one call.
        samples: how many samples one call scores or selects from.
    """

    run: Callable
    arguments: tuple
    samples: int


class Timing(NamedTuple):
    """What was measured of one program.

    Attributes:
        samples: as in `Program`.
        seconds: one number per turn.
        compile_seconds: of the compilation; None where nothing is compiled ahead.
        temporary_megabytes: memory of the compiled program beside its arguments and
            results, by XLA's own account; None likewise.
        flops: floating-point operations by XLA's account; None likewise.
        memory_megabytes: the same with arguments and results; None likewise.
    """

    samples: int
    seconds: list[float]
    compile_seconds: float | None
    temporary_megabytes: float | None
    flops: float | None
    memory_megabytes: float | None = None

    @property
    def rate(self) -> float:
        """Samples a second, in the median turn."""
        return self.samples / statistics.median(self.seconds)


class Ratio(NamedTuple):
    """How many times faster one program is than another, per sample.

    Attributes:
        median: of the turns.
        lowest: turn.
        highest: turn.
    """

    median: float
    lowest: float
    highest: float


def chunked(score_fn: Callable, chunk_size: int) -> Callable:
    """Jitted `program(pool, *others)`: `score_fn(chunk, *others)`, a chunk at a time.

    What the score needs besides the pool comes as arguments, never as constants that
    the compiler would fold and keep.
    """

    def program(pool, *others):
        return iwps_jax.score_in_chunks(
            lambda chunk: score_fn(chunk, *others), pool, chunk_size=chunk_size
        )

    return jax.jit(program)


def in_turns(
    programs: Mapping[str, Program],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Compiles each program, then times them in turns, `repeats` times round."""
    ready, timings = {}, {}
    for name, program in programs.items():
        ready[name], timings[name] = compiled(program)
        jax.block_until_ready(ready[name](*program.arguments))
    for _ in range(repeats):
        for name, program in programs.items():
            start = clock()
            jax.block_until_ready(ready[name](*program.arguments))
            timings[name].seconds.append(clock() - start)
    return timings


def compiled(program: Program) -> tuple[Callable, Timing]:
    """What to call for each turn, and a timing that has no turns yet.

    Shapes and types are enough as arguments of a program that is compiled.
    """
    if not hasattr(program.run, "lower"):
        return program.run, Timing(program.samples, [], None, None, None)
    start = time.perf_counter()
    compiled = program.run.lower(*program.arguments).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    temporary = memory.temp_size_in_bytes
    whole = temporary + memory.argument_size_in_bytes + memory.output_size_in_bytes
    flops = (compiled.cost_analysis() or {}).get("flops")
    return compiled, Timing(
        program.samples, [], seconds, temporary / 1e6, flops, whole / 1e6
    )


def speed_ratio(fast: Timing, slow: Timing) -> Ratio:
    """How many times more samples a second `fast` takes, turn by turn."""
    share = fast.samples / slow.samples
    ratios = [
        share * slower / faster
        for slower, faster in zip(slow.seconds, fast.seconds, strict=True)
    ]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def device_peak_megabytes() -> float | None:
    """Most memory the device has held since the program began; None on a CPU."""
    account = jax.devices()[0].memory_stats() or {}
    peak = account.get("peak_bytes_in_use")
    return None if peak is None else peak / 1e6


def machine(packages: Sequence[str] = ()) -> dict[str, Any]:
    """What the numbers depend on: device, cores, versions; `packages` besides jax."""
    versions = {
        name: metadata.version(name) for name in ("jax", "jaxlib", "numpy", *packages)
    }
    return {
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "devices": jax.device_count(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        **versions,
    }


def write(path: Path, numbers: dict[str, Any]) -> None:
    """Writes the JSON of a benchmark: settings, machine, and what it measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers, indent=1) + "\n")
