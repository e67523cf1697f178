"""Reads a run folder into arrays: `config.json`, `metrics.jsonl`, `picks.jsonl`.

In rounds 0..R-1 a model is fitted and evaluated, and picks samples; round R is the
final fit and evaluation. Measures and rates are shares in [0, 1]. Only seeds that went
through all rounds are used. If no seed has finished, all are cut to their common
rounds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.reporting.measures import MEASURES, Measure, measure_of
from experiments.reporting.styles import display_name
from iwps_jax.refusal import Refusal

# In rounds 0..R there are also num_labeled, the main measure and fit_seconds.
WHEN_PICKING = ("wrong_rate", "minority_rate", "score_seconds")  # null in round R
# Runs of earlier versions lack some of these; the values are then unknown.
OPTIONAL = ("test_seconds", "compile_seconds")  # in rounds 0..R


class Runs(NamedTuple):
    """All finished seeds of one method; null or missing values are NaN."""

    seeds: tuple[int, ...]
    num_labeled: np.ndarray  # [seeds, rounds + 1], as is the next
    fit_seconds: np.ndarray
    wrong_rate: np.ndarray  # [seeds, rounds], as are the next two
    minority_rate: np.ndarray
    score_seconds: np.ndarray
    test_seconds: np.ndarray  # [seeds, rounds + 1], as are the next two
    compile_seconds: np.ndarray
    measured: dict[Measure, np.ndarray]  # the main measure first
    class_iou: np.ndarray | None  # [seeds, rounds + 1, classes] if pixels have classes


class Record(NamedTuple):
    """A run folder.

    Attributes:
        path: the folder.
        config: content of `config.json`.
        runs: methods with at least one finished seed, in display order.
        rounds: number of acquisitions that all of them went through.
        picks: the lines of `picks.jsonl`, in the order of acquisition.
        notes: sentences about what is missing.
        measure: the main measure.
    """

    path: Path
    config: dict[str, Any]
    runs: dict[str, Runs]
    rounds: int
    picks: list[dict[str, Any]]
    notes: list[str]
    measure: Measure


def read_record(path: Path) -> Record:
    """Read the folder of a finished or running run.

    Args:
        path: folder with `config.json`, `metrics.jsonl` and usually `picks.jsonl`.

    Raises:
        FileNotFoundError: `config.json` or `metrics.jsonl` is missing.
        ValueError: `config.json` is not that of a run, a line is not a complete
            record, or no round has been recorded.
    """
    path = Path(path)
    config = read_config(path)
    measure = measure_of(config)
    always = ("num_labeled", measure.key, "fit_seconds")
    keys, pick_keys = (*always, *WHEN_PICKING), ("ids", "predicted", "true")
    if measure.of_pixels:
        keys, pick_keys = (*keys, "class_iou"), ("ids", "wrong")
    metrics = _read_lines(path / "metrics.jsonl", keys, always)
    # A run writes its first picks after its first metrics, and none with 0 rounds.
    file = path / "picks.jsonl"
    picks = _read_lines(file, pick_keys) if file.exists() else []
    if measure.of_pixels:
        _check_classes(path, config, metrics, picks)
    runs, rounds, notes = _finished_runs(config, measure, metrics)
    return Record(path, config, runs, rounds, picks, notes, measure)


def read_config(path: Path) -> dict[str, Any]:
    """Read a run's `config.json`.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is not that of a run.
    """
    file = Path(path) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refusal(f"{file} must be JSON: {error}.") from error
    if not isinstance(config, dict) or not {"dataset", "rounds"} <= config.keys():
        raise Refusal(f"{file} must be that of a run, with dataset and rounds.")
    return config


def find_run_folders(paths: Iterable[Path]) -> list[Path]:
    """List the run folders among these folders and below them, each once.

    Args:
        paths: run folders, or folders that contain some at any depth.

    Returns:
        The folders below each path, sorted. Folders inside a run folder are skipped.

    Raises:
        ValueError: a path neither is a run folder nor contains one.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        below = _run_folders_below(path)
        if not below:
            raise Refusal(
                f"{path} must be the folder of a run or contain run folders: it has no "
                "config.json with a metrics.jsonl beside it that has lines."
            )
        for folder in below:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _run_folders_below(path: Path) -> list[Path]:
    metrics = path / "metrics.jsonl"
    if (path / "config.json").is_file() and metrics.is_file():
        # A run that has only begun has nothing to report and is passed over.
        return [path] if metrics.stat().st_size else []
    if not path.is_dir() or path.is_symlink():
        return []
    return [
        run for child in sorted(path.iterdir()) for run in _run_folders_below(child)
    ]


def _read_lines(
    path: Path, keys: Sequence[str], always: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Read JSON lines; a later record of a method, seed and round replaces an earlier.

    All must have `keys`, those in `always` not null.
    """
    records = {}
    keys = ("method", "seed", "round", *keys)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path}, line {number}"
        try:
            record = json.loads(line, parse_constant=_refuse_constant)
        except ValueError as error:
            raise Refusal(
                f"{where}: must be one complete JSON record, got {line[:60]!r} "
                f"({error}). If the run was killed, rerun its command."
            ) from error
        missing = [k for k in keys if not isinstance(record, dict) or k not in record]
        if missing:
            raise Refusal(f"{where}: the record must have {', '.join(missing)}.")
        null = [k for k in always if record[k] is None]
        if null:
            raise Refusal(f"{where}: {', '.join(null)} must not be null.")
        records[record["method"], record["seed"], record["round"]] = record
    return list(records.values())


def _refuse_constant(name: str) -> None:
    raise Refusal(f"{name} is not a number")


def _check_classes(
    path: Path,
    config: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    picks: Sequence[Mapping[str, Any]],
) -> None:
    """Refuse records without an entry per class, and picks without a wrong-rate."""
    names, colors = config.get("class_names"), config.get("colors")
    if not names or not colors or len(names) != len(colors):
        raise Refusal(
            f"{path / 'config.json'} must have class_names, and colors for all of "
            f"them, got {names!r} and {colors!r}."
        )
    for record in metrics:
        if np.shape(record["class_iou"]) != (len(names),):
            raise Refusal(
                f"{path / 'metrics.jsonl'}: class_iou must have an entry for each of "
                f"the {len(names)} classes, got {record['class_iou']} "
                f"({_name_of(record)})."
            )
    for record in picks:
        if np.shape(record["wrong"]) != np.shape(record["ids"]):
            raise Refusal(
                f"{path / 'picks.jsonl'}: wrong must have an entry for each of the ids "
                f"{record['ids']}, got {record['wrong']} ({_name_of(record)})."
            )


def _name_of(record: Mapping[str, Any]) -> str:
    return f"{record['method']}, seed {record['seed']}, round {record['round']}"


def _finished_runs(
    config: Mapping[str, Any], measure: Measure, metrics: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Runs], int, list[str]]:
    """Arrange records as arrays per method, in display order, and say what is missing.

    Returns:
        The methods with at least one finished seed, the number of acquiring rounds
        reported, and notes.
    """
    by_run: dict[tuple[str, int], dict[int, Mapping[str, Any]]] = {}
    for record in metrics:
        run = by_run.setdefault((record["method"], record["seed"]), {})
        run[record["round"]] = record
    # The last round before the first gap; -1 if round 0 is not there.
    last = {
        key: next(r for r in range(len(run) + 1) if r not in run) - 1
        for key, run in by_run.items()
    }
    last = {key: r for key, r in last.items() if r >= 0}
    if not last:
        raise Refusal("metrics.jsonl must hold round 0 of at least one run.")
    rounds, notes = config["rounds"], []
    if max(last.values()) < rounds:
        # No run has finished: cut all started runs to their common rounds.
        rounds = min(last.values())
        notes.append(f"No run has finished: round {rounds} of {config['rounds']}.")
    started = list(dict.fromkeys([*config.get("methods", ()), *(m for m, _ in by_run)]))
    runs, finished, beside = {}, {}, MEASURES[measure]
    for method in started:
        seeds = sorted(s for m, s in last if m == method and last[m, s] >= rounds)
        finished[method] = len(seeds)
        if seeds:
            table = [[by_run[method, s][r] for r in range(rounds + 1)] for s in seeds]
            runs[method] = Runs(
                tuple(seeds),
                *(_array(table, key) for key in ("num_labeled", "fit_seconds")),
                *(_array([row[:rounds] for row in table], key) for key in WHEN_PICKING),
                *(_array(table, key) for key in OPTIONAL),
                measured={m: _array(table, m.key) for m in (measure, *beside)},
                class_iou=_class_array(table) if measure.of_pixels else None,
            )
    expected = config.get("seeds", max(finished.values()))
    short = {m: n for m, n in finished.items() if n < expected}
    if short:
        counts = ", ".join(f"{display_name(m)} {n}" for m, n in short.items())
        notes.append(f"Fewer than the planned {expected} seeds: {counts}.")
    return runs, rounds, notes


def _array(table: Sequence[Sequence[Mapping[str, Any]]], key: str) -> np.ndarray:
    shape = (len(table), len(table[0]))
    values = [np.nan if r.get(key) is None else r[key] for row in table for r in row]
    return np.array(values, dtype=float).reshape(shape)


def _class_array(table: Sequence[Sequence[Mapping[str, Any]]]) -> np.ndarray:
    lists = [[r["class_iou"] for r in row] for row in table]
    return np.array(lists, dtype=float)  # None becomes NaN
