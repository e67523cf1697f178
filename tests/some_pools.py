"""Pools, scores and models for the tests of scans."""

import numpy as np

DEVICES = 8  # tests/conftest.py


def some_features(size, width=8, seed=0):
    return np.random.default_rng(seed).normal(size=(size, width)).astype(np.float32)


def a_model(width=8, classes=5, seed=1):
    rng = np.random.default_rng(seed)
    return {
        "kernel": rng.normal(size=(width, classes)).astype(np.float32),
        "bias": rng.normal(size=classes).astype(np.float32),
        "holdout_features": rng.normal(size=(20, width)).astype(np.float32),
        "holdout_labels": np.arange(20, dtype=np.int32) % classes,
    }


def first_feature(rows):
    return rows[:, 0]


def best(scores, k, where=None):
    rows = np.arange(len(scores)) if where is None else np.flatnonzero(where)
    return rows[np.argsort(-scores[rows], kind="stable")[:k]]


class Counted:
    """An array on disk, as it were, that counts what is read of it."""

    def __init__(self, array, broken_at=None):
        self.array, self.broken_at, self.read = array, broken_at, []
        self.shape = array.shape

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        if self.broken_at is not None and rows.start <= self.broken_at < rows.stop:
            raise OSError("bad sector")
        self.read.extend(range(len(self))[rows])
        return self.array[rows]
