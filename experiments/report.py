"""From the files of a run to its summary, its two pictures and its table.

    python -m experiments.report DIR        # seconds; re-draws a run's report

Reads `config.json`, `metrics.jsonl` (a line per method, seed and round) and
`picks.jsonl` in DIR; writes `summary.json`, `curves.png` and `selected.png` beside
them. A run under way is reported as far as it got: only trajectories that went through
all rounds enter, and `notes` in the summary says what is missing.

In rounds 0..R-1 a model is fitted, evaluated, and picks; round R is the final fit and
evaluation. Accuracies and rates are shares in [0, 1] in the files and in the summary,
and per cent in the table and the pictures.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from experiments import folder, plots, statistics

BASELINE = "random"
NUM_PICKS_SHOWN = 10
TABLE_WIDTH = 100
ALWAYS = ("num_labeled", "test_accuracy", "fit_seconds")  # in rounds 0..R
WHEN_PICKING = ("wrong_rate", "minority_rate", "score_seconds")  # null in round R
METRIC_KEYS = ("method", "seed", "round", *ALWAYS, *WHEN_PICKING)
PICK_KEYS = ("method", "seed", "round", "ids", "predicted", "true")


class Runs(NamedTuple):
    """All finished seeds of one method; a null of the file is NaN in here."""

    seeds: tuple[int, ...]
    num_labeled: np.ndarray  # [seeds, rounds + 1], as are the next two
    test_accuracy: np.ndarray
    fit_seconds: np.ndarray
    wrong_rate: np.ndarray  # [seeds, rounds], as are the next two
    minority_rate: np.ndarray
    score_seconds: np.ndarray


def write_report(out: Path, dataset: Any) -> dict[str, Any]:
    """Write `summary.json`, `curves.png` and `selected.png` into a run's folder.

    Each file appears at once or not at all; equal inputs give equal bytes.

    Args:
        out: folder with `config.json`, `metrics.jsonl` and `picks.jsonl`.
        dataset: the data of the run; `train_images` (uint8, n h w c), `train_labels`
            and `class_names` are used, for the images of the picks.

    Returns:
        The summary, as in `summary.json`. An undefined number (the spread of one
        seed, a target not reached) is None.

    Raises:
        FileNotFoundError: `config.json` or `metrics.jsonl` is missing.
        ValueError: a line is not a complete record, no round has been recorded, or
            the picks do not belong to this dataset.
    """
    out = Path(out)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    metrics = _read_lines(out / "metrics.jsonl", METRIC_KEYS)
    # A run writes its first picks after its first metrics, and none with 0 rounds.
    path = out / "picks.jsonl"
    picks = _read_lines(path, PICK_KEYS) if path.exists() else []
    runs, rounds, notes = _finished_runs(config, metrics)
    summary = _summarize(config, runs, rounds, notes)
    accuracy, wrong_rate = {}, {}
    for method, run in runs.items():
        labels = run.num_labeled.mean(axis=0)
        error = statistics.standard_error(run.test_accuracy)
        mean = run.test_accuracy.mean(axis=0)
        accuracy[method] = plots.Curve(labels, mean, error)
        if np.isfinite(run.wrong_rate).any():
            mean = run.wrong_rate.mean(axis=0)
            wrong_rate[method] = plots.Curve(np.arange(rounds), mean, None)
    setting = plots.setting_name(config["dataset"], config.get("imbalance"))
    title = f"{setting}, {_plural(len(summary['seeds']), 'seed')}"
    folder.write_atomically(
        out / "curves.png", plots.curves_png(accuracy, wrong_rate, title)
    )
    rows, seeds = _first_picks(config, picks, dataset)
    if rows:
        title = f"First picks of round 0: {setting}, seed {seeds}"
        png = plots.selected_png(rows, dataset.class_names, title)
        folder.write_atomically(out / "selected.png", png)
    else:
        summary["notes"].append("No picks are recorded, selected.png is not drawn.")
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    folder.write_atomically(out / "summary.json", text.encode())
    return summary


def print_table(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Print one row per method, best area under the budget curve first.

    Args:
        summary: as `write_report` returns it.
        console: where to print; by default standard output, 100 columns wide.
    """
    console = console or Console(width=TABLE_WIDTH)
    methods = summary["methods"]
    compared = any(m["versus_random"] for m in methods.values())
    seeds, rounds = len(summary["seeds"]), summary["rounds"]
    dataset = plots.setting_name(summary["dataset"])
    table = Table(
        title=f"{dataset}, {_plural(seeds, 'seed')}, {_plural(rounds, 'round')}",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=0,
    )
    headers = ["Final %\n ", "AUBC %\n ", "Labels\nneeded", "Wrong\npicks %"]
    headers += ["Minor-\nity %", "Fit/\nscore s"]
    if compared:
        headers += ["AUBC - Random\n\\[95 % interval]"]
    table.add_column("Method\n ", no_wrap=True, max_width=16)
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    if compared:
        table.add_column("Verdict\n ", min_width=9)
    for name in sorted(methods, key=lambda m: -methods[m]["aubc_mean"]):
        values = methods[name]
        row = [
            plots.display_name(name),
            _percent(values["final_accuracy_mean"], values["final_accuracy_sd"]),
            _percent(values["aubc_mean"], values["aubc_se"]),
            _labels(values["labels_to_random_final"], values["label_saving"]),
            _first_to_last(values["wrong_rate"]),
            _first_to_last(values["minority_rate"]),
            f"{_seconds(values['fit_seconds'])}/{_seconds(values['score_seconds'])}",
        ]
        table.add_row(*row, *(_comparison(values["versus_random"]) if compared else ()))
    console.print(table)
    legend = (
        "Final: mean ± sd. AUBC: mean accuracy over the rounds ± standard error. "
        "Wrong, minority: share of the picks, first → last round. "
        "Fit/score: median seconds per round."
    )
    if BASELINE in methods:
        legend += (
            " Labels: needed for Random's final accuracy, and × Random's need divided "
            "by it."
        )
    if compared:
        legend += (
            " Interval: paired t over seeds, for one comparison. Verdict: its p-value "
            "after Holm's correction for all rows."
        )
    for line in [legend, *summary["notes"]]:
        console.print(line, style="dim", markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Re-draw the report of a run folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", metavar="DIR", type=Path, help="folder of the run")
    out = parser.parse_args(arguments).out
    # Only here: the loaders need packages that a reader of summaries does not.
    from experiments.datasets import load

    try:
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        dataset = load(config["dataset"], config.get("data_dir"))
        expected = config.get("data_sha256")
        if expected is not None and expected != dataset.sha256:
            raise ValueError(
                f"{out} was run on other data ({config.get('data_source')}) than "
                f"{dataset.source}"
            )
        summary = write_report(out, dataset)
    except (OSError, ValueError, RuntimeError) as error:
        parser.exit(1, f"{error}\n")
    print_table(summary)


def _read_lines(path: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Read JSON lines; a later record of a method, seed and round replaces earlier."""
    records = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        where = f"{path}, line {number}"
        try:
            record = json.loads(line, parse_constant=_refuse_constant)
        except ValueError as error:
            raise ValueError(
                f"{where}: must be one complete JSON record, got {line[:60]!r} "
                f"({error}). If the run was cut off while writing, delete the line."
            ) from error
        missing = [k for k in keys if not isinstance(record, dict) or k not in record]
        if missing:
            raise ValueError(f"{where}: the record must have {', '.join(missing)}.")
        null = [k for k in ALWAYS if k in keys and record[k] is None]
        if null:
            raise ValueError(f"{where}: {', '.join(null)} must not be null.")
        records[record["method"], record["seed"], record["round"]] = record
    return list(records.values())


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _finished_runs(
    config: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]
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
        raise ValueError("metrics.jsonl must hold round 0 of at least one run.")
    rounds, notes = config["rounds"], []
    if max(last.values()) < rounds:
        # Nothing has finished: cut all runs that started to the rounds they share.
        rounds = min(last.values())
        notes.append(f"No run has finished: round {rounds} of {config['rounds']}.")
    started = list(dict.fromkeys([*config.get("methods", ()), *(m for m, _ in by_run)]))
    runs, finished = {}, {}
    for method in started:
        seeds = sorted(s for m, s in last if m == method and last[m, s] >= rounds)
        finished[method] = len(seeds)
        if seeds:
            table = [[by_run[method, s][r] for r in range(rounds + 1)] for s in seeds]
            runs[method] = Runs(
                tuple(seeds),
                *(_array(table, key) for key in ALWAYS),
                *(_array([row[:rounds] for row in table], key) for key in WHEN_PICKING),
            )
    expected = config.get("seeds", max(finished.values()))
    short = {m: n for m, n in finished.items() if n < expected}
    if short:
        counts = ", ".join(f"{plots.display_name(m)} {n}" for m, n in short.items())
        notes.append(f"Fewer than the planned {expected} seeds: {counts}.")
    return runs, rounds, notes


def _array(table: Sequence[Sequence[Mapping[str, Any]]], key: str) -> np.ndarray:
    shape = (len(table), len(table[0]))
    values = [np.nan if r[key] is None else r[key] for row in table for r in row]
    return np.array(values, dtype=float).reshape(shape)


def _summarize(
    config: Mapping[str, Any], runs: Mapping[str, Runs], rounds: int, notes: list[str]
) -> dict[str, Any]:
    """Reduce the runs to the numbers of `summary.json`."""
    seeds = sorted({s for run in runs.values() for s in run.seeds})
    if len(seeds) == 1:
        notes.append("One seed: no spread, no interval, no verdict.")
    curves = {
        method: (run.num_labeled.mean(axis=0), run.test_accuracy.mean(axis=0))
        for method, run in runs.items()
    }
    baseline = curves.get(BASELINE)
    if baseline is None:
        notes.append(
            "No comparison with Random and no labels needed: it has not finished, or "
            "is not among the methods."
        )
    methods, areas = {}, {}
    for method, run in runs.items():
        final = run.test_accuracy[:, -1]
        area = statistics.area_under_budget_curve(run.test_accuracy)
        areas[method] = dict(zip(run.seeds, area.tolist(), strict=True))
        needed = saving = None
        if baseline is not None:
            target = baseline[1][-1]
            needed = statistics.labels_to_reach(*curves[method], target)
            # Random may pass its own final accuracy before its last round.
            saving = needed and statistics.labels_to_reach(*baseline, target) / needed
        methods[method] = {
            "seeds": list(run.seeds),
            "final_accuracy_mean": float(final.mean()),
            "final_accuracy_sd": _number(statistics.standard_deviation(final)),
            "aubc_mean": float(area.mean()),
            "aubc_se": _number(statistics.standard_error(area)),
            "labels_to_random_final": needed,
            "label_saving": saving,
            "wrong_rate": _means(run.wrong_rate),
            "minority_rate": _means(run.minority_rate),
            "fit_seconds": _median(run.fit_seconds),
            "score_seconds": _median(run.score_seconds),
            "versus_random": None,
        }
    for method, (result, p_value) in statistics.compare_all(areas, BASELINE).items():
        comparison = result._asdict() | {"p_value_holm": p_value}
        methods[method]["versus_random"] = comparison
    return {
        "dataset": config["dataset"],
        "seeds": seeds,
        "rounds": rounds,
        "methods": methods,
        "notes": notes,
    }


def _first_picks(
    config: Mapping[str, Any], picks: Sequence[Mapping[str, Any]], dataset: Any
) -> tuple[dict[str, plots.Picks], str]:
    """Take each method's picks of round 0 in its lowest seed; name these seeds."""
    first = {}
    for record in sorted(picks, key=lambda r: r["seed"], reverse=True):
        if record["round"] == 0 and record["ids"]:
            first[record["method"]] = record
    order = dict.fromkeys([*config.get("methods", ()), *(p["method"] for p in picks)])
    rows = {}
    for method in (m for m in order if m in first):
        ids, predicted, true = (
            np.asarray(first[method][key][:NUM_PICKS_SHOWN])
            for key in ("ids", "predicted", "true")
        )
        labels = dataset.train_labels
        if ids.max() >= len(labels) or (np.asarray(labels)[ids] != true).any():
            raise ValueError(
                f"picks.jsonl must index this dataset: the labels of {method}'s picks "
                f"in round 0, seed {first[method]['seed']}, are not those of the data."
            )
        images = np.asarray(dataset.train_images)[ids]
        rows[method] = plots.Picks(images, predicted, true)
    seeds = sorted({first[m]["seed"] for m in rows})
    return rows, " or ".join(map(str, seeds))


def _number(value: np.ndarray | None) -> float | None:
    return None if value is None else float(value)


def _means(values: np.ndarray) -> list[float | None]:
    """Mean over seeds in each round; None where any seed has none."""
    return [float(m) if np.isfinite(m) else None for m in values.mean(axis=0)]


def _median(seconds: np.ndarray) -> float | None:
    """Median over seeds and rounds: compilation in the first round does not count."""
    known = seconds[np.isfinite(seconds)]
    return float(np.median(known)) if known.size else None


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _percent(mean: float, spread: float | None) -> str:
    return f"{100 * mean:.1f}" + ("" if spread is None else f"±{100 * spread:.1f}")


def _labels(needed: float | None, saving: float | None) -> str:
    return "-" if needed is None else f"{needed:.0f} {saving:.2f}×"


def _first_to_last(rates: Sequence[float | None]) -> str:
    if not rates or rates[0] is None or rates[-1] is None:
        return "-"
    return f"{100 * rates[0]:.0f}→{100 * rates[-1]:.0f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def _comparison(result: Mapping[str, Any] | None) -> tuple[str, str]:
    """Write difference, interval and verdict of one row."""
    if result is None:
        return "", ""
    text = f"{100 * result['mean_difference']:+.1f}"
    if result["low"] is not None:
        text += f" \\[{100 * result['low']:+.1f},{100 * result['high']:+.1f}]"
    color = {"better": "green", "worse": "red"}.get(result["verdict"], "dim")
    return text, f"[{color}]{result['verdict']}[/{color}]"


if __name__ == "__main__":
    main()
