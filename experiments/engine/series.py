"""Several runs that belong together, one after another, with one report over them.

An ablation or a grid is a table of settings, one run each. Every run has a folder of
its own below that of the series, and is resumed like any other.
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
    """The settings of every run with what the user changed.

    Args:
        runs: dataclasses of settings, by the name of the run's folder.
        out: folder of the series.
        changed: settings of all runs.
        small: settings of a quick try, of the first and the last run alone.

    Raises:
        ConfigError: if they make no sense together.
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
        run: `run(config, sentence)` runs one, says the sentence first, and returns its
            summary.
        write_report: `write_report(folders, out)` reports on all.
    """
    for number, (name, config) in enumerate(configs.items(), 1):
        print_table(run(config, f"run {number} of {len(configs)}: {name}"))
    write_report([config.out for config in configs.values()], out)
    print(f"report: {out}/report.html, curves.png, summary.json")
