"""How a command ends where its output goes nowhere, or cannot be shown."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import iwps_jax
from iwps_jax import __main__, picking
from iwps_jax.app.commands import exit_status, inputs
from iwps_jax.app.commands import score as score_command
from iwps_jax.app.files import readers
from iwps_jax.pool import pipeline, sources
from iwps_jax.refusal import Refusal, refusing

ROOT = Path(iwps_jax.__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    """Logits in a file whose name is not ASCII."""
    np.save(tmp_path / "größe.npy", np.eye(4, 3, dtype=np.float32))
    return tmp_path


SCORE = ("score", "--logits", "größe.npy", "--method", "margin", "--k", "2")


def start(folder, *command, **options):
    command = command or (*SCORE, "--out", "größte.csv")
    return subprocess.Popen(
        [sys.executable, "-m", "iwps_jax", *command],
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


def test_help_that_nobody_reads_ends_quietly(folder):
    with start(folder, "check", "--help", PYTHONUNBUFFERED="") as process:
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert process.returncode == 141
    assert "ipe" not in errors and "Traceback" not in errors


def test_a_pipe_of_other_things_is_a_refusal(capsys):
    def work():
        raise BrokenPipeError(32, "Broken pipe", "pool of a server")

    assert exit_status.run(work) == 2
    assert "pool of a server" in capsys.readouterr().err


# From where a command begins to where a program is compiled.
DEPTHS = [
    (score_command, "_check"),
    (inputs, "read"),
    (readers, "open_array"),
    (picking, "bind_score"),
    (sources, "read_chunk"),
    (pipeline, "_finished"),
    (score_command, "write_picks"),
]
BUGS = (ValueError, TypeError, KeyError, RuntimeError, OSError)


@pytest.mark.parametrize(("module", "function"), DEPTHS)
def test_an_error_is_a_traceback_and_a_refusal_a_sentence(
    folder, monkeypatch, capsys, module, function
):
    monkeypatch.chdir(folder)
    command = ("score", "--logits", "größe.npy", "--method", "margin", "--k", "2")

    def ends_with(error):
        def fails(*_, **__):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(module, function, fails)
            with pytest.raises(SystemExit) as ended:
                __main__.main(command)
        return ended.value.code, capsys.readouterr().err

    status, told = ends_with(Refusal("this cannot be."))
    assert status == 2 and told.endswith("this cannot be.\n")
    assert "Traceback" not in told
    for kind in BUGS:
        status, told = ends_with(kind("this is a bug"))
        assert status == 1 and "Traceback" in told and "this is a bug" in told
    assert not Path("picks.csv").exists()


def test_only_the_named_errors_become_refusals():
    with pytest.raises(Refusal, match="as it was said"), refusing(KeyError, TypeError):
        raise TypeError("as it was said")
    with pytest.raises(ValueError, match="another") as raised, refusing(TypeError):
        raise ValueError("another")
    assert not isinstance(raised.value, Refusal)
