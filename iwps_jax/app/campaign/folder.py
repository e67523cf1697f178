"""A campaign on disk, for several people; a kill -9 does not damage it.

    campaign.json     settings; written once
    task.npz          holdout set and scaling; written once
    events/000001.json, ...   one batch or set of answers each; written once, in order
    batches/          the batches of `iwps next`
    lock              held while a command writes an event

An event is written completely or not at all, and never changed: the first events alone
are an earlier state of the campaign. No head is stored: it follows from the labels.
"""

import hashlib
import io
import json
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np

from iwps_jax.app.campaign.learn import refitted
from iwps_jax.app.campaign.scaling import Scaling, rows_of
from iwps_jax.app.campaign.state import (
    METHODS,
    Answers,
    Batch,
    Campaign,
    Task,
    ids_of,
)
from iwps_jax.app.files.arrays import FileError
from iwps_jax.app.files.readers import read_ids, read_pool
from iwps_jax.atomic_write import write_arrays_atomically, write_atomically
from iwps_jax.refusal import Refusal

VERSION = 1
PROBES = 64
TASK, ARRAYS, EVENTS = "campaign.json", "task.npz", "events"
BATCHES, LOCK = "batches", "lock"
ABOUT = (
    *("version", "pool", "ids", "pool_shape", "pool_probes", "ids_sha256"),
    *("classes", "method", "steps", "learning_rate", "seed"),
)


class Paths(NamedTuple):
    """The files that a campaign refers to but does not hold.

    Attributes:
        pool: file of the features.
        ids: file of the names of the rows, or None.
    """

    pool: Path
    ids: Path | None


def create(folder: str | Path, paths: Paths, state: Campaign) -> None:
    """Writes a new campaign to a folder that does not exist yet or is empty.

    Args:
        folder: folder of the campaign; it appears completely or not at all.
        paths: files of the pool and its ids.
        state: first state, with the answers that are known.

    Raises:
        FileError: if the folder is not empty.
        OSError: if it cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileError(f"{folder} must not exist yet, or must be an empty folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        half.mkdir()
        (half / EVENTS).mkdir()
        (half / BATCHES).mkdir()
        for number, event in enumerate(state.events, start=1):
            _write_event(half, number, event, state.task)
        task = state.task
        arrays = {
            "holdout_features": task.holdout_features,
            "holdout_labels": task.holdout_labels,
            "holdout_rows": task.holdout_rows,
            "mean": task.scaling.mean,
            "factor": np.array(task.scaling.factor, np.float64),
        }
        write_arrays_atomically(half / ARRAYS, arrays)
        about = {
            "version": VERSION,
            # Campaign and pool may be moved together.
            "pool": _seen_from(folder, paths.pool),
            "ids": None if paths.ids is None else _seen_from(folder, paths.ids),
            "pool_shape": list(task.pool.shape),
            "pool_probes": _probes(task.pool),
            "ids_sha256": _digest_of_ids(paths.ids),
            "classes": list(task.classes),
            "method": task.method,
            "steps": task.steps,
            "learning_rate": task.learning_rate,
            "seed": task.seed,
        }
        write_atomically(half / TASK, json.dumps(about, indent=1, ensure_ascii=False))
        os.replace(half, folder)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


def read(folder: str | Path) -> Campaign:
    """The campaign after its last event, with the head fitted to its labels.

    Raises:
        FileError: see `read_record`.
    """
    return refitted(read_record(folder))


def read_record(folder: str | Path) -> Campaign:
    """The campaign without a head, for readers who need only batches and answers.

    Raises:
        FileError: if there is no campaign, a file of it is damaged, or the pool or its
            ids have changed since its start; the message names the file.
    """
    folder = Path(folder)
    about = _about(folder)
    paths = paths_of(folder)
    pool = read_pool(paths.pool)
    _require_same_pool(paths.pool, pool, about)
    ids = None if paths.ids is None else read_ids(paths.ids, len(pool))
    if _digest_of_ids(paths.ids) != about["ids_sha256"]:
        raise FileError(f"{paths.ids} must hold the ids that the campaign began with.")
    arrays = _arrays(folder)
    task = Task(
        pool,
        ids,
        arrays["holdout_features"],
        arrays["holdout_labels"],
        arrays["holdout_rows"],
        tuple(about["classes"]),
        about["method"],
        about["steps"],
        about["learning_rate"],
        about["seed"],
        Scaling(arrays["mean"], float(arrays["factor"])),
    )
    return Campaign(task, _events(folder, task), None)


def paths_of(folder: str | Path) -> Paths:
    """The files of the pool and the ids of a campaign."""
    about = _about(Path(folder))
    ids = None if about["ids"] is None else _found(Path(folder), about["ids"])
    return Paths(_found(Path(folder), about["pool"]), ids)


def _seen_from(folder, path) -> dict[str, str]:
    """A file's path relative to the campaign, for both to move, and its real path."""
    # Symbolic links to folders are followed, one to the file itself is not.
    real = os.path.join(os.path.realpath(path.parent), path.name)
    try:
        beside = os.path.relpath(real, os.path.realpath(folder))
    except ValueError:  # another drive of Windows
        beside = real
    return {"beside": beside, "at": real}


def _found(folder, place) -> Path:
    """The file at its path relative to the campaign, or else at its first path."""
    beside = os.path.normpath(os.path.join(os.path.realpath(folder), place["beside"]))
    return Path(place["at"] if not os.path.exists(beside) else beside)


@contextmanager
def locked(folder: str | Path, *, wait: int | float) -> Iterator[None]:
    """Keeps other commands from changing a campaign in the meantime.

    The system releases the lock when the process ends, even if it is killed.

    Raises:
        FileError: if there is no campaign, or another command holds the lock for more
            than `wait` seconds.
        Refusal: if `wait` is negative or NaN.
        OSError: if the file system has no locks.
    """
    folder = Path(folder)
    _about(folder)
    if not wait >= 0:
        raise Refusal(f"wait must be at least 0 seconds, got {wait}.")
    # A file in place of a lock would outlive a process that is killed.
    lock = filelock.FileLock(folder / LOCK, timeout=wait, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise FileError(
            f"{folder} is in use by another command, which did not end within "
            f"{wait:g} seconds: try again."
        ) from error
    try:
        yield
    finally:
        lock.release()


def commit(folder: str | Path, before: Campaign, state: Campaign) -> None:
    """Writes the events since `before`, all or none; call it while `locked`.

    Args:
        folder: folder of the campaign.
        before: the state that was read.
        state: the new state.

    Raises:
        FileError: if another command has changed the campaign since it was read.
        OSError: if an event cannot be written; the campaign is then unchanged.
    """
    folder, known = Path(folder), len(before.events)
    if len(_event_paths(folder)) != known:
        raise FileError(f"another command has changed {folder} meanwhile: try again.")
    kept = []
    try:
        for number, event in enumerate(state.events[known:], start=known + 1):
            kept.append(_write_event(folder, number, event, state.task))
    except Exception:
        for path in reversed(kept):
            path.unlink()
        raise


# Settings


def _about(folder) -> dict[str, Any]:
    if not (folder / TASK).is_file():
        raise FileError(f"{folder} is not a campaign: make one with iwps init.")
    about = _json(folder / TASK)
    if about.get("version") != VERSION:
        raise FileError(
            f"{folder / TASK} must have version {VERSION}, got {about.get('version')}."
        )
    missing = [name for name in ABOUT if name not in about]
    if missing:
        raise FileError(f"{folder / TASK} is damaged: it has no {', '.join(missing)}.")
    if about["method"] not in METHODS:
        raise FileError(
            f"{folder / TASK}: method must be one of {', '.join(METHODS)}, got "
            f"{about['method']}."
        )
    return about


def _arrays(folder) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO((folder / ARRAYS).read_bytes())) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(f"{folder / ARRAYS} is damaged: {error}") from error


def _probes(pool) -> list[str]:
    """Digests of rows spread over the pool."""
    return [
        hashlib.sha256(rows_of(pool, [row]).tobytes()).hexdigest()[:16]
        for row in _probed_rows(len(pool))
    ]


def _probed_rows(size) -> list[int]:
    return np.unique(np.linspace(0, size - 1, PROBES).astype(np.int64)).tolist()


def _require_same_pool(path, pool, about):
    if list(pool.shape) != about["pool_shape"]:
        raise FileError(
            f"{path} must be the pool that the campaign began with, of shape "
            f"{about['pool_shape']}, got {list(pool.shape)}."
        )
    rows = _probed_rows(len(pool))
    for row, now, then in zip(rows, _probes(pool), about["pool_probes"], strict=True):
        if now != then:
            raise FileError(
                f"{path} must be the pool that the campaign began with: row {row} has "
                "changed since."
            )


def _digest_of_ids(path) -> str | None:
    if path is None:
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Events


def _event_paths(folder) -> list[Path]:
    names = sorted(os.listdir(folder / EVENTS))
    return [folder / EVENTS / n for n in names if re.fullmatch(r"\d{6}\.json", n)]


def _write_event(folder, number, event, task) -> Path:
    about = {
        "event": "ask" if isinstance(event, Batch) else "tell",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "ids": ids_of(task, event.rows),
    }
    fields = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in event._asdict().items()
    }
    path = folder / EVENTS / f"{number:06}.json"
    write_atomically(path, json.dumps(about | fields, ensure_ascii=False))
    return path


def _events(folder, task) -> tuple[Batch | Answers, ...]:
    paths = _event_paths(folder)
    for number, path in enumerate(paths, start=1):
        if path.name != f"{number:06}.json":
            raise FileError(f"{folder / EVENTS} lacks {number:06}.json.")
    events: list[Batch | Answers] = []
    seen: set[int] = set()
    for path in paths:
        event = _event(path, task)
        rows = set(event.rows.tolist())
        if len(rows) < len(event.rows) or (isinstance(event, Batch) and rows & seen):
            raise FileError(f"{path} is damaged: it repeats a sample.")
        seen |= rows
        events.append(event)
    return tuple(events)


def _event(path, task) -> Batch | Answers:
    told = _json(path)
    event: Batch | Answers
    columns: tuple[np.ndarray, ...]
    try:
        if told["event"] == "ask":
            event = Batch(
                np.array(told["rows"], np.int64),
                np.array(told["scores"], np.float32),
                np.array(told["predicted"], np.int64),
                np.array(told["confidence"], np.float32),
                told["method"],
            )
            classes, columns = event.predicted, event[:4]
        else:
            event = Answers(
                np.array(told["rows"], np.int64),
                np.array(told["labels"], np.int64),
                told["num_labeled"],
                told["holdout_loss"],
                told["holdout_accuracy"],
            )
            classes, columns = event.labels, event[:2]
        ids = told["ids"]
    except KeyError as error:
        raise FileError(f"{path} is damaged: it has no {error.args[0]}.") from error
    except (TypeError, ValueError) as error:
        raise FileError(f"{path} is damaged: {error}.") from error
    if len({column.shape for column in columns}) != 1 or not event.rows.size:
        raise FileError(f"{path} is damaged: its columns differ in length.")
    if not 0 <= event.rows.min() <= event.rows.max() < len(task.pool):
        raise FileError(f"{path} is damaged: it has rows that are not in the pool.")
    if not -1 <= classes.min() <= classes.max() < len(task.classes):
        raise FileError(f"{path} is damaged: it has classes that do not exist.")
    if ids != ids_of(task, event.rows):
        raise FileError(f"{path} is damaged: its ids are not those of its rows.")
    return event


def _json(path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is damaged: {error}.") from error
    if not isinstance(found, dict):
        raise FileError(f"{path} is damaged: it must hold an object.")
    return found
