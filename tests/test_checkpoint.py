import os
import random
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.engine import checkpoint


class Inner(NamedTuple):
    weights: Any
    flags: Any


class State(NamedTuple):
    count: Any
    key_data: Any
    inner: Any


RECORD = {
    "metrics": [{"round": 0, "accuracy": 0.1, "wrong_rate": None}, {}],
    "picks": [[1, 2], [], [[-3]]],
    "text": "ünï ✓",
    "flags": [True, False],
    "floats": [1e-300, 0.1 + 0.2, -0.0],
}


def some_state(value=0.0):
    rng = np.random.default_rng(0)
    return State(
        count=jnp.asarray(value, jnp.int32),
        key_data=jax.random.key_data(jax.random.key(7)),
        inner=[
            Inner(jnp.full((2, 3), value, jnp.float32), jnp.array([True, False])),
            {"half": jnp.asarray(rng.normal(size=4), jnp.bfloat16), "none": None},
            jnp.array([np.nan, -np.inf, -0.0, 1e-38], jnp.float32),
        ],
    )


def assert_equal(tree, expected):
    """Same structure, types, shapes and bits."""
    assert jax.tree.structure(tree) == jax.tree.structure(expected)
    for leaf, other in zip(
        jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True
    ):
        assert isinstance(leaf, jax.Array)
        assert leaf.dtype == other.dtype and leaf.shape == other.shape
        assert np.asarray(leaf).tobytes() == np.asarray(other).tobytes()


def restore(folder, like):
    with checkpoint.open_folder(folder) as manager:
        return checkpoint.restore_latest(manager, like)


def save(folder, *steps):
    with checkpoint.open_folder(folder) as manager:
        for step in steps:
            checkpoint.save(manager, step, some_state(step), {"step": step})


# A round trip


def test_state_and_record_come_back_as_they_were(tmp_path):
    state = some_state(2.5)
    with checkpoint.open_folder(tmp_path / "new" / "folder") as manager:
        checkpoint.save(manager, 3, state, RECORD)
        same_process = checkpoint.restore_latest(manager, some_state())
    for step, restored, record in (
        same_process,
        restore(tmp_path / "new" / "folder", some_state()),
    ):
        assert step == 3
        assert_equal(restored, state)
        assert type(restored) is State and type(restored.inner[0]) is Inner
        assert record == RECORD
        assert [type(x) for x in record["picks"][0]] == [int, int]
        assert str(record["floats"]) == str(RECORD["floats"])


@pytest.mark.parametrize("record", [None, [], 3, "text", [{"a": None}]])
def test_a_record_need_not_be_an_object(tmp_path, record):
    with checkpoint.open_folder(tmp_path) as manager:
        checkpoint.save(manager, 1, {"a": jnp.zeros(1)}, record)
        assert checkpoint.restore_latest(manager, {"a": jnp.ones(1)})[2] == record


def test_random_numbers_continue_from_a_stored_key(tmp_path, key):
    with checkpoint.open_folder(tmp_path) as manager:
        checkpoint.save(manager, 1, {"key": jax.random.key_data(key)}, None)
    like = {"key": jax.random.key_data(jax.random.key(99))}
    restored = jax.random.wrap_key_data(restore(tmp_path, like)[1]["key"])
    expected = jax.random.uniform(jax.random.key(0), (3,))
    np.testing.assert_array_equal(jax.random.uniform(restored, (3,)), expected)


def test_an_empty_folder_holds_nothing(tmp_path):
    assert restore(tmp_path, some_state()) is None
    assert restore(tmp_path / "not there yet", some_state()) is None


def test_the_last_three_are_kept_and_the_newest_is_read(tmp_path):
    save(tmp_path, 1, 2, 9, 10)
    assert {path.name for path in tmp_path.iterdir()} == {"2", "9", "10"}
    step, state, record = restore(tmp_path, some_state())
    assert step == 10 and record == {"step": 10}
    assert_equal(state, some_state(10))


def test_a_relative_folder_is_found_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("runs", 1)
    monkeypatch.chdir("/")
    assert restore(tmp_path / "runs", some_state())[0] == 1


# Refusals


@pytest.mark.parametrize("step", [5, 3], ids=["same", "older"])
def test_nothing_is_overwritten(tmp_path, step):
    save(tmp_path, 5)
    with checkpoint.open_folder(tmp_path) as manager:
        with pytest.raises(checkpoint.CheckpointError, match=f"checkpoint {step} "):
            checkpoint.save(manager, step, some_state(1), {"step": "new"})
    step, state, record = restore(tmp_path, some_state())
    assert step == 5 and record == {"step": 5}
    assert_equal(state, some_state(5))


def test_a_refused_older_step_is_not_said_to_exist(tmp_path):
    save(tmp_path, 5)
    with checkpoint.open_folder(tmp_path) as manager:
        with pytest.raises(checkpoint.CheckpointError) as error:
            checkpoint.save(manager, 3, some_state(), None)
    assert "exists already" not in str(error.value) and "5" in str(error.value)


def test_a_record_that_is_not_json_leaves_no_trace(tmp_path):
    save(tmp_path, 1)
    with checkpoint.open_folder(tmp_path) as manager:
        with pytest.raises((TypeError, checkpoint.CheckpointError)):
            checkpoint.save(manager, 2, some_state(2), {"loss": np.float32(1)})
        assert {path.name for path in tmp_path.iterdir()} == {"1"}
        checkpoint.save(manager, 2, some_state(2), {"step": 2})
    assert_equal(restore(tmp_path, some_state())[1], some_state(2))


def without(mapping, name):
    return {key: value for key, value in mapping.items() if key != name}


STORED = {"count": jnp.zeros((), jnp.int32), "mask": jnp.zeros(4, bool)}


@pytest.mark.parametrize(
    "like",
    [
        STORED | {"mask": jnp.zeros(5, bool)},
        STORED | {"mask": jnp.zeros((4, 1), bool)},
        STORED | {"count": jnp.zeros(1, jnp.int32)},
        STORED | {"count": jnp.zeros((), jnp.float32)},
        STORED | {"mask": jnp.zeros(4, jnp.int32)},
        STORED | {"count": jnp.zeros((), jnp.uint32)},
        without(STORED, "mask"),
        STORED | {"more": jnp.zeros(2)},
        without(STORED, "mask") | {"masks": jnp.zeros(4, bool)},
        list(STORED.values()),
        jnp.zeros(4),
    ],
    ids=[
        "longer",
        "rank",
        "axis",
        "float for int",
        "int for bool",
        "unsigned",
        "missing",
        "more",
        "renamed",
        "list",
        "leaf",
    ],
)
def test_another_run_is_refused_in_a_sentence(tmp_path, like):
    with checkpoint.open_folder(tmp_path) as manager:
        checkpoint.save(manager, 4, STORED, None)
    with pytest.raises(checkpoint.CheckpointError) as error:
        restore(tmp_path, like)
    assert str(error.value).startswith(f"checkpoint 4 in {tmp_path} does not fit")
    assert_equal(restore(tmp_path, STORED)[1], STORED)  # and nothing is spoiled


# Damaged


def files_of(folder):
    """The files of a checkpoint, the largest first."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: (-path.stat().st_size, path))


def flip(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": lambda files: flip(files[0]),
    "flipped at the end": lambda files: flip(files[0], 0.9),
    "cut": lambda files: os.truncate(files[0], files[0].stat().st_size // 2),
    "empty": lambda files: [os.truncate(path, 0) for path in files],
    "without the largest": lambda files: files[0].unlink(),
    "with another record": lambda files: [
        path.write_text(path.read_text().replace('{"step": 2}', '{"step": 7}'))
        for path in files
        if "record" in str(path) and b'{"step": 2}' in path.read_bytes()
    ],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, damage):
    save(tmp_path, 1, 2)
    DAMAGES[damage](files_of(tmp_path / "2"))
    with checkpoint.open_folder(tmp_path) as manager:
        with pytest.warns(UserWarning, match=f"checkpoint 2 in {tmp_path} is damaged"):
            step, state, record = checkpoint.restore_latest(manager, some_state())
        assert step == 1 and record == {"step": 1}
        assert_equal(state, some_state(1))
        checkpoint.save(manager, 2, some_state(2), {"step": 2})
    assert_equal(restore(tmp_path, some_state())[1], some_state(2))


def test_if_all_are_damaged_nothing_is_removed(tmp_path):
    save(tmp_path, 1, 2)
    for step in ("1", "2"):
        flip(files_of(tmp_path / step)[0])
    with pytest.raises(checkpoint.CheckpointError, match="checkpoint 2 .* begin anew"):
        restore(tmp_path, some_state())
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


# Killed while saving


def test_leftovers_of_a_killed_save_are_ignored_and_removed(tmp_path):
    save(tmp_path, 1, 2)
    for name in ("3.orbax-checkpoint-tmp", "7.orbax-checkpoint-tmp"):
        (tmp_path / name / "state.orbax-checkpoint-tmp").mkdir(parents=True)
        (tmp_path / name / "state.orbax-checkpoint-tmp" / "manifest.ocdbt").touch()
    with checkpoint.open_folder(tmp_path) as manager:
        step, state, _ = checkpoint.restore_latest(manager, some_state())
        assert step == 2
        assert_equal(state, some_state(2))
        checkpoint.save(manager, 3, some_state(3), {"step": 3})
    assert restore(tmp_path, some_state())[0] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3"}


SIZE = 50_000
SAVE_FOREVER = f"""
import sys
import jax.numpy as jnp
from experiments.engine import checkpoint

with checkpoint.open_folder(sys.argv[1]) as manager:
    like = {{"array": jnp.zeros({SIZE}), "step": jnp.zeros((), jnp.int32)}}
    restored = checkpoint.restore_latest(manager, like)
    step = restored[0] if restored else 0
    print(step, flush=True)
    while True:
        step += 1
        state = {{"array": jnp.full({SIZE}, step / 1.0), "step": jnp.array(step)}}
        checkpoint.save(manager, step, state, {{"step": step, "lines": [step] * 99}})
        print(step, flush=True)
"""


def test_kill_9_never_costs_a_finished_checkpoint(tmp_path):
    generator = random.Random(0)
    like = {"array": jnp.zeros(SIZE), "step": jnp.zeros((), jnp.int32)}
    last = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            resumed_at = process.stdout.readline()
            if not resumed_at:
                pytest.fail(process.stderr.read())
            # However slow the machine is, some have been saved.
            reported = [int(process.stdout.readline()) for _ in range(2)]
            time.sleep(generator.uniform(0.05, 0.4))
            os.kill(process.pid, signal.SIGKILL)
            reported += [int(line) for line in process.stdout.read().split()]
        assert process.returncode == -signal.SIGKILL
        assert int(resumed_at) == last
        last, state, record = restore(tmp_path, like) or (0, like, {"step": 0})
        # All that was reported as saved is there, and at most the save in progress.
        newest_report = max(reported, default=int(resumed_at))
        assert newest_report <= last <= newest_report + 1
        assert state["step"] == last and record["step"] == last
        assert (state["array"] == last).all()
    assert last > 3
