"""What a plain install does where an extra would have helped."""

import sys

import numpy as np
import pytest
from some_pools import first_feature, some_features

from iwps_jax import __main__, score_pool, top_k_of_pool


@pytest.fixture
def without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)


@pytest.fixture
def without_app(monkeypatch):
    monkeypatch.setattr(__main__, "find_spec", lambda name: None)


@pytest.mark.parametrize("kept", ["an array", "an iterator"])
def test_progress_is_plain_lines_without_rich(without_rich, capfd, kept):
    features = some_features(1000)
    pool = features if kept == "an array" else iter(np.split(features, 10))
    top_k_of_pool(first_feature, pool, 3, show_progress=True)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("scoring: 1,000 of ") and line.endswith(" samples/s")


def test_a_scan_that_fails_does_not_say_that_it_ended(without_rich, capfd):
    def broken():
        yield some_features(10)
        raise OSError("bad sector")

    with pytest.raises(Exception, match="bad sector"):
        score_pool(first_feature, broken(), show_progress=True)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("command", __main__.COMMANDS)
def test_a_command_names_the_extra_it_needs(without_app, capsys, command):
    with pytest.raises(SystemExit) as end:
        __main__.main([command])
    assert end.value.code == 2
    sentence = (
        f"iwps {command} needs tyro, rich, safetensors, filelock, pillow, scipy: "
        "install"
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(sentence) and line.endswith("pip install 'iwps-jax[app]'")


def test_help_names_the_extra_too(without_app, capsys):
    with pytest.raises(SystemExit) as end:
        __main__.main(["--help"])
    assert end.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "pip install 'iwps-jax[app]'" in shown
