"""k-center and BADGE against forms that read the pool for every pick.

Part of `python -m benchmarks.selection`. CPU seconds of all threads, in turns within
one run: the machine's other work changes those less than the time by the clock.
"""

import importlib.util
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import peers, plain_selection
from iwps_jax.selection import coreset, seeding

NUM_CLASSES = 10
K_CENTER, BADGE, LAZY, PLAIN = "k-center", "BADGE", "as it is", "plain"
NUMPY, PEER = "NumPy", "scikit-activeml"


def numpy_k_center(features: np.ndarray, k: int) -> list[int]:
    """The plain form with one matrix-vector product a pick: no digits to spare."""
    squares = np.einsum("ij,ij->i", features, features)
    nearest, picks = np.full(len(features), np.inf, features.dtype), []
    for _ in range(k):
        row = int(np.argmax(nearest))
        picks.append(row)
        to_row = squares + squares[row] - 2 * (features @ features[row])
        np.minimum(nearest, to_row, out=nearest)
        nearest[row] = -np.inf
    return picks


def pools(pool_size: int, dim: int) -> dict[str, np.ndarray]:
    """Features that are normal, in a hundred clusters, and of a decaying spectrum."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(pool_size, dim)).astype(np.float32)
    centers = 2 * rng.normal(size=(100, dim)).astype(np.float32)
    nearby = centers[rng.integers(0, 100, pool_size)]
    return {
        "normal": normal,
        "clusters": nearby + normal / 2,
        "decaying spectrum": normal / np.sqrt(1 + np.arange(dim, dtype=np.float32)),
    }


def in_turns(programs: dict[str, Callable], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each program, turn by turn, after one call that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(repeats + 1):
        for name, program in programs.items():
            start = time.process_time()
            jax.block_until_ready(program())
            if turn:
                seconds[name].append(time.process_time() - start)
    return seconds


def compared(programs: dict[str, Callable], repeats: int) -> dict[str, Any]:
    """CPU seconds, and how many times less the first program takes than each other."""
    seconds = in_turns(programs, repeats)
    ours, *others = seconds
    ratios = {}
    for name in others:
        turns = [b / a for a, b in zip(seconds[ours], seconds[name], strict=True)]
        ratios[name] = {
            "median": statistics.median(turns),
            "lowest": min(turns),
            "highest": max(turns),
        }
    return {"cpu_seconds": seconds, "ratios": ratios}


def compare_k_center(features: np.ndarray, k: int, repeats: int) -> dict[str, Any]:
    """Against the plain form, whose picks it must make."""
    on_device, labeled = jnp.asarray(features), jnp.zeros(len(features), bool)
    lazy = partial(coreset.picks_and_passes, on_device, labeled, k=k)
    plain = partial(plain_selection.k_center_greedy, on_device, labeled, k=k)
    picks, passes = lazy()
    if not np.array_equal(picks, plain()):
        raise RuntimeError("k-center must pick what its plain form picks.")
    programs = {LAZY: lazy, PLAIN: plain}
    return {"passes": int(passes), **compared(programs, repeats)}


def compare_numpy(features: np.ndarray, k: int, repeats: int) -> dict[str, Any]:
    """k-center against NumPy, whose rounding may change a pick."""
    labeled = jnp.zeros(len(features), bool)
    lazy = partial(coreset.picks_and_passes, jnp.asarray(features), labeled, k=k)
    programs = {LAZY: lazy, NUMPY: partial(numpy_k_center, features, k)}
    return {"passes": int(lazy()[1]), **compared(programs, repeats)}


def compare_badge(features: np.ndarray, k: int, repeats: int) -> dict[str, Any]:
    """Against the plain form."""
    logits = jax.random.normal(jax.random.key(1), (len(features), NUM_CLASSES))
    where = jnp.ones(len(features), bool)
    arguments = jax.random.key(2), jnp.asarray(features), logits, where
    lazy = partial(seeding.picks_and_passes, *arguments, k=k)
    plain = partial(plain_selection.badge, *arguments, k=k)
    programs = {LAZY: lazy, PLAIN: plain}
    return {"passes": int(lazy()[1]), **compared(programs, repeats)}


def compare_peers(pool_size: int, dim: int, k: int, repeats: int) -> dict[str, Any]:
    """Both selectors against scikit-activeml, on the pool of `benchmarks.peers`."""
    features, labels, classifier = peers.make_labeled_pool(pool_size, dim)
    on_device, labeled = jnp.asarray(features), jnp.isfinite(jnp.asarray(labels))
    logits = jnp.asarray(classifier.decision_function(features), jnp.float32)
    badge = partial(seeding.picks_and_passes, jax.random.key(0), on_device, logits)
    return {
        K_CENTER: compared(
            {
                LAZY: partial(coreset.picks_and_passes, on_device, labeled, k=k),
                PEER: partial(peers.core_set, features, labels, k),
            },
            repeats,
        ),
        BADGE: compared(
            {
                LAZY: partial(badge, ~labeled, k=k),
                PEER: partial(peers.peer_badge, features, labels, classifier, k),
            },
            repeats,
        ),
    }


def measure_memory(pool_size: int, dim: int, k: int) -> dict[str, dict[str, float]]:
    """Peak resident memory of one process for each selector; features included."""
    found = {}
    context = multiprocessing.get_context("spawn")
    for name in (K_CENTER, BADGE):
        with context.Pool(1) as process:
            found[name] = process.apply(_peak, (name, pool_size, dim, k))
    return found


def _peak(name: str, pool_size: int, dim: int, k: int) -> dict[str, float]:
    """What one selection takes, in a process of its own."""
    features = jax.random.normal(jax.random.key(0), (pool_size, dim))
    start, cpu = time.perf_counter(), time.process_time()
    if name == K_CENTER:
        labeled = jnp.zeros(pool_size, bool)
        picks, passes = coreset.picks_and_passes(features, labeled, k=k)
    else:
        logits = jax.random.normal(jax.random.key(1), (pool_size, NUM_CLASSES))
        where = jnp.ones(pool_size, bool)
        picks, passes = seeding.picks_and_passes(
            jax.random.key(2), features, logits, where, k=k
        )
    jax.block_until_ready(picks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peak_gigabytes": peak * 1024 / 1e9,
        "passes": int(passes),
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }


def run(
    pool_size: int, dim: int, k: int, repeats: int, peer_size: int, peer_k: int
) -> dict[str, Any]:
    """All comparisons, printed; what was measured."""
    features = pools(pool_size, dim)
    results: dict[str, Any] = {
        f"{K_CENTER}, {kind}": compare_k_center(array, k, repeats)
        for kind, array in features.items()
    }
    results[f"{K_CENTER}, normal, again"] = compare_numpy(
        features["normal"], k, repeats
    )
    results[f"{BADGE}, normal"] = compare_badge(features["normal"], k, repeats)
    if importlib.util.find_spec("skactiveml"):
        found = compare_peers(peer_size, dim, peer_k, repeats)
        for name, result in found.items():
            results[f"{name}, {peer_size:,} rows, k = {peer_k}"] = result
    _print(f"{pool_size:,} x {dim}, k = {k:,}, CPU seconds", results)
    return results


def _print(title: str, results: dict[str, Any]) -> None:
    table = Table("selector", "against", title=title, title_justify="left")
    for column in ("times less", "lowest", "highest", "passes"):
        table.add_column(column, justify="right")
    for name, result in results.items():
        for other, ratio in result["ratios"].items():
            numbers = (f"{ratio[key]:.1f}" for key in ("median", "lowest", "highest"))
            table.add_row(name, other, *numbers, str(result.get("passes", "-")))
    Console(width=100).print(table)
