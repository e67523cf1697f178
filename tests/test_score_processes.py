"""`iwps score` by several processes, killed, interrupted and started again."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from score_runs import (
    FROM_FILES,
    FROM_SLOW,
    MODEL,
    PICKED,
    PROBED,
    SIZE,
    SLOW_POOL,
    expected_slow_rows,
    outcome,
    picks,
    rows_read,
    run,
    start,
    start_two,
    wait_for_file,
)
from score_runs import files as files
from score_runs import here as here


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A working folder with a pool that is read slowly while a file holds it."""
    (tmp_path / "slow_pool.py").write_text(SLOW_POOL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_processes_pick_what_one_does(here):
    assert run(*FROM_FILES, "--out", "alone.csv") == 0
    codes, outputs = outcome(start_two(*FROM_FILES))
    assert codes == [0, 0], outputs
    alone, together = picks("alone.csv"), picks("picks.csv")
    assert [row for row, _ in together] == [row for row, _ in alone]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_a_process_may_have_no_row(here):
    np.save("one.npy", np.load("features.npy")[:1])
    codes, outputs = outcome(start_two("--pool", "one.npy", *MODEL, "--k", 1))
    assert codes == [0, 0], outputs
    assert [row for row, _ in picks("picks.csv")] == [0]


@pytest.mark.full
def test_a_killed_scan_goes_on(slow):
    (slow / "held").touch()
    process = start(*FROM_SLOW, "--folder", "scan")
    wait_for_file(slow / "scan", "rows_from_*.npz")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (slow / "picks.csv").exists()
    (slow / "held").unlink()
    before = rows_read(slow)
    (slow / "read").unlink()
    codes, outputs = outcome([start(*FROM_SLOW, "--folder", "scan")])
    assert codes == [0], outputs
    assert [row for row, _ in picks("picks.csv")] == expected_slow_rows()
    again, probed = set(rows_read(slow)), {0, *PROBED}
    assert again - probed and not set(before[:2]) & (again - probed)


def test_one_of_two_is_killed_and_two_then_one_go_on(slow):
    (slow / "held").touch()
    together = start_two(*FROM_SLOW, "--folder", "scan")
    wait_for_file(slow / "scan", "rows_from_2*.npz")
    os.kill(together[1].pid, signal.SIGKILL)
    codes, outputs = outcome(together)
    assert codes[0] != 0 and codes[1] == -signal.SIGKILL
    assert "The finished part is in scan: rerun the same command" in outputs[1]
    assert " died" in outputs[0] and "to resume" in outputs[0]
    assert not (slow / "picks.csv").exists()
    (slow / "held").unlink()
    codes, outputs = outcome(start_two(*FROM_SLOW, "--folder", "scan"))
    assert codes == [0, 0], outputs
    assert [row for row, _ in picks("picks.csv")] == expected_slow_rows()
    (slow / "read").unlink()
    alone = [start(*FROM_SLOW, "--folder", "scan", "--out", "again.csv")]
    assert outcome(alone)[0] == [0]
    assert picks("again.csv") == picks("picks.csv")
    assert len(rows_read(slow)) <= 19  # the first row, three times, and the probes


def test_an_error_in_one_process_ends_both_with_its_rows(slow):
    (slow / "broken").touch()
    codes, outputs = outcome(start_two(*FROM_SLOW))
    assert codes == [2, 2]
    assert "process 1 gave up" in outputs[0] and "bad sector" in outputs[0]
    assert "cannot be read: OSError: bad sector" in outputs[1]
    assert not (slow / "picks.csv").exists()


@pytest.mark.parametrize(
    "other",
    [
        ("--pool", "half.npy"),
        pytest.param(("--k", PICKED - 2), marks=pytest.mark.full),
    ],
)
def test_processes_with_other_arguments_are_refused(here, other):
    np.save("half.npy", np.load("features.npy")[: SIZE // 2])
    codes, outputs = outcome(start_two(*FROM_FILES, second=(*FROM_FILES, *other)))
    assert codes == [2, 2]
    for output in outputs:
        assert "process 1 has another" in output
    assert not Path("picks.csv").exists()


@pytest.mark.full
def test_an_interrupt_of_one_process_ends_both(slow):
    (slow / "held").touch()
    together = start_two(*FROM_SLOW, "--folder", "scan")
    wait_for_file(slow / "scan", "rows_from_2*.npz")
    os.kill(together[1].pid, signal.SIGINT)
    together[1].wait(120)
    (slow / "held").unlink()  # the other learns of it at the end of its rows
    codes, outputs = outcome(together)
    assert codes[1] == 130 and "interrupted" in outputs[1]
    assert codes[0] != 0 and not (slow / "picks.csv").exists()
