"""`iwps score`: alone, as one of several, killed and started again."""

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

# Interrupts are heard, also where the tests run in the background of a shell.
START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from iwps_jax.__main__ import main
main(sys.argv[1:])
"""

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
            # Long enough that what is finished is kept before the hold.
            time.sleep(0.3 if Path("held").exists() else 0.02)
            # Each of one or two processes half way, however slow the machine is.
            while Path("held").exists() and rows.start % 200_000 > 100_000:
                time.sleep(0.05)
        row = np.arange(rows.start, rows.stop)
        if Path("broken").exists() and rows.start <= 250_000 < rows.stop:
            raise OSError("bad sector")
        with Path("read").open("a") as file:
            file.write(f"{rows.start}\\n")
        return np.stack([row * 7919 % 65_521, row], axis=1).astype(np.float32)

def score():
    return lambda rows: rows[:, 0]
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Features, a head and a holdout set on disk."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    features = rng.normal(size=(SIZE, WIDTH)).astype(np.float16)
    features[1000:2000] = features[40_000:41_000]
    np.save(folder / "features.npy", features)
    kernel = rng.normal(size=(WIDTH, 5)).astype(np.float32)
    np.savez(folder / "head.npz", kernel=kernel, bias=np.zeros(5, np.float32))
    np.savez(
        folder / "holdout.npz",
        features=rng.normal(size=(20, WIDTH)).astype(np.float32),
        labels=np.arange(20, dtype=np.int32) % 5,
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
    """A working folder with a pool that is read slowly while a file holds it."""
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
        [sys.executable, "-c", START, "score", *map(str, arguments)],
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
        # The shortest text of a float32 is that of no other one.
        return [
            (int(row["row"]), float(np.float32(row["score"])))
            for row in csv.DictReader(file)
        ]


def model():
    """The arrays of the files, as the scores of the library take them."""
    with np.load("head.npz") as head, np.load("holdout.npz") as holdout:
        judged_by = {f"holdout_{name}": array for name, array in holdout.items()}
        return {**head, **judged_by}


def rows_read(folder):
    return [int(line) for line in (folder / "read").read_text().split()]


WRONG = """
number = lambda: 3
column = lambda: lambda rows: rows[:, :1]
counts = lambda: lambda rows: rows[:, 0].astype("int32")
score = lambda rows: rows[:, 0]
"""
MODEL = ("--head", "head.npz", "--holdout", "holdout.npz")
FROM_FILES = ("--pool", "features.npy", *MODEL, "--k", PICKED)
FROM_SLOW = ("--pool", "slow_pool:SlowRows", "--method", "slow_pool:score", "--k", 30)
FROM_SLOW = (*FROM_SLOW, "--chunk-size", 8192)


PROBED = {int(row) for row in np.linspace(0, 399_999, 16)}


def expected_slow_rows():
    scores = np.arange(400_000) * 7919 % 65_521
    return np.argsort(-scores, kind="stable")[:30].tolist()


def test_picks_are_those_of_the_library(here):
    assert run(*FROM_FILES) == 0
    score = partial(iwps_jax.iwps_last_layer, **model())
    top = iwps_jax.top_k_of_pool(score, np.load("features.npy"), PICKED)
    assert picks("picks.csv") == list(
        zip(top.rows.tolist(), top.scores.tolist(), strict=True)
    )


@pytest.mark.parametrize("score", ["entropy", "margin", "least_confidence"])
def test_scores_of_logits_need_no_model(here, score):
    logits = np.load("features.npy")[:100, :5]
    np.save("logits.npy", logits)
    asked = ("--method", score, "--k", 10, "--out", "some/p.csv")
    assert run("--logits", "logits.npy", *asked) == 0
    expected = iwps_jax.top_k(getattr(iwps_jax, score)(np.float32(logits)), 10)
    assert [row for row, _ in picks("some/p.csv")] == expected.tolist()


def test_labeled_rows_are_never_picked(here):
    assert run(*FROM_FILES) == 0
    first = [row for row, _ in picks("picks.csv")]
    np.save("labeled.npy", first[:10])
    Path("labeled.txt").write_text("\n".join(map(str, first[:10])))
    for name in ("labeled.npy", "labeled.txt"):
        assert run(*FROM_FILES, "--labeled", name, "--out", "next.csv") == 0
        assert [row for row, _ in picks("next.csv")][:15] == first[10:]


def several(coordinator, process):
    described = ("--coordinator", coordinator, "--processes", 2, "--process", process)
    return tuple(map(str, described))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*FROM_FILES, "--seed", "-1"), "--seed must be at least 0"),
        ((*FROM_FILES, "--seed", str(2**63)), "--seed must be at least 0"),
        (
            ("--pool", "features.npy", "--training-set", "features.npy"),
            "--method iwps_batch needs --head and --holdout.",
        ),
        ((*FROM_FILES, "--out", "/dev/null"), "must name a file that can be replaced"),
        ((*MODEL, "--pool", "huge.npy"), "huge.npy: numbers of float64 do not fit"),
        ((*MODEL, "--pool", "long.npy"), "long.npy must hold numbers of at most 64"),
        *[
            (
                ("--pool", "features.npy", "--method", f"wrong:{name}"),
                f"wrong:{name} must {sentence}",
            )
            for name, sentence in {
                "number": "return a function of rows, got int",
                "column": "return one floating-point number for each row, got float16[",
                "counts": "return one floating-point number for each row, got int32[8]",
                "score": "need no argument, and return a pool or a score: missing",
            }.items()
        ],
        (("--pool", "wrong:number", "--method", "random"), "wrong:number: "),
        (("--pool", "features.npy"), "--method margin needs --head."),
        (("--pool", "few.txt", *MODEL), "must end in .npy, .npz or .safetensors"),
        (
            (*FROM_FILES, "--method", "bald"),
            "--method must be one of iwps, iwps_app, iw",
        ),
        ((*FROM_FILES, "--method", "iwps,iwps"), "must name each method once, got"),
        ((*FROM_FILES, "--method", "iwps,"), "--method must name each method once"),
        ((*FROM_FILES, "--head", "features.npy"), "with kernel and bias"),
        ((*FROM_FILES, "--head", "no.npz"), "no.npz does not exist."),
        ((*FROM_FILES, "--head", "holdout.npz"), "bias, got features, labels."),
        ((*FROM_FILES, "--pool", "narrow.npy"), "narrow.npy must have 16 columns"),
        ((*FROM_FILES, "--holdout", "narrow.npz"), "narrow.npz must have 16 columns"),
        (
            (*FROM_FILES, "--holdout", "more.npz"),
            "[0, 5) for 5 classes, got 5 in row 5",
        ),
        ((*FROM_FILES, "--classes", "a,b"), "must name 5 classes, like the head or lo"),
        (
            (*FROM_FILES, "--ids", "few.txt"),
            "each of the 50,003 rows of the pool, got 2",
        ),
        (("--pool", "no_module:pool", *MODEL), "no_module:pool cannot be called"),
        (("--pool", "no.module:f", *MODEL), "there is no module no.module."),
        (("--pool", "json.no:f", *MODEL), "there is no module json.no."),
        (("--pool", "json:no", *MODEL), "json has no no."),
        (("--pool", "./x:y", *MODEL), "./x:y must be a file or module:function"),
        (("--pool", "C:\\x.npy", *MODEL), "C:\\x.npy does not exist"),
        ((*FROM_FILES, "--method", "no.module:f"), "there is no module no.module."),
        ((*FROM_FILES, "--labeled", "outside.npy"), "must hold rows in [0, 50003)"),
        (
            (*FROM_FILES, "--labeled", "outside.csv"),
            "line 3: ids must be of the pool, got",
        ),
        (
            (*FROM_FILES, "--labeled", "few.txt"),
            "few.txt: line 1: ids must be of the pool, got",
        ),
        (
            (*FROM_FILES, "--labeled", "a.json"),
            "a.json must be an .npy file of rows, or",
        ),
        ((*FROM_FILES, "--chunk-size", "0"), "--chunk-size must be at least 1"),
        ((*FROM_FILES, "--k", "0"), "--k must be at least 1"),
        ((*FROM_FILES, "--k", "50004"), "at most the 50003 that may be picked"),
        ((*FROM_FILES, "--steps", "0"), "steps must be at least 1, got 0"),
        ((*FROM_FILES, "--folder", "."), "other files"),
        ((*FROM_FILES, "--out", "."), "--out must name a file, got the folder"),
        ((*FROM_FILES, "--out", "few.txt/p.csv"), "must be in a folder that can be w"),
        ((*FROM_FILES, "--coordinator", "127.0.0.1:1"), "must be given together"),
        ((*FROM_FILES, *several("nonsense", 0)), "must be host:port: nonsense"),
        ((*FROM_FILES, *several("a:1", 2)), "--process must be in [0, 2), got 2"),
        ((*FROM_FILES, "--peer-timeout", "0"), "--peer-timeout must be at least 1"),
        ((*FROM_FILES, "--method", "entropy", "--steps", "4"), "not to entropy"),
        (("--pool", "csv:no_function", *MODEL), "csv has no no_function"),
        (
            ("--logits", "narrow.npy", "--method", "iwps"),
            "--method iwps needs --pool and --head and --ho",
        ),
        (
            ("--logits", "narrow.npy", "--head", "head.npz", "--method", "margin"),
            "--head needs features",
        ),
        (("--pool", "narrow.npy", "--method", "random", "--explain"), "needs a --head"),
    ],
)
def test_a_refusal_is_one_sentence_and_no_picks(here, capfd, arguments, sentence):
    np.save("outside.npy", [50_003])
    np.save("narrow.npy", np.zeros((9, 5), np.float32))
    np.savez("narrow.npz", features=np.zeros((9, 5)), labels=np.zeros(9, int))
    np.savez("more.npz", features=np.zeros((9, WIDTH)), labels=np.arange(9) % 7)
    np.save("huge.npy", np.full((9, WIDTH), 1e200))
    np.save("long.npy", np.zeros((9, WIDTH), np.longdouble))
    Path("wrong.py").write_text(WRONG)
    Path("few.txt").write_text("a\nb\n")
    Path("outside.csv").write_text("id,label\n3,1\n50003,\n")
    before = sorted(here.rglob("*"))
    k = () if "--k" in arguments else ("--k", 5)
    assert run(*arguments, *k) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and sentence in lines[0]
    assert sorted(here.rglob("*")) == before


def test_an_error_in_the_callers_code_is_shown_where_it_is(here, capfd):
    Path("my_code.py").write_text("def score():\n    return lambda rows: rows + 'a'\n")
    assert run("--pool", "features.npy", "--method", "my_code:score", "--k", 5) == 1
    assert "my_code.py" in capfd.readouterr().err


def test_nan_is_reported_and_nothing_is_picked(here, capfd):
    features = np.load("features.npy")
    features[[12_345, 45_678]] = np.nan
    np.save("damaged.npy", features)
    assert run(*FROM_FILES, "--pool", "damaged.npy") == 2
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
    assert run(*FROM_SLOW, "--folder", "scan", "--out", "again.csv") == 0
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


def wait_for_file(folder, pattern):
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
