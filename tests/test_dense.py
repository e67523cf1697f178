"""IWPS of a whole fully connected network: parity, equalities, invariants, corners."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import ASKED

import iwps_jax

SEEDS = st.integers(0, 2**31 - 1)
SMALL = {"pool": 16, "sizes": (8, 6, 5, 4), "holdout": 6}


def on_device(tree):
    return jax.tree.map(jnp.asarray, tree)


def apply_network(layers, inputs):
    for kernel, bias in layers[:-1]:
        inputs = jax.nn.relu(inputs @ kernel + bias[None])
    kernel, bias = layers[-1]
    return inputs @ kernel + bias[None]


def jitted(problem, learning_rate=1e-3):
    # A default of a jitted function would be a constant, of a program of its own.
    return _jitted(problem, learning_rate)


@jax.jit
def _jitted(problem, learning_rate):
    return iwps_jax.iwps_mlp(*problem, learning_rate=learning_rate)


def small_problem(seed):
    return reference.network_problem(seed, **SMALL)


def assert_matches_reference(problem, scores, **options):
    changes = reference.look_ahead_changes(*problem, **options)
    reference.assert_same_scores(
        scores, changes.mean(axis=1), np.abs(changes).mean(axis=1)
    )


def terms(problem, **options):
    """Natural size of each candidate's score."""
    return np.abs(reference.look_ahead_changes(*problem, **options)).mean(axis=1)


def switched(problem, **options):
    """Whether units switch: of the candidates on their way, and of the holdout."""
    layers, inputs, holdout, _ = problem
    layers = reference.wide_layers(layers)
    own = judged = 0

    def is_on(moved, samples):
        signs = []
        for kernel, bias in moved[:-1]:
            samples = samples @ kernel + bias
            signs.append(samples.ravel() > 0)
            samples = np.maximum(samples, 0.0)
        return np.concatenate(signs)

    for one_input in reference.wide(inputs):
        label = int(np.argmax(reference.forward(layers, one_input)))
        change = reference.look_ahead(layers, one_input, label, **options)
        moved = reference.moved(layers, change)
        own += np.any(is_on(moved, one_input) != is_on(layers, one_input))
        judged += np.any(is_on(moved, holdout) != is_on(layers, holdout))
    return own / len(inputs), judged / len(inputs)


# Parity with the float64 oracle.


@pytest.mark.parametrize(
    ("sizes", "scale", "learning_rate"),
    [
        ((16, 16, 12, 5), 1.0, 1e-8),
        ((16, 16, 12, 5), 1.0, 1e-3),
        ((16, 16, 12, 5), 1.0, 3e-2),
        ((16, 16, 12, 5), 5.0, 1e-8),
        ((16, 16, 12, 5), 10.0, 1e-3),
    ],
)
def test_matches_reference_on_a_large_pool(sizes, scale, learning_rate):
    problem = reference.network_problem(3, 4096, sizes, 20, scale)
    scores = jitted(on_device(problem), learning_rate=learning_rate)
    layers, inputs, *judges = problem
    problem = layers, inputs[ASKED], *judges
    assert_matches_reference(problem, scores[ASKED], learning_rate=learning_rate)


@pytest.mark.parametrize(
    ("sizes", "steps"),
    [
        ((9, 4), 10),
        ((9, 12, 4), 1),
        pytest.param((9, 7, 12, 4), 2, marks=pytest.mark.full),
        ((9, 7, 12, 4), 10),
        ((9, 8, 7, 12, 6, 4), 2),
    ],
)
def test_matches_reference_for_any_depth_and_number_of_steps(sizes, steps):
    problem = reference.network_problem(4, 32, sizes, 10)
    scores = iwps_jax.iwps_mlp(*problem, steps=steps, learning_rate=1e-2)
    assert_matches_reference(problem, scores, steps=steps, learning_rate=1e-2)


@pytest.mark.parametrize("steps", [3, pytest.param(6, marks=pytest.mark.full)])
def test_matches_reference_where_units_switch(steps):
    problem = reference.network_problem(5, 64, (16, 14, 12, 5), 20)
    options = {"steps": steps, "learning_rate": 0.1}
    own, judged = switched(problem, **options)
    assert own > 0.5 and judged > 0.9
    scores = iwps_jax.iwps_mlp(*problem, **options)
    assert_matches_reference(problem, scores, **options)


def test_huge_logits_match_reference():
    problem = reference.network_problem(6, 256, (16, 12, 5), 20, scale=50.0)
    layers, inputs, holdout, labels = problem
    options = {"learning_rate": 3e-3}
    # The others' terms, or factors of these, are below what float32 can hold.
    visible = terms(problem, **options) > 1e-30
    logits = reference.forward(layers, inputs[visible])
    assert visible.sum() > 100 and np.abs(logits).max() > 200
    problem = layers, inputs[visible], holdout, labels
    assert_matches_reference(problem, iwps_jax.iwps_mlp(*problem, **options), **options)


def test_huge_inputs_match_reference():
    layers, inputs, holdout, labels = reference.network_problem(7, 64, (16, 12, 5), 20)
    kernel, bias = layers[0]
    layers[0] = np.float32(1e-3) * kernel, bias
    problem = layers, np.float32(1e3) * inputs, np.float32(1e3) * holdout, labels
    scores = iwps_jax.iwps_mlp(*problem, learning_rate=1e-4)
    assert_matches_reference(problem, scores, learning_rate=1e-4)
    assert np.max(np.asarray(scores)) > 100


def test_scores_of_certain_candidates_are_zero():
    problem = reference.network_problem(8, 16, (8, 6, 4), 6, scale=1e4)
    layers, inputs, *_ = problem
    logits = reference.forward(reference.wide_layers(layers), reference.wide(inputs))
    certain = reference.least_confidence(logits) < 1e-45
    scores = np.asarray(iwps_jax.iwps_mlp(*problem))
    assert certain.sum() >= 12
    assert np.all(scores[certain] == 0.0)
    assert np.all(np.isfinite(scores))


# Equalities.


@pytest.mark.parametrize("learning_rate", [1e-6, 1e-3, 0.1])
def test_is_iwps_of_the_same_network(learning_rate):
    problem = reference.network_problem(9, 64, (16, 14, 12, 5), 20)
    full = iwps_jax.iwps(
        apply_network, *on_device(problem), learning_rate=learning_rate
    )
    reference.assert_same_scores(
        iwps_jax.iwps_mlp(*problem, learning_rate=learning_rate),
        np.float64(full),
        terms(problem, learning_rate=learning_rate),
    )


@pytest.mark.parametrize("learning_rate", [1e-8, 1e-3, 0.1])
def test_one_layer_is_the_last_layer(learning_rate):
    problem = reference.head_problem(10, 64, 16, 5, 20)
    head = problem["kernel"], problem["bias"]
    options = {"learning_rate": learning_rate}
    arguments = (
        [head],
        problem["features"],
        problem["holdout_features"],
        problem["holdout_labels"],
    )
    reference.assert_same_scores(
        iwps_jax.iwps_mlp(*arguments, **options),
        np.float64(iwps_jax.iwps_last_layer(**problem, **options)),
        terms(arguments, **options),
        rtol=1e-5,
    )


@given(seed=SEEDS)
def test_score_per_step_tends_to_the_first_order(seed):
    problem = small_problem(seed)
    layers, inputs, *judges = on_device(problem)
    rate = np.asarray(jitted(problem, learning_rate=1e-8)) / 3e-8
    slope = iwps_jax.holdout_gradient(apply_network, layers, *judges)
    limit = iwps_jax.iwps_app(apply_network, layers, inputs, slope)
    scale = terms(problem, learning_rate=1e-8) / 3e-8
    assert np.all(np.abs(rate - np.asarray(limit)) <= 1e-4 * scale)


@given(seed=SEEDS)
def test_own_holdout_under_the_pseudo_label_scores_negative(seed):
    layers, inputs, _, _ = reference.network_problem(seed, 1, SMALL["sizes"], 1)
    logits = reference.forward(reference.wide_layers(layers), inputs)
    label = np.argmax(logits, axis=-1).astype(np.int32)
    assert jitted((layers, inputs, inputs, label))[0] < 0.0


@given(seed=SEEDS)
def test_order_of_the_hidden_units_changes_nothing(seed):
    layers, *rest = problem = small_problem(seed)
    order = np.random.default_rng(seed).permutation(SMALL["sizes"][1])
    (kernel, bias), (next_kernel, next_bias), *others = layers
    renamed = [(kernel[:, order], bias[order]), (next_kernel[order], next_bias)]
    renamed = [*renamed, *others]
    change = np.asarray(jitted((renamed, *rest))) - np.asarray(jitted(problem))
    assert np.all(np.abs(change) <= 1e-5 * terms(problem))


# Chunks, order, seeds.


@pytest.mark.parametrize("chunk_size", [pytest.param(1, marks=pytest.mark.full), 24])
def test_chunks_change_nothing(chunk_size):
    problem = reference.network_problem(11, 64, (16, 14, 12, 5), 20)
    layers, inputs, *judges = on_device(problem)

    @jax.jit
    def score(inputs):
        return iwps_jax.score_in_chunks(
            lambda chunk: iwps_jax.iwps_mlp(layers, chunk, *judges),
            inputs,
            chunk_size=chunk_size,
        )

    change = np.asarray(score(inputs)) - np.asarray(jitted(problem))
    assert np.all(np.abs(change) <= 1e-5 * terms(problem))


def test_order_permutes_scores():
    layers, inputs, *judges = problem = reference.network_problem(
        12, 64, (16, 14, 12, 5), 20
    )
    order = np.random.default_rng(12).permutation(64)
    scores = np.asarray(jitted(problem))
    change = np.asarray(jitted((layers, inputs[order], *judges))) - scores[order]
    assert np.all(np.abs(change) <= 1e-5 * terms(problem)[order])


def test_seeds_are_scored_together_under_vmap():
    problems = [small_problem(seed) for seed in range(3)]
    together = jax.tree.map(lambda *leaves: np.stack(leaves), *problems)
    scores = jax.jit(jax.vmap(iwps_jax.iwps_mlp))(*together)
    for problem, of_seed in zip(problems, scores, strict=True):
        change = np.asarray(of_seed) - np.asarray(jitted(problem))
        assert np.all(np.abs(change) <= 1e-5 * terms(problem))


# Refusals.


def with_layer(layers, index, layer):
    return [*layers[:index], layer, *layers[index + 1 :]]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda layers: [], "layers"),
        (lambda layers: layers[0][0], "layers"),
        (lambda layers: with_layer(layers, 1, layers[1][0]), r"layers\[1\]"),
        (lambda layers: with_layer(layers, 1, layers[1][:1]), r"layers\[1\]"),
        (lambda layers: layers[1:], "inputs"),
        (lambda layers: [layers[0], layers[2]], r"layers\[1\] kernel"),
        (
            lambda layers: with_layer(layers, 2, (layers[2][0], layers[1][1])),
            r"layers\[2\] bias",
        ),
        (
            lambda layers: with_layer(layers, 0, (layers[0][0] * np.nan, layers[0][1])),
            r"layers\[0\] kernel",
        ),
        (
            lambda layers: with_layer(layers, 0, (layers[0][0], layers[0][1] * np.inf)),
            r"layers\[0\] bias",
        ),
        (
            lambda layers: with_layer(
                layers, 1, (np.ones((6, 5), np.int32), layers[1][1])
            ),
            r"layers\[1\] kernel",
        ),
    ],
)
def test_wrong_layers_are_named(without_jaxtyping, change, named):
    layers, *rest = small_problem(13)
    with pytest.raises((ValueError, TypeError), match=named):
        iwps_jax.iwps_mlp(change(layers), *rest)


@pytest.mark.parametrize("argument", ["steps", "learning_rate"])
@pytest.mark.parametrize("value", [0, -1])
def test_options_must_be_positive(without_jaxtyping, argument, value):
    with pytest.raises((ValueError, TypeError), match=argument):
        iwps_jax.iwps_mlp(*small_problem(14), **{argument: value})


def test_memory_is_bounded_by_the_chunk():
    """Whatever the pool; in the chunk no faster than its rows."""
    layers, inputs, holdout, labels = reference.network_problem(0, 1, (30, 40, 5), 20)

    def temporary(pool, chunk_size):
        score = jax.jit(
            lambda pool: iwps_jax.score_in_chunks(
                lambda chunk: iwps_jax.iwps_mlp(layers, chunk, holdout, labels),
                pool,
                chunk_size=chunk_size,
            )
        )
        compiled = score.lower(jnp.zeros((pool, 30))).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small = temporary(512, 16)
    assert small == temporary(4096, 16)
    assert temporary(512, 64) <= 4 * small
