"""What `benchmarks.accelerator` checks: the public functions, with traps as inputs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import iwps_jax
from benchmarks.accelerator_checks import Check, oracles
from iwps_jax import contrib, numerics

OFFSET = 4.0
"""What cancels in a score."""
PICKED_OFFSET = 32.0
"""The same for picks, which differ only where what decides them is that wrong."""
FAR = 1000.0
"""And for distances alone, which no offset changes."""
SEED = 0


# Traps


def with_offset(features: np.ndarray, offset: float = OFFSET) -> np.ndarray:
    """[h + a, a], whose product with [x, -x] is h·x."""
    moved = features + np.float32(offset)
    return np.concatenate([moved, np.full_like(moved, offset)], -1)


def both_signs(array: np.ndarray, axis: int = -1) -> np.ndarray:
    """[x, -x]."""
    return np.concatenate([array, -array], axis)


def trapped(problem: dict[str, Any], offset: float = OFFSET) -> dict[str, Any]:
    """A head's problem in which h·g and h·kernel are left of what cancels."""
    return {
        **problem,
        "features": with_offset(problem["features"], offset),
        "kernel": both_signs(problem["kernel"], 0),
        "holdout_features": both_signs(problem["holdout_features"]),
    }


def trapped_network(pool: int, sizes: tuple[int, ...], holdout: int):
    """A small network whose first products are such."""
    layers, inputs, holdout_inputs, labels = oracles("reference").network_problem(
        SEED, pool, sizes, holdout
    )
    (kernel, bias), *others = layers
    layers = [(both_signs(kernel, 0), bias), *others]
    return layers, with_offset(inputs), both_signs(holdout_inputs), labels


def dense(layers, inputs):
    """Such a network, as users would write it: no product says its precision."""
    for kernel, bias in layers[:-1]:
        inputs = jax.nn.relu(inputs @ kernel + bias)
    kernel, bias = layers[-1]
    return inputs @ kernel + bias


# The table


def checks(smoke: bool) -> Iterator[Check]:
    """All of them, the closed forms first."""
    yield from _of_arithmetic()
    yield from _of_last_layer(pool=96 if smoke else 4096)
    yield from _of_networks(pool=24 if smoke else 256)
    yield from _of_predictions(pool=60 if smoke else 4096)
    yield from _of_selectors(pool=60 if smoke else 512)
    yield from _of_pixels(side=(3, 4) if smoke else (8, 16))


def _of_arithmetic() -> Iterator[Check]:
    x = np.linspace(-1.9, 1.9, 20_001, dtype=np.float32)
    x = np.concatenate([x, np.geomspace(1e-30, 1, 2001, dtype=np.float32)])
    shift = np.expm1(np.float64(x)).astype(np.float32)

    def exponentials(x):
        x = np.float64(x)
        return np.concatenate([np.exp(x), np.expm1(x)]), 0

    yield Check(
        "log1p", lambda x: numerics.moderate_log1p(x), {"x": shift},
        lambda x: (np.log1p(np.float64(x)), 0), 1e-6, is_trap=False,
    )  # fmt: skip
    yield Check(
        "exp, expm1", lambda x: numerics.exp_and_expm1(x), {"x": x},
        exponentials, 1e-6, is_trap=False,
    )  # fmt: skip


def _of_last_layer(pool: int) -> Iterator[Check]:
    reference = oracles("reference")
    problem = trapped(reference.head_problem(SEED, pool, 32, 10, 100))
    asked = slice(None, None, 15)

    def changes(features, kernel, bias, holdout_features, holdout_labels, **options):
        return reference.look_ahead_changes(
            [(kernel, bias)],
            features[asked],
            holdout_features,
            holdout_labels,
            **options,
        )

    def scores(options, **arguments):
        found = changes(**arguments, **options)
        return found.mean(1), np.abs(found).mean(1)

    def terms(options, **arguments):
        found = changes(**arguments, **options)
        return found, np.abs(found).mean(1, keepdims=True)

    for form, rate in (("series", 1e-5), ("classes", 1e-2), ("any step", 10.0)):
        options = {"steps": 3, "learning_rate": rate}
        yield Check(
            f"iwps_last_layer, {form}",
            partial(iwps_jax.iwps_last_layer, **options),
            problem,
            partial(scores, options),
            asked=asked,
        )
    options = {"steps": 3, "learning_rate": 1e-5}
    yield Check(
        "holdout_changes",
        partial(iwps_jax.holdout_changes, **options),
        problem,
        partial(terms, options),
        rtol=1e-4,
        asked=asked,
    )
    yield Check("iwps_app_last_layer", iwps_jax.iwps_app_last_layer, problem, rtol=1e-4)
    few = {n: v[:40] if n == "features" else v for n, v in problem.items()}
    few["reference_features"] = few.pop("holdout_features")
    del few["holdout_labels"]

    def reduction(features, kernel, bias, reference_features):
        found = reference.error_reduction(
            features, kernel, bias, reference_features, learning_rate=1e-3
        )
        return found, 0

    yield Check("error_reduction", iwps_jax.error_reduction, few, reduction, 2e-6)
    yield Check(
        "expected_entropy_reduction",
        iwps_jax.expected_entropy_reduction,
        few,
        rtol=1e-4,
    )
    folds = np.arange(100).reshape(2, -1)
    heads = iwps_jax.CrossFit(
        np.stack([problem["kernel"], problem["kernel"][:, ::-1]]),
        np.stack([problem["bias"], problem["bias"][::-1]]),
        folds,
        np.ones(folds.shape, bool),
    )
    arguments = {
        "features": problem["features"],
        "cross_fit": heads,
        "labeled_features": problem["holdout_features"],
        "labels": problem["holdout_labels"],
    }
    for name in ("cross_fitted_iwps", "cross_fitted_iwps_app"):
        yield Check(name, getattr(iwps_jax, name), arguments, rtol=1e-4)


def _of_networks(pool: int) -> Iterator[Check]:
    reference = oracles("reference")
    layers, inputs, holdout, labels = trapped_network(pool, (24, 32, 10), 50)
    judged = {"inputs": inputs, "holdout_inputs": holdout, "holdout_labels": labels}
    options = {"steps": 3, "learning_rate": 1e-4}

    def scores(network, inputs, holdout_inputs, holdout_labels):
        found = reference.look_ahead_changes(
            network, inputs, holdout_inputs, holdout_labels, **options
        )
        return found.mean(1), np.abs(found).mean(1)

    yield Check(
        "iwps",
        lambda network, **given: iwps_jax.iwps(dense, network, **given, **options),
        {"network": layers, **judged},
        scores,
    )
    yield Check(
        "iwps_mlp",
        lambda network, **given: iwps_jax.iwps_mlp(network, **given, **options),
        {"network": layers, **judged},
        scores,
    )

    def first_order(network, inputs, holdout_inputs, holdout_labels):
        slope = iwps_jax.holdout_gradient(
            dense, network, holdout_inputs, holdout_labels
        )
        return iwps_jax.iwps_app(dense, network, inputs, slope)

    def products(network, inputs, holdout_inputs, holdout_labels):
        found = reference.iwps_app(network, inputs, holdout_inputs, holdout_labels)
        return found, np.abs(found).mean()

    yield Check(
        "holdout_gradient, iwps_app",
        first_order,
        {"network": layers, **judged},
        products,
    )

    def kernel(network, inputs, labels, others, other_labels):
        found = reference.gradient_kernel(network, inputs, labels, others, other_labels)
        return found, np.abs(found).mean(1, keepdims=True)

    yield Check(
        "gradient_kernel",
        lambda network, inputs, labels, others, other_labels: iwps_jax.gradient_kernel(
            dense, network, inputs, labels, others, other_labels
        ),
        {
            **{
                "network": layers,
                "inputs": inputs[:50],
                "labels": labels[: len(inputs)],
            },
            **{"others": holdout, "other_labels": labels},
        },
        kernel,
        rtol=1e-4,
    )


def _of_predictions(pool: int) -> Iterator[Check]:
    reference = oracles("reference")
    rng = np.random.default_rng(SEED)
    logits = 4 * rng.normal(size=(pool, 10)).astype(np.float32)
    draws = reference.log_softmax(3 * rng.normal(size=(5, pool, 10))).astype(np.float32)
    for given, array, names in (
        ("logits", logits, ("entropy", "margin", "least_confidence")),
        ("log_probs", draws, ("mc_dropout", "bald", "variation_ratio")),
    ):
        for name in names:
            yield Check(
                name,
                getattr(iwps_jax, name),
                {given: array},
                _unscaled(getattr(reference, name)),
                is_trap=False,
            )


def _unscaled(oracle: Callable) -> Callable:
    return lambda **arrays: (oracle(**arrays), 0)


def _select(selector, key, k, scores, space):
    return selector(key, scores, space, k)


def _of_selectors(pool: int) -> Iterator[Check]:
    reference = oracles("reference")
    problem = trapped(reference.head_problem(SEED, pool, 16, 6, 40), PICKED_OFFSET)
    rng, k = np.random.default_rng(SEED), 12
    features, scores = problem["features"], rng.normal(size=pool).astype(np.float32)
    logits = (reference.wide(features) @ problem["kernel"]).astype(np.float32)
    labeled = rng.random(pool) < 0.05
    key = jax.random.key(SEED)
    yield Check(
        "top_k",
        lambda scores: iwps_jax.top_k(scores, k),
        {"scores": scores},
        lambda scores: (reference.top_k(scores, k), 0),
        rtol=0,
        is_trap=False,
    )
    yield Check(
        "k_center_greedy",
        lambda features, labeled: iwps_jax.k_center_greedy(features, k, labeled),
        {"features": features + np.float32(FAR), "labeled": labeled},
        lambda features, labeled: (reference.k_center_greedy(features, k, labeled), 0),
        rtol=0,
    )
    yield Check(
        "badge",
        lambda features, logits: iwps_jax.badge(key, features, logits, k),
        {"features": features, "logits": logits},
        rtol=0,
        is_trap=False,  # no product has long factors
    )
    evidence = iwps_jax.Evidence(
        *(features, problem["kernel"], problem["bias"], problem["holdout_features"]),
        *(problem["holdout_features"][:10], problem["holdout_labels"][:10]),
    )
    yield Check(
        "iwps_batch",
        lambda scores, evidence: iwps_jax.iwps_batch(key, scores, evidence, k),
        {"scores": scores, "evidence": evidence},
        rtol=0,
    )
    space = iwps_jax.Space(features, logits)
    for name in (
        *("farthest_first", "score_weighted"),
        *("k_means_plus_plus", "greedy_volume"),
    ):
        yield Check(
            f"contrib.{name}",
            partial(_select, getattr(contrib, name), key, k),
            {"scores": scores, "space": space},
            rtol=0,
            is_trap=False,
        )


def _of_pixels(side: tuple[int, int]) -> Iterator[Check]:
    pixels = oracles("reference_pixels")
    problem = trapped(pixels.problem(SEED, side=side, d=16, classes=6))
    options = {"steps": 5, "learning_rate": 1e-3}

    def scores(**problem):
        found = pixels.look_ahead_changes(problem, **options)
        return found.mean(1), np.abs(found).mean(1)

    def products(**problem):
        found, sizes = pixels.iwps_app(problem)
        return found, sizes

    def first_order(holdout_features, holdout_labels, holdout_where, **images):
        head = images["kernel"], images["bias"]
        slope = iwps_jax.pixel_head_gradient(
            holdout_features, jnp.where(holdout_where, holdout_labels, 0),
            holdout_where, *head,
        )  # fmt: skip
        return iwps_jax.iwps_app_pixel_head(**images, gradient=slope)

    yield Check(
        "iwps_pixel_head", partial(iwps_jax.iwps_pixel_head, **options), problem, scores
    )
    yield Check("iwps_app_pixel_head", first_order, problem, products, rtol=2e-6)
    images = pixels.of_pool(problem)
    key = jax.random.key(SEED)
    yield Check("pixel_head_embedding", iwps_jax.pixel_head_embedding, images)
    yield Check(
        "pixel_scores, entropy",
        partial(iwps_jax.pixel_scores, iwps_jax.entropy),
        images,
    )
    for name in ("pixel_mc_dropout", "pixel_bald"):
        yield Check(name, partial(getattr(iwps_jax, name), key), images)
