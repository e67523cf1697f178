"""From the files of runs to their summaries, pictures, tables and pages.

    python -m experiments.report DIR              # seconds; re-draws a run's report
    python -m experiments.report DIR DIR...       # puts runs side by side
    python -m experiments.report runs/mnist_grid  # so does a folder of run folders
    python -m experiments.report experiments/results/mnist_imbalanced.json --markdown -

Reads `config.json`, `metrics.jsonl` (a line per method, seed and round), `picks.jsonl`
and `splits.npz` of a run, or the numbers that an earlier report wrote with --json;
writes `summary.json`, `curves.png`, `selected.png` and
`report.html` beside them, or one of each for several runs into `--out`. A run of images
whose pixels have classes also gets `class_iou.png`. A run under way is reported as far
as it got, and `notes` in the summary says what is missing.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.reporting.merge import (
    areas_to_markdown,
    win_counts_to_markdown,
    write_merged_report,
)
from experiments.reporting.records import find_run_folders, read_config
from experiments.reporting.run_report import write_report
from experiments.reporting.summary import as_json, rounded
from experiments.reporting.tables import about_markdown, print_table, to_markdown
from iwps_jax.atomic_write import write_atomically
from iwps_jax.refusal import Refusal, sentence_of


def main(arguments: Sequence[str] | None = None) -> None:
    """Re-draw the report of a run folder, or put several runs side by side."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report", description=main.__doc__
    )
    parser.add_argument(
        "folders",
        metavar="DIR",
        nargs="+",
        type=Path,
        help="folder of a run, or of several at any depth; or one file of --json",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("runs/report"),
        help="where the report of several runs goes (default: %(default)s)",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="also write the rounded summary"
    )
    parser.add_argument(
        "--markdown",
        metavar="FILE",
        type=Path,
        help="also write the tables in Markdown; - prints them",
    )
    options = parser.parse_args(arguments)
    try:
        first, *others = options.folders
        is_summary = first.is_file() and not others
        found = [] if is_summary else find_run_folders(options.folders)
        if is_summary:
            summary = _read_summary(first)
        elif len(found) == 1:
            summary = _redraw(found[0])
        else:
            summary = write_merged_report(found, options.out, _load)
        runs = summary.get("runs", [summary])
        names = summary.get("names", [None])
        for path in (options.json, options.markdown):
            if path and str(path) != "-":
                path.parent.mkdir(parents=True, exist_ok=True)
        if options.json:
            write_atomically(options.json, as_json(rounded(summary)))
        markdown = "\n".join(
            to_markdown(run, heading=name)
            for run, name in zip(runs, names, strict=True)
        )
        markdown += about_markdown(runs)
        if "win_counts" in summary:
            markdown += "\n" + areas_to_markdown(names, runs)
            markdown += "\n" + win_counts_to_markdown(summary["win_counts"])
        if options.markdown and str(options.markdown) != "-":
            write_atomically(options.markdown, markdown.encode())
    except (OSError, Refusal) as error:
        if (sentence := sentence_of(error)) is None:
            raise
        parser.exit(2, f"error: {sentence}\n")
    if options.markdown and str(options.markdown) == "-":
        print(markdown)
        return
    for run, name in zip(runs, names, strict=True):
        print(f"\n{name}" if name else "", end="\n" if name else "")
        print_table(run)
    if len(found) > 1:
        print(f"report: {options.out}/report.html")


def _read_summary(path: Path) -> dict[str, Any]:
    """Read numbers that --json wrote."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refusal(f"{path} must be JSON: {error}") from error
    if not isinstance(summary, dict) or not {"runs", "win_matrix"} & summary.keys():
        raise Refusal(f"{path} must hold numbers that --json wrote.")
    return summary


def _redraw(path: Path) -> dict[str, Any]:
    return write_report(path, _load(read_config(path), path))


def _load(config: Mapping[str, Any], path: Path) -> Any:
    """Load the dataset a run was made on, and no other."""
    # Only here: the loaders need packages that a reader of summaries does not.
    if config.get("task") == "segmentation":
        from experiments.segmentation.data.datasets import load_recorded
    else:
        from experiments.data.datasets import load_recorded
    return load_recorded(config, path)


if __name__ == "__main__":
    main()
