"""One answer for a pool, whatever it is kept in, and few rows in memory."""

import tracemalloc
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from some_pools import DEVICES, Counted, a_model, best, first_feature, some_features

import iwps_jax
from iwps_jax import iwps_last_layer, score_pool, top_k_of_pool
from iwps_jax.pool import pipeline
from iwps_jax.pool.sources import open_source


def test_embeddings_of_several_kinds():
    features = some_features(30)

    def embed(rows):
        return {"sums": rows.sum(-1), "halves": (rows / 2, rows > 0)}

    found = score_pool(embed, features, chunk_size=4)
    np.testing.assert_allclose(found["sums"], features.sum(-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["halves"][0], features / 2)
    np.testing.assert_array_equal(found["halves"][1], features > 0)


def kept_in_many_ways(features, folder):
    np.save(folder / "features.npy", features)
    flat = np.memmap(folder / "features.raw", features.dtype, "w+", shape=(100, 8))
    flat[:] = features
    return {
        "array": features,
        "jax array": jnp.asarray(features),
        "npy file": np.load(folder / "features.npy", mmap_mode="r"),
        "memory map": flat,
        "records": iwps_jax.Records(list(features), lambda record: record),
        "one chunk": iter([features]),
        "ragged chunks": iter([features[:1], features[1:70], features[70:]]),
        "chunks of one": (row[None] for row in features),
    }


@pytest.mark.parametrize("chunk_size", [8, pytest.param(100, marks=pytest.mark.full)])
def test_every_way_to_keep_a_pool_gives_the_same(tmp_path, chunk_size):
    features = some_features(100)
    for kind, pool in kept_in_many_ways(features, tmp_path).items():
        top = top_k_of_pool(first_feature, pool, 12, chunk_size=chunk_size)
        assert top.rows.tolist() == best(features[:, 0], 12).tolist(), kind
    for kind, pool in kept_in_many_ways(features, tmp_path).items():
        found = score_pool(first_feature, pool, chunk_size=chunk_size)
        np.testing.assert_array_equal(found, features[:, 0], err_msg=kind)


def test_half_precision_on_disk_scores_as_its_values_do(tmp_path):
    features, model = some_features(500).astype(np.float16), a_model()
    np.save(tmp_path / "half.npy", features)
    score = partial(iwps_last_layer, **model)
    kept = dict(chunk_size=64, devices=jax.devices()[:1])
    np.testing.assert_array_equal(
        score_pool(score, np.load(tmp_path / "half.npy", mmap_mode="r"), **kept),
        score_pool(score, features.astype(np.float32), **kept),
    )


def test_array_records(tmp_path):
    array_record_module = pytest.importorskip("array_record.python.array_record_module")
    data_source = pytest.importorskip("array_record.python.array_record_data_source")
    features = some_features(40)
    path = tmp_path / "pool.array_record"
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
    for row in features:
        writer.write(row.tobytes())
    writer.close()
    with data_source.ArrayRecordDataSource(str(path)) as records:
        pool = iwps_jax.Records(records, lambda record: np.frombuffer(record, "f4"))
        top = top_k_of_pool(first_feature, pool, 5, chunk_size=16)
    assert top.rows.tolist() == best(features[:, 0], 5).tolist()


def test_records_of_several_fields_are_stacked():
    class Images:
        """As the data sources of TensorFlow Datasets: records by the list."""

        def __len__(self):
            return 9

        def __getitem__(self, row):
            raise AssertionError("read one by one")

        def __getitems__(self, rows):
            return [{"image": np.full((2, 2), row, np.uint8)} for row in rows]

    top = top_k_of_pool(lambda rows: rows["image"].mean((1, 2)), Images(), 2)
    assert top == (pytest.approx([8, 7]), pytest.approx([8, 7]))


def test_an_iterator_shorter_than_k_gives_all_it_has():
    top = top_k_of_pool(first_feature, iter([np.array([[1.0], [3.0]])]), 5)
    assert top.rows.tolist() == [1, 0]


def test_reads_each_row_once_and_not_far_ahead():
    pool = Counted(some_features(100))
    score_pool(first_feature, pool, chunk_size=5, devices=jax.devices()[:1])
    assert sorted(pool.read) == [0, *range(100)]  # the first also for its shape

    pool = Counted(some_features(100))
    source = open_source(pool)
    program = iwps_jax.pool.devices.sharded(
        first_feature, pool.array[:1], jax.devices()[:1], chunk_size=5, chunks=1
    )
    chunks = pipeline.scored_chunks(program, source, np.array([[0, 100]]))
    next(chunks)
    chunks.close()
    assert len(pool.read) <= 5 * (pipeline.READ_AHEAD + pipeline.RUNNING + 3)


def test_memory_is_that_of_the_chunks_on_their_way():
    row, chunk = 4 * 8, 4096 * DEVICES  # bytes of its four float64

    class Endless:
        size, shape = 4_000_000, (4_000_000, 4)

        def __len__(self):
            return self.size

        def __getitem__(self, rows):
            return np.arange(rows.start, rows.stop)[:, None] % 97 + np.zeros(4, "f4")

    scan = partial(top_k_of_pool, first_feature, k=100, chunk_size=4096)
    scan(np.zeros((chunk, 4)))  # compiled, once
    tracemalloc.start()
    scan(Endless())
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Each at most as read and as float32; how many wait at once is a matter of timing.
    on_their_way = pipeline.READ_AHEAD + pipeline.RUNNING + 3
    assert used < 1.5 * row * chunk * on_their_way < row * Endless.size / 8


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_arrays_on_a_mesh_and_callers_in_one(kind):
    features = some_features(64)
    mesh = jax.make_mesh((DEVICES,), ("rows",), axis_types=(kind,))
    spread = jax.device_put(features, NamedSharding(mesh, PartitionSpec("rows")))
    with jax.set_mesh(mesh):
        found = score_pool(first_feature, spread, chunk_size=4)
    np.testing.assert_array_equal(found, features[:, 0])
