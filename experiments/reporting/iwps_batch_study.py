"""One method against all others in many settings: the numbers and a rule's verdict.

A *setting* is a dataset with its imbalance and the number of labels per round. Every
run folder belongs to one setting; several folders of one setting, with other methods or
seeds, are read as one run. All comparisons use the mean over rounds, are paired over
seeds, and are ours minus the other (`statistics`). Two families are corrected
separately: the baselines, to which the rule applies, and the variants of ours.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.reporting import statistics
from experiments.reporting.comparisons import Values
from experiments.reporting.records import Record, read_record
from experiments.reporting.statistics import PairedComparison
from experiments.reporting.styles import DATASETS
from iwps_jax.refusal import Refusal

SAME = (
    *("network", "rounds", "base_size", "holdout_per_class", "pool_per_class"),
    *("steps", "learning_rate", "warm_start", "max_steps", "data_sha256", "inputs"),
)
"""Settings in which the folders of one setting must agree."""
VERDICTS = ("better", "not separable", "worse")


class Cell(NamedTuple):
    """A setting and its numbers.

    Attributes:
        name: dataset, imbalance and acquire size, as the folders are named.
        dataset: its short name.
        imbalance: how many times rarer a minority class is.
        acquire_size: labels per round.
        areas: mean test accuracy over the rounds by method, then by seed.
    """

    name: str
    dataset: str
    imbalance: float
    acquire_size: int
    areas: Values


def read_cells(folders: Sequence[Path]) -> tuple[list[Cell], list[str]]:
    """Reads run folders as settings, in order of dataset, imbalance and acquire size.

    A run of which no method has finished is left out, with a note.

    Args:
        folders: run folders.

    Returns:
        The settings, and sentences on missing parts.

    Raises:
        ValueError: a run's files are not complete, two runs of a setting differ in
            more than methods and seeds, or both contain the same seed of a method.
    """
    first: dict[tuple, Record] = {}
    areas: dict[tuple, dict[str, dict[int, float]]] = {}
    notes = []
    for path in folders:
        record = read_record(path)
        place = tuple(
            record.config.get(key) for key in ("dataset", "imbalance", "acquire_size")
        )
        notes += [f"{path.name}: {note}" for note in record.notes]
        if record.rounds < record.config["rounds"]:
            continue
        _check_same(first.setdefault(place, record), record)
        found = areas.setdefault(place, {})
        for method, run in record.runs.items():
            of_method = found.setdefault(method, {})
            both = sorted(of_method.keys() & set(run.seeds))
            if both:
                raise Refusal(
                    f"a seed of a method must be in only one folder of a setting, got "
                    f"seed {both[0]} of {method} again in {path}."
                )
            area = statistics.mean_over_rounds(run.measured[record.measure])
            of_method.update(zip(run.seeds, area.tolist(), strict=True))
    order = list(DATASETS)
    places = sorted(
        areas,
        key=lambda p: (order.index(p[0]) if p[0] in order else len(order), *p),
    )
    cells = [
        Cell("-".join(map(str, place)), *place, areas=areas[place]) for place in places
    ]
    return cells, notes


def _check_same(first: Record, other: Record) -> None:
    for key in SAME:
        if first.config.get(key) != other.config.get(key):
            raise Refusal(
                f"runs of one setting must agree in {key}, got "
                f"{first.config.get(key)!r} in {first.path} and "
                f"{other.config.get(key)!r} in {other.path}."
            )


def summarize(
    cells: Sequence[Cell],
    ours: str,
    baselines: Sequence[str],
    *,
    rivals: Sequence[str] = (),
    planned: Mapping[str, Sequence[str]] | None = None,
    seeds: Sequence[int] = (),
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """All numbers of the report, as JSON.

    Args:
        cells: the settings.
        ours: the method that is compared with all others.
        baselines: methods to which the rule applies.
        rivals: baselines that ours must beat in most settings.
        planned: the planned methods of each setting, by its name; by default all
            baselines in all cells.
        seeds: the planned seeds of these methods in every setting.
        notes: further sentences on missing parts.

    Returns:
        `settings` with the mean of every method; `compared`, by method, ours minus that
        method: in every setting, over all pairs, over the means of seeds; `rule`.
    """
    baselines = [m for m in baselines if m != ours]
    others = list(dict.fromkeys(m for cell in cells for m in cell.areas if m != ours))
    families = (
        [m for m in others if m in baselines],
        [m for m in others if m not in baselines],
    )
    compared: dict[str, Any] = {}
    for family, is_baseline in zip(families, (True, False), strict=True):
        results = _compare(cells, ours, family)
        compared |= {
            method: {"is_baseline": is_baseline} | result
            for method, result in results.items()
        }
    if planned is None:
        planned = {cell.name: baselines for cell in cells}
    missing = _missing(cells, planned, seeds)
    return {
        "ours": ours,
        "baselines": list(baselines),
        "rivals": [m for m in rivals if m in compared],
        "settings": [_areas(cell) for cell in cells],
        "compared": compared,
        "rule": _rule(
            compared, [m for m in rivals if m != ours], is_complete=not missing
        ),
        "missing": missing,
        "notes": list(notes),
    }


def _areas(cell: Cell) -> dict[str, Any]:
    methods = {}
    for method, by_seed in cell.areas.items():
        values = np.array(list(by_seed.values()))
        error = statistics.standard_error(values)
        methods[method] = {
            "aubc_mean": float(values.mean()),
            "aubc_se": None if error is None else float(error),
            "seeds": len(values),
        }
    return {
        "name": cell.name,
        "dataset": cell.dataset,
        "imbalance": cell.imbalance,
        "acquire_size": cell.acquire_size,
        "methods": methods,
    }


def _missing(
    cells: Sequence[Cell], planned: Mapping[str, Sequence[str]], seeds: Sequence[int]
) -> list[list[str]]:
    """Missing settings, and methods that lack a seed in the existing settings."""
    found = {cell.name: cell.areas for cell in cells}
    return [[name] for name in planned if name not in found] + [
        [name, method]
        for name, methods in planned.items()
        for method in methods
        if name in found
        and (method not in found[name] or {*seeds} - found[name][method].keys())
    ]


def _compare(
    cells: Sequence[Cell], ours: str, family: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Ours minus each method of a family, with Holm's correction for the family."""
    pairs = {
        (method, cell.name): pair
        for method in family
        for cell in cells
        if (pair := _paired(cell, ours, method))
    }
    in_settings = {}
    for cell in cells:
        of_cell = {
            key: statistics.paired_comparison(*_arrays(pair))
            for key, pair in pairs.items()
            if key[1] == cell.name
        }
        in_settings |= _corrected(of_cell)
    methods = [m for m in family if any(key[0] == m for key in pairs)]
    by_pair, by_seed = {}, {}
    for method in methods:
        of_method = [pair for key, pair in pairs.items() if key[0] == method]
        own, other = zip(*map(_arrays, of_method), strict=True)
        by_pair[method] = statistics.paired_comparison(
            np.concatenate(own), np.concatenate(other)
        )
        shared = sorted(set.intersection(*(set(pair) for pair in of_method)))
        if shared:
            table = np.array([[pair[s] for s in shared] for pair in of_method])
            by_seed[method] = statistics.paired_comparison(*table.mean(axis=0).T)
    by_pair, by_seed = _corrected(by_pair), _corrected(by_seed)
    return {
        method: {
            "over_pairs": by_pair[method],
            "over_seeds": by_seed.get(method),
            **_counted(
                [
                    {"name": cell.name, **in_settings[method, cell.name]}
                    for cell in cells
                    if (method, cell.name) in in_settings
                ]
            ),
        }
        for method in methods
    }


def _paired(cell: Cell, ours: str, other: str) -> dict[int, tuple[float, float]]:
    own, its = cell.areas.get(ours, {}), cell.areas.get(other, {})
    return {seed: (own[seed], its[seed]) for seed in sorted(own.keys() & its.keys())}


def _arrays(pair: Mapping[int, tuple[float, float]]) -> np.ndarray:
    return np.array(list(pair.values())).T


def _corrected(results: Mapping[Any, PairedComparison]) -> dict[Any, dict[str, Any]]:
    """Comparisons as JSON, with their verdicts before and after Holm's correction."""
    p_values = statistics.holm(np.array([r.p_value for r in results.values()]))
    return {
        key: {
            **result._asdict(),
            "p_value_holm": p_value,
            "verdict_holm": statistics.corrected_verdict(result, p_value),
        }
        for (key, result), p_value in zip(
            results.items(), p_values.tolist(), strict=True
        )
    }


def _counted(in_settings: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {
        key: {
            verdict: Counter(s[key] for s in in_settings)[verdict]
            for verdict in VERDICTS
        }
        for key in ("verdict", "verdict_holm")
    }
    worst = min(in_settings, key=lambda s: s["mean_difference"])
    return {
        "mean_over_settings": float(
            np.mean([s["mean_difference"] for s in in_settings])
        ),
        "counts": counts["verdict"],
        "counts_holm": counts["verdict_holm"],
        "worst": worst["name"],
        "settings": in_settings,
    }


def _rule(
    compared: Mapping[str, Any], rivals: Sequence[str], *, is_complete: bool
) -> dict[str, Any]:
    """The verdict: the conditions of the rule, and whether they are met."""
    of_baselines = {m: r for m, r in compared.items() if r["is_baseline"]}
    worse = [
        [setting["name"], method, setting["verdict_holm"]]
        for method, result in of_baselines.items()
        for setting in result["settings"]
        if setting["verdict"] == "worse"
    ]
    better_in = {
        rival: [compared[rival]["counts_holm"]["better"], num_settings]
        for rival in rivals
        if (num_settings := len(compared.get(rival, {}).get("settings", ())))
    }
    undecided = [
        [setting["name"], method]
        for method, result in of_baselines.items()
        for setting in result["settings"]
        if setting["verdict"] == "no verdict"
    ]
    at_least_as_good = bool(of_baselines) and not worse and not undecided
    is_better = len(better_in) == len(rivals) and all(
        2 * wins > num_settings for wins, num_settings in better_in.values()
    )
    return {
        "is_complete": is_complete,
        "at_least_as_good": at_least_as_good,
        "worse_in": worse,
        "undecided": undecided,
        "better_in_most": is_better,
        "better_in": better_in,
        "met": is_complete and at_least_as_good and is_better,
    }
