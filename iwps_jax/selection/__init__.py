"""From scores or embeddings to the rows to label next.

Every selector returns k distinct int32 rows in order of acquisition. A row that is
not eligible is excluded by its mask, never by a magic score, so it cannot come back
through a tie or a NaN-free but infinite score.

    highest     the highest scores
    coreset     core-set: cover the pool, by features alone
    herding     MaxHerding and UHerding: cover the pool, or its uncertain rows
    balanced_herding UHerding in which each class counts as much
    balls       ProbCover: cover the pool by balls of one radius
    cover       the loop of both: rows are taken at hand by bounds of their gains
    cover_forms all of them as a row of the table of methods holds them
    seeding     BADGE: k-means++ over the last layer's gradients
    k_means     clusters of the pool around centers
    average_linkage hierarchical clusters
    typiclust   TypiClust: the most typical row of every cluster without labels
    drop_query  DropQuery: predictions that change under dropout, spread by k-means
    cluster_margin Cluster-Margin: the least margins, from their clusters by turns
    lazy        picks that become centers, applied to the pool many at a time
    gradients   the factors of those gradients
    spaces      distances and inner products: of features, or of those gradients
    iwps_batch  IWPS-batch: what a label tells about the holdout set, pick by pick
    information its loop, in the d + 1 dimensions of the head
    bait        BAIT: least trace of A⁻¹ F, forth and back
    fisher      its loop, in ranks of classes - 1
    glister     GLISTER: what helps the holdout set once it is learned
    greedy      the loop of all that pick one row after another
    line        the pool in the order of a class's margin
    galaxy      GALAXY: bisection for the places where the class changes
    direct      DIRECT: the rows around the threshold of each class
    mutual_information  FLQMI: rows that are like labeled rare samples
    candidates  how many of the highest scores a batch looks at

Research alternatives are in `iwps_jax.contrib`.
"""

from iwps_jax.moved import answer_old_names
from iwps_jax.selection.average_linkage import average_linkage
from iwps_jax.selection.bait import bait, bait_by_class
from iwps_jax.selection.balanced_herding import balanced_herding
from iwps_jax.selection.balls import ball_radius, prob_cover
from iwps_jax.selection.cluster_margin import cluster_margin
from iwps_jax.selection.coreset import k_center_greedy
from iwps_jax.selection.direct import direct, direct_sequential
from iwps_jax.selection.drop_query import drop_query
from iwps_jax.selection.galaxy import galaxy, galaxy_sequential
from iwps_jax.selection.glister import glister
from iwps_jax.selection.herding import max_herding, uncertainty_herding
from iwps_jax.selection.highest import top_k
from iwps_jax.selection.iwps_batch import Evidence, iwps_batch
from iwps_jax.selection.k_means import Clusters, k_means
from iwps_jax.selection.mutual_information import facility_location_mutual_information
from iwps_jax.selection.seeding import badge
from iwps_jax.selection.spaces import Space, feature_space, gradient_space
from iwps_jax.selection.typiclust import typiclust

__all__ = [
    "Clusters",
    "Evidence",
    "Space",
    "average_linkage",
    "badge",
    "cluster_margin",
    "drop_query",
    "bait",
    "bait_by_class",
    "balanced_herding",
    "ball_radius",
    "feature_space",
    "glister",
    "direct",
    "direct_sequential",
    "facility_location_mutual_information",
    "feature_space",
    "galaxy",
    "galaxy_sequential",
    "gradient_space",
    "iwps_batch",
    "k_center_greedy",
    "k_means",
    "top_k",
    "typiclust",
    "max_herding",
    "prob_cover",
    "top_k",
    "uncertainty_herding",
]

answer_old_names(__name__)
