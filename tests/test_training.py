import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.classification import training
from iwps_jax.types import Variables


def without_dropout(apply_fn):
    def apply_train_fn(key, variables, inputs):
        del key
        return apply_fn(variables, inputs), variables.statistics

    return apply_train_fn


def linear(params, inputs):
    return inputs @ params


def fit(key, params, samples, validation, where=None, apply_fn=linear, **changes):
    """`training.fit` on all samples unless told, with everyday options.

    `apply_fn` takes the parameters alone: these networks have no statistics.
    """

    def apply_variables(variables, inputs):
        return apply_fn(variables.params, inputs)

    where = samples[1] >= 0 if where is None else where
    options = {
        "apply_fn": apply_variables,
        "apply_train_fn": without_dropout(apply_variables),
        "optimizer": optax.adam(0.1),
        "minibatch_size": 8,
        "steps_per_evaluation": 5,
        "patience": 5,
        "max_evaluations": 40,
    }
    options |= changes
    start = Variables(params, {})
    return training.fit(key, start, *samples, where, *validation, **options)


def blobs(seed, size, distance=4.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    centers = distance * (labels[:, None] - 0.5) * np.array([1.0, -1.0])
    inputs = centers + rng.normal(size=(size, 2))
    return jnp.asarray(inputs, jnp.float32), jnp.asarray(labels, jnp.int32)


def assert_equal(tree, expected):
    for leaf, other in zip(
        jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_array_equal(leaf, other)


# One number w, logits [0, w]: with equal samples NumPy can follow every step of SGD.


def one_number(w, inputs):
    return jnp.stack([jnp.zeros(len(inputs)), jnp.broadcast_to(w, len(inputs))], -1)


def follow(w, *, rate=0.1, steps=3, evaluations, share=0.7):
    """[w] and [validation loss] at every evaluation, the start included."""
    ws = [w]
    for _ in range(evaluations):
        for _ in range(steps):
            w += rate / (1 + np.exp(w))  # all training labels are 1
        ws.append(w)
    ws = np.array(ws)
    return ws, share * np.log1p(np.exp(-ws)) + (1 - share) * np.log1p(np.exp(ws))


@functools.partial(jax.jit, static_argnames="max_evaluations")
def fit_compiled(w, rate, share, *, max_evaluations):
    inputs, ones = jnp.zeros((10, 1)), jnp.ones(10, jnp.int32)
    validation_labels = (jnp.arange(10) < jnp.round(10 * share)).astype(jnp.int32)
    return fit(
        jax.random.key(0),
        w,
        (inputs, ones),
        (inputs, validation_labels),
        apply_fn=one_number,
        optimizer=optax.sgd(rate),
        steps_per_evaluation=3,
        patience=4,
        max_evaluations=max_evaluations,
    )


def fit_one_number(w, *, rate=0.1, share=0.7, max_evaluations=50):
    numbers = (jnp.asarray(number, jnp.float32) for number in (w, rate, share))
    return fit_compiled(*numbers, max_evaluations=max_evaluations)


@pytest.mark.parametrize("start", [-2.0, -1.0, 0.0, 0.8])
def test_returns_the_best_and_stops_after_patience(start):
    ws, losses = follow(start, evaluations=50)
    best = int(np.argmin(losses))
    assert 0 < best < 40 and losses[best] < losses[0]  # falls, then rises
    result = fit_one_number(start)
    np.testing.assert_allclose(result.variables.params, ws[best], rtol=1e-5)
    np.testing.assert_allclose(result.validation_loss, losses[best], rtol=1e-5)
    assert result.steps == 3 * (best + 4)


def test_patience_counts_evaluations_in_a_row():
    """The parameter counts evaluations and reads its validation loss in a table."""
    samples = jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32)
    losses = np.array([5.0, 6, 6, 4, 6, 6, 3, 6, 6, 6, 2], np.float32)

    def table(step, inputs):
        logit = jnp.log(jnp.expm1(jnp.asarray(losses)[step.astype(int)]))
        return jnp.stack([jnp.zeros(len(inputs)), jnp.full(len(inputs), logit)], -1)

    count_up = optax.GradientTransformation(
        lambda params: (), lambda grads, state, params: (jnp.ones(()), state)
    )
    result = fit(
        jax.random.key(0),
        jnp.zeros(()),
        samples,
        samples,
        apply_fn=table,
        optimizer=count_up,
        steps_per_evaluation=1,
        patience=3,
        max_evaluations=10,
    )
    assert result.variables.params == 6 and result.steps == 9
    np.testing.assert_allclose(result.validation_loss, 3.0, rtol=1e-6)


@pytest.mark.parametrize("max_evaluations", [1, 5])
def test_stops_after_the_last_evaluation(max_evaluations):
    ws, losses = follow(-1.0, evaluations=5)
    result = fit_one_number(-1.0, max_evaluations=max_evaluations)
    assert result.steps == 3 * max_evaluations
    np.testing.assert_allclose(result.variables.params, ws[max_evaluations], rtol=1e-5)
    np.testing.assert_allclose(
        result.validation_loss, losses[max_evaluations], rtol=1e-5
    )


def test_the_start_is_no_candidate_even_where_training_only_hurts():
    ws, losses = follow(0.3, evaluations=1, share=0.0)
    assert losses[1] > losses[0]
    result = fit_one_number(0.3, share=0.0)
    np.testing.assert_allclose(result.variables.params, ws[1], rtol=1e-5)
    np.testing.assert_allclose(result.validation_loss, losses[1], rtol=1e-5)
    assert result.steps == 3 * (1 + 4)


def test_keeps_the_start_where_no_loss_is_finite():
    result = fit_one_number(0.3, rate=jnp.nan)
    assert result.variables.params == np.float32(0.3) and result.steps == 12
    assert result.validation_loss == np.inf


def test_a_warm_start_continues_where_training_ended():
    params = -1.0
    for _ in range(5):
        last = fit_one_number(params, max_evaluations=1)
        params = last.variables.params
    assert_equal(last[:2], fit_one_number(-1.0, max_evaluations=5)[:2])


def test_seeds_side_by_side_stop_each_at_its_own_time():
    starts = jnp.array([-2.0, -1.0, 0.0, 0.3, 2.0])
    together = jax.jit(jax.vmap(fit_one_number))(starts)
    for i, start in enumerate(starts):
        alone = fit_one_number(start)
        assert together.steps[i] == alone.steps
        np.testing.assert_allclose(
            together.variables.params[i], alone.variables.params, rtol=1e-5
        )
    assert len(set(together.steps.tolist())) == 5


# Learning


LINEAR_TRACES = []


def linear_fit(key, inputs, labels, where):
    LINEAR_TRACES.append(1)
    samples, validation = (inputs, labels), blobs(1, 16, distance=2.0)
    return fit(
        key, jnp.zeros((2, 2)), samples, validation, where=where, max_evaluations=6
    )


compiled_linear_fit = jax.jit(linear_fit)


def test_learns_to_separate_two_blobs(key):
    inputs, labels = blobs(0, 40)
    result = compiled_linear_fit(key, inputs, labels, labels >= 0)
    inputs, labels = blobs(2, 500)
    assert (linear(result.variables.params, inputs).argmax(-1) == labels).mean() > 0.98


def test_the_validation_loss_is_that_of_the_parameters(key):
    inputs, labels = blobs(0, 40, distance=2.0)
    result, again, other = (
        compiled_linear_fit(key, inputs, labels, labels >= 0)
        for key in (key, key, jax.random.key(1))
    )
    inputs, labels = blobs(1, 16, distance=2.0)
    logits = np.float64(inputs) @ np.float64(result.variables.params)
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(16), labels]
    np.testing.assert_allclose(result.validation_loss, losses.mean(), rtol=1e-5)
    assert losses.mean() < 0.8 * np.log(2)
    assert_equal(result, again)
    assert result.validation_loss != other.validation_loss


def test_labeled_sets_side_by_side_are_the_sets_one_by_one():
    inputs, labels = blobs(0, 40)
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    where = jnp.arange(40)[None] < jnp.array([5, 20, 40])[:, None]
    program = jax.jit(jax.vmap(linear_fit, (0, None, None, 0)))
    together = program(keys, inputs, labels, where)
    for seed in range(3):
        alone = compiled_linear_fit(keys[seed], inputs, labels, where[seed])
        assert together.steps[seed] == alone.steps
        np.testing.assert_allclose(
            together.variables.params[seed], alone.variables.params, rtol=1e-4
        )


# The buffer


@pytest.mark.parametrize("num_labeled", [1, 5, 39])
def test_entries_without_a_sample_change_nothing(key, num_labeled):
    inputs, labels = blobs(0, 40)
    rows = np.random.default_rng(num_labeled).permutation(40)[:num_labeled]
    where = jnp.zeros(40, bool).at[rows].set(True)  # anywhere, not only at the front
    expected = compiled_linear_fit(key, inputs, labels, where)
    assert (
        np.isfinite(expected.variables.params).all()
        and np.asarray(expected.variables.params).any()
    )
    for garbage, label in ((np.nan, 10**6), (np.inf, -5), (3e38, 1)):
        found = compiled_linear_fit(
            key,
            jnp.where(where[:, None], inputs, garbage),
            jnp.where(where, labels, label),
            where,
        )
        assert_equal(found, expected)


def test_any_number_of_labels_is_one_program(key):
    inputs, labels = blobs(0, 40)
    compiled_linear_fit(key, inputs, labels, jnp.arange(40) < 1)
    LINEAR_TRACES.clear()
    for num_labeled in (1, 10, 40):
        compiled_linear_fit(key, inputs, labels, jnp.arange(40) < num_labeled)
    assert not LINEAR_TRACES


@functools.partial(jax.jit, static_argnames=("minibatch_size", "steps", "evaluations"))
def fit_counting_visits(key, where, *, minibatch_size, steps, evaluations=1):
    """Parameters that say how many minibatches each sample of the buffer was in.

    Sample i reads parameter i alone, and a step moves those with a gradient by one;
    every step lowers the validation loss, so that the last parameters are returned.
    """
    count = optax.GradientTransformation(
        lambda params: (),
        lambda grads, state, params: ((grads != 0).astype(jnp.float32), state),
    )

    def own_parameter(params, inputs):
        logit = 0.01 * (inputs @ params)
        return jnp.stack([logit, -logit], -1)

    samples = jnp.eye(len(where)), jnp.zeros(len(where), jnp.int32)
    return fit(
        key,
        jnp.zeros(len(where)),
        samples,
        samples,
        where=where,
        apply_fn=own_parameter,
        optimizer=count,
        minibatch_size=minibatch_size,
        steps_per_evaluation=steps,
        max_evaluations=evaluations,
    )


def visits(key, where, **sizes):
    result = fit_counting_visits(key, where, **sizes)
    assert result.steps == sizes["steps"] * sizes.get("evaluations", 1)
    return np.asarray(result.variables.params)


@pytest.mark.parametrize("num_labeled", [1, 3, 4, 5, 12, 17])
def test_samples_are_visited_equally_often(key, num_labeled):
    where = jnp.arange(20) >= 20 - num_labeled
    counts = visits(key, where, minibatch_size=1, steps=12)
    assert not counts[: 20 - num_labeled].any() and counts.sum() == 12
    labeled = counts[20 - num_labeled :]
    assert labeled.max() - labeled.min() <= 1


@pytest.mark.parametrize("num_labeled", [1, 2, 3])
def test_samples_fewer_than_a_period_are_all_in_it(key, num_labeled):
    """One sample fills a minibatch of two alone; three take turns."""
    where = jnp.arange(20) < num_labeled
    counts = visits(key, where, minibatch_size=2, steps=3)
    expected = {1: [3], 2: [3, 3], 3: [2, 2, 2]}[num_labeled]
    assert counts.tolist() == expected + [0] * (20 - num_labeled)


def test_samples_more_than_a_period_covers_all_have_their_turn(key):
    everywhere = jnp.ones(20, bool)
    one = visits(key, everywhere, minibatch_size=2, steps=3)
    assert sorted(one) == [0] * 14 + [1] * 6
    many = visits(key, everywhere, minibatch_size=2, steps=3, evaluations=60)
    assert many.sum() == 360 and many.min() >= 6 and many.max() <= 36


def test_every_step_has_its_own_dropout_mask(key):
    seen = []

    def spying(key, variables, inputs):
        jax.debug.callback(
            lambda data: seen.append(tuple(data.tolist())), key_data(key)
        )
        return linear(variables.params, inputs), variables.statistics

    key_data = jax.random.key_data
    start, samples = jnp.zeros((2, 2)), blobs(0, 20)
    result = fit(key, start, samples, samples, apply_train_fn=spying, max_evaluations=3)
    jax.block_until_ready(result)
    jax.effects_barrier()
    assert len(seen) == result.steps == 15 and len(set(seen)) == 15


@pytest.mark.parametrize(
    "name", ["minibatch_size", "steps_per_evaluation", "patience", "max_evaluations"]
)
def test_sizes_below_one_are_named(key, name):
    samples = blobs(0, 8)
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        fit(key, jnp.zeros((2, 2)), samples, samples, **{name: 0})


def test_a_buffer_shorter_than_its_labels_is_named(key):
    inputs, labels = blobs(0, 8)
    with pytest.raises(ValueError, match="labels must have length 5"):
        fit(key, jnp.zeros((2, 2)), (inputs[:5], labels), (inputs, labels))


# Evaluation


@pytest.mark.parametrize("chunk_size, num_classes", [(7, 4), (7, 9), (1000, 9)])
def test_evaluate_is_numpy(chunk_size, num_classes):
    """Four classes occur; the others must not count."""
    rng = np.random.default_rng(num_classes)
    logits = rng.normal(size=(50, num_classes)).astype(np.float32)
    labels = rng.choice([0, 0, 0, 1, 2, 3], 50)
    labels[:4] = np.arange(4)
    metrics = jax.jit(
        lambda shift, logits, labels: training.evaluate(
            shift,
            logits,
            labels,
            apply_fn=lambda shift, logits: logits + shift,
            num_classes=num_classes,
            chunk_size=chunk_size,
        )
    )(0.5, logits, labels)
    right = logits.argmax(-1) == labels
    recalls = [right[labels == c].mean() for c in range(4)]
    np.testing.assert_allclose(metrics.accuracy, right.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics.balanced_accuracy, np.mean(recalls), rtol=1e-6)
    assert abs(right.mean() - np.mean(recalls)) > 1e-3
