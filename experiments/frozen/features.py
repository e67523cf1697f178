"""Features of a dataset by a frozen backbone, computed once and kept.

Images are seen by EfficientNet-Lite0 with weights that were trained on ImageNet, texts
by the sentence encoder MiniLM-L6. A small head on their features learns CIFAR-10 from
a few hundred labels in seconds, which makes deep active learning affordable without an
accelerator.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.data import prepare
from experiments.data.kinds import IMAGES, TEXTS, AnyDataset, Dataset, TextDataset
from iwps_jax.backbones import efficientnet, efficientnet_weights, minilm
from iwps_jax.backbones.efficientnet import Network
from iwps_jax.backbones.published import Published, write_cached
from iwps_jax.cache import cache_root
from iwps_jax.refusal import Refusal, refusing

SHARD_SIZE = 2_000  # samples a file: what an interruption may lose, seconds of work
CHUNK_SIZES = {"cpu": 8}  # images a call, by backend; eight stay in a CPU's cache
CHUNK_SIZE = 512


class Features(NamedTuple):
    """What the network makes of a dataset; row i belongs to example i."""

    train: np.ndarray  # float32 [n, 1280], in [0, 6]; of texts [n, 384], of unit norm
    test: np.ndarray
    description: str  # network, weights and resolution, as a sentence


class _Backbone(NamedTuple):
    """A network that sees one kind of samples."""

    name: str  # of its folders
    about: dict  # all that the features depend on, the dataset included
    splits: dict[str, Sequence]  # samples by the name of the split
    num_features: int
    description: str
    load: Callable[[], Callable[[Sequence], np.ndarray]]  # returns what computes


def embed(dataset: AnyDataset, *, weights: str | Path | None = None) -> Features:
    """The features of a dataset, from the cache folder or computed now.

    They are kept under what they depend on: the dataset's and the weights' sha256, the
    enlargement or the tokenizer, and the version of the forward pass. An interrupted
    computation continues where it was.

    Args:
        dataset: uint8 images with one or three channels, or texts.
        weights: Of images, a state dict of EfficientNet-Lite0 in PyTorch's older `.pth`
            format; without it the file that `IWPS_JAX_WEIGHTS` names. Of texts, as for
            `minilm.embed`. Without either the published one, from the cache folder or
            from a package.

    Returns:
        The features. Those of different devices differ in their last digits.

    Raises:
        BackboneError: the weights cannot be had or read, or the cache folder cannot be
            written.
        Refusal: the dataset is a table, or a text holds what is no character.
    """
    backbone = _backbone_for(dataset, weights)
    key = hashlib.sha256(json.dumps(backbone.about, sort_keys=True).encode())
    folder = cache_root() / "features" / f"{backbone.name}-{key.hexdigest()[:16]}"
    shards = list(_shards(folder, backbone.splits))
    found = [_load(shard, backbone.num_features) for shard in shards]
    missing = [i for i, rows in enumerate(found) if rows is None]
    if missing:
        compute_rows = backbone.load()
        num_missing = sum(len(shards[i].samples) for i in missing)
        what = f"Features of {num_missing:,} {getattr(dataset, 'kind', IMAGES)}"
        with prepare.progress(what, len(missing)) as advance:
            for i in missing:
                found[i] = compute_rows(shards[i].samples)
                _save(shards[i].path, found[i])
                advance(1)
        text = json.dumps(backbone.about | {"dataset_name": dataset.name}, indent=2)
        write_cached(folder / "about.json", f"{text}\n".encode())
    num_train = sum(shard.split == "train" for shard in shards)
    return Features(
        np.concatenate(found[:num_train]),
        np.concatenate(found[num_train:]),
        backbone.description,
    )


def _backbone_for(dataset: AnyDataset, weights: str | Path | None) -> _Backbone:
    kind = getattr(dataset, "kind", IMAGES)
    if kind not in (IMAGES, TEXTS):
        raise Refusal(f"{dataset.name} is a {kind}: frozen networks see images, texts.")
    return (_for_texts if kind == TEXTS else _for_images)(dataset, weights)


def _for_images(dataset: Dataset, weights: str | Path | None) -> _Backbone:
    path = efficientnet_weights.find_weights(weights)
    made_by = efficientnet_weights.identity(path)
    height, width = (
        efficientnet.ENLARGEMENT * side for side in dataset.train_images.shape[1:3]
    )
    origin = _origin(
        efficientnet_weights.PUBLISHED, made_by, path, "trained on ImageNet"
    )

    def load():
        network = efficientnet_weights.load_network(path)
        return lambda images: compute(network, images)

    return _Backbone(
        "efficientnet_lite0",
        made_by
        | {"dataset": dataset.sha256, "image_shape": dataset.train_images.shape[1:]},
        {"train": dataset.train_images, "test": dataset.test_images},
        efficientnet.NUM_FEATURES,
        f"EfficientNet-Lite0 {origin}, frozen, pooled features of images enlarged "
        f"to {height}x{width}.",
        load,
    )


def _for_texts(dataset: TextDataset, weights: str | Path | None) -> _Backbone:
    path = minilm.find_weights(weights)
    made_by = minilm.identity(path)
    origin = _origin(minilm.PUBLISHED, made_by, path, "all-MiniLM-L6-v2")

    def load():
        encoder = minilm.load(path)
        return lambda texts: compute_of_texts(encoder, texts)

    return _Backbone(
        "minilm_l6",
        made_by | {"dataset": dataset.sha256},
        {"train": dataset.train_texts, "test": dataset.test_texts},
        minilm.NUM_FEATURES,
        f"MiniLM-L6 {origin}, frozen, a vector of unit norm for a text of at most "
        f"{minilm.MAX_LENGTH} tokens.",
        load,
    )


def _origin(published: Published, made_by: dict, path: Path, name: str) -> str:
    """A name for the published weights, or the path of others."""
    is_published = made_by["weights"] == published.sha256[published.weights]
    return name if is_published else f"from {path}"


def compute_of_texts(encoder: minilm.Encoder, texts: Sequence[str]) -> np.ndarray:
    """The vectors of some texts, without the cache; says how many it cut.

    Args:
        encoder: From `minilm.load`.
        texts: The samples.

    Returns:
        float32 [n, 384].

    Raises:
        Refusal: a text holds what is no character.
    """
    with refusing(ValueError):
        features, num_truncated = minilm.encode(encoder, texts)
    if num_truncated:
        prepare.say(
            f"{num_truncated:,} of {len(texts):,} texts are longer than "
            f"{minilm.MAX_LENGTH} tokens; their ends are left out."
        )
    return features


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
    samples: Sequence


def _shards(folder: Path, splits: dict[str, Sequence]) -> Iterator[_Shard]:
    for split, samples in splits.items():
        for start in range(0, len(samples), SHARD_SIZE):
            path = folder / f"{split}-{start:07d}.npy"
            yield _Shard(path, split, samples[start : start + SHARD_SIZE])


def _load(shard: _Shard, num_features: int) -> np.ndarray | None:
    """The features in a shard's file, or None if it is absent or damaged."""
    try:
        rows = np.load(shard.path)
    except (OSError, ValueError, EOFError):
        return None
    whole = rows.shape == (len(shard.samples), num_features)
    return rows if whole and rows.dtype == np.float32 else None


def _save(path: Path, rows: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    write_cached(path, buffer.getvalue())
