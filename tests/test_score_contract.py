"""One contract for every score: a new score is one more row of the table."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from score_arguments import (
    CLASSES,
    DIM,
    DRAWS,
    HOLDOUT,
    POOL,
    apply_network,
    balanced_arguments,
    cross_fitted_arguments,
    dense_arguments,
    draws_arguments,
    first_order_arguments,
    head_arguments,
    logits_arguments,
    network_arguments,
    reduction_arguments,
)

import iwps_jax


class Row(NamedTuple):
    """One score: its name, itself, its arguments for a seed, where the pool is."""

    name: str
    score: Callable
    arguments: Callable
    pool: str
    axis: int = 0


TABLE = [
    Row("iwps_last_layer", iwps_jax.iwps_last_layer, head_arguments, "features"),
    Row("iwps", partial(iwps_jax.iwps, apply_network), network_arguments, "inputs"),
    Row("iwps_mlp", iwps_jax.iwps_mlp, dense_arguments, "inputs"),
    Row(
        "iwps_app",
        partial(iwps_jax.iwps_app, apply_network),
        first_order_arguments,
        "inputs",
    ),
    Row(
        "iwps_app_last_layer",
        iwps_jax.iwps_app_last_layer,
        head_arguments,
        "features",
    ),
    Row(
        "cross_fitted_iwps_app",
        iwps_jax.cross_fitted_iwps_app,
        cross_fitted_arguments,
        "features",
    ),
    Row("entropy", iwps_jax.entropy, logits_arguments, "logits"),
    Row("margin", iwps_jax.margin, logits_arguments, "logits"),
    Row("least_confidence", iwps_jax.least_confidence, logits_arguments, "logits"),
    Row("balanced_margin", iwps_jax.balanced_margin, balanced_arguments, "logits"),
    Row("mc_dropout", iwps_jax.mc_dropout, draws_arguments, "log_probs", 1),
    Row("variation_ratio", iwps_jax.variation_ratio, draws_arguments, "log_probs", 1),
    Row("bald", iwps_jax.bald, draws_arguments, "log_probs", 1),
    Row("error_reduction", iwps_jax.error_reduction, reduction_arguments, "features"),
    Row(
        "expected_entropy_reduction",
        partial(iwps_jax.expected_entropy_reduction, learning_rate=0.1),
        reduction_arguments,
        "features",
    ),
]
ROWS = {row.name: row for row in TABLE}

every_score = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


def on_device(tree, dtype=None):
    """Jax arrays; floating ones in the given type."""

    def convert(leaf):
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, dtype if floating else None)

    return jax.tree.map(convert, tree)


def run(row, arguments):
    return np.asarray(row.score(**on_device(arguments)))


def take(row, arguments, rows):
    """The same problem with some candidates only."""
    pool = np.take(arguments[row.pool], rows, axis=row.axis)
    return {**arguments, row.pool: pool}


def assert_same(scores, expected, rtol):
    """Equal up to rounding, relative to the largest score of the pool."""
    largest = np.max(np.abs(expected))
    np.testing.assert_allclose(scores, expected, rtol=rtol, atol=rtol * largest)


@every_score
class TestEveryScore:
    """What holds for each row of the table."""

    def test_one_float32_per_candidate(self, row):
        scores = row.score(**on_device(row.arguments(0)))
        assert isinstance(scores, jax.Array)
        assert scores.dtype == jnp.float32
        assert scores.shape == (POOL,)
        assert np.all(np.isfinite(scores))
        assert len(np.unique(np.asarray(scores))) > 1

    def test_jit_changes_nothing(self, row):
        arguments = row.arguments(1)
        compiled = jax.jit(row.score)(**on_device(arguments))
        assert_same(compiled, run(row, arguments), 1e-5)

    def test_numpy_arrays_change_nothing(self, row):
        arguments = row.arguments(1)
        assert_same(row.score(**arguments), run(row, arguments), 1e-6)

    def test_chunks_change_nothing(self, row):
        arguments = row.arguments(2)
        chunks = np.split(np.arange(POOL), 3)
        parts = [run(row, take(row, arguments, rows)) for rows in chunks]
        assert_same(np.concatenate(parts), run(row, arguments), 1e-5)

    def test_one_candidate_scores_the_same_alone(self, row):
        arguments = row.arguments(3)
        alone = run(row, take(row, arguments, [7]))
        assert alone.shape == (1,)
        assert_same(alone, run(row, arguments)[7:8], 1e-5)

    def test_identical_candidates_score_the_same(self, row):
        arguments = row.arguments(4)
        scores = run(row, take(row, arguments, [5] * POOL))
        np.testing.assert_allclose(scores, scores[0], rtol=1e-6)

    def test_pool_order_permutes_scores(self, row):
        arguments = row.arguments(5)
        order = np.random.default_rng(5).permutation(POOL)
        mixed = run(row, take(row, arguments, order))
        assert_same(mixed, run(row, arguments)[order], 1e-5)

    def test_new_values_do_not_recompile(self, row):
        traces = 0

        def counted(**arguments):
            nonlocal traces
            traces += 1
            return row.score(**arguments)

        compiled = jax.jit(counted)
        for seed in range(3):
            jax.block_until_ready(compiled(**on_device(row.arguments(seed))))
        assert traces == 1

    @pytest.mark.parametrize("size", [0.0, 1e-4, 1e4])
    def test_is_finite_at_the_corners(self, row, size):
        arguments = row.arguments(6)
        if row.pool == "log_probs":
            logits = size * arguments["log_probs"]
            corner = {"log_probs": jax.nn.log_softmax(jnp.asarray(logits))}
            assert np.all(np.isfinite(run(row, corner)))
            certain = np.full((DRAWS, POOL, CLASSES), -np.inf, np.float32)
            votes = np.argmax(logits, axis=-1)[..., None]
            np.put_along_axis(certain, votes, 0.0, axis=-1)
            assert np.all(np.isfinite(run(row, {"log_probs": certain})))
            return
        for name in arguments:
            corner = dict(arguments)
            if not name.endswith("labels"):
                corner[name] = jax.tree.map(
                    lambda leaf: (
                        (size * leaf).astype(np.float32)
                        if np.issubdtype(leaf.dtype, np.floating)
                        else leaf
                    ),
                    arguments[name],
                )
            else:
                corner[name] = np.zeros_like(arguments[name])  # one class only
            assert np.all(np.isfinite(run(row, corner))), name

    def test_bfloat16_is_float32_of_the_rounded_numbers(self, row):
        rounded = on_device(row.arguments(7), jnp.bfloat16)
        if "params" in rounded:  # the network computes in the type of its parameters
            rounded["params"] = on_device(rounded["params"], jnp.float32)
        scores = row.score(**rounded)
        assert scores.dtype == jnp.float32
        expected = row.score(**on_device(rounded, jnp.float32))
        assert_same(scores, np.asarray(expected), 1e-5)

    def test_double_precision_changes_nothing(self, row):
        expected = run(row, row.arguments(8))
        with jax.enable_x64(True):
            for dtype in (jnp.float32, jnp.float64):
                arguments = on_device(row.arguments(8), dtype)
                scores = row.score(**arguments)
                assert scores.dtype == jnp.float32
                assert_same(np.asarray(scores), expected, 1e-5)

    def test_pool_that_is_not_numbers_is_named(self, without_jaxtyping, row):
        arguments = on_device(row.arguments(9))
        pool = arguments[row.pool]
        broken = pool.at[(0,) * pool.ndim].set(jnp.nan)
        with pytest.raises((ValueError, TypeError), match=rf"\b{row.pool}\b"):
            row.score(**{**arguments, row.pool: broken})

    def test_pool_of_wrong_rank_is_named(self, without_jaxtyping, row):
        arguments = on_device(row.arguments(10))
        if "params" in arguments:
            pytest.skip("the network decides what its inputs look like")
        for wrong in (arguments[row.pool][None], arguments[row.pool][0]):
            with pytest.raises((ValueError, TypeError), match=rf"\b{row.pool}\b"):
                row.score(**{**arguments, row.pool: wrong})


def wider(array):
    """One more entry along the last axis."""
    return jnp.concatenate([array, array[..., :1]], axis=-1)


def broken(array):
    """One entry that is not a number."""
    return array.at[(0,) * array.ndim].set(jnp.nan)


HEAD = ["iwps_last_layer", "iwps_app_last_layer", "error_reduction"]
WITH_LABELS = ["iwps_last_layer", "iwps_app_last_layer", "iwps", "iwps_mlp"]
WRONG = (
    [(name, "features", wider, "features|kernel") for name in HEAD]
    + [(name, "kernel", wider, "kernel|bias") for name in HEAD]
    + [(name, "kernel", lambda a: a[0], "kernel") for name in HEAD]
    + [(name, "kernel", lambda a: a[:-1], "kernel|features") for name in HEAD]
    + [(name, "kernel", broken, "kernel") for name in HEAD]
    + [(name, "bias", wider, "bias|kernel") for name in HEAD]
    + [(name, "bias", lambda a: a[None], "bias") for name in HEAD]
    + [(name, "bias", broken, "bias") for name in HEAD]
    + [
        (name, argument, change, argument)
        for name, argument in [
            ("iwps_last_layer", "holdout_features"),
            ("iwps_app_last_layer", "holdout_features"),
            ("iwps_mlp", "holdout_inputs"),
            ("error_reduction", "reference_features"),
        ]
        for change in (
            wider,
            broken,
            lambda a: a[0],
            lambda a: a[None],
            lambda a: a[:0],
        )
    ]
    + [("iwps", "holdout_inputs", broken, "holdout_inputs")]
    + [
        (name, "holdout_labels", change, "holdout_labels")
        for name in WITH_LABELS
        for change in (
            lambda labels: labels.astype(jnp.float32),
            lambda labels: labels + CLASSES,
            lambda labels: labels.at[0].set(-1),
            lambda labels: labels[None],
            lambda labels: labels[:-1],
            lambda labels: labels[:0],
        )
    ]
)


@pytest.mark.parametrize(("name", "argument", "change", "named"), WRONG)
def test_wrong_arguments_are_named(without_jaxtyping, name, argument, change, named):
    arguments = on_device(ROWS[name].arguments(11))
    arguments[argument] = change(arguments[argument])
    with pytest.raises((ValueError, TypeError), match=named):
        ROWS[name].score(**arguments)


@pytest.mark.parametrize("name", WITH_LABELS)
def test_an_empty_holdout_is_named(without_jaxtyping, name):
    arguments = on_device(ROWS[name].arguments(12))
    for argument in arguments:
        if argument.startswith("holdout"):
            arguments[argument] = arguments[argument][:0]
    with pytest.raises((ValueError, TypeError), match="holdout_"):
        ROWS[name].score(**arguments)


@pytest.mark.parametrize("width", [0, 2])
def test_a_network_with_wrong_logits_is_named(without_jaxtyping, width):
    def wrong(params, inputs):
        logits = apply_network(params, inputs)
        return logits[:, 0] if width == 0 else logits[..., None]

    arguments = on_device(network_arguments(13))
    with pytest.raises((ValueError, TypeError), match="apply_fn|logits"):
        iwps_jax.iwps(wrong, **arguments)


@every_score
def test_no_product_is_left_to_the_precision_of_the_device(row):
    """GPUs and TPUs shorten float32 products unless told, and ranks are lost."""
    arguments = on_device(row.arguments(0))
    text = jax.jit(lambda kwargs: row.score(**kwargs)).lower(arguments).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert [p for p in products if "precision = [HIGHEST, HIGHEST]" not in p] == []


@pytest.mark.parametrize("name", ["holdout_gradient", "gradient_kernel"])
def test_nor_is_one_of_the_gradients(name):
    layers, inputs, holdout, labels = reference.network_problem(
        0, POOL, (DIM, 6, CLASSES), HOLDOUT
    )
    samples = {
        "holdout_gradient": (holdout, labels),
        "gradient_kernel": (inputs, np.zeros(POOL, int), holdout, labels),
    }
    score = partial(getattr(iwps_jax, name), apply_network)
    text = jax.jit(score).lower(layers, *samples[name]).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert products
    assert [p for p in products if "precision = [HIGHEST, HIGHEST]" not in p] == []


@pytest.mark.parametrize("name", ["k_center_greedy", "badge"])
def test_nor_is_one_of_the_selectors(name):
    features, labeled = jnp.ones((POOL, DIM)), jnp.arange(POOL) < 3
    select = {
        "k_center_greedy": lambda h: iwps_jax.k_center_greedy(h, 2, labeled),
        "badge": lambda h: iwps_jax.badge(jax.random.key(0), h, h[:, :CLASSES], 2),
    }[name]
    text = jax.jit(select).lower(features).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert products
    assert [p for p in products if "precision = [HIGHEST, HIGHEST]" not in p] == []
