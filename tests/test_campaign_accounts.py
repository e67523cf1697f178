"""Two accounts share the folder of a campaign."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import iwps_jax
from iwps_jax.app.campaign import folder, skipped_of, start, tell

NOBODY, DAEMON, GROUP = 65534, 1, 5000
ROOT = Path(iwps_jax.__file__).parents[1]
OTHERS = """
import os, sys
from iwps_jax.app.campaign import folder, tell
from iwps_jax.refusal import Refusal
state = folder.read_record("campaign")
tell(state, ["7"], ["skip"])  # loads all that is needed
for account, row in zip(sys.argv[1::2], sys.argv[2::2]):
    if os.fork():
        os.wait()
        continue
    os.setgroups([5000]), os.setgid(int(account)), os.setuid(int(account))
    os.umask(0o022)
    try:
        with folder.locked("campaign", wait=1):
            state = folder.read_record("campaign")
            folder.commit("campaign", state, tell(state, [row], ["skip"]))
    except Refusal as error:
        print(error, flush=True)
    os._exit(0)
"""
pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can take another account",
)


@pytest.fixture
def shared(monkeypatch):
    """A folder that both accounts can reach, with a campaign."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        monkeypatch.chdir(path)
        pool = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
        np.save("pool.npy", pool)
        state = start(pool, pool[:4], np.arange(4) % 2, classes=("a", "b"))
        folder.create("campaign", folder.Paths(Path("pool.npy"), None), state)
        yield Path("campaign")


def commit(row):
    with folder.locked("campaign", wait=1):
        state = folder.read_record("campaign")
        folder.commit("campaign", state, tell(state, [str(row)], ["skip"]))


def run_as(*accounts_and_rows):
    """What is said where accounts skip rows, one after another."""
    done = subprocess.run(
        [sys.executable, "-c", OTHERS, *map(str, accounts_and_rows)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_both_may_write_in_turn(shared):
    commit(5)
    subprocess.run(["chmod", "-R", "a+rwX", "campaign"], check=True)
    assert run_as(NOBODY, 7) == ""
    commit(9)
    assert skipped_of(folder.read_record("campaign")) == [5, 7, 9]


def test_files_that_one_account_makes_are_writable_for_the_other(shared):
    subprocess.run(["chmod", "-R", "a+rwX", "campaign"], check=True)
    assert run_as(NOBODY, 7, DAEMON, 8, NOBODY, 9) == ""
    assert skipped_of(folder.read_record("campaign")) == [7, 8, 9]


def test_accounts_of_one_group_need_nothing_for_others(shared):
    """As chgrp and chmod g+rwX make a folder for a few people."""
    subprocess.run(["chown", "-R", f"0:{GROUP}", "campaign"], check=True)
    subprocess.run(["chmod", "-R", "g+rwX,o-rwx", "campaign"], check=True)
    assert run_as(NOBODY, 7, DAEMON, 8, NOBODY, 9) == ""
    assert skipped_of(folder.read_record("campaign")) == [7, 8, 9]


def test_a_missing_permission_is_named(shared):
    commit(5)
    said = run_as(NOBODY, 7)
    assert said.startswith("nobody may not write to campaign, which belongs to root")
    assert "chmod -R g+rwX" in said
    shared.chmod(0o777)
    assert "nobody may not write to campaign/" in run_as(NOBODY, 7)
    assert skipped_of(folder.read_record("campaign")) == [5]
