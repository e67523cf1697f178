"""The networks that a study can use, and how each is trained and scored.

    mlp                 d-256-256-classes on pixels: the paper's for MNIST and its kin
    resnet18            ResNet-18 for small images: the paper's for SVHN and CIFAR-10
    efficientnet_lite0  the MLP on the features of a frozen ImageNet backbone: what a
                        CPU can train fifty times

To add one, write its function and add a row to `RECIPES`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from experiments import models
from experiments.data.datasets import Dataset
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
    """

    make: Callable[[Dataset], tuple[Network, Inputs]]
    identity: Callable[[], dict | str]
    minibatch_size: int
    learning_rate: float
    chunk_size: int
    over_seeds: Callable


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

    features = embed(dataset)
    deviation = features.train.std(0, dtype=np.float64).astype(np.float32)
    network = models.mlp(
        features.train.shape[1:],
        len(dataset.class_names),
        mean=features.train.mean(0, dtype=np.float64).astype(np.float32),
        # A feature that never fires stays zero instead of dividing by zero.
        std=np.where(deviation > 0, deviation, 1).astype(np.float32),
    )
    return network, Inputs(features.train, features.test)


# Minibatch sizes and look-ahead rates: Aljundi et al. 2020, supplement §4.
RECIPES = {
    "mlp": Recipe(_mlp, _pixels, 50, 1e-3, 2048, jax.vmap),
    "resnet18": Recipe(_resnet18, _pixels, 64, 1e-4, 512, one_after_another),
    "efficientnet_lite0": Recipe(
        _efficientnet_lite0, _backbone_identity, 50, 1e-3, 2048, jax.vmap
    ),
}
