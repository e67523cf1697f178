"""A series of runs, one after another, with one report on all of them.

An ablation or a grid is a table of settings with one run each. Every run has its own
folder below that of the series, and is resumed like any other run.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.reporting.tables import print_table


def configure(
    runs: Mapping[str, Any],
    out: Path,
    changed: Mapping[str, Any],
    small: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings of every run, with the user's changes.

    Args:
        runs: dataclasses of settings, by the name of the run's folder.
        out: folder of the series.
        changed: changes for all runs.
        small: changes for a quick trial, which has only the first and the last run.

    Raises:
        ConfigError: if the settings are inconsistent.
    """
    names = list(runs)
    if small is not None:
        names = list(dict.fromkeys((names[0], names[-1])))
    changed = {**(small or {}), **changed}
    return {
        name: dataclasses.replace(runs[name], **changed, out=out / name)
        for name in names
    }


def run_all(
    configs: Mapping[str, Any],
    out: Path,
    run: Callable[[Any, str], dict],
    write_report: Callable[[Sequence[Path], Path], Any],
) -> None:
    """Runs or resumes every run, then reports on all of them in `out`.

    Args:
        configs: from `configure`.
        out: folder of the series.
        run: `run(config, sentence)` prints the sentence, runs one run and returns its
            summary.
        write_report: `write_report(folders, out)` writes the report on all runs.
    """
    for number, (name, config) in enumerate(configs.items(), 1):
        print_table(run(config, f"run {number} of {len(configs)}: {name}"))
    write_report([config.out for config in configs.values()], out)
    print(f"report: {out}/report.html, curves.png, summary.json")
