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

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro import conf

from experiments.engine import command_line
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
from iwps_jax.refusal import Refusal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is reported, and where it goes."""

    folders: Annotated[
        tuple[Path, ...],
        conf.Positional,
        conf.arg(metavar="DIR...", help_behavior_hint="(required)"),
    ]
    """folder of a run, or of several at any depth; or one file of --json"""
    out: Annotated[Path, conf.arg(metavar="FOLDER")] = Path("runs/report")
    """where the report of several runs goes"""
    json: Annotated[Path | None, conf.arg(metavar="FILE")] = None
    """also write the rounded summary"""
    markdown: Annotated[Path | None, conf.arg(metavar="FILE")] = None
    """also write the tables in Markdown; - prints them"""

    def __post_init__(self):
        """Refuses to report on nothing."""
        if not self.folders:
            raise Refusal("name at least one folder of a run.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Re-draw the report of a run folder, or put several runs side by side."""
    options = command_line.parse(Options, "report", __doc__, arguments)
    with command_line.refusals_in_one_sentence("writes the report"):
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
