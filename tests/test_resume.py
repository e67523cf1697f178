"""Runs that are killed: the same command again ends with the same bits.

The same folder is killed at several places, one after another, each time by SIGKILL in
a process of its own; two of the four places are left to the full form of the tests.
What every kill left is finished by the processes that come after, and a copy of it in
this process.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
import test_run
from kept_programs import Programs
from test_run import without_seconds

from experiments import mnist_imbalanced
from experiments.classification import networks
from experiments.engine import rounds

METHODS = ("random", "mc_dropout")
ROUNDS = 2
FITS = len(METHODS) * (ROUNDS + 1)
PROGRAMS = Programs()  # compiled as by the processes, for the same bits

# Runs the real command with a bomb in it: python -c SABOTEUR place number arguments.
SABOTEUR = """
import os, signal, sys, threading, time
from experiments import mnist_imbalanced
from experiments.engine import rounds, run_folder

place, number, *arguments = sys.argv[1:]
stage, calls = None, 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def is_it():
    global calls
    calls += 1
    return calls == int(number)

def staged(name, function):
    def wrapped(*arguments):
        global stage
        stage = name
        return function(*arguments)
    return wrapped

rounds._fit_and_test = staged("fit", rounds._fit_and_test)
rounds._pick = staged("score", rounds._pick)
timed, append_lines = rounds._timed, run_folder.append_lines

def timed_bomb(program, *arguments):
    global stage
    now, stage = stage, "test" if stage == "fit" else stage
    if now == place and is_it():
        threading.Timer(0.002, die).start()
        timed(program, *arguments)
        time.sleep(600)  # it was faster than the bomb
    return timed(program, *arguments)

def torn_append(path, lines):
    if place == "append" and is_it():
        with path.open("ab") as file:
            file.write(run_folder._encode(lines)[:-40])
        die()
    append_lines(path, lines)

def before_rename(event, details):
    if place == "save" and event == "os.rename":
        if os.path.basename(os.fspath(details[1])) == number:
            die()

rounds._timed = timed_bomb
run_folder.append_lines = torn_append
sys.addaudithook(before_rename)
mnist_imbalanced.main(arguments)
"""


class Kill(NamedTuple):
    place: str
    number: int  # of the training, of the scoring, of the checkpoint, of the append
    checkpoints: dict  # what must be there afterwards
    fits_left: int


KILLS = (
    # In the training of Random's round 1.
    Kill("fit", 2, {"random": {"1"}}, FITS - 1),
    # In its scoring, after it was trained again.
    Kill("score", 1, {"random": {"1"}}, FITS - 1),
    # When the checkpoint after Random's last round was whole, but not yet renamed.
    Kill("save", 3, {"random": {"1", "2"}}, FITS - 2),
    # After the checkpoint of MC-Dropout's round 0 and its metrics, in the midst of its
    # picks: Random's last round appends twice before.
    Kill("append", 4, {"random": {"1", "2", "3"}, "mc_dropout": {"1"}}, FITS - 4),
)


def command(out):
    options = ("--max-steps", "20", "--methods", *METHODS)
    return ["--smoke", *options, "--out", str(out)]


def run_main(*arguments):
    return test_run.run_main(*arguments, programs=PROGRAMS)


def start(*arguments):
    """Runs the command in a process, as a user does."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": str(jax.device_count())},
        cwd=Path(mnist_imbalanced.__file__).parents[1],
    )


def results(out):
    """Picks as bytes, metrics without the time they took."""
    metrics = (out / "metrics.jsonl").read_text().splitlines()
    return (
        (out / "picks.jsonl").read_bytes(),
        without_seconds([json.loads(line) for line in metrics]),
    )


def checkpoints(out):
    """Whole checkpoints by method."""
    return {
        folder.name: {path.name for path in folder.iterdir() if path.name.isdigit()}
        for folder in (out / "checkpoints").iterdir()
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run that nobody killed; the processes find its programs kept."""
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    run_main(*command(out))
    return out


@pytest.fixture(scope="module")
def uninterrupted(finished):
    """Picks and metrics of that run."""
    picks, metrics = results(finished)
    assert len(picks.splitlines()) == len(METHODS) * ROUNDS * 2
    assert len(metrics) == FITS * 2
    return picks, metrics


@pytest.fixture(scope="module")
def killed(request, finished, tmp_path_factory):
    """By place, a copy of the folder after the kill and how the process ended."""
    del finished  # first
    is_full = any(item.get_closest_marker("full") for item in request.session.items)
    folder, left = tmp_path_factory.mktemp("killed"), {}
    for kill in KILLS if is_full else KILLS[2:]:
        bomb = ("-c", SABOTEUR, kill.place, kill.number)
        ended = start(*bomb, *command(folder / "out"))
        copy = folder / f"after_{kill.place}"
        shutil.copytree(folder / "out", copy)
        left[kill.place] = copy, ended
    return left


every_kill = pytest.mark.parametrize(
    "kill",
    [pytest.param(kill, marks=pytest.mark.full) for kill in KILLS[:2]] + [*KILLS[2:]],
    ids=lambda kill: kill.place,
)


@every_kill
def test_the_process_died_there_with_work_left(killed, kill):
    out, ended = killed[kill.place]
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    assert not (out / "summary.json").exists()
    assert {m: steps for m, steps in checkpoints(out).items() if steps} == (
        kill.checkpoints
    )


def test_the_kill_while_saving_left_a_half_made_checkpoint(killed):
    out, _ = killed["save"]
    assert [p.name for p in (out / "checkpoints" / "random").glob("3.*")]


def test_the_kill_while_appending_left_a_torn_line(killed):
    out, _ = killed["append"]
    last = (out / "picks.jsonl").read_text().splitlines()[-1]
    with pytest.raises(json.JSONDecodeError):
        json.loads(last)


@every_kill
def test_the_same_command_ends_with_the_same_bits(
    killed, uninterrupted, tmp_path, monkeypatch, kill
):
    out = tmp_path / "out"
    shutil.copytree(killed[kill.place][0], out)
    fits, fit_and_test = [], rounds._fit_and_test

    def counted(name, *arguments):
        fits.append(name)
        return fit_and_test(name, *arguments)

    monkeypatch.setattr(rounds, "_fit_and_test", counted)
    run_main(*command(out))
    assert results(out) == uninterrupted
    assert len(fits) == kill.fits_left
    assert checkpoints(out) == {method: {"1", "2", "3"} for method in METHODS}
    assert not list(out.rglob("*tmp*"))


def test_a_killed_run_is_not_continued_with_other_settings(killed, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(killed["append"][0], out)
    before = results(out)
    with pytest.raises(SystemExit) as exit_:
        run_main(*command(out), "--steps", "2")
    assert exit_.value.code == 2
    assert results(out) == before


@pytest.mark.full
def test_a_run_killed_again_and_again_ends_with_the_same_bits(killed, uninterrupted):
    """Several processes, one after another, and one alone."""
    out = killed["append"][0].parent / "out"
    ended = start("-m", "experiments.mnist_imbalanced", *command(out))
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert results(out) == uninterrupted
    assert (out / "summary.json").exists()


def test_a_run_is_not_continued_on_other_features(finished, monkeypatch, capsys):
    """Other weights, or another version of the backbone, under the same settings."""
    arguments = command(finished)
    config = json.loads((finished / "config.json").read_text())
    assert config["inputs"] == "pixels"
    other = networks.RECIPES["mlp"]._replace(identity=lambda: {"version": 2})
    monkeypatch.setitem(networks.RECIPES, "mlp", other)
    with pytest.raises(SystemExit) as exit_:
        run_main(*arguments)
    assert exit_.value.code == 2
    assert "holds a run with other settings (inputs" in capsys.readouterr().err
