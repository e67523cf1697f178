"""Cluster-Margin: the least margins, taken from their clusters by turns."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import checks, numerics
from iwps_jax.selection.candidates import number_of_candidates
from iwps_jax.selection.highest import top_rows
from iwps_jax.types import AnyArray

CANDIDATES_PER_PICK = 10


def cluster_margin(
    key: Key[jax.Array, ""],
    scores: Float[AnyArray, " pool"],
    clusters: Int[AnyArray, " pool"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
    *,
    candidates_per_pick: int = CANDIDATES_PER_PICK,
) -> Int[jax.Array, " k"]:
    """Cluster-Margin: of the 10 k least margins, a row of each cluster by turns.

        candidates = the `candidates_per_pick` · k highest scores
        clusters of candidates, from the smallest to the largest: one of each at random,
        again and again, leaving out those that have no candidate left

    The size of a cluster is the number of its candidates. The clusters are made once,
    for all rounds: `average_linkage` makes those of the paper, and any other will do.
    O(pool + m log m) for m candidates; memory: some numbers a row.

    Args:
        key: randomness of the draws within clusters.
        scores: the larger, the smaller the margin: those of `margin`.
        clusters: the cluster of each row, a number below the size of the pool; rows
            with negative numbers are one more cluster.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.
        candidates_per_pick: candidates for every pick, if there are as many.

    Returns:
        k distinct rows, in the order of the turns; ties go to the lower cluster.

    Raises:
        ValueError: if k is not in [1, rows left], there is no candidate a pick or
            shapes disagree; outside `jax.jit` also if a score is NaN or a cluster's
            number too large.
        TypeError: if scores are not floating point, clusters no integers or `where` is
            not boolean.

    References:
        Citovsky et al. 2021, "Batch Active Learning at Scale", Algorithm 2.
        https://arxiv.org/abs/2107.14263

    Example:
        >>> scores = jnp.array([0.9, 0.8, 0.7, 0.6, 0.1])
        >>> clusters = jnp.array([0, 0, 0, 1, 2])
        >>> key = jax.random.key(0)
        >>> picks = cluster_margin(key, scores, clusters, 2, candidates_per_pick=2)
        >>> print(picks[0], clusters[picks])
        3 [1 0]
    """
    checks.require_key("key", key)
    checks.require_no_nan("scores", scores, "pool")
    checks.require_clusters("clusters", clusters, len(scores))
    number, where = number_of_candidates(scores, k, candidates_per_pick, where)
    return _cluster_margin(key, scores, clusters, where, k=int(k), number=number)


@partial(jax.jit, static_argnames=("k", "number"))
def _cluster_margin(key, scores, clusters, where, *, k, number):
    """`cluster_margin` without its checks."""
    rows = top_rows(scores, where, k=number)
    # Where too few others are, rows that may not be picked are among them.
    is_out = (~jnp.asarray(where)[rows]).astype(jnp.int32)
    cluster = jnp.asarray(clusters)[rows].astype(jnp.int32)
    noise = numerics.uniform(key, (number,))
    keys = is_out, cluster, noise, rows
    is_out, cluster, _, rows = jax.lax.sort(keys, num_keys=4)
    # Runs of one cluster: a candidate's place in its run is its turn.
    places = jnp.arange(number, dtype=jnp.int32)
    begins = (cluster != jnp.roll(cluster, 1)) | (is_out != jnp.roll(is_out, 1))
    run = jnp.cumsum(begins.at[0].set(True), dtype=jnp.int32) - 1
    sizes = jax.ops.segment_sum(jnp.ones_like(places), run, number)
    starts = jnp.cumsum(sizes, dtype=jnp.int32) - sizes
    keys = is_out, places - starts[run], sizes[run], cluster, rows
    return jax.lax.sort(keys, num_keys=4)[-1][:k]
