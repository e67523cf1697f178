"""The networks that a study can use, and how each is trained and scored.

    mlp                 d-256-256-classes on pixels: the paper's for MNIST and its kin
    resnet18            ResNet-18 for small images: the paper's for SVHN and CIFAR-10
    efficientnet_lite0  the MLP on the features of a frozen ImageNet backbone: what a
                        CPU can train fifty times
    minilm              the MLP on the embeddings of a frozen sentence encoder: texts
    minilm_linear       a linear classifier on them
    table_mlp           the MLP on the scaled columns of a table
    table_linear        a linear classifier on them

To add one, write its function and add a row to `RECIPES`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import models
from experiments.data.kinds import (
    IMAGES,
    TABLE,
    TEXTS,
    AnyDataset,
    Dataset,
    TableDataset,
    TextDataset,
)
from experiments.models import Network


class Inputs(NamedTuple):
    """What a network sees of a dataset; row i is example i of the official files."""

    train: np.ndarray
    test: np.ndarray


class Recipe(NamedTuple):
    """A network and what goes with it.

    Attributes:
        make: `make(dataset) -> (network, inputs)`.
        identity: `identity()`, what the inputs depend on besides the dataset, as JSON:
            a run must not be continued on others.
        minibatch_size: samples a training step.
        learning_rate: step length of the look-ahead.
        chunk_size: samples scored or tested at once.
        over_seeds: `over_seeds(function, in_axes)` maps a program over the seeds.
        reads: the kind of datasets it is for.
    """

    make: Callable[[AnyDataset], tuple[Network, Inputs]]
    identity: Callable[[], dict | str]
    minibatch_size: int
    learning_rate: float
    chunk_size: int
    over_seeds: Callable
    reads: str = IMAGES


def one_after_another(function: Callable, in_axes: tuple) -> Callable:
    """Like `jax.vmap`, in the memory of one seed: a loop inside the program.

    Under `vmap` every seed's convolutions would have weights of their own in one
    grouped convolution, which is slower than one seed after another.

    Args:
        function: the program of one seed.
        in_axes: for every argument 0, None or a pytree of them that is a prefix of
            the argument.
    """

    def choose(of_axis, *trees):
        return jax.tree.map(
            of_axis, tuple(in_axes), *trees, is_leaf=lambda axis: axis is None
        )

    def of_all_seeds(*arguments):
        shared = choose(lambda axis, part: part if axis is None else None, arguments)
        mapped = choose(lambda axis, part: None if axis is None else part, arguments)

        def of_one_seed(of_seed):
            return function(
                *choose(lambda axis, *parts: parts[axis is None], of_seed, shared)
            )

        return jax.lax.map(of_one_seed, mapped)

    return of_all_seeds


def _mlp(dataset: Dataset) -> tuple[Network, Inputs]:
    return _on_pixels(models.mlp, dataset)


def _resnet18(dataset: Dataset) -> tuple[Network, Inputs]:
    return _on_pixels(models.resnet18, dataset)


def _on_pixels(make: Callable, dataset: Dataset) -> tuple[Network, Inputs]:
    images = dataset.train_images
    mean, std = channel_statistics(images)
    network = make(images.shape[1:], len(dataset.class_names), mean=mean, std=std)
    return network, Inputs(images, dataset.test_images)


def _pixels() -> str:
    return "pixels"


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every channel, exact and without a float copy.

    Args:
        images: uint8 [n, height, width, channels].

    Returns:
        Two float32 arrays [channels], in units of a pixel, 0 to 255.

    Example:
        >>> images = np.array([0, 2, 4, 6], np.uint8).reshape(1, 2, 2, 1)
        >>> print(*channel_statistics(images))
        [3.] [2.236068]
    """
    values = np.arange(256)
    counts = np.stack(
        [
            np.bincount(images[..., channel].ravel(), minlength=256)
            for channel in range(images.shape[-1])
        ]
    )
    mean = counts @ values / counts.sum(1)
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def _backbone_identity() -> dict:
    from iwps_jax.backbones.efficientnet_weights import identity

    return identity()


def _efficientnet_lite0(dataset: Dataset) -> tuple[Network, Inputs]:
    from experiments.frozen.features import embed

    return _on_features(WIDE, embed(dataset), dataset)


def _on_features(
    hidden_sizes: Sequence[int], features: Any, dataset: AnyDataset
) -> tuple[Network, Inputs]:
    """An MLP on standardized features; without hidden layers a linear classifier."""
    deviation = features.train.std(0, dtype=np.float64).astype(np.float32)
    network = models.mlp(
        features.train.shape[1:],
        len(dataset.class_names),
        mean=features.train.mean(0, dtype=np.float64).astype(np.float32),
        # A feature that never fires stays zero instead of dividing by zero.
        std=np.where(deviation > 0, deviation, 1).astype(np.float32),
        hidden_sizes=hidden_sizes,
    )
    return network, Inputs(features.train, features.test)


def _minilm(
    hidden_sizes: Sequence[int], dataset: TextDataset
) -> tuple[Network, Inputs]:
    from experiments.frozen.features import embed

    return _on_features(hidden_sizes, embed(dataset), dataset)


def _encoder_identity() -> dict:
    from iwps_jax.backbones.minilm import identity

    return identity()


def _table(
    hidden_sizes: Sequence[int], dataset: TableDataset
) -> tuple[Network, Inputs]:
    from experiments.data.columns import scale

    train, test = scale(dataset.train_rows, dataset.test_rows)
    network = models.mlp(
        train.shape[1:],
        len(dataset.class_names),
        mean=0.0,  # they are scaled already
        std=1.0,
        hidden_sizes=hidden_sizes,
    )
    return network, Inputs(train, test)


def _columns() -> str:
    return "columns, scaled by median and quartiles"


WIDE, LINEAR = (256, 256), ()
"""Hidden layers: the paper's MLP, and none."""


# Minibatch sizes and look-ahead rates: Aljundi et al. 2020, supplement §4.
RECIPES = {
    "mlp": Recipe(_mlp, _pixels, 50, 1e-3, 2048, jax.vmap),
    "resnet18": Recipe(_resnet18, _pixels, 64, 1e-4, 512, one_after_another),
    "efficientnet_lite0": Recipe(
        _efficientnet_lite0, _backbone_identity, 50, 1e-3, 2048, jax.vmap
    ),
    "minilm": Recipe(
        partial(_minilm, WIDE), _encoder_identity, 50, 1e-3, 2048, jax.vmap, TEXTS
    ),
    "minilm_linear": Recipe(
        partial(_minilm, LINEAR), _encoder_identity, 50, 1e-3, 2048, jax.vmap, TEXTS
    ),
    "table_mlp": Recipe(
        partial(_table, WIDE), _columns, 50, 1e-3, 2048, jax.vmap, TABLE
    ),
    "table_linear": Recipe(
        partial(_table, LINEAR), _columns, 50, 1e-3, 2048, jax.vmap, TABLE
    ),
}
