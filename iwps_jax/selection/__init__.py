"""From scores or embeddings to the rows to label next.

Every selector returns k distinct int32 rows in order of acquisition. A row that is
not eligible is excluded by its mask, never by a magic score, so it cannot come back
through a tie or a NaN-free but infinite score.

    highest     the highest scores
    coreset     core-set: cover the pool, by features alone
    gradients   BADGE, and the factors of the last layer's gradients
    spaces      distances and inner products: of features, or of those gradients
    batches     high scores that are unlike each other, measured in a space
    rescored    IWPS once more after every pick
    whole_batch IWPS-batch: what a label tells about the holdout set, pick by pick
"""

from iwps_jax.selection.batches import (
    farthest_first,
    greedy_volume,
    k_means_plus_plus,
    score_weighted,
)
from iwps_jax.selection.coreset import k_center_greedy
from iwps_jax.selection.gradients import badge
from iwps_jax.selection.highest import top_k
from iwps_jax.selection.rescored import LookAhead, rescored_iwps
from iwps_jax.selection.spaces import Space, feature_space, gradient_space
from iwps_jax.selection.whole_batch import Evidence, iwps_batch

__all__ = [
    "Evidence",
    "LookAhead",
    "Space",
    "badge",
    "farthest_first",
    "feature_space",
    "gradient_space",
    "greedy_volume",
    "iwps_batch",
    "k_center_greedy",
    "k_means_plus_plus",
    "rescored_iwps",
    "score_weighted",
    "top_k",
]
