"""What a scan of the pool has finished, on disk, so that a killed one goes on.

A folder holds `scan.json`, which tells the scan from others, and a file of finished
rows and their best for every process of every attempt. Files of earlier attempts are
only read, so that any number of processes can go on where any other number stopped.
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool

from iwps_jax.atomic_write import write_arrays_atomically, write_atomically
from iwps_jax.pool import ranking, row_ranges
from iwps_jax.pool.ranking import Candidates, TopK
from iwps_jax.pool.row_ranges import Spans
from iwps_jax.refusal import Refusal

FORMAT = 2
SECONDS_BETWEEN_SAVES = 1.0
END_OF_STREAM = 2**62  # the rows of a pool whose size only its end will tell
# Devices differ in rounding, models in much more.
ROUNDING, SHARE_OF_PROBES = 1e-4, 0.75


class Finished(NamedTuple):
    """Rows that have been scored, and the best of them.

    Attributes:
        spans: the rows.
        candidates: those that may be among the picks.
    """

    spans: Spans
    candidates: Candidates


NOTHING_FINISHED = Finished(row_ranges.NOTHING, ranking.NONE)


class Identity(NamedTuple):
    """What tells one scan from another.

    Attributes:
        size: rows of the pool, or None for a stream.
        k: rows to pick.
        where: sha256 of the mask of rows that may be picked, or None.
        score: its fingerprint, with all that is bound to it.
        probe_rows: a few rows of the pool.
        probe_contents: their fingerprints; None where one could not be read.
        probe_scores: what the score says of them; None where it could not be told.
    """

    size: int | None
    k: int
    where: str | None
    score: str
    probe_rows: list[int]
    probe_contents: list[str | None]
    probe_scores: list[float | None]


def digest(where: Bool[np.ndarray, " pool"] | None) -> str | None:
    """A mask in a word; None if it leaves all rows."""
    if where is None or where.all():
        return None
    return hashlib.sha256(np.packbits(where).data).hexdigest()


def open_record(
    folder: Path, identify: Callable[[list[int] | None], Identity]
) -> Finished:
    """What the attempts so far have finished; starts a record where there is none.

    Args:
        folder: of the record.
        identify: the present scan, probed at the given rows, or at some if None.

    Raises:
        ValueError: if the folder holds something else, a damaged file, or the scan of
            another pool, model, mask or k.
    """
    path = folder / "scan.json"
    if path.exists():
        stored = _read_identity(path)
        _require_same(folder, stored, identify(stored.probe_rows))
        return _load(folder, scan_word(stored))
    # Another process may be starting the same record at this moment.
    ours = {"scan.json", *(path.name for path in folder.glob("rows_from_*.npz"))}
    others = {path.name for path in folder.glob("[!.]*")} - ours
    if others:
        raise Refusal(
            f"{folder} must be empty or hold a scan, got other files, such as "
            f"{min(others)}: choose a new folder."
        )
    content = {"format": FORMAT, **identify(None)._asdict()}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    return NOTHING_FINISHED


def _read_identity(path) -> Identity:
    try:
        stored = json.loads(path.read_text())
        if stored.pop("format") != FORMAT:
            raise ValueError("it is of another version")
        return Identity(**stored)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(
            f"{path} cannot be read ({error}): choose a new folder."
        ) from error


def differences(one: Identity, other: Identity) -> list[str]:
    """In what two scans differ, in the words of `top_k_of_pool`."""
    names = [
        name
        for name in ("size", "k", "where")
        if getattr(one, name) != getattr(other, name)
    ]
    if one.score != other.score:
        names.append("model or setting")
    if not _agree(one.probe_contents, other.probe_contents, str.__eq__):
        names.append("pool")
    # What fingerprints do not see of a score, its values tell.
    known = [abs(score) for score in one.probe_scores if score is not None]
    # Few scores are far from the others; the floor is for those near zero.
    floor = ROUNDING * float(np.median(known or [0.0]))

    def is_close(a, b):
        return a == b or abs(a - b) <= ROUNDING * abs(a) + floor

    if not (names or _agree(one.probe_scores, other.probe_scores, is_close)):
        names.append("pool or model")
    return names


def _agree(some, others, is_same) -> bool:
    """Whether most probes say the same; a row may have been mended in between."""
    same = [
        is_same(a, b)
        for a, b in zip(some, others, strict=False)
        if a is not None and b is not None
    ]
    return sum(same) >= SHARE_OF_PROBES * len(same)


def _require_same(folder, stored, present):
    names = differences(stored, present)
    if names:
        raise Refusal(
            f"{folder} holds the scan of another {' and '.join(names)}: choose a new "
            "folder or delete it."
        )


def scan_word(identity: Identity) -> str:
    """A scan in a word: what does not depend on devices or on rows being mended."""
    told = (identity.size, identity.k, identity.where, identity.score)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _digest_of_part(scan, content):
    told = hashlib.sha256(scan.encode())
    for name in ("spans", "rows", "scores"):
        array = np.ascontiguousarray(content[name])
        told.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return told.hexdigest()


def _load(folder, scan):
    done, tops = [row_ranges.NOTHING], [TopK(ranking.NONE.rows, ranking.NONE.scores)]
    for path in sorted(folder.glob("rows_from_*.npz")):
        try:
            with np.load(path) as stored:
                if str(stored["digest"]) != _digest_of_part(scan, stored):
                    raise ValueError("it was changed, or is of another scan")
                done.append(stored["spans"])
                tops.append(TopK(stored["rows"], stored["scores"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise Refusal(
                f"{path} is damaged ({error}): delete it to score its rows again."
            ) from error
    rows, scores = (np.concatenate(parts) for parts in zip(*tops, strict=True))
    return Finished(
        row_ranges.union(np.concatenate(done)), Candidates(rows, scores, -np.inf)
    )


class Saver:
    """Keeps what one process of one attempt has finished, if there is a folder.

    Args:
        folder: of the record, or None.
        k: rows to pick.
    """

    def __init__(self, folder: str | Path | None, k: int):
        """Writes nothing yet."""
        self._folder, self._k = None if folder is None else Path(folder), k
        self._saved_at = time.monotonic()
        self._scan = ""

    def open(self, identify: Callable[[list[int] | None], Identity]) -> Finished:
        """What earlier attempts have finished; see `open_record`."""
        if self._folder is None:
            return NOTHING_FINISHED

        def noted(rows):
            identity = identify(rows)
            self._scan = scan_word(identity)
            return identity

        return open_record(self._folder, noted)

    def save_if_due(self, finished: Finished) -> None:
        """Saves, if the last time was a second ago."""
        if time.monotonic() - self._saved_at >= SECONDS_BETWEEN_SAVES:
            self.save(finished)

    def save(self, finished: Finished) -> None:
        """Saves, in place of the last time."""
        if self._folder is not None and len(finished.spans):
            _save(self._folder, finished, self._k, self._scan)
        self._saved_at = time.monotonic()


def _save(folder, finished, k, scan):
    # The first row names the file: no two attempts finish the same one.
    top = ranking.ranked(finished.candidates, k)
    content = {"spans": finished.spans, "rows": top.rows, "scores": top.scores}
    content["digest"] = np.array(_digest_of_part(scan, content))
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays_atomically(folder / f"rows_from_{finished.spans[0, 0]}.npz", content)
