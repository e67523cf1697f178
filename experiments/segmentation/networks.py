"""The networks that a segmentation study can train, and what each sees of a scene.

    efficientnet_lite0    a small DeepLabv3 on the feature maps of a frozen ImageNet
                          backbone, computed once a scene: what a CPU can train
    deeplabv3_resnet50    DeepLabv3 with ResNet-50, all of it trained, on random crops
                          and flips: the paper's

To add one, write its function and add a row to `RECIPES`.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import models
from experiments.models import Segmenter, resnet_weights
from experiments.segmentation import maps
from experiments.segmentation.data.scenes import MemorySource, Scenes, Source
from iwps_jax.types import Variables


class Options(NamedTuple):
    """What the user may choose of a network; None is the network's own.

    Attributes:
        width: channels, of the small head or of ResNet-50's first stage.
        precision: type of the convolutions, "float32" or "bfloat16".
        weights: a file of pretrained weights, "none" for random ones, or None for the
            published ones.
        max_side: scenes with a longer side are scaled down to this.
    """

    width: int | None
    precision: str
    weights: str | None
    max_side: int | None


class Inputs(NamedTuple):
    """A network and what it sees of the scenes.

    Attributes:
        segmenter: the network.
        init: `init(key) -> variables` to start from, pretrained if there are weights.
        train: the scenes to learn from, as the network sees them.
        test: the scenes to be tested on.
        is_decoding: whether reading a scene is work for threads.
        is_augmented: whether training cuts windows and flips.
        max_side: longer scenes are scaled down to this before the network.
        side_multiple: sides of whole scenes are padded to multiples of this.
        feature_stride: of feature maps, what the pipeline asks for; None for images.
        identity: what all this depends on besides the scenes and settings, as JSON.
    """

    segmenter: Segmenter
    init: Callable[[jax.Array], Variables]
    train: Source
    test: Source
    is_decoding: bool
    is_augmented: bool
    max_side: int | None
    side_multiple: int
    feature_stride: int | None
    identity: dict | str


def _deeplabv3_resnet50(scenes: Scenes, options: Options) -> Inputs:
    segmenter = models.deeplabv3_resnet50(
        len(scenes.class_names),
        mean=resnet_weights.PIXEL_MEAN,
        std=resnet_weights.PIXEL_STD,
        width=options.width or 64,
        compute_dtype=jnp.dtype(options.precision),
    )
    # Compiled as one program, twice as fast as layer by layer.
    random_init = init = jax.jit(segmenter.init)
    identity = "random"
    if options.weights != "none":
        path = resnet_weights.find_resnet50(options.weights)
        pretrained = resnet_weights.load_resnet50(path)
        with path.open("rb") as file:
            identity = hashlib.file_digest(file, "sha256").hexdigest()

        def init(key):
            return resnet_weights.into_segmenter(random_init(key), pretrained)

    return Inputs(
        segmenter=segmenter,
        init=init,
        train=scenes.train,
        test=scenes.test,
        is_decoding=not isinstance(scenes.train, MemorySource),
        is_augmented=True,
        max_side=options.max_side,
        side_multiple=segmenter.stride,
        feature_stride=None,
        identity={"weights": identity},
    )


def _efficientnet_lite0(scenes: Scenes, options: Options) -> Inputs:
    found = maps.embed(scenes, max_side=options.max_side, weights=options.weights)
    mean, std = maps.channel_statistics(found.train)
    segmenter = models.deeplabv3_on_features(
        len(mean),
        len(scenes.class_names),
        mean=mean,
        # A channel that never fires stays zero instead of dividing by zero.
        std=np.where(std > 0, std, 1).astype(np.float32),
        stride=found.stride,
        width=options.width or 48,
    )
    return Inputs(
        segmenter=segmenter,
        init=jax.jit(segmenter.init),
        train=found.train,
        test=found.test,
        is_decoding=found.are_on_disk,
        is_augmented=False,
        max_side=None,
        side_multiple=found.side_multiple,
        feature_stride=found.stride,
        identity=found.identity,
    )


class Recipe(NamedTuple):
    """A network and its own settings.

    Attributes:
        make: `make(scenes, options) -> Inputs`.
        minibatch_size: scenes a training step.
        training_rate: step length of the training at first.
    """

    make: Callable[[Scenes, Options], Inputs]
    minibatch_size: int
    training_rate: float


# The second row: Aljundi et al. 2020, supplement §6. The first has only a head to
# train, from random weights, which wants longer steps.
RECIPES = {
    "efficientnet_lite0": Recipe(_efficientnet_lite0, 4, 0.1),
    "deeplabv3_resnet50": Recipe(_deeplabv3_resnet50, 24, 1e-2),
}
