"""Arrays that stay in their files: rows as of NumPy, and files that shrink."""

import gc
import os
import threading
from collections import deque
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from iwps_jax.__main__ import main
from iwps_jax.app.files import arrays, file_array
from iwps_jax.app.files.arrays import open_array
from iwps_jax.app.files.file_array import FileArray
from iwps_jax.app.files.unreadable import FileError

ROWS = 40
SHAPES = ((ROWS,), (ROWS, 3), (ROWS, 2, 3))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Pairs of an array and the same one in a file, in both orders."""
    folder, pairs = tmp_path_factory.mktemp("arrays"), []
    for number, shape in enumerate(SHAPES):
        for order in "CF":
            array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
            path = folder / f"{number}{order}.npy"
            np.save(path, np.asarray(array, order=order))
            pairs.append((array, open_array(path)))
    return pairs


NUMBERS = st.integers(-ROWS, ROWS - 1)
ENDS = st.none() | st.integers(-ROWS - 3, ROWS + 3)
STEPS = st.none() | st.integers(-7, 7).filter(bool)
MASKS = st.lists(st.booleans(), min_size=ROWS, max_size=ROWS)
KEYS = st.one_of(
    NUMBERS,
    st.builds(slice, ENDS, ENDS, STEPS),
    st.lists(NUMBERS, max_size=60),
    st.lists(NUMBERS, max_size=9).map(lambda rows: np.array(rows, np.int32)),
    st.lists(NUMBERS, min_size=4, max_size=4).map(lambda r: np.reshape(r, (2, 2))),
    MASKS,
    MASKS.map(np.array),
)


@given(key=KEYS, gap=st.sampled_from([0, 4, 40]), block=st.sampled_from([1, 30, 400]))
def test_rows_are_those_of_numpy(opened, key, gap, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_array, "GAP", gap)
        patch.setattr(file_array, "BLOCK", block)
        for array, stored in opened:
            assert (stored.shape, stored.dtype) == (array.shape, array.dtype)
            assert (stored.ndim, stored.size) == (array.ndim, array.size)
            assert (len(stored), stored.nbytes) == (len(array), array.nbytes)
            found = stored[key]
            np.testing.assert_array_equal(found, array[key], strict=True)
            assert found.ndim == 0 or found.flags.writeable  # of its own
            np.testing.assert_array_equal(np.asarray(stored), array, strict=True)


def test_it_becomes_an_array_of_any_type(opened):
    array, stored = opened[2]
    wide = np.array(stored, np.float64)
    np.testing.assert_array_equal(wide, array.astype(float), strict=True)
    with pytest.raises(ValueError, match="without a copy"):
        np.array(stored, copy=False)
    assert [row.tolist() for row in stored] == array.tolist()


@pytest.mark.parametrize("key", [ROWS, -ROWS - 1, [0, ROWS], [-ROWS - 1], 2**70])
def test_rows_beyond_the_end_are_refused(opened, key):
    for _, stored in opened:
        with pytest.raises((IndexError, OverflowError)):
            stored[key]


@pytest.mark.parametrize("key", [1.0, "a", [0.5], (0, 1.5), None, [True, False]])
def test_what_names_no_rows_is_refused(opened, key):
    for _, stored in opened:
        with pytest.raises(IndexError, match=f"integers or a mask of {ROWS}, got"):
            stored[key]


def test_only_the_rows_are_read(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((100_000, 64), np.float32))
    stored, read = open_array(tmp_path / "a.npy"), []
    whole = FileArray._fill

    def count(self, content, offset):
        read.append(content.nbytes)
        whole(self, content, offset)

    monkeypatch.setattr(FileArray, "_fill", count)
    stored[[99_999, 0, 50_000, 50_001]]
    assert read == [256, 512, 256]
    read.clear()
    stored[::2]  # a gap of one row is cheaper to read than to leave out
    assert len(read) < 5 and sum(read) < stored.nbytes + 1


def test_all_bytes_are_read_where_the_system_reads_few(opened, monkeypatch):
    array, stored = opened[2]
    read = FileArray._read
    monkeypatch.setattr(FileArray, "_read", lambda s, v, at: read(s, v[:7], at))
    np.testing.assert_array_equal(stored[3:], array[3:])


@pytest.mark.parametrize("is_windows", [False, True])
def test_threads_do_not_disturb_each_other(tmp_path, monkeypatch, is_windows):
    if is_windows:
        monkeypatch.delattr(os, "preadv")
    array = np.arange(40_000).reshape(-1, 4)
    np.save(tmp_path / "a.npy", array)
    stored, wrong = open_array(tmp_path / "a.npy"), []

    def read(seed):
        for start in np.random.default_rng(seed).integers(0, 9000, 200).tolist():
            if not np.array_equal(stored[start : start + 9], array[start : start + 9]):
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "hold", [lambda rows: rows, lambda rows: rows[1:][:1], jnp.asarray]
)
def test_rows_that_somebody_holds_stay_while_others_are_read(
    tmp_path, monkeypatch, hold
):
    monkeypatch.setattr(file_array, "LARGE", 8)
    np.save(tmp_path / "a.npy", np.arange(4000, dtype=np.float32).reshape(40, 100))
    array, held = open_array(tmp_path / "a.npy"), []
    for start in range(0, 40, 4):
        held.append(hold(array[start : start + 4]))
        array[36 - start : 40 - start]  # which nobody holds: its memory is free again
    for number, rows in enumerate(held):
        want = np.arange(400, dtype=np.float32).reshape(4, 100) + 400 * number
        np.testing.assert_array_equal(rows, np.asarray(hold(want)))


def test_memory_that_nobody_holds_is_used_again(tmp_path, monkeypatch):
    monkeypatch.setattr(file_array, "LARGE", 8)
    monkeypatch.setattr(file_array, "_kept", deque(maxlen=4))
    np.save(tmp_path / "a.npy", np.zeros((40, 100), np.float32))
    array = open_array(tmp_path / "a.npy")
    places = {array[start : start + 4].ctypes.data for start in range(0, 40, 4)}
    assert len(places) == 1
    assert len({rows.ctypes.data for rows in [array[:4], array[:4], array[:4]]}) == 3


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files")
def test_the_file_is_closed_when_nobody_has_the_array(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(9))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(9):
        open_array(tmp_path / "a.npy")[:]
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# Files that change, and disks that fail


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("key", [slice(20, 30), [1, 39], 39, slice(None, None, -2)])
def test_a_file_that_has_shrunk_is_named(tmp_path, order, key):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((ROWS, 3), order=order))
    stored = open_array(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(FileError, match="a.npy is truncated, or has changed while it"):
        stored[key]


def test_a_file_that_is_replaced_is_read_as_it_was(tmp_path):
    path, other = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(path, np.ones(9))
    np.save(other, np.zeros(9))
    stored = open_array(path)
    os.replace(other, path)
    np.testing.assert_array_equal(stored[:], np.ones(9))


def test_a_disk_that_fails_is_named(opened, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(FileArray, "_read", fail)
    _, stored = opened[0]
    with pytest.raises(FileError, match="0C.npy cannot be read: Input/output error."):
        stored[:]


@pytest.mark.parametrize("command", ["score", "check"])
@pytest.mark.parametrize("name", ["pool.npy", "pool.npz", "pool.safetensors"])
def test_a_pool_that_shrinks_meanwhile_ends_commands_with_a_sentence(
    tmp_path, monkeypatch, capsys, command, name
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(arrays, "MOST_CHECKED", 0)
    pool = np.random.default_rng(0).normal(size=(5000, 8)).astype(np.float32)
    if name == "pool.npz":
        np.savez(name, features=pool)
    elif name == "pool.npy":
        np.save(name, pool)
    else:
        save_file({"features": pool}, name)
    np.savez("head.npz", kernel=pool[:8, :3], bias=np.zeros(3))
    whole = FileArray._fill

    def shrink(self, content, offset):
        whole(self, content, offset)
        os.truncate(name, 50_000)  # and all rows before it are read

    monkeypatch.setattr(FileArray, "_fill", shrink)
    asked = ("--k", "5", "--chunk-size", "512") if command == "score" else ()
    with pytest.raises(SystemExit) as caught:
        main([command, "--pool", name, "--head", "head.npz", *asked])
    told = capsys.readouterr().err
    assert caught.value.code == 2 and "Traceback" not in told
    assert f"{name} is truncated, or has changed while it was read: it ends" in told
    assert not Path("picks.csv").exists()
