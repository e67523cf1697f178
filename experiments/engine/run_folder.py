"""The folder of a run: what it was asked to do and what came out, line by line.

    config.json       settings, versions, data source and hash
    splits.npz        ids of pool, initial set and holdout of every seed
    metrics.jsonl     a line per method, seed and round
    picks.jsonl       the ids chosen, a line per method, seed and round
    checkpoints/      state after every round, one folder per method
    predictions/      maps of predicted classes of some picks, where pixels have classes
    summary.json, curves.png, class_iou.png, selected.png, report.html
                      the report, made of the files above

The checkpoints are the truth. Each holds all lines of its method so far, so after a
kill the two .jsonl files are rebuilt from them and nothing is missing or twice.
"""

import contextlib
import fcntl
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, Protocol

import jax
import numpy as np

import experiments
from iwps_jax.atomic_write import UNFINISHED, write_atomically
from iwps_jax.refusal import Refusal

PACKAGES = ("iwps-jax", "jax", "jaxlib", "flax", "optax", "numpy")
WRITTEN = (
    "config.json",
    "splits.npz",
    "metrics.jsonl",
    "picks.jsonl",
    "summary.json",
    "curves.png",
    "class_iou.png",
    "selected.png",
    "report.html",
)

ADDED_LATER = {"first_seed": 0, "pool_per_class": None}
"""Settings that the runs of earlier versions lack, as they were then."""


class FolderError(Refusal, RuntimeError):
    """A run folder that belongs to another run, or that cannot be read."""


class Identified(Protocol):
    """Data that say where they are from and which they are."""

    @property
    def source(self) -> str:
        """A sentence."""

    @property
    def sha256(self) -> str:
        """A hash of all of it."""


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Makes the folder and keeps other processes out of it; kill -9 frees it too.

    Raises:
        FolderError: if it is not a run's, cannot be written to, or is in use.
    """
    is_new = not out.exists()
    try:
        _stored_config(out)
        out.mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise FolderError(f"{out} cannot be written to.")
        handle = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise FolderError(f"{out} cannot be used: {error}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise FolderError(f"another process is running in {out}.") from None
    finally:
        os.close(handle)
        if is_new and not any(out.iterdir()):  # refused before anything was written
            out.rmdir()


def prepare(
    out: Path,
    settings: dict,
    dataset: Identified,
    splits: Sequence[NamedTuple],
    *,
    resume: bool,
    found_at: dict,
) -> list[str]:
    """Makes the folder for these settings, or makes sure that it is theirs.

    Args:
        out: the run's folder.
        settings: what determines the results.
        dataset: the data, for its source and hash.
        splits: who is who, one a seed: named arrays, of the same shapes for all seeds.
        resume: whether to continue what is there; otherwise the run's own files are
            removed first.
        found_at: where the user said that the data are, as JSON: for the report to find
            them; a resumed run may find them elsewhere.

    Returns:
        Warnings: sentences about what may keep a resumed run from being bit-identical.

    Raises:
        FolderError: if the folder holds a run with other settings or other data.
    """
    try:
        before = _stored_config(out)
        if before is not None and not resume:
            _remove_run(out, before)
            before = None
    except OSError as error:
        raise FolderError(f"{out} cannot be used: {error}.") from error
    versions = {name: _version(name) for name in PACKAGES}
    if commit := _commit():
        versions["commit"] = commit
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    config = {
        **settings,
        **found_at,
        "data_source": dataset.source,
        "data_sha256": dataset.sha256,
        "device": device,
        "versions": versions,
    }
    if before is None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            _write_splits(out / "splits.npz", splits)
            content = json.dumps(config, indent=2).encode()
            write_atomically(out / "config.json", content)
        except OSError as error:
            raise FolderError(f"{out} cannot be used: {error}.") from error
        return []
    if not (out / "splits.npz").exists():
        _write_splits(out / "splits.npz", splits)
    for name in (*settings, "data_sha256"):
        there = before.get(name, ADDED_LATER.get(name))
        if there != config[name]:
            raise FolderError(
                f"{out} holds a run whose {name} differ: {there!r} there, "
                f"{config[name]!r} now. Name another folder with --out, or start this "
                "one anew with --no-resume."
            )
    return [
        f"this run began with {name} {before.get(name)}, now it is {config[name]}; "
        "the rest may differ in rounding."
        for name in ("device", "versions")
        if before.get(name) != config[name]
    ]


def checkpoints(out: Path, method: str) -> Path:
    """Where the checkpoints of a method are."""
    return out / "checkpoints" / method


def predictions(out: Path, method: str) -> Path:
    """Where a method's maps of predicted classes are."""
    return out / "predictions" / method


def write_lines(path: Path, lines: Iterable[dict]) -> None:
    """Replaces a .jsonl file by these lines, at once or not at all."""
    write_atomically(path, _encode(lines))


def append_lines(path: Path, lines: Iterable[dict]) -> None:
    """Adds lines to a .jsonl file and hands them to the system."""
    with path.open("ab") as file:
        file.write(_encode(lines))


def _encode(lines: Iterable[dict]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    """The commit of the checkout that runs, marked if files of it were changed."""
    root = Path(experiments.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _stored_config(out: Path) -> dict | None:
    """What the config.json of a run says; None in a folder that is new."""
    if not out.exists():
        return None
    names = {path.name for path in out.iterdir()}
    path = out / "config.json"
    if path.name not in names:
        # A run that was killed before its config.json leaves at most its splits.
        ours = {"splits.npz", "splits.npz.tmp", "config.json.tmp"}
        foreign = sorted(n for n in names - ours if not n.endswith(UNFINISHED))
        if foreign:
            raise FolderError(
                f"{out} holds files but no config.json ({', '.join(foreign[:3])}): it "
                "is not the folder of a run. Name another one with --out."
            )
        return None
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FolderError(f"{path} is not JSON: {error}.") from error
    if not isinstance(before, dict) or not {"methods", "data_sha256"} <= before.keys():
        raise FolderError(
            f"{path} is not that of a run. Name another folder with --out."
        )
    return before


def _remove_run(out: Path, config: dict) -> None:
    """Removes a run's own files but its config.json, which marks the folder as ours."""
    for name in WRITTEN:
        if name != "config.json":
            (out / name).unlink(missing_ok=True)
        (out / f"{name}.tmp").unlink(missing_ok=True)  # of version 0.6.0
    for path in out.glob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)
    shutil.rmtree(checkpoints(out, ""), ignore_errors=True)
    if config.get("task") == "segmentation":
        shutil.rmtree(predictions(out, ""), ignore_errors=True)


def _write_splits(path: Path, splits: Sequence[NamedTuple]) -> None:
    content = io.BytesIO()
    names = splits[0]._fields
    stacked = {name: np.stack([getattr(s, name) for s in splits]) for name in names}
    np.savez_compressed(content, **stacked)
    write_atomically(path, content.getvalue())
