"""The report of `iwps check` as lines for people."""

import textwrap
from collections.abc import Sequence
from typing import Any

from iwps_jax.wording import plural

CLASSES_NAMED = 12
COLUMNS = 88


def lines_of(report: dict[str, Any]) -> list[str]:
    """The report as lines for people."""
    said = []
    if (pool := report.get("pool")) is not None:
        shapes = ", ".join(
            f"{' x '.join(f'{n:,}' for n in shape)} {dtype}"
            for shape, dtype in zip(pool["shapes"], pool["dtypes"], strict=True)
        )
        finite = "all finite"
        if pool["bad_rows"]:
            finite = f"{plural(pool['bad_rows'], 'row')} not finite"
        ids = ", each with an id" if pool["ids"] else ""
        rows = plural(pool["rows"], "row")
        said.append(("pool", f"{rows}{ids}: {shapes}; {finite}"))
    if (head := report.get("head")) is not None:
        features, classes = (
            plural(head[key], noun)
            for key, noun in (("d", "feature"), ("classes", "class"))
        )
        said.append(("head", f"{features} -> {classes}"))
    if (holdout := report.get("holdout")) is not None:
        text = f"{plural(holdout['samples'], 'sample')}, {_spread(holdout['counts'])}"
        if "accuracy" in holdout:
            text += f"; the head is right on {100 * holdout['accuracy']:.1f} %"
        said.append(("holdout", text))
    if (training := report.get("training_set")) is not None:
        text = f"{plural(training['samples'], 'sample')}, {_spread(training['counts'])}"
        said.append(("training set", text))
    if (labels := report.get("labels")) is not None:
        text = f"{plural(labels['labeled'], 'label')}, {labels['skipped']:,} skipped, "
        text += f"{labels['open']:,} not answered"
        if labels["labeled"]:
            text += f"; {_spread(labels['counts'])}"
        said.append(("labels", text))
    if (predicted := report.get("predicted")) is not None:
        text = f"of {plural(predicted['rows'], 'row')}: {_most(predicted['counts'])}"
        said.append(("predicted", text))
    if (agreement := report.get("agreement")) is not None:
        spearman = agreement["spearman"]
        text = "Spearman " + ("undefined" if spearman is None else f"{spearman:.3f}")
        overlap = agreement["overlap_of_best_tenth"]
        text += f", they share {overlap:.0%} of their best tenth"
        rows = plural(agreement["rows"], "row")
        said.append(("iwps and iwps_app", f"on {rows}: {text}"))
    advised = report["recommended"]
    if said or "campaign" not in report:
        text = f"{advised['method'] or 'nothing'}: {advised['reason']}"
        said.append(("recommended", text))
    said += [("warning", text) for text in advised["warnings"]]
    if (campaign := report.get("campaign")) is not None:
        digests = "all digests hold" if campaign["format"] > 1 else "it has no digests"
        text = f"{campaign['path']}, format {campaign['format']}: "
        text += f"{plural(campaign['events'], 'event')}, "
        text += f"{plural(campaign['answers'], 'answer')}, "
        text += f"{campaign['labeled']:,} labeled, {campaign['waiting']:,} waiting for "
        text += f"an answer; {digests}"
        said.append(("campaign", text))
        said += [("warning", text) for text in campaign["warnings"]]
    if (copies := report.get("copies")) is not None and copies["count"]:
        are_copies = ("holdout sample is a copy", "holdout samples are copies")
        text = f"{plural(copies['count'], *are_copies)} of rows of the pool: "
        text += f"{listed(copies['first_rows'], copies['count'])}; do not train on "
        text += "these rows, because a holdout sample must be new to the head."
        said.append(("warning", text))
    width = max(len(name) for name, _ in said)
    return [
        textwrap.fill(f"{name:<{width}}  {text}", COLUMNS, subsequent_indent=" " * 4)
        for name, text in said
    ]


def _spread(counts) -> str:
    """The extremes of some counts of classes."""
    least, most = min(counts, key=counts.get), max(counts, key=counts.get)
    if counts[least] == counts[most]:
        return f"{plural(len(counts), 'class')}, {counts[most]:,} of each"
    return (
        f"{plural(len(counts), 'class')}, from {counts[least]:,} (class {least}) to "
        f"{counts[most]:,} (class {most})"
    )


def _most(counts) -> str:
    """The largest counts."""
    names = sorted(counts, key=counts.get, reverse=True)
    told = ", ".join(f"{name} {counts[name]:,}" for name in names[:CLASSES_NAMED])
    more = len(names) - CLASSES_NAMED
    return told + (f" and {plural(more, 'more class')}" if more > 0 else "")


def listed(rows: Sequence[int], count: int) -> str:
    """Some rows of `count`, with dots for those left out."""
    return ", ".join(map(str, rows)) + ", ..." * (count > len(rows))
