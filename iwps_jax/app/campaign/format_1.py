"""Events of format 1 of a campaign's folder: a JSON file each.

    events/000001.json, ...   a batch ("ask") or answers ("tell")

They are read as the records of format 2. Format 1 has no digests: an event is checked
for its place, its ids and its columns, and not for changes.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from iwps_jax.app.campaign.journal import Record
from iwps_jax.app.files.unreadable import FileError, short

EVENTS = "events"
BATCH = ("rows", "scores", "predicted", "confidence", "method")
ANSWERS = ("rows", "labels", "num_labeled", "holdout_loss", "holdout_accuracy")


def read(folder: Path) -> list[Record]:
    """The events as records of format 2.

    Answers that change earlier ones become a record of their own.

    Raises:
        FileError: if one cannot be read or is missing; names it.
    """
    paths = _paths(folder)
    for number, path in enumerate(paths, start=1):
        if path.name != f"{number:06}.json":
            missing = folder / EVENTS / f"{number:06}.json"
            raise FileError(f"{missing} is missing: restore it from a copy.")
    records: list[Record] = []
    last: dict[int, Any] = {}
    for path in paths:
        told = read_object(path)
        try:
            if told["event"] == "ask":
                records.append(_record("handed_out", told, BATCH))
            else:
                records += _answers(told, last)
        except KeyError as error:
            raise FileError(f"{path} is damaged: it has no {error.args[0]}.") from error
        except (TypeError, ValueError) as error:
            raise FileError(f"{path} is damaged: {error}.") from error
    return records


def _paths(folder) -> list[Path]:
    if not (folder / EVENTS).is_dir():
        raise FileError(f"{folder / EVENTS} is missing: restore it from a copy.")
    names = sorted(os.listdir(folder / EVENTS))
    return [folder / EVENTS / n for n in names if re.fullmatch(r"\d{6}\.json", n)]


def _record(kind, told, fields) -> Record:
    about = {"time": told["time"], "event": kind, "ids": told["ids"]}
    record = about | {name: told[name] for name in fields}
    if "scores" in record:
        record["scores"] = [None if x != x else x for x in record["scores"]]
    return record


def _answers(told, last) -> list[Record]:
    """The answers that change earlier ones, and all others."""
    record = _record("answered", told, ANSWERS)
    rows, labels = record["rows"], record["labels"]
    table = list(zip(record["ids"], rows, labels, strict=True))
    previous = [last.get(row) for row in rows]
    changed = [
        before is not None and before != label
        for before, label in zip(previous, labels, strict=True)
    ]
    last.update(zip(rows, labels, strict=True))
    records = []
    for kind, is_it in (("corrected", True), ("answered", False)):
        some = [n for n, is_changed in enumerate(changed) if is_changed is is_it]
        if some:
            ids, of_rows, answers = zip(*(table[n] for n in some), strict=True)
            part = {"ids": [*ids], "rows": [*of_rows], "labels": [*answers]}
            records.append(record | {"event": kind} | part)
            if is_it:
                records[-1]["previous"] = [previous[n] for n in some]
    return records


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        FileError: if it is not JSON in UTF-8, or no object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is damaged: {short(str(error))}.") from error
    if not isinstance(found, dict):
        raise FileError(f"{path} is damaged: it must hold an object.")
    return found
