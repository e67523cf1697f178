import jax
import jax.numpy as jnp
import numpy as np
import pytest

import iwps_jax
from iwps_jax import sample_keys, score_in_chunks

POOL = 23


def some_pool(size=POOL, width=4):
    rng = np.random.default_rng(size)
    return jnp.asarray(rng.normal(size=(size, width)), jnp.float32)


def row_sums(inputs):
    return inputs.sum(-1)


# Chunks change nothing


@pytest.mark.parametrize("chunk_size", [1, 7, POOL - 1, POOL, POOL + 3, 10**6])
def test_chunks_give_the_same_as_the_whole(chunk_size):
    """Integers, so that the same means the same bits."""
    inputs = jnp.arange(2 * POOL).reshape(POOL, 2)
    score = jax.jit(lambda x: score_in_chunks(row_sums, x, chunk_size=chunk_size))
    found = score(inputs)
    assert found.dtype == inputs.dtype
    np.testing.assert_array_equal(found, np.arange(2 * POOL).reshape(POOL, 2).sum(-1))


@pytest.mark.parametrize("size", [1, 6, 7, 8, 14, 15])
def test_every_pool_size_around_a_chunk(size):
    found = score_in_chunks(lambda x: 3 * x, jnp.arange(size), chunk_size=7)
    assert found.tolist() == [3 * i for i in range(size)]


def test_a_score_meets_full_chunks_of_real_rows_only():
    """Nothing is padded: no row is a dummy, even in the last, ragged chunk."""
    seen = []

    def score(rows):
        jax.debug.callback(lambda chunk: seen.append(chunk.tolist()), rows)
        return rows

    jax.block_until_ready(score_in_chunks(score, jnp.arange(10, 20), chunk_size=4))
    jax.effects_barrier()
    assert [len(chunk) for chunk in seen] == [4, 4, 4]
    assert {row for chunk in seen for row in chunk} == set(range(10, 20))


@pytest.mark.parametrize("chunk_size", [5, POOL])
def test_pytrees_in_and_out(key, chunk_size):
    inputs = {
        "vectors": some_pool(),
        "more": (np.arange(POOL, dtype=np.uint8), sample_keys(key, jnp.arange(POOL))),
    }

    def score(chunk):
        number, keys = chunk["more"]
        return (
            chunk["vectors"] @ jnp.eye(4, 3),
            {
                "count": number.astype(jnp.int32) + 1,
                "flag": number % 2 == 0,
                "noise": jax.vmap(jax.random.uniform)(keys),
            },
        )

    whole = score(jax.tree.map(jnp.asarray, inputs))
    found = jax.jit(lambda x: score_in_chunks(score, x, chunk_size=chunk_size))(inputs)
    assert jax.tree.structure(found) == jax.tree.structure(whole)
    for leaf, expected in zip(
        jax.tree.leaves(found), jax.tree.leaves(whole), strict=True
    ):
        assert leaf.dtype == expected.dtype
        np.testing.assert_allclose(leaf, expected, rtol=1e-6)


def test_nonfinite_scores_come_through():
    inputs = jnp.array([1.0, jnp.nan, jnp.inf, -jnp.inf, 2.0])
    found = score_in_chunks(lambda x: x, inputs, chunk_size=2)
    np.testing.assert_array_equal(found, inputs)


def test_the_number_of_chunks_does_not_change_the_program():
    texts, traces = {}, {}
    for chunk_size, pool_size in ((5, 10), (5, 1000)):
        traces[pool_size] = []

        def score(inputs, traces=traces[pool_size]):
            traces.append(1)
            return jnp.sin(inputs)

        lowered = jax.jit(
            lambda x, n=chunk_size, f=score: score_in_chunks(f, x, chunk_size=n)
        ).lower(jnp.zeros(pool_size))
        texts[pool_size] = lowered.as_text()
    assert len(traces[10]) == len(traces[1000]) <= 2
    assert [text.count("stablehlo.sine") for text in texts.values()] == [1, 1]


def test_chunks_work_under_vmap():
    inputs = jnp.arange(3 * POOL).reshape(3, POOL)
    found = jax.vmap(lambda x: score_in_chunks(lambda y: 2 * y, x, chunk_size=4))(
        inputs
    )
    np.testing.assert_array_equal(found, 2 * inputs)


# Memory


HOLDOUT = 200


def look_ahead_memory(pool_size, chunk_size, dim=64, classes=10):
    """Bytes that the compiled program needs beside its inputs and outputs."""
    score = jax.jit(
        lambda features, kernel, bias, held_out, labels: score_in_chunks(
            lambda chunk: iwps_jax.iwps_last_layer(
                chunk, kernel, bias, held_out, labels
            ),
            features,
            chunk_size=chunk_size,
        )
    )
    compiled = score.lower(
        jnp.zeros((pool_size, dim)),
        jnp.zeros((dim, classes)),
        jnp.zeros(classes),
        jnp.zeros((HOLDOUT, dim)),
        jnp.zeros(HOLDOUT, jnp.int32),
    ).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_of_the_look_ahead_follows_the_chunk_not_the_pool():
    small, large = (look_ahead_memory(size, 256) for size in (1024, 65536))
    assert large - small <= 2 * 4 * (65536 - 1024)  # at most two vectors of scores
    assert small > 4 * 256 * HOLDOUT  # and what a chunk needs is in these numbers


# Refusals


@pytest.mark.parametrize("chunk_size", [0, -4])
def test_chunk_size_below_one_is_named(chunk_size):
    with pytest.raises(ValueError, match=f"chunk_size .* 1, got {chunk_size}"):
        score_in_chunks(row_sums, some_pool(), chunk_size=chunk_size)


@pytest.mark.parametrize("chunk_size", [2.0, "7", None])
def test_chunk_size_that_is_no_integer_is_named(without_jaxtyping, chunk_size):
    with pytest.raises(TypeError, match="chunk_size must be an integer"):
        score_in_chunks(row_sums, some_pool(), chunk_size=chunk_size)


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ((jnp.zeros(4), jnp.zeros(5)), r"inputs must share one .*\[4, 5\]"),
        (jnp.zeros((0, 3)), "inputs must hold at least one sample"),
        ((jnp.zeros(4), jnp.zeros(())), "inputs must be arrays with a leading"),
        ((), "inputs must be arrays with a leading"),
    ],
)
def test_wrong_inputs_are_named(inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        score_in_chunks(lambda x: x, inputs, chunk_size=2)


@pytest.mark.parametrize(
    "score",
    [
        lambda x: x.sum(0, keepdims=True),
        lambda x: x.sum(),
        lambda x: jnp.stack([x] * 5),  # draws first, then the pool
        lambda x: jnp.concatenate([x, x]),
        lambda x: {"right": x, "wrong": x[:1]},
    ],
    ids=["one row", "scalar", "draws first", "too long", "one of two"],
)
@pytest.mark.parametrize("chunk_size", [2, 6])
def test_scores_without_one_row_per_sample_are_named(score, chunk_size):
    with pytest.raises(ValueError, match="score_fn must"):
        score_in_chunks(score, jnp.arange(6.0), chunk_size=chunk_size)


# Keys of samples


def uniform(keys):
    return jax.vmap(jax.random.uniform)(keys)


def test_every_sample_has_its_own_key(key):
    data = jax.random.key_data(sample_keys(key, jnp.arange(1000)))
    other = jax.random.key_data(sample_keys(jax.random.key(1), jnp.arange(1000)))
    assert len(np.unique(np.concatenate([data, other]), axis=0)) == 2000


def test_keys_follow_the_row_not_its_place(key):
    whole = uniform(sample_keys(key, jnp.arange(50)))
    order = np.random.default_rng(0).permutation(50)[:20]
    for rows in (order, jnp.asarray(order), order.astype(np.int8)):
        np.testing.assert_array_equal(uniform(sample_keys(key, rows)), whole[order])


@pytest.mark.parametrize("chunk_size", [1, 7, 50])
def test_draws_do_not_depend_on_chunks(key, chunk_size):
    rows = jnp.arange(50)
    found = score_in_chunks(uniform, sample_keys(key, rows), chunk_size=chunk_size)
    np.testing.assert_array_equal(found, uniform(sample_keys(key, rows)))
    inside = score_in_chunks(
        lambda chunk: uniform(sample_keys(key, chunk)), rows, chunk_size=chunk_size
    )
    np.testing.assert_array_equal(inside, found)


def test_draws_of_samples_are_independent(key):
    draws = np.asarray(uniform(sample_keys(key, jnp.arange(4000))), np.float64)
    assert abs(draws.mean() - 0.5) < 0.03 and abs(draws.var() - 1 / 12) < 0.01
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.08
