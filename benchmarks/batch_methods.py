"""How long does each method that compares rows take, and in what memory?

    python -m benchmarks.batch_methods                          # half an hour, 2 cores
    python -m benchmarks.batch_methods --methods badge --classes 10
    python -m benchmarks.batch_methods --out batch_methods.json # keeps the numbers

With --out the file is written after each method, and the same command goes on where it
stopped: what the file has of the same sizes is not measured again.

Every method of the table whose selector sees features picks k rows of a pool, each in a
process of its own: the first call compiles, the second does not. A call of more than a
minute is not repeated: little of it is compilation. CPU seconds are those of all
threads. Memory is what a process holds at most, less what it held with the pool and
everything else at hand. Rows of the pool are unit-norm embeddings around one center
a class; the head is a logistic regression on five labels a class.

Where scikit-activeml is installed and has the method, both pick from a pool small
enough for it: its matrices have a number for every pair of rows.
"""

import dataclasses
import importlib.util
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import command
from benchmarks.command import Positive
from iwps_jax import methods
from iwps_jax.method import Method, Model
from iwps_jax.picking import pick
from iwps_jax.types import Head, Holdout

TABLE = tuple(
    name
    for name, row in methods.ROWS.items()
    if row.selects_by_features and not row.is_research
)
LABELED_PER_CLASS, HOLDOUT_PER_CLASS = 5, 2
SPREAD = 1.5  # of the noise around a center of unit norm
ROWS_AT_ONCE = 4096  # are drawn, so that the pool itself is the most that is held
SLOW = 60.0  # CPU seconds of a call that is not repeated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 1
    methods: tuple[str, ...] = TABLE
    pool_size: Positive = 100_000
    dim: Positive = 384
    classes: tuple[Positive, ...] = (10, 100)
    k: Positive = 100
    """rows to choose"""
    peer_pool: Positive = 2_000
    """rows of the pool on which scikit-activeml runs as well"""

    def __post_init__(self):
        """Refuses methods that are not of this kind."""
        super().__post_init__()
        command.require_known("methods", self.methods, TABLE)


class Problem(NamedTuple):
    """A pool and all that a method may know.

    Attributes:
        pool: [n, d].
        model: with head, holdout set and labeled samples.
    """

    pool: np.ndarray
    model: Model


def make_problem(pool_size: int, dim: int, num_classes: int) -> Problem:
    """Embeddings of unit norm, and a head fitted to a few of them."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    centers = rng.normal(size=(num_classes, dim)) / np.sqrt(dim)

    def draw(labels):
        rows = np.empty((len(labels), dim), np.float32)
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            part[:] = rng.normal(size=part.shape) * SPREAD / np.sqrt(dim)
            part += centers[labels[start : start + ROWS_AT_ONCE]]
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        return rows

    every = np.arange(num_classes, dtype=np.int32)
    labels = np.repeat(every, LABELED_PER_CLASS)
    holdout_labels = np.repeat(every, HOLDOUT_PER_CLASS)
    labeled = Holdout(draw(labels), labels)
    holdout = Holdout(draw(holdout_labels), holdout_labels)
    pool = draw(rng.integers(0, num_classes, pool_size))
    fitted = LogisticRegression(C=10, max_iter=500).fit(*labeled)
    kernel = fitted.coef_.T.astype(np.float32)
    head = Head(kernel, fitted.intercept_.astype(np.float32))
    return Problem(pool, Model(head=head, holdout=holdout, labeled=labeled))


def known_to(row: Method, model: Model) -> Model:
    """The model without the parts that a method does not look at."""
    seen = {*row.needs, *row.uses}
    parts = {"head": "head", "holdout": "holdout", "labels": "labeled"}
    unseen = {field: None for part, field in parts.items() if part not in seen}
    return model._replace(**unseen)


def measure_method(
    name: str, pool_size: int, dim: int, num_classes: int, k: int, repeats: int
) -> dict[str, Any]:
    """What one method takes, in a process of its own."""
    arguments = name, pool_size, dim, num_classes, k, repeats
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_measured, arguments)


def _measured(name, pool_size, dim, num_classes, k, repeats):
    row = methods.row_of(name)
    pool, model = make_problem(pool_size, dim, num_classes)
    # Small, but with every library loaded that a pick needs.
    pick(methods.CORESET, Model(), pool[: k + 1], None, 1)
    before = _peak_megabytes()
    run = partial(pick, row, known_to(row, model), pool, None, k)
    try:
        calls = [_clocked(run)]
        for _ in range(repeats if calls[0]["cpu_seconds"] < SLOW else 0):
            calls.append(_clocked(run))
    except (ValueError, MemoryError) as error:
        return {"not_measured": str(error)}
    first, *later = calls
    return {
        "first_call": first,
        "later_calls": later,
        "memory_megabytes": _peak_megabytes() - before,
        "pool_megabytes": pool.nbytes / 1e6,
    }


def _clocked(run: Callable[[], Any]) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    run()
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
    }


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


# scikit-activeml


def _by_features(strategy: str, **options) -> Callable:
    """A strategy of scikit-activeml that sees features and labels."""

    def query(features, labels, classifier, k):
        from skactiveml import pool

        chosen = getattr(pool, strategy)(random_state=0, **options)
        return chosen.query(features, labels, batch_size=k)

    return query


def _by_classifier(strategy: str, **options) -> Callable:
    """A strategy of scikit-activeml that sees a fitted classifier as well."""

    def query(features, labels, classifier, k):
        from skactiveml import pool

        chosen = getattr(pool, strategy)(random_state=0, **options)
        return chosen.query(features, labels, classifier, fit_clf=False, batch_size=k)

    return query


PEERS: dict[str, Callable] = {
    "coreset": _by_features("CoreSet"),
    "badge": _by_classifier("Badge"),
    "max_herding": _by_features("MaxHerding"),
    "prob_cover": _by_features("ProbCover"),
    "typiclust": _by_features("TypiClust"),
    "drop_query": _by_classifier("DropQuery", n_dropout_samples=3),
}
"""What scikit-activeml has, by the name of our row."""


def compare_peers(
    names: Sequence[str], pool_size: int, dim: int, num_classes: int, k: int
) -> dict[str, Any]:
    """CPU seconds of both on one pool, each after one call that is not counted."""
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    problem = make_problem(pool_size, dim, num_classes)
    labeled, known = problem.model.labeled
    features = np.concatenate([problem.pool, labeled])
    labels = np.concatenate([np.full(pool_size, np.nan), known.astype(float)])
    classifier = SklearnClassifier(
        LogisticRegression(max_iter=500), classes=np.arange(num_classes)
    ).fit(features, labels)
    found = {}
    for name in names:
        row = methods.row_of(name)
        ours = partial(pick, row, known_to(row, problem.model), problem.pool, None, k)
        theirs = partial(PEERS[name], features, labels, classifier, k)
        seconds = {}
        for who, run in (("ours", ours), ("scikit-activeml", theirs)):
            run()
            seconds[who] = _clocked(run)["cpu_seconds"]
        found[name] = seconds
    return found


def print_methods(title: str, results: dict[str, dict[str, Any]]) -> None:
    """Prints what was measured of the methods at one number of classes."""
    table = Table("method", title=title, title_justify="left")
    for column in ("first call, CPU s", "next call, CPU s", "seconds", "memory, MB"):
        table.add_column(column, justify="right")
    for name, result in results.items():
        label = methods.row_of(name).label
        if "not_measured" in result:
            table.add_row(label, "-", "-", "-", result["not_measured"])
            continue
        calls = result["later_calls"] or [result["first_call"]]
        best = min(calls, key=lambda call: call["cpu_seconds"])
        numbers = (result["first_call"]["cpu_seconds"], *best.values())
        first, seconds, later = (f"{number:.1f}" for number in numbers)
        table.add_row(
            label, first, later, seconds, f"{result['memory_megabytes']:,.0f}"
        )
    Console(width=100).print(table)


def print_peers(title: str, results: dict[str, dict[str, float]]) -> None:
    """Prints both programs' CPU seconds."""
    table = Table("method", title=title, title_justify="left")
    for column in ("ours, CPU s", "scikit-activeml, CPU s", "times less"):
        table.add_column(column, justify="right")
    for name, seconds in results.items():
        ours, theirs = seconds.values()
        cells = f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}"
        table.add_row(methods.row_of(name).label, *cells)
    Console(width=100).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Times, prints and keeps the numbers."""
    options = command.parse(Options, "batch_methods", __doc__, arguments)
    found = _begun(options)
    sizes = options.pool_size, options.dim
    for num_classes in options.classes:
        results = found.setdefault(f"{num_classes} classes", {})
        for name in options.methods:
            if name not in results:
                results[name] = measure_method(
                    name, *sizes, num_classes, options.k, options.repeats
                )
                print(f"{name}, {num_classes} classes: {results[name]}", flush=True)
                _keep(options, found)
        rows = f"{options.pool_size:,} x {options.dim}, {num_classes} classes"
        print_methods(f"{rows}, k = {options.k}", results)
    compared = [name for name in options.methods if name in PEERS]
    if compared and importlib.util.find_spec("skactiveml"):
        arguments_of_peers = options.peer_pool, options.dim, options.classes[0]
        peers = found.setdefault("peers", {})
        for name in compared:
            if name not in peers:
                peers |= compare_peers([name], *arguments_of_peers, options.k)
                _keep(options, found)
        print_peers(f"{options.peer_pool:,} x {options.dim}, k = {options.k}", peers)


def _keep(options: Options, found: dict[str, Any]) -> None:
    ignored = "methods", "classes"
    command.finish("batch_methods", options, {"results": found}, ignored=ignored)


def _begun(options: Options) -> dict[str, Any]:
    """What the file of an earlier run with the same sizes has."""
    if options.out is None or not options.out.exists():
        return {}
    earlier = json.loads(options.out.read_text())
    sizes = "pool_size", "dim", "k", "peer_pool"
    is_same = all(earlier["settings"][s] == getattr(options, s) for s in sizes)
    return earlier["results"] if is_same else {}


if __name__ == "__main__":
    main()
