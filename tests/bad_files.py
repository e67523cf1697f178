"""Files that `iwps init` cannot use, and what it says of each."""

from pathlib import Path

import numpy as np
from some_campaigns import CLASSES, write_answers

POOL, HOLDOUT = ("--pool", "pool.npy"), ("--holdout", "holdout.npz")
LABELS, NAMES = ("--labels", "initial.csv"), ("--classes", "classes.txt")
FILES = (*POOL, *HOLDOUT, *LABELS, *NAMES)
NEW = ("--campaign", "new")
INIT = ("init", *NEW)


def write(name, text):
    return lambda: Path(name).write_text(text, encoding="utf-8")


def save(name, array):
    return lambda: np.save(name, array)


def save_holdout(**arrays):
    some = {"features": np.ones((4, 64), np.float32), "labels": np.arange(4)}
    return lambda: np.savez("bad.npz", **{**some, **arrays})


def save_half(name, source):
    return lambda: Path(name).write_bytes(Path(source).read_bytes()[:3000])


def answers(*lines):
    return lambda: write_answers("bad.csv", lines)


def nothing():
    """For what is wrong without a file."""


BAD_POOL = (*INIT, "--pool", "bad.npy", *HOLDOUT, *NAMES)
BAD_HOLDOUT = (*INIT, *POOL, "--holdout", "bad.npz", *NAMES)
BAD_LABELS = (*INIT, *POOL, *HOLDOUT, *NAMES, "--labels", "bad.csv")
BAD_IDS = (*INIT, *POOL, *HOLDOUT, *NAMES, "--ids", "bad.txt")
BAD_CLASSES = (*INIT, *POOL, *HOLDOUT, "--classes", "bad.txt")
HOLDOUT_OF_POOL = (*INIT, *POOL, *NAMES, "--holdout", "bad.csv")
NAN = np.where(np.arange(684)[:, None] == 0, np.nan, np.ones((684, 64), "f4"))

OF_INIT = {  # command, what to prepare, what is said
    # init: the pool
    "no pool": (BAD_POOL, nothing, "bad.npy does not exist"),
    "an empty pool file": (BAD_POOL, write("bad.npy", ""), "bad.npy must not be empty"),
    "a text as a pool": (
        BAD_POOL,
        write("bad.npy", "id,label\n"),
        "bad.npy must be an .npy file, but it is damaged",
    ),
    "half a pool": (BAD_POOL, save_half("bad.npy", "pool.npy"), "bad.npy is truncated"),
    "a pool of objects": (
        BAD_POOL,
        save("bad.npy", np.array([{}])),
        "bad.npy must hold plain numbers",
    ),
    "a pool of text": (
        BAD_POOL,
        save("bad.npy", np.array([["a"]])),
        "bad.npy: the pool must be floating point or integers",
    ),
    "a vector as a pool": (
        BAD_POOL,
        save("bad.npy", np.ones(9)),
        "bad.npy: the pool must have 2",
    ),
    "no rows": (
        BAD_POOL,
        save("bad.npy", np.ones((0, 64), "f4")),
        "bad.npy: the pool must not be empty",
    ),
    "another width": (
        BAD_POOL,
        save("bad.npy", np.eye(5)),
        "holdout.npz must have 5 columns like the pool bad.npy, got 64",
    ),
    "NaN in the pool": (
        BAD_POOL,
        save("bad.npy", NAN),
        "bad.npy: features of the pool must be finite, but those of row 0",
    ),
    "equal rows": (
        BAD_POOL,
        save("bad.npy", np.ones((9, 64))),
        "bad.npy: features of the pool must differ from row to row",
    ),
    "a folder as a pool": (
        BAD_POOL,
        lambda: Path("bad.npy").mkdir(),
        "bad.npy must be a file",
    ),
    # init: the holdout set
    "no holdout": (BAD_HOLDOUT, nothing, "bad.npz does not exist"),
    "no labels in it": (
        BAD_HOLDOUT,
        lambda: np.savez("bad.npz", features=np.ones((4, 64))),
        "bad.npz must hold arrays called features and labels, got features",
    ),
    "label 10 of 10": (
        BAD_HOLDOUT,
        save_holdout(labels=np.arange(7, 11)),
        "bad.npz: labels must be in [0, 10) for 10 classes, got 10 in row 3",
    ),
    "a negative label": (
        BAD_HOLDOUT,
        save_holdout(labels=np.arange(-1, 3)),
        "bad.npz: labels must be class numbers from 0, got -1 in row 0",
    ),
    "labels that are no integers": (
        BAD_HOLDOUT,
        save_holdout(labels=np.arange(4.0)),
        "bad.npz: labels must be integers",
    ),
    "fewer labels": (
        BAD_HOLDOUT,
        save_holdout(labels=np.arange(3)),
        "bad.npz: features and labels must have the same length",
    ),
    "one-hot labels": (
        BAD_HOLDOUT,
        save_holdout(labels=np.eye(4, dtype=int)),
        "bad.npz: labels must have 1 axis",
    ),
    "NaN in it": (
        BAD_HOLDOUT,
        save_holdout(features=NAN[:4]),
        "bad.npz: features must be finite in float32, got NaN or infinity in row 0",
    ),
    "a holdout that is no zip": (
        BAD_HOLDOUT,
        write("bad.npz", "PK"),
        "bad.npz must be an .npz file, but it is damaged",
    ),
    "a label that makes too many classes": (
        BAD_HOLDOUT[:-2],
        save_holdout(labels=np.array([0, 1, 2**31 - 1, 2])),
        "bad.npz: row 2: labels must be class numbers below 1,000 if only 4",
    ),
    "a holdout sample that is not": (
        HOLDOUT_OF_POOL,
        answers((9999, CLASSES[0])),
        "bad.csv: line 2: every id must be in the pool, got '9999'",
    ),
    "one without a class": (
        HOLDOUT_OF_POOL,
        answers((3, "")),
        "bad.csv: line 2: a holdout sample must have a class, '3' has none",
    ),
    "one that is not finite": (
        (*HOLDOUT_OF_POOL, "--pool", "bad.npy"),
        lambda: (save("bad.npy", NAN)(), answers((0, CLASSES[0]))()),
        "bad.csv: line 2: features of the pool must be finite in float32, but those",
    ),
    "none": (HOLDOUT_OF_POOL, answers(), "bad.csv must have a holdout sample"),
    "holdout and labels overlap": (
        (*INIT, *POOL, *NAMES, "--holdout", "bad.csv", "--labels", "bad.csv"),
        answers((3, CLASSES[0])),
        "bad.csv: line 2: ids to label must not be holdout samples, got '3'",
    ),
    # init: labels, ids, classes, options
    "an unknown id": (
        BAD_LABELS,
        answers((0, CLASSES[0]), (684, "")),
        "bad.csv: line 3: every id must be in the pool, got '684'",
    ),
    "an unknown class": (
        BAD_LABELS,
        answers((0, "digit 11")),
        "bad.csv: line 2: the label of '0' must be digit 0",
    ),
    "an id twice": (
        BAD_LABELS,
        answers((7, CLASSES[0]), (7, CLASSES[0])),
        "bad.csv: ids must be distinct, but line 2 and line 3 both have 7",
    ),
    "no column label": (
        BAD_LABELS,
        write("bad.csv", "id,class\n1,2\n"),
        "bad.csv must have one column label in its first line, got id, class",
    ),
    "a long line": (
        BAD_LABELS,
        write("bad.csv", "id,label\n1,2,3\n"),
        "bad.csv: line 2 must have at most 2 fields",
    ),
    "a number that makes too many classes": (
        (*INIT, *POOL, *HOLDOUT, "--labels", "bad.csv"),
        answers((0, 1), (1, 40_000_000)),
        "bad.csv: line 3: labels must be class numbers below 1,000 if only 11",
    ),
    "latin-1": (
        BAD_LABELS,
        lambda: Path("bad.csv").write_bytes("id,label\n1,ü\n".encode("latin-1")),
        "bad.csv must be UTF-8 text, line 2 is not",
    ),
    "too few ids": (
        BAD_IDS,
        write("bad.txt", "a\nb\n"),
        "bad.txt must have an id for each of the 684 rows of the pool, got 2",
    ),
    "equal ids": (
        BAD_IDS,
        write("bad.txt", "a\n" * 684),
        "bad.txt: ids must be distinct, but line 1 and line 2 both have a",
    ),
    "one class": (
        BAD_CLASSES,
        write("bad.txt", "cat\n"),
        "bad.txt must name at least 2 classes, got 1",
    ),
    "one class that nobody named": (
        (*INIT, *POOL, "--holdout", "bad.csv"),
        answers((3, "cat")),
        "--classes must be given if fewer than two",
    ),
    "classes called the same": (
        BAD_CLASSES,
        write("bad.txt", "a\na\n"),
        "bad.txt: classes must be distinct, but line 1 and line 2 both have a",
    ),
    "a head too large for the method": (
        (*BAD_CLASSES, "--method", "bait"),
        write("bad.txt", "".join(f"{name}\n" for name in (*CLASSES, *range(53)))),
        "--method bait takes heads of at most 4,000 weights; 64 features and 63",
    ),
    "a class called skip": (
        BAD_CLASSES,
        write("bad.txt", "a\nSkip\n"),
        "bad.txt: line 2 must not be Skip",
    ),
    "classes that nobody orders": (
        (*INIT, *POOL, *HOLDOUT, *LABELS),
        nothing,
        "--classes must be given",
    ),
    "a folder in use": (
        ("init", *FILES, "--campaign", "campaign"),
        nothing,
        "campaign must not exist yet",
    ),
    "no steps": (
        (*INIT, *FILES, "--steps", "0"),
        nothing,
        "--steps: steps must be at least 1, got 0",
    ),
    "a step back": (
        (*INIT, *FILES, "--learning-rate", "-1"),
        nothing,
        "--learning-rate: learning_rate must be positive and finite, got -1.0",
    ),
    "another method": (
        (*INIT, *FILES, "--method", "bald"),
        nothing,
        "--method bald needs logits of several dropout masks, which",
    ),
}
