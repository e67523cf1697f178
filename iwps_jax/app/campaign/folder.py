"""A campaign on disk, for several people; a kill -9 does not damage it.

    campaign.json     settings at the start; written once
    task.npz          holdout set and scaling; written once
    journal/          the events; see `iwps_jax.app.campaign.journal`
    batches/          the batches of `iwps next`
    lock              held while a command changes the campaign

An event never changes, and the first events alone are an earlier state of the campaign.
No head is stored: it follows from the labels. A folder of format 1 is read, too, and
becomes one of format 2 when the next event is written.
"""

import glob
import hashlib
import io
import json
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from iwps_jax.app.campaign import format_1, journal, locks, settings
from iwps_jax.app.campaign.learn import refitted
from iwps_jax.app.campaign.records import events_of, record_of
from iwps_jax.app.campaign.scaling import Scaling, rows_of
from iwps_jax.app.campaign.state import METHODS, RECOMMENDED, Campaign, Task
from iwps_jax.app.files.readers import read_ids, read_pool
from iwps_jax.app.files.unreadable import FileError, require_file
from iwps_jax.atomic_write import (
    UNFINISHED,
    naming_file,
    sync_folder,
    write_arrays_atomically,
    write_atomically,
)
from iwps_jax.method import RARITY

VERSION = 2
PROBES = 64
TASK, ARRAYS, JOURNAL, BATCHES = "campaign.json", "task.npz", "journal", "batches"
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
    named, folder = folder, Path(os.path.realpath(folder))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileError(f"{named} must not exist yet, or must be an empty folder.")
    if folder == Path.cwd():
        raise FileError(
            "a campaign must have a folder of its own, not the current one."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    for dead in folder.parent.glob(f".{glob.escape(folder.name)}.*{UNFINISHED}"):
        locks.remove_half_made(dead)
    half = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{UNFINISHED}")
    try:
        with naming_file(named):
            half.mkdir()
            with locks.hold_half_made(half):
                _fill(half, folder, paths, state)
                os.replace(half, folder)
            sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


def _fill(half, folder, paths, state) -> None:
    """Writes all of a new campaign to `half`, which becomes `folder`."""
    (half / BATCHES).mkdir()
    task = state.task
    arrays = {
        "holdout_features": task.holdout_features,
        "holdout_labels": task.holdout_labels,
        "holdout_rows": task.holdout_rows,
        "mean": task.scaling.mean,
        "factor": np.array(task.scaling.factor, np.float64),
        "cap": np.array(task.scaling.cap, np.float64),
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
        "control": task.control,
        "is_open": task.is_open,
        "rarity": task.rarity,
    }
    records = [_stamped(record_of(event, task)) for event in state.events]
    _begin(half, about, records)


def read(folder: str | Path) -> Campaign:
    """The campaign after its last event, with the head fitted to its labels.

    Raises:
        FileError: see `read_record`.
    """
    return refitted(read_record(folder))


def read_record(folder: str | Path) -> Campaign:
    """The campaign without a head, for readers who need only batches and answers.

    All that the campaign holds is verified.

    Raises:
        FileError: if there is no campaign, a file of it is damaged, or the pool or its
            ids have changed since its start; the message names the file, and the first
            event that is bad.
    """
    folder = Path(folder)
    about = _about(folder)
    paths = paths_of(folder)
    if not paths.pool.exists():
        raise FileError(
            f"{paths.pool} does not exist: the pool of {folder} must be there, or "
            "where it was as seen from the campaign."
        )
    pool = read_pool(paths.pool)
    _require_same_pool(paths.pool, pool, about)
    ids = None if paths.ids is None else read_ids(paths.ids, len(pool))
    if _digest_of_ids(paths.ids) != about["ids_sha256"]:
        raise FileError(f"{paths.ids} must hold the ids that the campaign began with.")
    arrays = _arrays(folder, about)
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
        Scaling(
            arrays["mean"], float(arrays["factor"]), float(arrays.get("cap", np.inf))
        ),
        about.get("control", 0.0),
        about.get("is_open", False),
        about.get("rarity", RARITY),
    )
    return Campaign(task, events_of(_records(folder, about), task, str(folder)), None)


def paths_of(folder: str | Path) -> Paths:
    """The files of the pool and the ids of a campaign."""
    about = _about(Path(folder))
    ids = None if about["ids"] is None else _found(Path(folder), about["ids"])
    return Paths(_found(Path(folder), about["pool"]), ids)


def format_of(folder: str | Path) -> int:
    """The format of a campaign's folder: 1 or 2."""
    return int(_about(Path(folder))["version"])


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
def locked(
    folder: str | Path, *, wait: int | float, outputs: Sequence[Path] = ()
) -> Iterator[None]:
    """Keeps other commands from changing a campaign in the meantime.

    Args:
        folder: folder of the campaign.
        wait: seconds to wait for another command.
        outputs: other folders to which the caller writes: if it is killed, the next
            holder of the lock removes its unfinished files there.

    Raises:
        FileError: if there is no campaign, or as `locks.hold`.
        Refusal: see `locks.hold`.
        OSError: see `locks.hold`.
    """
    folder = Path(folder)
    _about(folder)
    inside = (JOURNAL, BATCHES, format_1.EVENTS)
    with locks.hold(folder, wait=wait, inside=inside, outputs=outputs):
        yield


def commit(folder: str | Path, before: Campaign, state: Campaign) -> None:
    """Writes the events since `before`, all or none; call it while `locked`.

    They are on the disk afterwards. A folder of format 1 becomes one of format 2.

    Args:
        folder: folder of the campaign.
        before: the state that was read.
        state: the new state.

    Raises:
        FileError: if another command has changed the campaign since it was read.
        OSError: if an event cannot be written; the campaign is then unchanged.
    """
    folder, known = Path(folder), len(before.events)
    about = _about(folder)
    if about["version"] != VERSION:
        about = _upgrade(folder, about)
    records = [_stamped(record_of(event, state.task)) for event in state.events[known:]]
    journal.append(folder / JOURNAL, about["digest"], known, records)


def _stamped(record):
    return {"time": datetime.now(UTC).isoformat(timespec="seconds")} | record


def _records(folder, about) -> Sequence[journal.Record]:
    if about["version"] == VERSION:
        return journal.read(folder / JOURNAL, about["digest"])
    return format_1.read(folder)


def _upgrade(folder, about) -> dict[str, Any]:
    """Makes a folder of format 1 one of format 2, whose events remain beside it."""
    records = format_1.read(folder)
    if (folder / JOURNAL).exists():  # of a command that was killed here
        shutil.rmtree(folder / JOURNAL)
    first = (folder / TASK).read_bytes()
    write_atomically(folder / format_1.EVENTS / TASK, first)
    return _begin(folder, about | {"version": VERSION, "upgraded_from": 1}, records)


def _begin(folder, about, records) -> dict[str, Any]:
    """Writes the journal, and then the settings, which make it count."""
    about = about | {"task_sha256": _digest(folder / ARRAYS)}
    about |= {"digest": _digest_of(about)}
    (folder / JOURNAL).mkdir()
    os.chmod(folder / JOURNAL, os.stat(folder).st_mode & 0o7777)
    journal.begin(folder / JOURNAL, about["digest"])
    if records:
        journal.append(folder / JOURNAL, about["digest"], 0, records)
    write_atomically(folder / TASK, json.dumps(about, indent=1, ensure_ascii=False))
    return about


# Settings


def _about(folder) -> dict[str, Any]:
    if not (folder / TASK).is_file():
        raise FileError(f"{folder} is not a campaign: make one with iwps init.")
    about = format_1.read_object(folder / TASK)
    version = about.get("version")
    if version not in (1, VERSION):
        raise FileError(f"{folder / TASK} must have version 1 or 2, got {version}.")
    more = ("task_sha256", "digest") if version == VERSION else ()
    missing = [name for name in (*ABOUT, *more) if name not in about]
    if missing:
        raise FileError(f"{folder / TASK} is damaged: it has no {', '.join(missing)}.")
    if version == VERSION and about["digest"] != _digest_of(about):
        raise FileError(
            f"{folder / TASK} is damaged: it was changed after it was written."
        )
    settings.require_settings(folder / TASK, about)
    if about["method"] not in (RECOMMENDED, *METHODS):
        raise FileError(
            f"{folder / TASK}: method must be one of {', '.join(METHODS)}, got "
            f"{about['method']}."
        )
    return about


def _digest_of(about) -> str:
    told = {name: value for name, value in about.items() if name != "digest"}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _arrays(folder, about) -> dict[str, np.ndarray]:
    path = folder / ARRAYS
    if about["version"] == VERSION and about["task_sha256"] != _digest(path):
        raise FileError(f"{path} is damaged: it was changed after it was written.")
    try:
        with np.load(io.BytesIO(path.read_bytes())) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(f"{path} is damaged: {error}") from error
    settings.require_arrays(path, found, about)
    return found


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
    return None if path is None else _digest(path)


def _digest(path) -> str:
    require_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
