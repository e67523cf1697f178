"""`python -m iwps_jax score`: alone, as one of several, killed and started again."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import iwps_jax
from iwps_jax.__main__ import main

ROOT = Path(iwps_jax.__file__).parents[1]
SIZE, WIDTH, PICKED = 50_003, 16, 25

SLOW_POOL = """
import time
from pathlib import Path
import numpy as np

class SlowRows:
    shape = (400_000, 2)

    def __len__(self):
        return 400_000

    def __getitem__(self, rows):
        if rows.stop - rows.start > 1:  # else a probe
            time.sleep(0.3)
        row = np.arange(rows.start, rows.stop)
        if Path("broken").exists() and rows.start <= 390_000 < rows.stop:
            raise OSError("bad sector")
        Path("read").open("a").write(f"{rows.start}\\n")
        return np.stack([row * 7919 % 65_521, row], axis=1).astype(np.float32)

def score():
    return lambda rows: rows[:, 0]
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Features and a model on disk."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(SIZE, WIDTH)).astype(np.float16)
    features[1000:2000] = features[40_000:41_000]
    np.save(folder / "features.npy", features)
    np.savez(
        folder / "model.npz",
        kernel=rng.normal(size=(WIDTH, 5)).astype(np.float32),
        bias=np.zeros(5, np.float32),
        holdout_features=rng.normal(size=(20, WIDTH)).astype(np.float32),
        holdout_labels=np.arange(20, dtype=np.int32) % 5,
    )
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    """A working folder with the files in it."""
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A working folder with a pool that takes about six seconds to read."""
    (tmp_path / "slow_pool.py").write_text(SLOW_POOL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        main(["score", *map(str, arguments)])
    return caught.value.code


def start(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", "iwps_jax", "score", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(*arguments, second=None):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    timeout = ("--peer-timeout", 10)
    return [
        start(*of_one, *several(f"127.0.0.1:{port}", process), *timeout)
        for process, of_one in enumerate((arguments, second or arguments))
    ]


def outcome(processes):
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    return [process.returncode for process in processes], outputs


def picks(path):
    with Path(path).open() as file:
        return [(int(row["row"]), float(row["score"])) for row in csv.DictReader(file)]


def rows_read(folder):
    return [int(line) for line in (folder / "read").read_text().split()]


FROM_FILES = ("features.npy", "--model", "model.npz", "--pick", PICKED)
FROM_SLOW = ("slow_pool:SlowRows", "--score", "slow_pool:score", "--pick", 30)
FROM_SLOW = (*FROM_SLOW, "--chunk-size", 8192)


PROBED = {int(row) for row in np.linspace(0, 399_999, 16)}


def expected_slow_rows():
    scores = np.arange(400_000) * 7919 % 65_521
    return np.argsort(-scores, kind="stable")[:30].tolist()


def test_picks_are_those_of_the_library(here):
    assert run(*FROM_FILES) == 0
    with np.load("model.npz") as model:
        score = partial(iwps_jax.iwps_last_layer, **model)
        top = iwps_jax.top_k_of_pool(score, np.load("features.npy"), PICKED)
    assert picks("picks.csv") == list(
        zip(top.rows.tolist(), top.scores.tolist(), strict=True)
    )


@pytest.mark.parametrize("score", ["entropy", "margin", "least_confidence"])
def test_scores_of_logits_need_no_model(here, score):
    logits = np.load("features.npy")[:100, :5]
    np.save("logits.npy", logits)
    assert run("logits.npy", "--score", score, "--pick", 10, "--out", "some/p.csv") == 0
    expected = iwps_jax.top_k(getattr(iwps_jax, score)(np.float32(logits)), 10)
    assert [row for row, _ in picks("some/p.csv")] == expected.tolist()


def test_labeled_rows_are_never_picked(here):
    assert run(*FROM_FILES) == 0
    first = [row for row, _ in picks("picks.csv")]
    np.save("labeled.npy", first[:10])
    assert run(*FROM_FILES, "--labeled", "labeled.npy", "--out", "next.csv") == 0
    assert [row for row, _ in picks("next.csv")][:15] == first[10:]


def several(coordinator, process):
    described = ("--coordinator", coordinator, "--processes", 2, "--process", process)
    return tuple(map(str, described))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("features.npy",), "--score iwps_last_layer needs a --model."),
        (("features.csv", "--model", "model.npz"), "must be an .npy file"),
        (("features.npy", "--score", "bald"), "--score must be one of"),
        (("features.npy", "--model", "features.npy"), "must hold kernel, bias"),
        (("features.npy", "--model", "no.npz"), "no.npz"),
        (("no_module:pool", "--model", "model.npz"), "no_module:pool cannot be called"),
        ((*FROM_FILES, "--labeled", "outside.npy"), "must hold rows in [0, 50003)"),
        ((*FROM_FILES, "--chunk-size", "0"), "chunk_size must be at least 1"),
        ((*FROM_FILES, "--folder", "."), "other files"),
        ((*FROM_FILES, "--out", "."), "--out must name a file, got the folder"),
        ((*FROM_FILES, "--coordinator", "127.0.0.1:1"), "must be given together"),
        ((*FROM_FILES, *several("nonsense", 0)), "must be host:port: nonsense"),
        ((*FROM_FILES, *several("a:1", 2)), "--process must be in [0, 2), got 2"),
        ((*FROM_FILES, "--peer-timeout", "0"), "--peer-timeout must be at least 1"),
        (("features.npy", "--score", "entropy", "--steps", "4"), "not entropy"),
        (("csv:no_function", *FROM_FILES[1:]), "csv has no no_function"),
    ],
)
def test_a_refusal_is_one_sentence_and_no_picks(here, capfd, arguments, sentence):
    np.save("outside.npy", [50_003])
    assert run(*arguments, "--pick", 5) == 1
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and sentence in lines[0]
    assert not Path("picks.csv").exists()


def test_an_error_in_the_callers_code_is_shown_where_it_is(here, capfd):
    Path("my_code.py").write_text("def score():\n    return lambda rows: rows + 'a'\n")
    assert run("features.npy", "--score", "my_code:score", "--pick", 5) == 1
    assert "my_code.py" in capfd.readouterr().err


def test_nan_is_reported_and_nothing_is_picked(here, capfd):
    features = np.load("features.npy")
    features[[12_345, 45_678]] = np.nan
    np.save("damaged.npy", features)
    assert run("damaged.npy", *FROM_FILES[1:]) == 1
    assert ": 12345" in capfd.readouterr().err
    assert not Path("picks.csv").exists()


def test_two_processes_pick_what_one_does(here):
    assert run(*FROM_FILES, "--out", "alone.csv") == 0
    codes, outputs = outcome(start_two(*FROM_FILES))
    assert codes == [0, 0], outputs
    alone, together = picks("alone.csv"), picks("picks.csv")
    assert [row for row, _ in together] == [row for row, _ in alone]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_a_process_may_have_no_row(here):
    np.save("one.npy", np.load("features.npy")[:1])
    codes, outputs = outcome(start_two("one.npy", *FROM_FILES[1:3], "--pick", 1))
    assert codes == [0, 0], outputs
    assert [row for row, _ in picks("picks.csv")] == [0]


def test_a_killed_scan_goes_on(slow):
    process = start(*FROM_SLOW, "--folder", "scan")
    wait_for_file(slow / "scan", "rows_from_*.npz")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (slow / "picks.csv").exists()
    before = rows_read(slow)
    (slow / "read").unlink()
    codes, outputs = outcome([start(*FROM_SLOW, "--folder", "scan")])
    assert codes == [0], outputs
    assert [row for row, _ in picks("picks.csv")] == expected_slow_rows()
    again, probed = set(rows_read(slow)), {0, *PROBED}
    assert again - probed and not set(before[:2]) & (again - probed)


def test_one_of_two_is_killed_and_two_then_one_go_on(slow):
    together = start_two(*FROM_SLOW, "--folder", "scan")
    wait_for_file(slow / "scan", "rows_from_2*.npz")
    os.kill(together[1].pid, signal.SIGKILL)
    codes, outputs = outcome(together)
    assert codes[0] != 0 and codes[1] == -signal.SIGKILL
    assert "What was finished is in scan: run the same command" in outputs[1]
    assert " died" in outputs[0] and "to go on" in outputs[0]
    assert not (slow / "picks.csv").exists()
    codes, outputs = outcome(start_two(*FROM_SLOW, "--folder", "scan"))
    assert codes == [0, 0], outputs
    assert [row for row, _ in picks("picks.csv")] == expected_slow_rows()
    (slow / "read").unlink()
    codes, _ = outcome([start(*FROM_SLOW, "--folder", "scan", "--out", "again.csv")])
    assert codes == [0] and picks("again.csv") == picks("picks.csv")
    assert len(rows_read(slow)) <= 17  # the first row and the probes


def test_an_error_in_one_process_ends_both_with_its_rows(slow):
    (slow / "broken").touch()
    codes, outputs = outcome(start_two(*FROM_SLOW))
    assert codes == [1, 1]
    assert "process 1 gave up" in outputs[0] and "bad sector" in outputs[0]
    assert "cannot be read: OSError: bad sector" in outputs[1]
    assert not (slow / "picks.csv").exists()


def test_processes_with_other_arguments_are_refused(here):
    np.save("half.npy", np.load("features.npy")[: SIZE // 2])
    for other in (("half.npy", *FROM_FILES[1:]), (*FROM_FILES[:-1], PICKED - 2)):
        codes, outputs = outcome(start_two(*FROM_FILES, second=other))
        assert codes == [1, 1]
        for output in outputs:
            assert "process 1 has another" in output
    assert not Path("picks.csv").exists()


def test_an_interrupt_of_one_process_ends_both(slow):
    together = start_two(*FROM_SLOW, "--folder", "scan")
    wait_for_file(slow / "scan", "rows_from_2*.npz")
    os.kill(together[1].pid, signal.SIGINT)
    codes, outputs = outcome(together)
    assert codes[1] == 130 and "interrupted" in outputs[1]
    assert codes[0] != 0 and not (slow / "picks.csv").exists()


def wait_for_file(folder, pattern):
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
