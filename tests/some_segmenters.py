"""A segmentation network that compiles at once, and scenes that it can learn."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.models import Segmenter
from experiments.segmentation.data.scenes import IGNORE, Scene
from iwps_jax.types import Variables

NUM_CLASSES, STRIDE, NUM_FEATURES = 3, 4, 5
UNEVEN = ((8, 12), (12, 7), (6, 11), (10, 8))  # two shapes when padded


def small_segmenter(dropout_rate=0.0):
    """The mean color of every 4x4 pixels, a layer of five tanh units, and the head."""

    def init(key):
        lift_key, head_key = jax.random.split(key)
        lift = jax.random.normal(lift_key, (3, NUM_FEATURES))
        kernel = jax.random.normal(head_key, (NUM_FEATURES, NUM_CLASSES))
        return Variables(
            {"lift": lift, "head": {"kernel": kernel, "bias": jnp.zeros(NUM_CLASSES)}},
            {},
        )

    def features(variables, images):
        n, height, width, _ = images.shape
        blocks = images.astype(jnp.float32).reshape(
            n, height // STRIDE, STRIDE, width // STRIDE, STRIDE, 3
        )
        colors = blocks.mean((2, 4)) / 127.5 - 1
        return jnp.tanh(jnp.matmul(colors, variables.params["lift"]))

    def features_train(key, variables, images):
        found = features(variables, images)
        kept = jax.random.bernoulli(key, 1 - dropout_rate, found.shape)
        return jnp.where(kept, found / (1 - dropout_rate), 0), variables.statistics

    def head(variables):
        return variables.params["head"]["kernel"], variables.params["head"]["bias"]

    return Segmenter(init, features, features_train, dropout_rate, head, STRIDE)


class ListSource:
    """Scenes of any sizes, in memory."""

    def __init__(self, scenes):
        self.scenes = list(scenes)
        self.sizes = [scene.mask.shape for scene in self.scenes]

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, index):
        return self.scenes[index]


def colored_scenes(number, sizes=UNEVEN, seed=0, num_classes=NUM_CLASSES):
    """Upright stripes; a pixel's brightest color is its class, one in ten ignored."""
    rng = np.random.default_rng(seed)
    scenes = []
    for index in range(number):
        height, width = sizes[index % len(sizes)]
        stripes = rng.integers(0, num_classes, -(-width // 4)).repeat(4)[:width]
        mask = np.tile(stripes, (height, 1)).astype(np.uint8)
        colors = 60 + 140 * np.eye(num_classes, 3, dtype=int)[mask]
        image = np.clip(colors + rng.normal(0, 40, colors.shape), 0, 255)
        mask[rng.random(mask.shape) < 0.1] = IGNORE
        scenes.append(Scene(image.astype(np.uint8), mask))
    return ListSource(scenes)
