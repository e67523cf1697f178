"""Runs of `iwps embed` in a folder of their own; functions in place of networks."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iwps_jax.__main__ import main
from iwps_jax.app.embedding import blocks

OWN = '''
import numpy as np
calls = []

def colors(images):
    """Means of the channels, and the size."""
    calls.append(len(images))
    return np.array([[*np.asarray(i).mean((0, 1)), *i.size] for i in images])

def letters(texts):
    calls.append(len(texts))
    return np.array([[len(t), t.count("a"), t.count("b")] for t in texts], "f4")

def breaks(texts):
    import os
    if "stop" in texts and not os.path.exists("go"):
        raise KeyboardInterrupt
    return letters(texts)

def is_killed(texts):
    import os, signal
    if "kill" in texts and not os.path.exists("alive"):
        os.kill(os.getpid(), signal.SIGKILL)
    return letters(texts)

def ragged(texts):
    return np.zeros((1, 2))

def huge(texts):
    return np.full((len(texts), 2), 1e300)

def nothing(texts):
    return np.zeros((len(texts), 0))

def not_finite(texts):
    return np.full((len(texts), 2), np.nan)
'''
"""The module own."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(blocks, "SIZE", 4)
    sys.modules.pop("own", None)  # that of a page of the documentation
    yield tmp_path
    sys.modules.pop("own", None)


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(["embed", *map(str, words)])
    return end.value.code


def embedded(*words):
    assert run(*words) == 0
    ids = Path("pool/ids.txt").read_text("utf-8").splitlines()
    about = json.loads(Path("pool/source.json").read_text("utf-8"))
    return np.load("pool/pool.npy"), ids, about


def save(path, color, size=(6, 4), **options):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


def some_photos():
    for number, color in enumerate([(250, 0, 0), (0, 250, 0), (0, 0, 250)]):
        save(f"photos/deep/er/{number}.png", color)
    save("photos/b.jpg", (9, 9, 9), (40, 20))
