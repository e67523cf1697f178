"""Runs a unit of the study and writes what its file of results holds."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.engine import run_folder
from experiments.engine.progress import Progress
from experiments.engine.rounds import run_rounds
from experiments.linear_heads import penalties
from experiments.linear_heads.samples import Samples, divide_all
from experiments.linear_heads.settings import Setting
from experiments.linear_heads.study import as_rounds
from experiments.reporting.measures import BALANCED_ACCURACY

MEASURES = ("balanced_accuracy", "test_accuracy", "pool_accuracy", "macro_f1")


def run(
    samples: Samples,
    setting: Setting,
    methods: Sequence[str],
    seeds: range,
    chosen: list[dict],
    out: Path,
    *,
    keep: bool,
) -> dict[str, Any]:
    """Runs or resumes a unit in its folder.

    Args:
        samples: the dataset.
        setting: of the unit.
        methods: names of the methods.
        seeds: of the repetitions.
        chosen: penalties of the heads, of `penalties.choose`.
        out: the unit's folder.
        keep: whether to keep the predictions on the pool.

    Returns:
        What the unit's file of results holds: for each method and measure a list over
        seeds of lists over rounds.
    """
    began = time.perf_counter()
    divisions = divide_all(samples, setting, seeds)
    settings = {
        "task": "linear heads",
        "methods": list(methods),
        **setting.__dict__,
        "seeds": len(seeds),
        "first_seed": seeds[0],
        "penalties": [[row["labels"], row["penalty"]] for row in chosen],
    }
    progress = Progress(
        methods, setting.rounds, setting.name, measure=BALANCED_ACCURACY
    )
    with run_folder.locked(out):
        for warning in run_folder.prepare(
            out, settings, samples, divisions, resume=True, found_at={}
        ):
            progress.say(f"warning: {warning}")
        rounds = as_rounds(
            samples,
            setting,
            divisions,
            seeds,
            lambda number: penalties.at(chosen, number),
            out / "predictions" if keep else None,
        )
        run_rounds(out, methods, setting.rounds, rounds, progress)
        minutes = (time.perf_counter() - began) / 60
        return summarize(out, setting, methods, seeds, minutes)


def summarize(
    out: Path, setting: Setting, methods: Sequence[str], seeds: range, minutes: float
) -> dict[str, Any]:
    """What the files of a finished unit say, as its file of results holds it."""
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    text = (out / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    by_place = {(line["method"], line["seed"], line["round"]): line for line in lines}
    of_rounds = range(setting.rounds + 1)

    def values(method, measure):
        return [
            [round(by_place[method, seed, at][measure], 4) for at in of_rounds]
            for seed in seeds
        ]

    return {
        "name": setting.name,
        "setting": setting.__dict__,
        "seeds": list(seeds),
        "num_labeled": [
            by_place[methods[0], seeds[0], at]["num_labeled"] for at in of_rounds
        ],
        "minutes": round(minutes, 1),
        **{
            key: config[key]
            for key in ("penalties", "data_sha256", "device", "versions")
        },
        "methods": {
            method: {measure: values(method, measure) for measure in MEASURES}
            for method in methods
        },
    }
