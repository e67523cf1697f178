"""Campaigns on clouds of points, small enough for many commands."""

import csv
import os
from contextlib import chdir
from pathlib import Path

import numpy as np
from some_campaigns import run, write_answers

CLASSES = ("cat", "=dog", "eel", "fox")
"""Nobody labels a fox; a spreadsheet would execute the dog."""
SIZE, WIDTH = 60, 5
IDS = tuple(f"{'-' * (row % 2)}{row:02}.png" for row in range(SIZE))
LABELED = range(6, 30)
HOLDOUT = range(6)
SKIPPED, UNSURE = 30, 31
FAR = 33
"""A row that lies millions of scales out."""
BROKEN = 40
"""A row that may become NaN after the campaign has begun."""


def some_points(offset=0.0):
    """Pool and true classes."""
    rng = np.random.default_rng(0)
    truth = np.arange(SIZE) % 3
    centers = 1.2 * rng.normal(size=(3, WIDTH))
    pool = centers[truth] + rng.normal(size=(SIZE, WIDTH)) + offset
    pool[FAR] += 1e6
    return pool.astype(np.float32), truth


def begin(folder, offset=0.0, *, classes=CLASSES, num_labeled=24):
    """A campaign in a folder, with labels, a skipped row and an unsure one."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with chdir(folder):
        pool, truth = some_points(offset)
        os.mkdir("pool")
        np.save("pool/pool.npy", pool)
        Path("pool/ids.txt").write_text("\n".join(IDS) + "\n")
        Path("classes.txt").write_text("\n".join(classes) + "\n")
        names = [classes[c % len(classes)] for c in truth]
        write_answers("holdout.csv", [(cell(IDS[r]), names[r]) for r in HOLDOUT])
        told = [(cell(IDS[r]), names[r]) for r in LABELED[:num_labeled]]
        told += [(cell(IDS[SKIPPED]), "skip"), (cell(IDS[UNSURE]), "unsure")]
        write_answers("answers.csv", told)
        given = ("--holdout", "holdout.csv", "--labels", "answers.csv")
        given += ("--ids", "pool/ids.txt", "--classes", "classes.txt")
        assert run("init", "--pool", "pool/pool.npy", *given) == 0


def cell(text):
    """As the commands write it."""
    return f"'{text}" if text[0] in "=-" else text


def break_row():
    """Makes a row of the pool NaN."""
    pool = np.load("pool/pool.npy")
    pool[BROKEN, 1] = np.nan
    np.save("pool/pool.npy", pool)


def read_lines(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
