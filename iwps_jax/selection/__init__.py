"""From scores or embeddings to the rows to label next.

Every selector returns k distinct int32 rows in order of acquisition. A row that is
not eligible is excluded by its mask, never by a magic score, so it cannot come back
through a tie or a NaN-free but infinite score.

    highest     the highest scores
    coreset     core-set: cover the pool, by features alone
    seeding     BADGE: k-means++ over the last layer's gradients
    lazy        picks that become centers, applied to the pool many at a time
    gradients   the factors of those gradients
    spaces      distances and inner products: of features, or of those gradients
    iwps_batch  IWPS-batch: what a label tells about the holdout set, pick by pick
    information its loop, in the d + 1 dimensions of the head
    greedy      the loop of all that pick one row after another
    line        the pool in the order of a class's margin
    galaxy      GALAXY: bisection for the places where the class changes
    direct      DIRECT: the rows around the threshold of each class
    mutual_information  FLQMI: rows that are like labeled rare samples
    candidates  how many of the highest scores a batch looks at

Research alternatives are in `iwps_jax.contrib`.
"""

from iwps_jax.moved import answer_old_names
from iwps_jax.selection.coreset import k_center_greedy
from iwps_jax.selection.direct import direct, direct_sequential
from iwps_jax.selection.galaxy import galaxy, galaxy_sequential
from iwps_jax.selection.highest import top_k
from iwps_jax.selection.iwps_batch import Evidence, iwps_batch
from iwps_jax.selection.mutual_information import facility_location_mutual_information
from iwps_jax.selection.seeding import badge
from iwps_jax.selection.spaces import Space, feature_space, gradient_space

__all__ = [
    "Evidence",
    "Space",
    "badge",
    "direct",
    "direct_sequential",
    "facility_location_mutual_information",
    "feature_space",
    "galaxy",
    "galaxy_sequential",
    "gradient_space",
    "iwps_batch",
    "k_center_greedy",
    "top_k",
]

answer_old_names(__name__)
