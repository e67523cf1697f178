"""A run folder as a study writes it, with made-up numbers."""

import itertools
import json
from types import SimpleNamespace

import numpy as np

from experiments.reporting import plots

METHODS = tuple(plots.STYLES)


def some_dataset(size=8, channels=1, class_names=tuple("0123456789")):
    generator = np.random.default_rng(0)
    return SimpleNamespace(
        train_images=generator.integers(0, 256, (200, size, size, channels), np.uint8),
        train_labels=generator.integers(0, len(class_names), 200),
        class_names=class_names,
    )


def write_run(out, data, *, methods=METHODS, seeds=3, rounds=4, last=None, **config):
    """Write a finished run, or one where (method, seed) stopped after `last` rounds."""
    generator = np.random.default_rng(1)
    out.mkdir(parents=True, exist_ok=True)
    config = {
        "dataset": "mnist",
        "methods": list(methods),
        "num_seeds": seeds,
        "rounds": rounds,
        "acquire_size": 10,
        "base_size": 20,
        "imbalance": 0.1,
        "data_dir": "somewhere",
    } | config
    (out / "config.json").write_text(json.dumps(config))
    metrics, picks = [], []
    for method, seed in itertools.product(methods, range(seeds)):
        stop = rounds if last is None else last.get((method, seed), rounds)
        for r in range(stop + 1):
            key = {"method": method, "seed": seed, "round": r}
            picking = r < rounds
            accuracy = 0.5 + 0.05 * r + 0.1 * generator.random()
            metrics.append(
                key
                | {
                    "num_labeled": 30 + 10 * r,
                    "test_accuracy": accuracy,
                    "balanced_accuracy": accuracy - 0.1,
                    "wrong_rate": generator.random() if picking else None,
                    "minority_rate": generator.random() if picking else None,
                    "fit_seconds": 1.0 + r,
                    "score_seconds": 0.25 if picking else None,
                }
            )
            if picking:
                ids = generator.choice(200, 12, replace=False)
                true = data.train_labels[ids]
                predicted = np.where(generator.random(12) < 0.5, (true + 1) % 10, true)
                lists = {"ids": ids, "predicted": predicted, "true": true}
                picks.append(key | {k: v.tolist() for k, v in lists.items()})
    write_lines(out / "metrics.jsonl", metrics)
    write_lines(out / "picks.jsonl", picks)
    pool_ids = np.tile(np.arange(200), (seeds, 1))
    np.savez(out / "splits.npz", pool_ids=pool_ids, labeled=pool_ids < 30)
    return metrics


def write_lines(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
