"""One answer for a pool, however it is cut and sharded; programs and memory."""

import logging
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from some_pools import DEVICES, a_model, best, first_feature, some_features

import iwps_jax
from iwps_jax import iwps_last_layer, score_pool, top_k_of_pool
from iwps_jax.pool import planning
from iwps_jax.pool.footprint import Footprint
from iwps_jax.pool.sources import open_source

LOOK_AHEAD = {"steps": 3, "learning_rate": 1e-3}

# Chunks, devices and order change nothing


@pytest.mark.parametrize(
    ("chunk_size", "devices"),
    [
        *[(None, 1), (1, DEVICES), (7, 2), (64, DEVICES)],
        pytest.param(64, 1, marks=pytest.mark.full),
        pytest.param(10**6, 2, marks=pytest.mark.full),
    ],
)
def test_iwps_of_a_pool_is_that_of_float64(chunk_size, devices):
    features, model = some_features(203), a_model()
    score = partial(iwps_last_layer, **model)
    kept = dict(chunk_size=chunk_size, devices=jax.devices()[:devices])
    kernel, bias, holdout, labels = model.values()
    expected = reference.look_ahead_changes(
        [(kernel, bias)], features, holdout, labels, steps=3, learning_rate=1e-3
    ).mean(-1)
    scores = score_pool(score, features, **kept)
    np.testing.assert_allclose(scores, expected, rtol=2e-5, atol=1e-7)
    top = top_k_of_pool(score, features, 40, **kept)
    np.testing.assert_array_equal(top.rows, best(expected, 40))
    np.testing.assert_array_equal(top.scores, scores[top.rows])


@pytest.mark.parametrize("devices", [1, 2, DEVICES])
@pytest.mark.parametrize("size", [1, 7, 8, 9, 65])
def test_ragged_pools_and_pools_smaller_than_the_devices(size, devices):
    features = some_features(size, width=1)
    kept = dict(chunk_size=4, devices=jax.devices()[:devices])
    np.testing.assert_array_equal(
        score_pool(first_feature, features, **kept), features[:, 0]
    )
    for k in {1, min(5, size), size}:  # more than a shard holds, too
        top = top_k_of_pool(first_feature, features, k, **kept)
        np.testing.assert_array_equal(top.rows, best(features[:, 0], k))


@pytest.mark.parametrize("devices", [1, DEVICES])
@pytest.mark.parametrize("chunk_size", [3, 16, 1000])
def test_ties_go_to_the_lower_row(devices, chunk_size):
    scores = np.array([1, 0, 2, 1] * 100, np.float32)[:, None]
    scores[7] = -0.0
    top = top_k_of_pool(
        first_feature,
        scores,
        150,
        chunk_size=chunk_size,
        devices=jax.devices()[:devices],
    )
    np.testing.assert_array_equal(top.rows, best(scores[:, 0], 150))


@pytest.mark.parametrize(
    ("chunk_size", "devices"),
    [
        *[(37, 3), (100, DEVICES), (None, 1)],
        pytest.param(8, 1, marks=pytest.mark.full),
        pytest.param(None, DEVICES, marks=pytest.mark.full),
    ],
)
def test_copies_of_a_row_tie_wherever_they_are(chunk_size, devices):
    """Chunk by chunk and device by device, the same bits for the same row."""
    features, model = np.tile(some_features(50, width=33), (41, 1)), a_model(33)
    scores = score_pool(
        partial(iwps_last_layer, **model),
        features,
        chunk_size=chunk_size,
        devices=jax.devices()[:devices],
    )
    np.testing.assert_array_equal(scores, np.tile(scores[:50], 41))


def test_order_of_the_rows_changes_no_pick():
    features, model = some_features(2000), a_model()
    score = partial(iwps_last_layer, **model)
    order = np.random.default_rng(3).permutation(2000)
    picked = top_k_of_pool(score, features, 50)
    shuffled = top_k_of_pool(score, features[order], 50)
    np.testing.assert_array_equal(order[shuffled.rows], picked.rows)
    np.testing.assert_allclose(shuffled.scores, picked.scores, rtol=1e-5)


@pytest.mark.parametrize(
    ("chunk_size", "devices"), [(1, DEVICES), (10, 1), (10, 3), (64, DEVICES)]
)
def test_random_draws_belong_to_rows(key, chunk_size, devices):
    def noise(pool):
        features, rows = pool
        draw = jax.vmap(jax.random.normal)(iwps_jax.sample_keys(key, rows))
        return features[:, 0] + draw

    features = some_features(101)
    expected = noise((jnp.asarray(features), jnp.arange(101)))
    found = score_pool(
        noise,
        (features, range(101)),
        chunk_size=chunk_size,
        devices=jax.devices()[:devices],
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_infinite_scores_are_legal_and_masked_rows_never_come():
    scores = np.array([[-np.inf], [np.inf], [0], [5], [-np.inf]], np.float32)
    where = np.array([True, False, True, False, True])
    top = top_k_of_pool(first_feature, scores, 3, where=where)
    assert top.rows.tolist() == [2, 0, 4]
    assert top_k_of_pool(first_feature, scores, 5).rows.tolist() == [1, 3, 2, 0, 4]


# Programs


def test_another_model_of_the_same_shapes_is_no_new_program():
    traces, counts = [], []

    def score(rows, weights, power):
        traces.append(1)
        return (rows @ weights) ** power

    features = some_features(64)
    for seed in range(3):
        weights = some_features(8, width=1, seed=seed)[:, 0]
        found = score_pool(
            partial(score, weights=jnp.asarray(weights), power=2),
            features,
            chunk_size=16,
        )
        np.testing.assert_allclose(found, (features @ weights) ** 2, rtol=1e-4)
        counts.append(len(traces))
    assert counts[0] > 0 and counts == [counts[0]] * 3


class Changing:
    """A model whose weights move in place, as those of object-oriented ones do."""

    def __init__(self):
        self.weights = jnp.ones(8)

    def __call__(self, rows):
        return rows @ self.weights

    def score(self, rows):
        return rows @ self.weights


@pytest.mark.parametrize("kind", ["lambda", "method", "partial", "object"])
def test_what_a_model_has_learned_is_seen(kind):
    model, features = Changing(), some_features(30)
    score = {
        "lambda": lambda rows: model(rows),
        "method": model.score,
        "partial": partial(model.score),
        "object": model,
    }[kind]
    before = score_pool(score, features)
    model.weights = 2 * model.weights
    np.testing.assert_allclose(score_pool(score, features), 2 * before, rtol=1e-6)


def test_bound_arguments_differ_by_type_too():
    def score(rows, flag):
        return rows[:, 0] * (2.0 if flag is True else 1.0)

    features = some_features(10)
    for flag, factor in ((1, 1), (True, 2), (1.0, 1)):
        found = score_pool(partial(score, flag=flag), features)
        np.testing.assert_array_equal(found, factor * features[:, 0])


def test_arrays_of_a_closure_serve_too():
    weights = jnp.asarray(some_features(8, width=1)[:, 0])
    features = some_features(50)
    found = score_pool(lambda rows: rows @ weights, features, chunk_size=3)
    np.testing.assert_allclose(found, features @ weights, rtol=1e-4, atol=1e-6)


def test_a_whole_network_is_scored_like_its_last_layer_alone():
    features, model = some_features(100), a_model()
    kernel, bias, holdout, labels = model.values()

    def apply(params, rows):
        return rows @ params[0] + params[1][None]

    score = partial(
        iwps_jax.iwps,
        apply,
        (kernel, bias),
        holdout_inputs=holdout,
        holdout_labels=labels,
        **LOOK_AHEAD,
    )
    expected = reference.look_ahead_changes(
        [(kernel, bias)], features, holdout, labels, **LOOK_AHEAD
    ).mean(-1)
    found = score_pool(score, features, chunk_size=8)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)


# Memory


@pytest.mark.parametrize("free", [2 * 10**5, 10**10])
def test_the_planned_chunk_fits(free, monkeypatch):
    score, row = partial(iwps_last_layer, **a_model()), some_features(1)
    monkeypatch.setattr(planning, "free_memory", lambda device: free)
    source = open_source(some_features(5000))
    program = planning.plan_program(score, source, None, jax.devices()[:1])
    share = program.working_bytes() + 3 * row.nbytes
    assert share <= free / 2 and program.size >= 8


def test_a_chunk_is_halved_where_the_compiled_score_takes_more(monkeypatch):
    """As where XLA keeps what a trace seems to fuse."""
    told = Footprint(1, 1.0)
    monkeypatch.setattr(planning, "traced", lambda *arguments: told)
    monkeypatch.setattr(planning, "free_memory", lambda device: 2 * 10**6)

    def score(rows):
        return jnp.sort(jnp.outer(rows[:, 0], jnp.arange(1e4)), 1)[:, 0]

    source = open_source(some_features(5000))
    program = planning.plan_program(score, source, None, jax.devices()[:1])
    assert 10**5 < program.working_bytes() <= 10**6


def test_a_row_that_does_not_fit_is_refused_with_a_way_out(monkeypatch):
    def wide(rows):
        return jnp.sort(jnp.outer(rows.sum(-1), jnp.arange(10**6) * 1.0)).sum(-1)

    monkeypatch.setattr(planning, "free_memory", lambda device: 1000)
    with pytest.raises(MemoryError, match="one row takes 8 MB .* 0 MB free.* iwps_app"):
        score_pool(wide, some_features(10))


def test_a_score_is_traced_to_plan_and_compiled_once(caplog):
    traces = []

    def a_score_to_plan(rows):
        traces.append(len(rows))
        return rows[:, 0]

    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        score_pool(a_score_to_plan, some_features(1000))
    assert len(set(traces)) == 2  # the trial's rows, then the chunk's
    compiled = [m for m in caplog.messages if "Finished XLA compilation" in m]
    assert len(compiled) == 1


def test_there_is_memory():
    assert planning.free_memory(jax.devices()[0]) > 10**7
