"""How a command ends where its output goes nowhere, or cannot be shown."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import iwps_jax
from iwps_jax.app.commands import exit_status

ROOT = Path(iwps_jax.__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    """Logits in a file whose name is not ASCII."""
    np.save(tmp_path / "größe.npy", np.eye(4, 3, dtype=np.float32))
    return tmp_path


def start(folder, **options):
    command = ("score", "--logits", "größe.npy", "--method", "margin", "--k", "2")
    return subprocess.Popen(
        [sys.executable, "-m", "iwps_jax", *command, "--out", "größte.csv"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **options},
    )


def test_a_name_that_the_terminal_cannot_show_is_no_refusal(folder):
    process = start(folder, PYTHONIOENCODING="ascii")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert rb"in gr\xf6\xdfte.csv" in output
    assert (folder / "größte.csv").is_file()


@pytest.mark.parametrize(
    "buffering", [{"PYTHONUNBUFFERED": ""}, {"PYTHONUNBUFFERED": "1"}]
)
def test_output_that_nobody_reads_ends_quietly(folder, buffering):
    with start(folder, **buffering) as process:
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert process.returncode == 141
    assert "ipe" not in errors and "Traceback" not in errors
    assert (folder / "größte.csv").is_file()


def test_a_pipe_of_other_things_is_a_refusal(capsys):
    def work():
        raise BrokenPipeError(32, "Broken pipe", "pool of a server")

    assert exit_status.run(work) == 2
    assert "pool of a server" in capsys.readouterr().err
