"""The Flax networks of the experiments, as bundles of pure functions.

Nothing else in the package imports this one: the scores take any `apply_fn`.
"""

from iwps_jax.models.classifiers import Network, mlp, resnet18, resnet50
from iwps_jax.models.residual import BATCH_NORM_MOMENTUM
from iwps_jax.models.shift import Shift

__all__ = [
    "BATCH_NORM_MOMENTUM",
    "Network",
    "Shift",
    "mlp",
    "resnet18",
    "resnet50",
]
