"""From scores or embeddings to the rows to label next.

Every selector returns k distinct int32 rows in order of acquisition. A row that is
not eligible is excluded by its mask, never by a magic score, so it cannot come back
through a tie or a NaN-free but infinite score.

    highest     the highest scores
    coreset     core-set: cover the pool, by features alone
    gradients   BADGE, and the factors of the last layer's gradients
"""

from iwps_jax.selection.coreset import k_center_greedy
from iwps_jax.selection.gradients import badge
from iwps_jax.selection.highest import top_k

__all__ = ["badge", "k_center_greedy", "top_k"]
