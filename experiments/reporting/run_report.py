"""Writes the report of one run: summary, pictures and page, from its files."""

from pathlib import Path
from typing import Any

from experiments.reporting import class_plots, html_page, pick_plots, plots, scene_plots
from experiments.reporting.records import Record, read_record
from experiments.reporting.styles import setting_of
from experiments.reporting.summary import as_json, summarize
from iwps_jax.atomic_write import write_atomically
from iwps_jax.wording import plural


def write_report(out: Path, dataset: Any) -> dict[str, Any]:
    """Write the summary, the pictures and the page of a run into its folder.

    Each file is written completely or not at all; equal inputs give equal bytes.

    Args:
        out: folder with `config.json`, `metrics.jsonl` and `picks.jsonl`.
        dataset: the data of the run, with `train_images` (uint8, n h w c),
            `train_labels` and `class_names`; or texts or a table, see
            `experiments.data.kinds`; if pixels have classes, with `train`, a sequence
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
    setting = setting_of(config)
    measured = plots.curves_of(record, measure)
    # Their bands would hide the lines in a picture this small; the page has them.
    wrong_rate = {
        method: curve._replace(standard_error=None)
        for method, curve in plots.curves_of(record, "wrong_rate").items()
    }
    title = f"{setting}, {seeds}"
    png = plots.curves_png(measured, wrong_rate, title, measure=measure)
    write_atomically(record.path / "curves.png", png)
    if measure.of_pixels:
        png = class_plots.class_iou_png(record, title)
        write_atomically(record.path / "class_iou.png", png)
    selected, lines = _first_picks(record, dataset, setting)
    if selected:
        write_atomically(record.path / "selected.png", selected)
    else:
        (record.path / "selected.png").unlink(missing_ok=True)
        missing = "predictions of picks" if measure.of_pixels else "picks"
        summary["notes"].append(
            f"No {missing} are recorded, so selected.png is not drawn."
        )
    write_atomically(record.path / "summary.json", as_json(summary))
    write_atomically(
        record.path / "report.html", html_page.run_page(record, summary, lines).encode()
    )
    return summary


def _first_picks(
    record: Record, dataset: Any, setting: str
) -> tuple[bytes | None, list[pick_plots.Lines]]:
    """The picture of the first picks, or None without any, and them as lines of text.

    There are no lines where samples are images.
    """
    of_pixels = record.measure.of_pixels
    plotter = scene_plots if of_pixels else pick_plots
    rows, seed = plotter.first_picks(record, dataset)
    if not rows:
        return None, []
    title = f"First picks of round 0: {setting}, seed {seed}"
    if of_pixels:
        names, colors = record.config["class_names"], record.config["colors"]
        return scene_plots.selected_png(rows, names, colors, title), []
    names = dataset.class_names
    return pick_plots.selected_png(rows, names, title), pick_plots.lines(rows, names)
