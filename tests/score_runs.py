"""Runs of `iwps score`: its files, a slow pool, processes, and what they write."""

import csv
import os
import socket
import subprocess
import sys
import time
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


def write_files(folder):
    """Features, a head and a holdout set on disk."""
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


MODEL = ("--head", "head.npz", "--holdout", "holdout.npz")
FROM_FILES = ("--pool", "features.npy", *MODEL, "--k", PICKED)
FROM_SLOW = ("--pool", "slow_pool:SlowRows", "--method", "slow_pool:score", "--k", 30)
FROM_SLOW = (*FROM_SLOW, "--chunk-size", 8192)


PROBED = {int(row) for row in np.linspace(0, 399_999, 16)}


def expected_slow_rows():
    scores = np.arange(400_000) * 7919 % 65_521
    return np.argsort(-scores, kind="stable")[:30].tolist()


def several(coordinator, process):
    described = ("--coordinator", coordinator, "--processes", 2, "--process", process)
    return tuple(map(str, described))


def wait_for_file(folder, pattern):
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    """A working folder with the files in it."""
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
