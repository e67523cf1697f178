"""Frozen ImageNet features of a dataset, computed once and kept.

The network is EfficientNet-Lite0 with weights that were trained on ImageNet. A small
head on its features learns CIFAR-10 from a few hundred labels in seconds, which makes
deep active learning affordable without an accelerator.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.data import prepare
from experiments.data.datasets import Dataset
from iwps_jax.backbones import efficientnet
from iwps_jax.backbones.efficientnet import Network
from iwps_jax.backbones.efficientnet_weights import (
    SHA256,
    find_weights,
    identity,
    load_network,
    write_cached,
)
from iwps_jax.cache import cache_root

SHARD_SIZE = 2_000  # images a file: what an interruption may lose, seconds of work
CHUNK_SIZES = {"cpu": 8}  # images a call, by backend; eight stay in a CPU's cache
CHUNK_SIZE = 512


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
            published one from the cache folder or from a package.

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
        write_cached(folder / "about.json", f"{text}\n".encode())
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
    write_cached(path, buffer.getvalue())
