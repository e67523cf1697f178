"""Campaigns on real digits, small enough to be fitted in no time."""

import csv
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from iwps_jax.__main__ import main

CLASSES = tuple(f"digit {c}" for c in range(10))
RARE = (1, 4, 6, 7, 9)


def some_digits(seed, *, rarity=10):
    """Pool with rare classes, its true labels, holdout and test set of real digits."""
    rng = np.random.default_rng(seed)
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    images, labels = images[order].astype(np.float32), labels[order]
    of_class = [np.flatnonzero(labels == c) for c in range(10)]
    holdout = np.concatenate([rows[:5] for rows in of_class])
    test = np.concatenate([rows[5:55] for rows in of_class])
    rest = np.concatenate(
        [rows[55 :: rarity if c in RARE else 1] for c, rows in enumerate(of_class)]
    )
    rest = rng.permutation(rest)
    return {
        "pool": images[rest],
        "truth": labels[rest],
        "holdout": (images[holdout], labels[holdout]),
        "test": (images[test], labels[test]),
    }


def write_digits(folder, digits):
    """The files that `iwps init` takes; one label to begin with of a rare class."""
    np.save(folder / "pool.npy", digits["pool"])
    features, labels = digits["holdout"]
    np.savez(folder / "holdout.npz", features=features, labels=labels)
    truth = digits["truth"]
    counts = [1 if c in RARE else 4 for c in range(10)]
    first = np.concatenate(
        [np.flatnonzero(truth == c)[:n] for c, n in enumerate(counts)]
    )
    write_answers(
        folder / "initial.csv", [(row, CLASSES[truth[row]]) for row in first.tolist()]
    )
    Path(folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")


def write_answers(path, answers):
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("id", "label"))
        lines.writerows(answers)


def read_batch(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(*arguments):
    """The exit status of a command, in this process."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments)])
    return caught.value.code


def files_of(folder):
    """What is in a folder, but for locks and who held them."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name not in ("lock", "holder.json")
    }
