"""Small pools with labeled samples for GALAXY and DIRECT; their lines in float64."""

import numpy as np
import reference

POOL, LABELED = 40, 16
KINDS = (
    *("normal", "copies", "few left", "equal", "huge"),
    *("one class", "nothing labeled"),
)


def some_case(kind, seed, classes=3):
    """Logits, labeled logits, labels, answers, and the rows that may be picked."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, classes, POOL)
    labels = rng.integers(0, classes, LABELED)
    labels[rng.random(LABELED) < 0.3] = -1
    logits = rng.normal(size=(POOL, classes))
    logits[np.arange(POOL), answers] += 1.5
    labeled = rng.normal(size=(LABELED, classes))
    labeled[np.arange(LABELED), labels] += 1.5
    where = rng.random(POOL) < 0.8
    if kind == "copies":
        logits = np.repeat(logits[::4], 4, axis=0)
    if kind == "one class":
        labels = np.where(labels >= 0, 1, -1)
    if kind == "nothing labeled":
        labels = np.full(LABELED, -1)
    if kind == "equal":
        logits = np.ones_like(logits)
    if kind == "huge":
        logits, labeled = 1e30 * logits, 1e30 * labeled
    if kind == "few left":
        where = np.arange(POOL) % 4 == 1
    labeled = np.where((labels >= 0)[:, None], labeled, np.nan)
    return (
        *(logits.astype(np.float32), labeled.astype(np.float32)),
        *(labels.astype(np.int32), answers.astype(np.int32), where),
    )


def line_of(logits, labeled_logits, labels, where, c):
    """Points of the line of class c: rows, and behind them labeled samples."""
    on_line = [row for row in range(POOL) if where[row]]
    on_line += [POOL + i for i in range(LABELED) if labels[i] >= 0]
    probs = reference.softmax(np.concatenate([logits, labeled_logits]))
    margins = {point: probs[point, c] - probs[point].max() for point in on_line}
    return sorted(on_line, key=lambda point: (-margins[point], -probs[point, c]))
