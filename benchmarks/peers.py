"""How do peers do on the same arrays in the same run?

    pip install -e '.[peers]'
    python -m benchmarks.peers                   # three minutes on 2 CPU cores
    python -m benchmarks.peers --out peers.json  # keeps the numbers

Last-layer IWPS against PyTorch, as a loop over candidates and as `torch.func`, and the
selectors against scikit-activeml. All programs of one question take turns, and before
the first turn their answers are compared: what disagrees is not worth timing.
"""

import copy
import dataclasses
import importlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import iwps_jax
from benchmarks import command, measure
from benchmarks.command import Comparison, Positive

STEPS, LEARNING_RATE, NUM_CLASSES = 3, 1e-3, 10
CHUNK_SIZE = 1024
PEER_CHUNK_SIZE = 256  # the fastest of 8, 16, 64, 256 and 1,024 on 2 CPU cores
PACKAGES = {"torch": "torch", "skactiveml": "scikit-activeml"}


LOOP, FUNC = "PyTorch loop", "torch.func.vmap of grad"
CLOSED_FORM = "iwps_last_layer"
CORE_SET, BADGE = "scikit-activeml CoreSet", "scikit-activeml Badge"
LEAST = {LOOP: 1000, FUNC: 100}
SELECTORS = (
    Comparison("k_center_greedy", CORE_SET, "at least 50x faster", 50.0),
    Comparison("badge", BADGE, "at least 50x faster", 50.0),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(command.Options):
    """The options of the benchmark."""

    repeats: Positive = 5
    candidates: Positive = 2000
    """scored by the look-ahead peers"""
    pool_size: Positive = 100_000
    """scored by iwps_last_layer"""
    holdout_size: Positive = 100
    pool: Positive = 10_000
    """rows that are selected from"""
    k: Positive = 100
    """rows to choose"""
    dim: Positive = 256


class Head(NamedTuple):
    """A last layer, [d, classes] and [classes], and its holdout, [m, d] and [m]."""

    kernel: np.ndarray
    bias: np.ndarray
    holdout_features: np.ndarray
    holdout_labels: np.ndarray


def make_head(dim: int, holdout_size: int) -> Head:
    """A random head whose logits have unit spread, and random holdout points."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(dim, NUM_CLASSES)) / np.sqrt(dim)
    bias, holdout = rng.normal(size=NUM_CLASSES), rng.normal(size=(holdout_size, dim))
    labels = rng.integers(0, NUM_CLASSES, holdout_size).astype(np.int32)
    return Head(*(a.astype(np.float32) for a in (kernel, bias, holdout)), labels)


def look_ahead_by_loop(torch, head: Head, features: np.ndarray, dtype) -> np.ndarray:
    """Copies the head for each candidate, trains the copy, judges it."""
    cross_entropy = torch.nn.functional.cross_entropy
    layer = torch.nn.Linear(*head.kernel.shape, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.kernel.T))
        layer.bias.copy_(torch.from_numpy(head.bias))
    holdout = torch.from_numpy(head.holdout_features).to(dtype)
    labels = torch.from_numpy(head.holdout_labels).long()
    candidates, scores = torch.from_numpy(features).to(dtype), []
    with torch.no_grad():
        loss_now = cross_entropy(layer(holdout), labels)
        pseudo_labels = layer(candidates).argmax(-1)
    for candidate, label in zip(
        candidates[:, None], pseudo_labels[:, None], strict=True
    ):
        moved = copy.deepcopy(layer)
        optimizer = torch.optim.SGD(moved.parameters(), lr=LEARNING_RATE)
        for _ in range(STEPS):
            optimizer.zero_grad()
            cross_entropy(moved(candidate), label).backward()
            optimizer.step()
        with torch.no_grad():
            scores.append(float(cross_entropy(moved(holdout), labels) - loss_now))
    return np.array(scores)


def look_ahead_by_func(torch, head: Head, features: np.ndarray, dtype) -> np.ndarray:
    """`torch.func.vmap` of `torch.func.grad`, a chunk of candidates at a time."""
    cross_entropy = torch.nn.functional.cross_entropy
    kernel, bias, holdout, candidates = (
        torch.from_numpy(array).to(dtype) for array in (*head[:3], features)
    )
    labels = torch.from_numpy(head.holdout_labels).long()

    def loss(params, inputs, labels):
        return cross_entropy(inputs @ params[0] + params[1], labels)

    def score(candidate):
        label = (candidate @ kernel + bias).argmax()
        params = kernel, bias
        for _ in range(STEPS):
            change = torch.func.grad(loss)(params, candidate, label)
            params = tuple(
                p - LEARNING_RATE * c for p, c in zip(params, change, strict=True)
            )
        return loss(params, holdout, labels) - loss_now

    with torch.no_grad():
        loss_now = loss((kernel, bias), holdout, labels)
        return torch.func.vmap(score, chunk_size=PEER_CHUNK_SIZE)(candidates).numpy()


def closed_form(head: Head) -> Any:
    """This library's program: jitted, a chunk at a time."""
    score = partial(iwps_jax.iwps_last_layer, steps=STEPS, learning_rate=LEARNING_RATE)
    return jax.jit(
        lambda pool: iwps_jax.score_in_chunks(
            lambda chunk: score(chunk, *head), pool, chunk_size=CHUNK_SIZE
        )
    )


def agreement(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """How alike two lists of scores are."""
    ranks = [np.argsort(np.argsort(scores)) for scores in (ours, theirs)]
    errors = np.abs(ours - theirs) / np.abs(theirs)
    return {
        "rank_correlation": float(np.corrcoef(*ranks)[0, 1]),
        "median_relative_error": float(np.median(errors)),
        "largest_relative_error": float(errors.max()),
    }


def compare_look_aheads(torch, settings: Options) -> dict[str, Any]:
    """Checks the three against each other in float64, then times them in float32."""
    head = make_head(settings.dim, settings.holdout_size)
    rng = np.random.default_rng(1)
    shape = settings.pool_size, settings.dim
    pool = rng.normal(size=shape).astype(np.float32)
    candidates = pool[: settings.candidates]
    score = closed_form(head)
    ours = np.asarray(score(pool), np.float64)[: len(candidates)]
    peers = {LOOP: look_ahead_by_loop, FUNC: look_ahead_by_func}
    agree = {
        name: agreement(ours, peer(torch, head, candidates, torch.float64))
        for name, peer in peers.items()
    }
    for name, numbers in agree.items():
        if (
            numbers["rank_correlation"] < 0.999
            or numbers["median_relative_error"] > 1e-4
        ):
            raise RuntimeError(f"{CLOSED_FORM} and {name} must agree, got {numbers}.")
    programs = {CLOSED_FORM: measure.Program(score, (jnp.asarray(pool),), len(pool))}
    comparisons = []
    # PyTorch takes as many threads as there are cores unless told; one may be faster.
    for threads in sorted({1, os.cpu_count()}):
        for name, peer in peers.items():
            row = f"{name}, {threads} thread{'s' * (threads > 1)}"
            arguments = torch, threads, peer, head, candidates
            programs[row] = measure.Program(in_threads, arguments, len(candidates))
            aim = f"at least {LEAST[name]:,}x faster"
            comparisons.append(Comparison(CLOSED_FORM, row, aim, LEAST[name]))
    return finish(programs, settings.repeats, comparisons, agree)


def in_threads(torch, threads: int, peer, head: Head, candidates: np.ndarray):
    """What a PyTorch peer says, computed by so many threads."""
    torch.set_num_threads(threads)
    return peer(torch, head, candidates, torch.float32)


def compare_selectors(settings: Options) -> dict[str, Any]:
    """Checks CoreSet's picks and BADGE's law, then times both pairs."""
    features, labels, classifier = make_labeled_pool(settings.pool, settings.dim)
    arrays = jnp.asarray(features), jnp.isfinite(jnp.asarray(labels))
    kernel = jnp.asarray(classifier.estimator_.coef_.T, jnp.float32)
    bias = jnp.asarray(classifier.estimator_.intercept_, jnp.float32)
    k = settings.k

    def badge(key, features, is_labeled, k=k):
        logits = jnp.matmul(features, kernel, precision="highest") + bias[None]
        return iwps_jax.badge(key, features, logits, k, ~is_labeled)

    k_center = jax.jit(lambda h, labeled: iwps_jax.k_center_greedy(h, k, labeled))
    peers = {
        CORE_SET: partial(core_set, features, labels, k),
        BADGE: partial(peer_badge, features, labels, classifier, k),
    }
    is_same = np.asarray(k_center(*arrays)) == peers[CORE_SET]()
    agree = {
        "core_set_same_picks": int(is_same.sum()),
        **badge_agreement(badge, features, labels, classifier),
    }
    if not is_same[0] or not agree["badge_same_first_pick"]:
        raise RuntimeError(f"Selectors must agree on the first pick, got {agree}.")
    rows = settings.pool
    programs = {
        "k_center_greedy": measure.Program(k_center, arrays, rows),
        "badge": measure.Program(jax.jit(badge), (jax.random.key(0), *arrays), rows),
        **{name: measure.Program(peer, (), rows) for name, peer in peers.items()},
    }
    return finish(programs, settings.repeats, SELECTORS, agree)


def make_labeled_pool(pool_size: int, dim: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Features, labels (NaN where unknown), and a classifier fitted to the known."""
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    classes = np.arange(pool_size) % NUM_CLASSES
    centers = rng.normal(size=(NUM_CLASSES, dim)) / 4
    features = (centers[classes] + rng.normal(size=(pool_size, dim))).astype(np.float32)
    labels = np.full(pool_size, np.nan)
    known = rng.permutation(pool_size)[: max(5 * NUM_CLASSES, pool_size // 100)]
    labels[known] = classes[known]
    classifier = SklearnClassifier(
        LogisticRegression(max_iter=200), classes=np.arange(NUM_CLASSES)
    )
    return features, labels, classifier.fit(features, labels)


def core_set(features, labels, k):
    """The peer's k-center."""
    from skactiveml.pool import CoreSet

    return CoreSet(random_state=0).query(features, labels, batch_size=k)


def peer_badge(features, labels, classifier, k, return_utilities=False):
    """The peer's BADGE on the fitted classifier."""
    from skactiveml.pool import Badge

    return Badge(random_state=0).query(
        features,
        labels,
        classifier,
        fit_clf=False,
        batch_size=k,
        return_utilities=return_utilities,
    )


def badge_agreement(badge, features, labels, classifier, draws=4000, rows=400):
    """The first pick, and the law of the second, of either program.

    The law is ‖g_i - g_first‖² over its sum. The peer's differs: it takes the smaller
    of that and ‖g_i‖², as if the origin had been picked before.
    """
    # On few rows, so that the draws can tell their probabilities apart.
    features, labels = features[:rows], labels[:rows]
    picks, peer_law = peer_badge(features, labels, classifier, 2, return_utilities=True)
    first, is_labeled = picks[0], np.isfinite(labels)
    residual = classifier.predict_proba(features)
    residual[np.arange(rows), residual.argmax(-1)] -= 1
    embedding = (residual[:, :, None] * features[:, None].astype(float)).reshape(
        rows, -1
    )
    to_first = ((embedding - embedding[first]) ** 2).sum(-1)
    to_origin = (embedding**2).sum(-1)
    law, law_with_origin = (
        np.where(is_labeled, 0, weight) / weight[~is_labeled].sum()
        for weight in (to_first, np.minimum(to_first, to_origin))
    )
    many = jax.jit(jax.vmap(partial(badge, k=2), (0, None, None)))
    keys = jax.random.split(jax.random.key(3), draws)
    ours = np.asarray(many(keys, jnp.asarray(features), jnp.asarray(is_labeled)))
    counts = np.bincount(ours[:, 1], minlength=rows)
    sigma = np.sqrt(draws * law * (1 - law))[law > 0]
    deviation = (counts - draws * law)[law > 0] / sigma
    return {
        "badge_same_first_pick": bool(np.all(ours[:, 0] == first)),
        "badge_second_pick_rms_sigmas": float(np.sqrt(np.mean(deviation**2))),
        "badge_picks_of_probability_zero": int(counts[law == 0].sum()),
        "peer_badge_largest_error_of_law_with_origin": float(
            np.abs(np.nan_to_num(peer_law[1]) - law_with_origin).max()
        ),
    }


def finish(
    programs: dict[str, measure.Program],
    repeats: int,
    comparisons: Sequence[Comparison],
    agree: dict[str, Any],
) -> dict[str, Any]:
    """Times the programs in turns, compares them and prints the tables."""
    timings = measure.in_turns(programs, repeats)
    ratios = command.compared(timings, comparisons)
    Console(width=100).print(f"agreement: {agree}", highlight=False)
    command.show_timings("median of the turns", timings)
    command.show_ratios("speed ratios within this run", ratios)
    return {
        "agreement": agree,
        "timings": command.as_json(timings),
        "ratios": ratios,
    }


def require_peers() -> Any:
    """PyTorch, or one sentence and exit status 2 if a peer is missing."""
    for module, package in PACKAGES.items():
        try:
            importlib.import_module(module)
        except ImportError:
            print(
                f"benchmarks.peers needs {package}: pip install -e '.[peers]'",
                file=sys.stderr,
            )
            raise SystemExit(2) from None
    return importlib.import_module("torch")


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares, times, prints and keeps the numbers."""
    options = command.parse(Options, "peers", __doc__, arguments)
    torch = require_peers()
    results = {
        "look_ahead": compare_look_aheads(torch, options),
        "selection": compare_selectors(options),
    }
    constants = {
        "steps": STEPS,
        "learning_rate": LEARNING_RATE,
        "num_classes": NUM_CLASSES,
        "chunk_size": CHUNK_SIZE,
        "peer_chunk_size": PEER_CHUNK_SIZE,
    }
    packages = ["torch", "scikit-activeml", "scikit-learn"]
    command.finish("peers", options, {"constants": constants, **results}, packages)


if __name__ == "__main__":
    main()
