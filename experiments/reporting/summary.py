"""A run's numbers, as in `summary.json`: plain lists and dicts, no NaN.

Measures and rates are shares in [0, 1]; what is undefined (the spread of one seed, a
target not reached) or unknown (a key that earlier versions did not write) is None.

A run of images whose pixels have classes also has the key "measure". The keys of its
final values contain the measure, its picks have no class, and every method has the IoU
of every class in every round.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.reporting import comparisons, statistics
from experiments.reporting.measures import (
    ACCURACY,
    BALANCED_ACCURACY,
    POOL_ACCURACY,
    Measure,
)
from experiments.reporting.records import Record, Runs
from iwps_jax import methods
from iwps_jax.refusal import Refusal

BASELINE = methods.RANDOM.name
STAGES = ("fit", "score", "test", "compile")
SETTINGS = (
    *("imbalance", "base_size", "acquire_size", "steps", "learning_rate"),
    *("holdout_per_class", "warm_start"),
)
NOT_OF_ALL = ("distribution",)  # written where it is not as in earlier versions
SETTINGS_OF_PIXELS = ("initial_size", "holdout_size")


def summarize(record: Record, dataset: Any = None) -> dict[str, Any]:
    """Reduce a run to its numbers.

    Args:
        record: the run.
        dataset: its data, with `train_labels` and `class_names`. Without them the
            shares of the classes in the pool are unknown. Not used if pixels have
            classes.

    Returns:
        The content of `summary.json`.

    Raises:
        ValueError: the picks or the splits do not belong to this dataset.
    """
    config, runs, notes = record.config, record.runs, list(record.notes)
    measure, of_pixels = record.measure, record.measure.of_pixels
    seeds = sorted({s for run in runs.values() for s in run.seeds})
    areas = {
        method: dict(zip(run.seeds, _area(run.measured[measure]).tolist(), strict=True))
        for method, run in runs.items()
    }
    if len(seeds) == 1:
        notes.append("One seed: no spread, no interval, no verdict.")
    if len(seeds) == 2:
        notes.append("Two seeds: no interval, no verdict.")
    if BASELINE not in runs:
        notes.append(
            "No comparison with Random, and no number of labels needed: Random has not "
            "finished, or is not among the methods."
        )
    best = comparisons.best_baseline(areas)
    num_classes = 0 if of_pixels else _num_classes(record, dataset)
    labels_needed = _labels_needed(runs, measure)
    methods = {
        method: _numbers(run, measure)
        | dict(zip(("labels_to_random_final", "label_saving"), needed, strict=True))
        | (
            _of_classes(run)
            if of_pixels
            else {"picks_per_class": _picks_per_class(record, method, run, num_classes)}
        )
        | {"versus_random": None, "versus_best_baseline": None}
        for (method, run), needed in zip(runs.items(), labels_needed, strict=True)
    }
    for key, baseline in (("versus_random", BASELINE), ("versus_best_baseline", best)):
        if baseline is not None:
            for method, compared in comparisons.compare_all(areas, baseline).items():
                methods[method][key] = _as_dict(compared)
    labels = next(iter(runs.values())).num_labeled.mean(axis=0)
    class_names, pool_per_class = config.get("class_names"), None
    if not of_pixels:
        class_names = None if dataset is None else list(dataset.class_names)
        pool_per_class = _pool_per_class(record, dataset, num_classes)
    settings = (*SETTINGS, *SETTINGS_OF_PIXELS) if of_pixels else SETTINGS
    return {
        **({} if measure is ACCURACY else {"measure": measure.key}),
        "dataset": config["dataset"],
        "network": config.get("network", "mlp"),
        **{key: config.get(key) for key in settings},
        **{key: config[key] for key in NOT_OF_ALL if key in config},
        "device": config.get("device"),
        "versions": config.get("versions", {}),
        "seeds": seeds,
        "rounds": record.rounds,
        "num_labeled": labels.tolist(),
        "class_names": class_names,
        "pool_per_class": pool_per_class,
        "best_baseline": best,
        "win_matrix": comparisons.win_matrix(areas)._asdict()
        | {"methods": list(areas)},  # a list also before it was JSON
        "methods": methods,
        "notes": notes,
    }


def has_bootstrap(summary: Mapping[str, Any]) -> bool:
    """Whether a run has bootstrap intervals, and enough seeds for them.

    Files of earlier versions hold intervals from fewer seeds; they are not shown.

    Example:
        >>> has_bootstrap({"seeds": [0, 1, 2, 3, 4], "methods": {}})
        False
    """
    if len(summary["seeds"]) < comparisons.MIN_SEEDS_OF_A_BOOTSTRAP:
        return False
    results = [
        method[key]
        for method in summary["methods"].values()
        for key in ("versus_random", "versus_best_baseline")
    ]
    return any(r and r["bootstrap_low"] is not None for r in results)


def total_seconds(summary: Mapping[str, Any]) -> float:
    """Seconds of all known stages of all methods and seeds."""
    stages = [s for m in summary["methods"].values() for s in m["seconds"].values()]
    return sum(s for s in stages if s is not None)


def rounded(value: Any, digits: int = 5) -> Any:
    """Round the numbers of a summary to significant digits, for committing.

    Example:
        >>> rounded({"aubc": [0.123456789, None, 12], "seconds": 1234567.8})
        {'aubc': [0.12346, None, 12], 'seconds': 1234600.0}
    """
    if isinstance(value, Mapping):
        return {key: rounded(v, digits) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v, digits) for v in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def _numbers(run: Runs, measure: Measure) -> dict[str, Any]:
    """The numbers of a method that need no other method."""
    (main, values), *others = run.measured.items()
    area = _area(values)
    beside: dict[str, Any] = {}
    for other, its_values in others:
        if other is BALANCED_ACCURACY:
            beside |= _balanced(its_values)
        elif other is POOL_ACCURACY:
            beside |= _of_pool(its_values)
        else:
            beside |= _final(other, its_values)
    rates = {"wrong_rate": _means(run.wrong_rate)}
    if not measure.of_pixels:
        rates["minority_rate"] = _means(run.minority_rate)
    return {
        "seeds": list(run.seeds),
        **_final(main, values),
        "aubc_mean": float(area.mean()),
        "aubc_se": _number(statistics.standard_error(area)),
        **beside,
        **rates,
        "fit_seconds": _median(run.fit_seconds),
        "score_seconds": _median(run.score_seconds),
        "seconds": {s: _total(getattr(run, f"{s}_seconds")) for s in STAGES},
    }


def _final(measure: Measure, values: np.ndarray) -> dict[str, float | None]:
    """Mean and spread of a measure after the last round; None if it is unknown."""
    final = values[:, -1]
    if not np.isfinite(final).all():
        return dict.fromkeys(measure.final_keys)
    spread = _number(statistics.standard_deviation(final))
    return dict(zip(measure.final_keys, (float(final.mean()), spread), strict=True))


def _balanced(values: np.ndarray) -> dict[str, float | None]:
    """Balanced accuracy, with its old keys."""
    final, area = ("balanced_final_mean", "balanced_final_sd"), _area(values)
    keys = (*final, "balanced_aubc_mean", "balanced_aubc_se")
    if not np.isfinite(values).all():
        return dict.fromkeys(keys)
    spread = _number(statistics.standard_deviation(values[:, -1]))
    error = _number(statistics.standard_error(area))
    numbers = float(values[:, -1].mean()), spread, float(area.mean()), error
    return dict(zip(keys, numbers, strict=True))


def _of_pool(values: np.ndarray) -> dict[str, float | None]:
    """Accuracy weighted to the classes of the pool, where the run measured it."""
    if not np.isfinite(values).all():
        return {}
    area = _area(values)
    return _final(POOL_ACCURACY, values) | {
        "pool_aubc_mean": float(area.mean()),
        "pool_aubc_se": _number(statistics.standard_error(area)),
    }


def _of_classes(run: Runs) -> dict[str, list]:
    """IoU of every class in every round, and the final spread over the seeds.

    None if a class is undefined in any seed: neither in the test set nor predicted.
    """
    spread = statistics.standard_deviation(run.class_iou[:, -1])
    spreads = [None] * run.class_iou.shape[-1] if spread is None else _list(spread)
    return {
        "class_iou": [
            _means(run.class_iou[:, r]) for r in range(run.class_iou.shape[1])
        ],
        "final_class_iou_sd": spreads,
    }


def _labels_needed(
    runs: Mapping[str, Runs], measure: Measure
) -> list[tuple[float | None, float | None]]:
    """Labels that each method needs for Random's final value, and the saving."""
    curves = {
        method: (run.num_labeled.mean(axis=0), run.measured[measure].mean(axis=0))
        for method, run in runs.items()
    }
    if BASELINE not in curves:
        return [(None, None)] * len(runs)
    target = curves[BASELINE][1][-1]
    # Random may pass its own final value before its last round.
    base = statistics.labels_to_reach(*curves[BASELINE], target)
    needed = [statistics.labels_to_reach(*curve, target) for curve in curves.values()]
    return [(n, n and base / n) for n in needed]


def _picks_per_class(
    record: Record, method: str, run: Runs, num_classes: int
) -> list[list[float]]:
    """Picks of every true class in every round, averaged over the finished seeds."""
    counts = np.zeros((record.rounds, num_classes))
    for line in record.picks:
        if (
            line["method"] == method
            and line["seed"] in run.seeds
            and line["round"] < record.rounds
        ):
            counts[line["round"]] += np.bincount(line["true"], minlength=num_classes)
    return (counts / len(run.seeds)).tolist()


def _num_classes(record: Record, dataset: Any) -> int:
    largest = max((max(p["true"]) for p in record.picks if p["true"]), default=-1)
    if dataset is None:
        return largest + 1
    if largest >= len(dataset.class_names):
        raise Refusal(
            f"picks.jsonl must index this dataset of {len(dataset.class_names)} "
            f"classes, got class {largest}."
        )
    return len(dataset.class_names)


def _pool_per_class(record: Record, dataset: Any, num_classes: int) -> list | None:
    """Unlabeled samples of every class before round 0, averaged over the seeds."""
    path = record.path / "splits.npz"
    if dataset is None or not path.exists():
        return None
    with np.load(path) as splits:
        pool_ids, labeled = splits["pool_ids"], splits["labeled"]
    labels = np.asarray(dataset.train_labels)
    if pool_ids.max() >= len(labels):
        raise Refusal(
            f"splits.npz must index this dataset of {len(labels)} samples, got id "
            f"{pool_ids.max()}."
        )
    counts = [
        np.bincount(labels[ids[~is_labeled]], minlength=num_classes)
        for ids, is_labeled in zip(pool_ids, labeled, strict=True)
    ]
    return np.mean(counts, axis=0).tolist()


def _as_dict(compared: comparisons.Compared) -> dict[str, Any]:
    low, high = compared.bootstrap or (None, None)
    return compared.paired._asdict() | {
        "p_value_holm": compared.p_value_holm,
        "bootstrap_low": low,
        "bootstrap_high": high,
    }


def _area(values: np.ndarray) -> np.ndarray:
    return statistics.mean_over_rounds(values)


def _number(value: np.ndarray | None) -> float | None:
    return None if value is None else float(value)


def _means(values: np.ndarray) -> list[float | None]:
    """Mean over seeds in each round; None if any seed has no value."""
    return _list(values.mean(axis=0))


def _list(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _median(seconds: np.ndarray) -> float | None:
    """Median over seeds and rounds."""
    known = seconds[np.isfinite(seconds)]
    return float(np.median(known)) if known.size else None


def _total(seconds: np.ndarray) -> float | None:
    """Sum over seeds and rounds; None if it is unknown."""
    known = seconds[np.isfinite(seconds)]
    return float(known.sum()) if known.size else None


def as_json(content: dict) -> bytes:
    """Encodes a summary: readable, the same bytes for the same numbers, no NaN."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
