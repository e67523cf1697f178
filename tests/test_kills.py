"""The commands that kill and crowd campaigns find nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.full
@pytest.mark.parametrize(
    "command",
    [
        ("tests.kills", "--times", "1"),
        ("tests.crowd", "--processes", "3", "--commands", "12"),
    ],
)
def test_nothing_is_lost_and_nothing_given_twice(command):
    """In a process of its own: those that they fork must not have used JAX before."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert " 0 faults" in done.stdout
