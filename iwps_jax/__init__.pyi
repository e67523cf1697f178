# Where the public names are; they are imported when they are first used.

from . import contrib, loop
from .loop import LoopState, RoundInfo
from .pixels.head import HeadGradient
from .pixels.kernel import (
    iwps_app_pixel_head,
    pixel_head_embedding,
    pixel_head_gradient,
)
from .pixels.lookahead import iwps_pixel_head
from .pixels.maps import (
    pixel_bald,
    pixel_mc_dropout,
    pixel_scores,
    pooled_features,
)
from .pixels.reductions import (
    highest_region,
    mean_of_classes,
    mean_of_highest,
    mean_of_pixels,
)
from .pixels.upsampling import upsample
from .pool.chunks import sample_keys, score_in_chunks
from .pool.ranking import TopK
from .pool.scan import score_pool, top_k_of_pool
from .pool.sources import PoolError, Records
from .scores.balanced_margin import balanced_margin
from .scores.cross_fitted import (
    CrossFit,
    cross_fitted_iwps,
    cross_fitted_iwps_app,
)
from .scores.dense import dense_layers, iwps_mlp
from .scores.error_reduction import (
    error_reduction,
    expected_entropy_reduction,
)
from .scores.kernel import (
    gradient_kernel,
    holdout_gradient,
    iwps_app,
    iwps_app_last_layer,
)
from .scores.lookahead import holdout_changes, iwps_last_layer
from .scores.network_lookahead import iwps
from .scores.prediction_changes import prediction_changes
from .scores.predictive import (
    bald,
    entropy,
    least_confidence,
    margin,
    mc_dropout,
    variation_ratio,
)
from .scores.temperature import fit_temperature
from .scores.weights import class_balanced_weights
from .selection import (
    Clusters,
    Evidence,
    Space,
    average_linkage,
    badge,
    bait,
    bait_by_class,
    balanced_herding,
    ball_radius,
    cluster_margin,
    direct,
    direct_sequential,
    drop_query,
    facility_location_mutual_information,
    feature_space,
    galaxy,
    galaxy_sequential,
    glister,
    gradient_space,
    iwps_batch,
    k_center_greedy,
    k_means,
    max_herding,
    prob_cover,
    top_k,
    typiclust,
    uncertainty_herding,
)

__all__ = [
    "Clusters",
    "CrossFit",
    "Evidence",
    "HeadGradient",
    "LoopState",
    "PoolError",
    "Records",
    "RoundInfo",
    "Space",
    "TopK",
    "average_linkage",
    "badge",
    "bait",
    "bait_by_class",
    "balanced_herding",
    "balanced_margin",
    "bald",
    "ball_radius",
    "class_balanced_weights",
    "cluster_margin",
    "contrib",
    "cross_fitted_iwps",
    "cross_fitted_iwps_app",
    "dense_layers",
    "drop_query",
    "direct",
    "direct_sequential",
    "entropy",
    "error_reduction",
    "expected_entropy_reduction",
    "facility_location_mutual_information",
    "feature_space",
    "glister",
    "fit_temperature",
    "galaxy",
    "galaxy_sequential",
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
    "k_means",
    "least_confidence",
    "loop",
    "margin",
    "max_herding",
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
    "prediction_changes",
    "prob_cover",
    "sample_keys",
    "score_in_chunks",
    "score_pool",
    "top_k",
    "top_k_of_pool",
    "typiclust",
    "uncertainty_herding",
    "upsample",
    "variation_ratio",
]

__version__: str
