"""What stops a scan is named by its rows; what cannot be scanned is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some_pools import DEVICES, Counted, first_feature, some_features

import iwps_jax
from iwps_jax import PoolError, score_pool, top_k_of_pool

# What stops a scan


@pytest.mark.parametrize("scan", [score_pool, partial(top_k_of_pool, k=3)])
@pytest.mark.parametrize("devices", [1, DEVICES])
def test_nan_is_named_by_its_rows(scan, devices):
    features = some_features(200)
    features[[61, 63, 150]] = np.nan
    with pytest.raises(PoolError, match=r"2 among rows \d+ to \d+ .*: 61, 63\."):
        scan(
            first_feature,
            features,
            chunk_size=64 // devices,
            devices=jax.devices()[:devices],
        )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.complex64, jnp.float16])
def test_nan_of_any_type_is_seen(dtype):
    features = some_features(20)
    features[7] = np.nan
    with pytest.raises(PoolError, match=r": 7\."):
        score_pool(lambda rows: rows[:, 0].astype(dtype), features)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_scores_are_ranked(dtype):
    features = np.arange(64, dtype=np.float32)[:, None]
    top = top_k_of_pool(lambda rows: rows[:, 0].astype(dtype), features, 3)
    assert top.rows.tolist() == [63, 62, 61]


@pytest.mark.parametrize(
    ("pool", "refusal"),
    [
        (np.array([5, 2**40]), "int64 do not fit int32"),
        (np.array([1.0, 1e300]), "float64 do not fit float32"),
        (np.array(["a", "b"]), "rows must be of numbers"),
    ],
)
def test_numbers_that_jax_would_change_are_refused(pool, refusal):
    with pytest.raises((PoolError, TypeError), match=refusal):
        score_pool(lambda rows: rows * 1.0, pool, chunk_size=1)


def test_a_bad_record_is_named_alone():
    def decode(record):
        if record == 5:
            raise OSError("checksum")
        return np.float32([record])

    with pytest.raises(PoolError, match="^row 5 of the pool cannot be read: OSError"):
        score_pool(first_feature, iwps_jax.Records(range(20), decode))


@pytest.mark.parametrize("size", [29, 31])
def test_a_mask_of_another_size_than_the_stream_is_refused(size):
    stream = iter(np.split(some_features(30), 3))
    with pytest.raises(PoolError, match=f"where must have a row for each.*{size}"):
        top_k_of_pool(first_feature, stream, 2, where=np.ones(size, bool))


def test_many_nan_are_not_all_named():
    features = np.full((100, 1), np.nan, np.float32)
    with pytest.raises(PoolError, match=r"100 among rows 0 to 99 .* 8, 9, \.\.\.\.$"):
        score_pool(first_feature, features, chunk_size=100)


def test_rows_that_cannot_be_read_are_named():
    pool = Counted(some_features(100), broken_at=55)
    sentence = "rows 48 to 63 of the pool cannot be read: OSError: bad sector"
    with pytest.raises(PoolError, match=sentence):
        score_pool(first_feature, pool, chunk_size=16, devices=jax.devices()[:1])


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (np.zeros((4, 3), np.float32), r"float32\[8\] like the first, got float32"),
        (np.zeros((4, 8), np.int32), "got int32"),
        ({"x": np.zeros((4, 8))}, "structure"),
    ],
)
def test_a_stream_that_changes_is_stopped(chunk, reason):
    stream = iter([np.zeros((4, 8), np.float32), chunk])
    with pytest.raises(PoolError, match=f"^row 4 .*{reason}"):
        score_pool(first_feature, stream, chunk_size=4, devices=jax.devices()[:1])


def test_a_stream_that_fails_is_stopped():
    def chunks():
        yield np.zeros((4, 8), np.float32)
        raise OSError("connection lost")

    with pytest.raises(PoolError, match="connection lost"):
        score_pool(first_feature, chunks(), chunk_size=4)


# Refusals


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"k": 0}, ValueError, "k must be at least 1 and at most the 10"),
        ({"k": 11}, ValueError, "at most the 10 that may be picked, got 11"),
        ({"k": 2.0}, TypeError, "k must be an integer"),
        ({"where": np.arange(10) < 2}, ValueError, "at most the 2 that may be picked"),
        ({"where": np.ones(9, bool)}, ValueError, "where must have length 10"),
        ({"where": np.ones(10)}, TypeError, "where must be boolean"),
        ({"pool": np.zeros((0, 3))}, ValueError, "at least one sample"),
        ({"pool": 3}, TypeError, "one iterator of chunks .*; got a int"),
        ({"pool": [np.ones(2), np.ones(3)]}, ValueError, r"one length, got \[2, 3\]"),
        ({"pool": iter([])}, PoolError, "ended"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1, got 0"),
        ({"devices": []}, ValueError, "one device or more, each once, got none"),
        ({"devices": jax.devices()[:1] * 2}, ValueError, "each once"),
        ({"devices": jax.devices()[0]}, TypeError, "a list of devices"),
        ({"devices": "cpu"}, TypeError, "a list of devices, got 'cpu'"),
        ({"score_fn": lambda rows: {"a": rows[:, 0]}}, ValueError, "one number for"),
        ({"score_fn": 3}, TypeError, "score_fn must be a function, got int"),
        ({"score_fn": lambda rows: rows}, ValueError, "one number for each"),
        ({"score_fn": lambda rows: rows.sum()}, ValueError, "one row for each"),
        (
            {"score_fn": lambda rows: rows[:, 0].astype(int)},
            TypeError,
            "scores must be floating point",
        ),
    ],
)
def test_refusals(arguments, error, sentence, without_jaxtyping):
    usual = {"score_fn": first_feature, "pool": some_features(10), "k": 3}
    with pytest.raises(error, match=sentence):
        top_k_of_pool(**(usual | arguments))
