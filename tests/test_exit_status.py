"""How a command ends where its output goes nowhere, or cannot be shown."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iwps_jax
from iwps_jax import __main__, picking
from iwps_jax.app.commands import exit_status, inputs
from iwps_jax.app.commands import score as score_command
from iwps_jax.app.files import readers
from iwps_jax.pool import pipeline, sources
from iwps_jax.refusal import Refusal, printable, refusing

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


# Names that would control a terminal

EVIL = "a\x1b[2J\x07\x9b1m\u202eb\u200b\u2066\udcffc\r"


LETTERS = st.sampled_from(EVIL + "é\n\t 猫\u200d") | st.integers(0, 0x3000).map(chr)


@given(st.text(LETTERS, max_size=9))
def test_what_is_printable_controls_nothing_and_stays_as_it_is(text):
    shown = printable(text)
    kinds = {unicodedata.category(letter) for letter in shown if letter not in "\n\t"}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert not {"\u202e", "\u200b", "\u2066"} & {*shown}
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


def test_no_name_controls_the_terminal(capsys):
    def refuses():
        print(f"cards of {EVIL}")
        raise Refusal(f"no image of {EVIL}.")

    def breaks():
        raise RuntimeError(EVIL)

    assert exit_status.run(refuses) == 2 and exit_status.run(breaks) == 1
    output = capsys.readouterr()
    shown = r"a\x1b[2J\x07\x9b1m\u202eb\u200b\u2066\udcffc"
    assert output.out == f"cards of {shown}\\r\n"
    assert output.err.startswith(f"no image of {shown} .\n")
    assert f"RuntimeError: {shown}\\r\n" in output.err


def test_names_of_files_and_classes_are_shown_and_not_obeyed(
    folder, capsys, monkeypatch
):
    monkeypatch.chdir(folder)
    np.save("\x1b[2J.npy", np.full((4, 3), np.nan, np.float32))
    Path("ids.csv").write_text("id\n\x1b[2Ja\n\x1b[2Ja\nc\nd\n")
    for options in (
        ("--logits", "\x1b[2J.npy"),
        ("--logits", "größe.npy", "--ids", "ids.csv"),
        ("--logits", "größe.npy", "--classes", "\x1b[2Jx,b,\x1b[2Jx"),
        ("--logits", "größe.npy", "--out", "\x1b[2J.csv"),
    ):
        with pytest.raises(SystemExit):
            __main__.main(("score", "--method", "margin", "--k", "2", *options))
        output = capsys.readouterr()
        shown = output.out + output.err.replace("\x1b[0m", "")
        assert r"\x1b[2J" in shown and "\x1b[2J" not in shown, options


# Messages that say what is meant


@pytest.mark.parametrize("command", ["check", "score", "init", "next", "label", "show"])
def test_an_option_that_there_is_not_is_named(command, capsys):
    with pytest.raises(SystemExit) as ended:
        __main__.main((command, "--top", "5"))
    assert ended.value.code == 2
    assert "--top" in capsys.readouterr().err


FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@FULL
@pytest.mark.parametrize(
    "command", [(*SCORE, "--out", "picks.csv"), ("check", "--help")]
)
def test_a_full_disk_is_named_by_what_is_written(folder, command, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with open("/dev/full", "w") as full:
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "stdout", full)
            __main__.main(command)
        full.flush()  # as Python does at its end: nothing is left that could fail
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.endswith("standard output: No space left on device.\n")
    assert "Traceback" not in told


@FULL
def test_a_full_disk_is_named_by_the_help(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "stdout", full)
            __main__.main(["--help"])
        full.flush()
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told == "standard output: No space left on device.\n"


# A process of its own

INTERRUPTED = """
import atexit, os, signal, sys

# A shell that starts the tests in the background ignores the signal, and so do they.
signal.signal(signal.SIGINT, signal.default_int_handler)

class Interrupting:
    def find_spec(name, path, target=None):
        if name == "iwps_jax.app.commands.status":
            signal.raise_signal(signal.SIGINT)  # to this thread: at once

from iwps_jax.__main__ import program

sys.meta_path.insert(0, Interrupting)
sys.argv = ["iwps", "status"]
os.close(1)
sys.stdout = None
atexit.register(os.kill, os.getpid(), signal.SIGSEGV)  # as a thread of JAX may crash
program()
"""


def test_an_interrupted_program_says_so_and_ends_at_once():
    """While it imports the command, and although standard output is closed."""
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (130, "interrupted\n")


# Functions of the user's


def test_a_file_in_the_folder_hides_no_module_of_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("stringprep", "my_pool"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    Path("stringprep.py").write_text("def make():\n    return 1\n")
    Path("my_pool.py").write_text(
        "import stringprep\n"
        "def make():\n    import my_helper\n    return stringprep.__file__\n"
    )
    Path("my_helper.py").write_text("")
    before = sys.path.copy()
    made = []
    assert exit_status.run(lambda: made.append(inputs.made_by("my_pool:make"))) == 0
    assert sys.path == before and Path(made[0]).parent != folder
    with pytest.raises(Refusal, match=r"stringprep.py is hidden by .* rename it"):
        inputs.made_by("stringprep:make")
    sys.path[:] = before


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
