"""Deep active learning on JAX: which samples to label next.

Scores are pure functions from arrays to one number per candidate, bigger = label it
first; selectors turn scores into rows; `loop` drives rounds of both.
"""

from iwps_jax import contrib, loop
from iwps_jax.loop import LoopState, RoundInfo
from iwps_jax.moved import answer_old_names
from iwps_jax.pixels.head import HeadGradient
from iwps_jax.pixels.kernel import (
    iwps_app_pixel_head,
    pixel_head_embedding,
    pixel_head_gradient,
)
from iwps_jax.pixels.lookahead import iwps_pixel_head
from iwps_jax.pixels.maps import (
    pixel_bald,
    pixel_mc_dropout,
    pixel_scores,
    pooled_features,
)
from iwps_jax.pixels.reductions import (
    highest_region,
    mean_of_classes,
    mean_of_highest,
    mean_of_pixels,
)
from iwps_jax.pixels.upsampling import upsample
from iwps_jax.pool.chunks import sample_keys, score_in_chunks
from iwps_jax.pool.ranking import TopK
from iwps_jax.pool.scan import score_pool, top_k_of_pool
from iwps_jax.pool.sources import PoolError, Records
from iwps_jax.scores.cross_fitted import (
    CrossFit,
    cross_fitted_iwps,
    cross_fitted_iwps_app,
)
from iwps_jax.scores.dense import dense_layers, iwps_mlp
from iwps_jax.scores.error_reduction import (
    error_reduction,
    expected_entropy_reduction,
)
from iwps_jax.scores.kernel import (
    gradient_kernel,
    holdout_gradient,
    iwps_app,
    iwps_app_last_layer,
)
from iwps_jax.scores.lookahead import holdout_changes, iwps_last_layer
from iwps_jax.scores.network_lookahead import iwps
from iwps_jax.scores.predictive import (
    bald,
    entropy,
    least_confidence,
    margin,
    mc_dropout,
    variation_ratio,
)
from iwps_jax.scores.weights import class_balanced_weights
from iwps_jax.selection import (
    Evidence,
    Space,
    badge,
    feature_space,
    gradient_space,
    iwps_batch,
    k_center_greedy,
    top_k,
)
from iwps_jax.versions import warn_if_excluded

__all__ = [
    "CrossFit",
    "Evidence",
    "HeadGradient",
    "LoopState",
    "PoolError",
    "Records",
    "RoundInfo",
    "Space",
    "TopK",
    "badge",
    "bald",
    "class_balanced_weights",
    "contrib",
    "cross_fitted_iwps",
    "cross_fitted_iwps_app",
    "dense_layers",
    "entropy",
    "error_reduction",
    "expected_entropy_reduction",
    "feature_space",
    "gradient_kernel",
    "gradient_space",
    "highest_region",
    "holdout_changes",
    "holdout_gradient",
    "iwps",
    "iwps_app",
    "iwps_app_last_layer",
    "iwps_app_pixel_head",
    "iwps_batch",
    "iwps_last_layer",
    "iwps_mlp",
    "iwps_pixel_head",
    "k_center_greedy",
    "least_confidence",
    "loop",
    "margin",
    "mc_dropout",
    "mean_of_classes",
    "mean_of_highest",
    "mean_of_pixels",
    "pixel_bald",
    "pixel_head_embedding",
    "pixel_head_gradient",
    "pixel_mc_dropout",
    "pixel_scores",
    "pooled_features",
    "sample_keys",
    "score_in_chunks",
    "score_pool",
    "top_k",
    "top_k_of_pool",
    "upsample",
    "variation_ratio",
]

__version__ = "0.7.0"

warn_if_excluded()
answer_old_names()
