"""The folder of a run: its settings and its results.

    config.json       settings, versions, data source and hash
    splits.npz        ids of pool, initial set and holdout of every seed
    metrics.jsonl     a line per method, seed and round
    picks.jsonl       the picked ids, a line per method, seed and round
    checkpoints/      state after every round, one folder per method
    predictions/      predicted class maps of some picks, if pixels have classes
    summary.json, curves.png, class_iou.png, selected.png, report.html
                      the report, made from the files above

The checkpoints decide. Each holds all lines of its method so far, so after a kill the
two .jsonl files are rebuilt from them, and no line is missing or repeated.
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
"""Settings that runs of earlier versions lack, with their values at that time."""
UNSAID = {"distribution": "minority", "test_sets": ["official"]}
"""Settings that are written only if they have other values than these."""


class FolderError(Refusal, RuntimeError):
    """A run folder belongs to another run, or cannot be used."""


class Identified(Protocol):
    """Data with a source and a hash."""

    @property
    def source(self) -> str:
        """Where the data come from, as a sentence."""

    @property
    def sha256(self) -> str:
        """A hash of all data."""


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Makes the folder and keeps other processes out of it, until the process ends.

    Raises:
        FolderError: if it is not the folder of a run, cannot be written to, or is in
            use.
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
    """Makes the folder for these settings, or checks that it belongs to them.

    Args:
        out: the run's folder.
        settings: the settings that determine the results.
        dataset: the data, for their source and hash.
        splits: the split of each seed: named arrays, of the same shapes for all seeds.
        resume: whether to continue a run in this folder; otherwise its files are
            removed first.
        found_at: the user's path of the data, as JSON, from which the report reads
            them; it may differ when a run is resumed.

    Returns:
        Warnings: sentences on differences that may change a resumed run's rounding.

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
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    config = {
        **settings,
        **found_at,
        "data_source": dataset.source,
        "data_sha256": dataset.sha256,
        "device": device,
        "versions": versions(),
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
    compared = dict.fromkeys((*settings, "data_sha256", *UNSAID))
    for name in compared:
        unsaid = UNSAID.get(name, ADDED_LATER.get(name))
        there, now = before.get(name, unsaid), config.get(name, unsaid)
        if there != now:
            raise FolderError(
                f"{out} holds a run with other settings ({name}: {there!r} there, "
                f"{now!r} now). Choose another folder with --out, or start "
                "this one again with --no-resume."
            )
    return [
        f"this run began with {name} {before.get(name)}, now it is {config[name]}; "
        "the remaining rounds may differ by rounding."
        for name in ("device", "versions")
        if before.get(name) != config[name]
    ]


def checkpoints(out: Path, method: str) -> Path:
    """The folder of a method's checkpoints."""
    return out / "checkpoints" / method


def predictions(out: Path, method: str) -> Path:
    """The folder of a method's predicted class maps."""
    return out / "predictions" / method


def write_lines(path: Path, lines: Iterable[dict]) -> None:
    """Replaces a .jsonl file by these lines, at once or not at all."""
    write_atomically(path, _encode(lines))


def append_lines(path: Path, lines: Iterable[dict]) -> None:
    """Appends lines to a .jsonl file."""
    with path.open("ab") as file:
        file.write(_encode(lines))


def _encode(lines: Iterable[dict]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def versions() -> dict[str, str]:
    """The versions of the packages that results depend on, and the commit."""
    found = {name: _version(name) for name in PACKAGES}
    commit = _commit()
    return {**found, "commit": commit} if commit else found


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    """The commit of the running checkout, marked if its files were changed."""
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
    """The content of a run's config.json; None in a new folder."""
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
                "is not the folder of a run. Choose another one with --out."
            )
        return None
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FolderError(f"{path} must be JSON: {error}.") from error
    if not isinstance(before, dict) or not {"methods", "data_sha256"} <= before.keys():
        raise FolderError(
            f"{path} must be the config.json of a run. Choose another folder with "
            "--out."
        )
    return before


def _remove_run(out: Path, config: dict) -> None:
    """Removes a run's files except config.json, which marks the folder of a run."""
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
