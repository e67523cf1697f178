"""The Flax networks of the experiments, as bundles of pure functions.

Nothing else in the package imports this one: the scores take any `apply_fn`.
"""

from experiments.models.classifiers import Network, mlp, resnet18, resnet50
from experiments.models.deeplab import (
    Segmenter,
    deeplabv3_on_features,
    deeplabv3_resnet50,
)
from experiments.models.normalization import BATCH_NORM_MOMENTUM, Shift

__all__ = [
    "BATCH_NORM_MOMENTUM",
    "Network",
    "Segmenter",
    "Shift",
    "deeplabv3_on_features",
    "deeplabv3_resnet50",
    "mlp",
    "resnet18",
    "resnet50",
]
