"""From the files of runs to their summaries, pictures, tables and pages.

    python -m experiments.report DIR              # seconds; re-draws a run's report
    python -m experiments.report DIR DIR...       # puts runs side by side
    python -m experiments.report runs/mnist_grid  # so does a folder of run folders

Reads `config.json`, `metrics.jsonl` (a line per method, seed and round), `picks.jsonl`
and `splits.npz` of a run; writes `summary.json`, `curves.png`, `selected.png` and
`report.html` beside them, or one of each for several runs into `--out`. A run of images
whose pixels have classes also gets `class_iou.png`. A run under way is reported as far
as it got, and `notes` in the summary says what is missing.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import folder
from experiments.reporting import (
    class_plots,
    merge,
    page,
    pick_plots,
    plots,
    scene_plots,
)
from experiments.reporting.records import (
    Record,
    find_run_folders,
    read_config,
    read_record,
)
from experiments.reporting.summary import rounded, summarize
from experiments.reporting.tables import (
    about_markdown,
    plural,
    print_table,
    to_markdown,
)

__all__ = ["main", "print_table", "write_merged_report", "write_report"]


def write_report(out: Path, dataset: Any) -> dict[str, Any]:
    """Write the summary, the pictures and the page of a run into its folder.

    Each file appears at once or not at all; equal inputs give equal bytes.

    Args:
        out: folder with `config.json`, `metrics.jsonl` and `picks.jsonl`.
        dataset: the data of the run; `train_images` (uint8, n h w c), `train_labels`
            and `class_names` are used. Where pixels have classes, `train`, a sequence
            of scenes with `image` (uint8, h w 3) and `mask` (uint8, h w).

    Returns:
        The summary, as in `summary.json`. An undefined number (the spread of one
        seed, a target not reached) is None.

    Raises:
        FileNotFoundError: `config.json` or `metrics.jsonl` is missing.
        ValueError: a line is not a complete record, no round has been recorded, or
            the picks do not belong to this dataset.
    """
    record = read_record(out)
    summary, measure = summarize(record, dataset), record.measure
    config, seeds = record.config, plural(len(summary["seeds"]), "seed")
    setting = plots.setting_name(config["dataset"], config.get("imbalance"))
    measured = plots.curves_of(record, measure)
    # Their bands would hide the lines in a picture this small; the page has them.
    wrong_rate = {
        method: curve._replace(standard_error=None)
        for method, curve in plots.curves_of(record, "wrong_rate").items()
    }
    title = f"{setting}, {seeds}"
    png = plots.curves_png(measured, wrong_rate, title, measure=measure)
    folder.write_atomically(record.path / "curves.png", png)
    if measure.of_pixels:
        png = class_plots.class_iou_png(record, title)
        folder.write_atomically(record.path / "class_iou.png", png)
    selected = _selected_png(record, dataset, setting)
    if selected:
        folder.write_atomically(record.path / "selected.png", selected)
    else:
        (record.path / "selected.png").unlink(missing_ok=True)
        missing = "predictions of picks" if measure.of_pixels else "picks"
        summary["notes"].append(
            f"No {missing} are recorded, selected.png is not drawn."
        )
    folder.write_atomically(record.path / "summary.json", folder.as_json(summary))
    folder.write_atomically(
        record.path / "report.html", page.run_page(record, summary).encode()
    )
    return summary


def _selected_png(record: Record, dataset: Any, setting: str) -> bytes | None:
    """The picture of the first picks, or None where none are recorded."""
    of_pixels = record.measure.of_pixels
    plotter = scene_plots if of_pixels else pick_plots
    rows, seed = plotter.first_picks(record, dataset)
    if not rows:
        return None
    title = f"First picks of round 0: {setting}, seed {seed}"
    if of_pixels:
        names, colors = record.config["class_names"], record.config["colors"]
        return scene_plots.selected_png(rows, names, colors, title)
    return pick_plots.selected_png(rows, dataset.class_names, title)


def write_merged_report(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the summary, the picture and the page of several runs into `out`.

    Raises:
        ValueError: as `write_report`, for any of the runs.
        DatasetError: if the data of a run cannot be had.
    """
    return merge.write_merged_report(folders, out, _load)


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
        help="folder of a run, or of several at any depth",
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
        found = find_run_folders(options.folders)
        summary = (
            _redraw(found[0])
            if len(found) == 1
            else write_merged_report(found, options.out)
        )
        runs = summary.get("runs", [summary])
        names = summary.get("names", [None])
        for path in (options.json, options.markdown):
            if path and str(path) != "-":
                path.parent.mkdir(parents=True, exist_ok=True)
        if options.json:
            folder.write_atomically(options.json, folder.as_json(rounded(summary)))
        markdown = "\n".join(
            to_markdown(run, heading=name)
            for run, name in zip(runs, names, strict=True)
        )
        markdown += about_markdown(runs)
        if "win_counts" in summary:
            markdown += "\n" + merge.areas_to_markdown(names, runs)
            markdown += "\n" + merge.win_counts_to_markdown(summary["win_counts"])
        if options.markdown and str(options.markdown) != "-":
            folder.write_atomically(options.markdown, markdown.encode())
    except (OSError, ValueError, RuntimeError) as error:
        parser.exit(1, f"{error}\n")
    if options.markdown and str(options.markdown) == "-":
        print(markdown)
        return
    for run, name in zip(runs, names, strict=True):
        print(f"\n{name}" if name else "", end="\n" if name else "")
        print_table(run)
    if len(found) > 1:
        print(f"report: {options.out}/report.html")


def _redraw(path: Path) -> dict[str, Any]:
    return write_report(path, _load(read_config(path), path))


def _load(config: Mapping[str, Any], path: Path) -> Any:
    """Load the dataset a run was made on, and no other."""
    # Only here: the loaders need packages that a reader of summaries does not.
    if config.get("task") == "segmentation":
        from experiments.segmentation.data import scenes

        if not isinstance(config.get("scenes"), dict):
            raise ValueError(
                f"{path / 'config.json'} must say under scenes what to load, got "
                f"{config.get('scenes')!r}."
            )
        dataset = scenes.load(**config["scenes"])
    else:
        from experiments.data.datasets import load

        dataset = load(config["dataset"], config.get("data_dir"))
    expected = config.get("data_sha256")
    if expected is not None and expected != dataset.sha256:
        raise ValueError(
            f"{path} was run on other data ({config.get('data_source')}) than "
            f"{dataset.source}"
        )
    return dataset


if __name__ == "__main__":
    main()
