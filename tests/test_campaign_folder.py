"""A campaign on disk: killed anywhere, met by several, damaged, moved."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from some_campaigns import files_of
from some_events import campaign as campaign
from some_events import seven_events as seven_events

import iwps_jax
from iwps_jax.app.campaign import ask, folder, labels_of, tell
from iwps_jax.app.files.file_array import FileArray
from iwps_jax.app.files.unreadable import FileError

ROOT = Path(iwps_jax.__file__).parents[1]


def assert_same(state, other):
    assert len(state.events) == len(other.events)
    for event, its in zip(state.events, other.events, strict=True):
        assert type(event) is type(its)
        for column, its_column in zip(event, its, strict=True):
            np.testing.assert_array_equal(column, its_column)
    for name in ("classes", "method", "steps", "learning_rate", "rarity", "seed"):
        assert getattr(state.task, name) == getattr(other.task, name)
    for name in ("ids", "holdout_features", "holdout_labels", "pool"):
        np.testing.assert_array_equal(
            getattr(state.task, name), getattr(other.task, name)
        )


def test_what_is_read_is_what_was_created(campaign):
    path, state = campaign
    found = folder.read(path)
    assert_same(found, state)
    assert found.task.scaling.factor == state.task.scaling.factor
    assert isinstance(found.task.pool, FileArray)
    assert (ask(found, 9)[0].events[-1].rows == ask(state, 9)[0].events[-1].rows).all()


def test_campaign_and_pool_may_move_together(campaign):
    path, state = campaign
    moved = path.parent.with_name("moved to ünother place")
    shutil.move(path.parent, moved)
    assert_same(folder.read_record(moved / "campaign"), state)


def test_both_events_of_one_command_are_kept_or_none(campaign, monkeypatch):
    path, state = campaign
    after, _ = ask(tell(state, ["sample 000"], ["ü"]), 3)
    before = files_of(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _half_of_it(os.write))
        with pytest.raises(OSError, match="No space left"):
            folder.commit(path, state, after)
    assert files_of(path) == before
    folder.commit(path, state, after)
    assert_same(folder.read_record(path), after)


def _half_of_it(write):
    def full(handle, content):
        if len(content) < 200:
            raise OSError(28, "No space left on device")
        return write(handle, content[: len(content) // 2])

    return full


def test_a_campaign_may_move_alone_and_be_a_symbolic_link(campaign, tmp_path):
    path, state = campaign
    (tmp_path / "far" / "away").mkdir(parents=True)
    link = tmp_path / "far" / "away" / "link"
    link.symlink_to(path)
    assert_same(folder.read_record(link), state)
    moved = tmp_path / "far" / "moved"
    shutil.move(path, moved)
    assert_same(folder.read_record(moved), state)


@pytest.mark.parametrize("wait", [-1.0, float("nan")])
def test_nobody_waits_forever(campaign, wait):
    with pytest.raises(ValueError, match="wait must be at least 0 seconds"):
        with folder.locked(campaign[0], wait=wait):
            pass


def test_a_pool_elsewhere_is_found_from_anywhere(campaign, tmp_path, monkeypatch):
    path, state = campaign
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert_same(folder.read_record(Path("../../campaign")), state)


def test_any_prefix_of_the_events_is_a_state(campaign):
    path, state = campaign
    (path / "journal/tip.json").unlink()
    segment = path / "journal/00000001.jsonl"
    for left in range(len(state.events) - 1, -1, -1):
        lines = segment.read_bytes().splitlines(keepends=True)
        segment.write_bytes(b"".join(lines[:left]))
        assert_same(
            folder.read_record(path), state._replace(events=state.events[:left])
        )


def test_only_the_next_event_is_taken(campaign):
    path, state = campaign
    first, second = tell(state, ["sample 000"], ["a"]), ask(state, 3)[0]
    folder.commit(path, state, first)
    before = files_of(path)
    with pytest.raises(FileError, match="another command has changed"):
        folder.commit(path, state, second)
    assert files_of(path) == before


# Killed and full

KILLED = """
import os, signal, sys
from iwps_jax.app.campaign import folder, tell
name, number, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
state = folder.read_record(path)
after = tell(state, ["sample 000"], ["ü"])
real, calls = getattr(os, name), 0
def fatal(*arguments, **options):
    global calls
    calls += 1
    if calls == abs(number) and number < 0:
        os.kill(os.getpid(), signal.SIGKILL)  # before
    result = real(*arguments, **options)
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)  # after
    return result
setattr(os, name, fatal)
with folder.locked(path, wait=1):
    folder.commit(path, state, after)
"""


@pytest.mark.parametrize(
    ("at", "is_kept"),
    [(("write", -1), False), (("write", 1), True), (("replace", 2), True)],
)
def test_a_kill_leaves_the_state_before_or_after(campaign, at, is_kept):
    path, state = campaign
    before = files_of(path)
    process = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, at), str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
    )
    assert process.returncode == -signal.SIGKILL
    found = folder.read_record(path)
    assert (0 in labels_of(found)) == is_kept
    assert_same(found._replace(events=found.events[: len(state.events)]), state)
    for name, content in before.items():  # nothing before is touched
        assert name.endswith("tip.json") or files_of(path)[name].startswith(content)
    with folder.locked(path, wait=0):  # the dead hold no lock
        folder.commit(path, found, tell(found, ["sample 001"], ["ü"]))
    assert 1 in labels_of(folder.read_record(path))


@pytest.mark.parametrize("name", ["fsync", "ftruncate"])
def test_a_full_disk_changes_nothing(campaign, monkeypatch, name):
    path, state = campaign
    before = files_of(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, full)
    with pytest.raises(OSError, match="No space left"):
        folder.commit(path, state, tell(state, ["sample 000"], ["ü"]))
    paths = folder.paths_of(path)
    with pytest.raises(OSError, match="No space left"):
        folder.create(path.with_name("another"), paths, state)
    monkeypatch.undo()
    assert files_of(path) == before
    assert {p.name for p in path.parent.iterdir()} == {
        "campaign",
        "pool.npy",
        "ids.txt",
    }


def test_a_lock_is_waited_for_and_not_forever(campaign):
    path, _ = campaign
    held = multiprocessing.get_context("spawn").Event()
    other = multiprocessing.get_context("spawn").Process(
        target=_hold, args=(path, held), daemon=True
    )
    other.start()
    assert held.wait(60)
    began = time.monotonic()
    with pytest.raises(FileError, match=r"in use by process \d+ of \w+ on .* 0\.3 sec"):
        with folder.locked(path, wait=0.3):
            raise AssertionError("two hold the lock")
    assert time.monotonic() - began >= 0.3
    other.kill()
    other.join()
    with folder.locked(path, wait=10):
        pass


def _hold(path, held):
    with folder.locked(path, wait=1):
        held.set()
        time.sleep(600)


def test_files_of_others_are_not_removed(campaign, tmp_path):
    """Whatever an edited file says of the last holder of the lock."""
    path, _ = campaign
    mine = tmp_path / "thesis.half"
    mine.write_text("mine")
    dead = tmp_path / ".0123456789abcdef.7.0.half"
    dead.write_text("of a killed command")
    for prefix in ("", ".", "*", ".0123456789abcdef.7."):
        told = {"prefix": prefix, "outputs": [str(tmp_path)]}
        (path / "holder.json").write_text(json.dumps(told))
        with folder.locked(path, wait=1):
            pass
    assert mine.exists() and not dead.exists()


@pytest.mark.parametrize("name", [".", ""])
def test_the_current_folder_becomes_no_campaign(campaign, tmp_path, monkeypatch, name):
    path, state = campaign
    (tmp_path / "empty").mkdir()
    paths = folder.Paths(*map(Path.absolute, folder.paths_of(path)))
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(FileError, match="a folder of its own"):
        folder.create(name, paths, state)


def test_a_link_to_an_empty_folder_becomes_a_campaign(campaign, tmp_path):
    path, state = campaign
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    folder.create(tmp_path / "link", folder.paths_of(path), state)
    assert (tmp_path / "link").is_symlink()
    assert_same(folder.read_record(tmp_path / "empty"), state)


def test_a_folder_with_something_in_it_is_left_alone(campaign):
    path, state = campaign
    before = files_of(path.parent)
    for taken in (path, path.parent / "pool.npy"):
        with pytest.raises(FileError, match="must not exist yet"):
            folder.create(taken, folder.paths_of(path), state)
    assert files_of(path.parent) == before
