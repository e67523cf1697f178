"""`iwps check`: check your files and recommend a method.

    iwps check --pool pool.npy --head head.npz --holdout holdout.npz

Give one or more of the files. The command reads the whole pool once, in bounded memory,
and looks for rows that are not finite. It reports how balanced the holdout set and the
predictions are, how accurate the head is on the holdout set, and how far the look-ahead
(iwps) and its first-order approximation (iwps_app) agree on some rows of the pool.
--json also writes the report to a file.

--campaign verifies a campaign: each event's digest, the holdout set, pool and ids.
The first event that was changed, removed or repeated is named.

The command ends with status 2 and one sentence if it cannot use a file, or if the pool
has rows that no method can score. In the second case it also prints the report.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import jax
import numpy as np
from tyro import conf

from iwps_jax import methods
from iwps_jax.app import leaks, naming
from iwps_jax.app.campaign import scaling
from iwps_jax.app.commands import (
    advice,
    campaign_check,
    exit_status,
    inputs,
    jax_settings,
    pool_check,
)
from iwps_jax.app.commands.answers import naming_line
from iwps_jax.app.commands.check_report import lines_of, listed
from iwps_jax.app.commands.inputs import Given
from iwps_jax.app.files.picks import Answer, read_answers
from iwps_jax.app.files.readers import places_of, require_classes, require_few_classes
from iwps_jax.app.files.unreadable import FileError
from iwps_jax.atomic_write import write_atomically
from iwps_jax.explanations import holdout_predictions
from iwps_jax.method import Model
from iwps_jax.picking import bind_score, logits_of
from iwps_jax.pool import sources
from iwps_jax.pool.scan import score_pool
from iwps_jax.pool.sources import PoolError
from iwps_jax.refusal import Refusal, refusing
from iwps_jax.wording import plural

SAMPLE = 2000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(inputs.Files):
    """The options of the command."""

    writes: ClassVar = ("json",)
    labels: Path | None = None
    """answers to check and count: .csv with the columns id and label"""
    training_set: Path | None = None
    """the samples that the head was trained on: .npz or .safetensors with features
    [n, d] and labels [n]"""
    campaign: Annotated[Path | None, conf.arg(metavar="DIR")] = None
    """folder of a campaign, all of which is verified"""
    json: Path | None = None
    """file to write the report to"""


def run(options: Options) -> int:
    """Reads, prints and writes the report; returns the exit status."""
    return exit_status.run(lambda: _check(options))


def _check(options: Options):
    if dataclasses.replace(options, json=None, no_cache=False) == Options():
        raise Refusal("check needs a file, such as --pool.")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise Refusal(f"--json must be in a folder that exists: {options.json}.")
    jax_settings.start_jax(options)
    files = inputs.read(options, training_set=options.training_set)
    name = str(options.logits or options.pool)
    inputs.require_pool(name, files.pool)
    with refusing(PoolError, MemoryError, about=name):
        report = {
            **_of_pool(options, files),
            **_of_head(options, files),
            **_of_holdout(options, files),
            **_of_copies(files),
            **_of_training_set(options, files),
            **_of_labels(options, files),
            **_of_sample(files),
        }
    report |= _of_advice(files, report)
    if options.campaign is not None:
        report["campaign"] = campaign_check.report_on(options.campaign)
    print("\n".join(lines_of(report)))
    if options.json is not None:
        write_atomically(options.json, json.dumps(report, indent=1) + "\n")
    bad = report.get("pool", {}).get("bad_rows", 0)
    if bad:
        rows = listed(report["pool"]["first_bad_rows"], bad)
        raise FileError(
            f"{report['pool']['path']}: all rows must be finite in 32 bits, got "
            f"{plural(bad, 'that is', 'that are')} not: {rows}."
        )


# What is found


def _of_pool(options: Options, files):
    if files.pool is None:
        return {}
    size = inputs.size_of(files.pool, "check")
    is_bad = pool_check.have_no_softmax if files.are_logits else pool_check.are_bad
    tests: list[pool_check.Test] = [is_bad]
    if not files.are_logits and getattr(files.pool, "ndim", None) == 2:
        tests.append(pool_check.outlying_test(files.pool))
    bad, *outlying = pool_check.find_rows(files.pool, *tests)
    leaves = [leaf for leaf in jax.tree.leaves(files.pool) if hasattr(leaf, "dtype")]
    told = {
        "path": options.logits or options.pool,
        "rows": size,
        "shapes": [list(leaf.shape) for leaf in leaves],
        "dtypes": [str(leaf.dtype) for leaf in leaves],
        "ids": files.ids is not None,
        "bad_rows": bad.total,
        "first_bad_rows": bad.first,
    }
    for found in outlying:
        told |= {"outlying_rows": found.total, "first_outlying_rows": found.first}
    return {"pool": told}


def _of_head(options: Options, files):
    if files.head is None:
        return {}
    d, classes = files.head.kernel.shape
    return {"head": {"path": str(options.head), "d": d, "classes": classes}}


def _num_classes(files: Given) -> int | None:
    """How many classes there are, as far as the files tell."""
    if files.head is not None:
        return len(files.head.bias)
    if files.classes is not None:
        return len(files.classes)
    return None if files.holdout is None else int(files.holdout.labels.max()) + 1


def _counts(files, labels, num_classes) -> dict[str, int]:
    counts = np.bincount(labels, minlength=num_classes)
    return {files.name_of(c): int(count) for c, count in enumerate(counts)}


def _classes_in(files, path, labels) -> int:
    """How many classes these labels are of, if no other file refuses them."""
    known = _num_classes(files)
    if known is None or (files.head is None and files.classes is None):
        require_few_classes(places_of(path, labels))
        return max(known or 0, int(labels.max()) + 1)
    require_classes(path, labels, known)
    return known


def _of_holdout(options: Options, files):
    if files.holdout is None:
        return {}
    labels, path = files.holdout.labels, str(options.holdout)
    num_classes = _classes_in(files, path, labels)
    told = {
        "path": path,
        "samples": len(labels),
        "d": files.holdout.features.shape[1],
        "counts": _counts(files, labels, num_classes),
    }
    if files.head is not None:
        predicted = holdout_predictions(files.head, files.holdout)
        told["accuracy"] = float((predicted == labels).mean())
    return {"holdout": told}


def _of_training_set(options: Options, files):
    if files.training is None:
        return {}
    labels, path = files.training.labels, str(options.training_set)
    counts = _counts(files, labels, _classes_in(files, path, labels))
    return {"training_set": {"path": path, "samples": len(labels), "counts": counts}}


def _of_copies(files):
    """Holdout samples that are in the pool, too, with the rows there."""
    is_matrix = getattr(files.pool, "ndim", None) == 2 and not files.are_logits
    if files.holdout is None or not is_matrix:
        return {}
    rows = leaks.copies_of(files.holdout.features, files.pool)
    rows = rows[rows != leaks.NO_COPY].tolist()
    return {"copies": {"count": len(rows), "first_rows": rows[: pool_check.ROWS_NAMED]}}


def label_numbers(
    path: str | Path,
    answers: Sequence[Answer],
    classes: Sequence[str] | None,
    num_classes: int | None,
) -> list[int | None]:
    """The class number of every answer; negative for `skip` and `unsure`, or None.

    Args:
        path: where they are from.
        answers: of `read_answers`.
        classes: names; None if the answers are the numbers.
        num_classes: how many numbers there are; None if that is not known.

    Raises:
        FileError: if an answer is no class, or so large a number that it can hardly be
            one; names the line.
    """
    if classes is None:
        if num_classes is None:
            told = ((naming.number_of(a.label), a.line) for a in answers)
            places = {c: f"{path}: line {line}" for c, line in told if c is not None}
            require_few_classes(places)
            num_classes = max(places, default=-1) + 1
        classes = list(map(str, range(num_classes)))
    with naming_line(path, answers):
        return naming.classes_of(
            classes, [a.id for a in answers], [a.label for a in answers]
        )


def _of_labels(options: Options, files):
    if options.labels is None:
        return {}
    answers = read_answers(options.labels)
    num_classes = _num_classes(files)
    numbers = label_numbers(options.labels, answers, files.classes, num_classes)
    if files.pool is not None:
        size = inputs.size_of(files.pool, "--labels")
        inputs.rows_of_ids(options.labels, files.ids, size)
    labels = np.array([n for n in numbers if n is not None and n >= 0], np.int64)
    told = {
        "path": str(options.labels),
        "labeled": len(labels),
        "skipped": numbers.count(naming.SKIPPED) + numbers.count(naming.UNSURED),
        "open": numbers.count(None),
        "counts": _counts(files, labels, num_classes or 0),
    }
    return {"labels": told}


def _of_sample(files):
    """Predictions of some rows, and the agreement of two scores on them."""
    is_matrix = getattr(files.pool, "ndim", None) == 2
    is_logits = files.head is None
    if not is_matrix or (is_logits and not files.are_logits):
        return {}
    size = len(files.pool)
    rows = np.unique(np.linspace(0, size - 1, min(size, SAMPLE)).astype(np.int64))
    sample = sources.take(files.pool, rows.tolist())
    is_bad = pool_check.have_no_softmax if is_logits else pool_check.are_bad
    sample = sample[~is_bad(sample)]
    if len(sample) == 0:
        return {}
    predicted = np.asarray(logits_of(sample, files.head).argmax(-1))
    num_classes = files.pool.shape[1] if is_logits else len(files.head.bias)
    counts = _counts(files, predicted, num_classes)
    told = {"predicted": {"rows": len(sample), "counts": counts}}
    if not is_logits and files.holdout is not None:
        model = Model(head=files.head, holdout=files.holdout)
        exact, first_order = (
            score_pool(bind_score(method, model), sample)
            for method in (methods.IWPS, methods.IWPS_APP)
        )
        spearman = advice.rank_correlation(exact, first_order)
        told["agreement"] = {
            "rows": len(sample),
            "spearman": None if math.isnan(spearman) else spearman,
            "overlap_of_best_tenth": advice.overlap_of_best(exact, first_order),
        }
    return told


def _outlying_warnings(files, report) -> list[str]:
    pool = report.get("pool", {})
    if not pool.get("outlying_rows"):
        return []
    names = [files.id_of(row) for row in pool["first_outlying_rows"]]
    count, scales = pool["outlying_rows"], scaling.OUTLYING
    return [advice.outlying_warning(pool["path"], count, names, scales)]


def _of_advice(files, report):
    predicted = holdout = None
    classes = []
    if "predicted" in report:
        classes = list(report["predicted"]["counts"])
        predicted = np.array(list(report["predicted"]["counts"].values()))
    if "holdout" in report:
        classes = list(report["holdout"]["counts"])
        holdout = np.array(list(report["holdout"]["counts"].values()))
    can_judge = files.head is not None or predicted is None
    told = advice.advise(
        predicted=predicted,
        holdout=holdout if can_judge else None,
        classes=classes,
        has_labels="training_set" in report
        or report.get("labels", {}).get("labeled", 0) > 0,
        warnings=[
            *advice.head_warnings(files.head, files.holdout),
            *_outlying_warnings(files, report),
        ],
        agreement=report.get("agreement", {}).get("spearman"),
        is_of_draws=files.are_logits and getattr(files.pool, "ndim", 2) == 3,
    )
    return {"recommended": told._asdict()}
