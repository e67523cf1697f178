"""DropQuery: rows whose prediction changes under dropout, spread by k-means."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks
from iwps_jax.selection.highest import check_where
from iwps_jax.selection.k_means import k_means
from iwps_jax.types import AnyArray

LEAST_SHARE = 0.5


def drop_query(
    key: Key[jax.Array, ""],
    changes: Float[AnyArray, " pool"],
    features: Float[AnyArray, "pool d"],
    k: int,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """DropQuery: of the rows whose prediction changes, one from each of k clusters.

        candidates = {x : changes(x) > 1/2}
        pick c = argmin ‖h_i - μ_c‖² over the candidates i of cluster c

    with `changes` from `prediction_changes` and the clusters by `k_means`. If there are
    fewer than k candidates, the bound falls to the k-th largest of `changes`, and all
    rows that reach it are candidates: before anything is labeled, these are all rows,
    and the picks are the paper's first batch. A cluster without rows, which there is if
    fewer than k candidates differ, takes the candidate left that is farthest from its
    own center. Ties go to the lower row.

    Time and memory are those of `k_means` for k clusters.

    Args:
        key: randomness of the clusters.
        changes: share of dropout masks under which the prediction of a row changes.
        features: one embedding per row.
        k: how many rows to choose.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows, cluster by cluster.

    Raises:
        ValueError: if k is not in [1, rows left] or shapes disagree; outside
            `jax.jit` also if a feature is not finite or a share is NaN.
        TypeError: if shares or features are not floating point or `where` is not
            boolean.

    Where paper and code differ: neither says what happens with fewer than k candidates.
    The public code drops features ahead of a batch normalization without weights, which
    is part of its head; here the features are those that the head reads.

    References:
        Gupte et al. 2024, "Revisiting Active Learning in the Era of Vision Foundation
        Models", DropQuery. https://arxiv.org/abs/2401.14555

    Example:
        >>> changes = jnp.array([1.0, 1.0, 1.0, 0.0, 1.0])
        >>> line = jnp.array([[0.0], [0.1], [0.3], [9.0], [9.1]])
        >>> picks = drop_query(jax.random.key(0), changes, line, 2)
        >>> print(sorted(picks.tolist()))
        [1, 4]
    """
    checks.require_key("key", key)
    checks.require_no_nan("changes", changes, "pool")
    checks.require_finite("features", features, "pool d")
    checks.require_size("changes", changes, 0, len(features), "features")
    where = check_where(features, k, where)
    return _drop_query(key, changes, features, where, k=int(k))


@partial(jax.jit, static_argnames="k")
def _drop_query(key, changes, features, where, *, k):
    """`drop_query` without its checks."""
    where, changes = jnp.asarray(where), jnp.asarray(changes)
    eligible = jnp.where(where, changes, -jnp.inf)
    least = jax.lax.top_k(eligible, k)[0][-1]
    is_candidate = where & ((changes > LEAST_SHARE) | (changes >= least))
    centers, labels = k_means(key, features, k, is_candidate)
    distances = _distances(features, is_candidate, centers, labels)
    rows = jnp.arange(len(where), dtype=jnp.int32)
    none = jnp.int32(len(where))

    def first(rows, clusters):
        """The lowest of these rows in each cluster; `none` if there is none."""
        return jnp.full(k + 1, none).at[clusters].min(rows)[:k]

    clusters = jnp.where(is_candidate, labels, k)
    nearest = jnp.full(k + 1, jnp.inf, distances.dtype).at[clusters].min(distances)
    is_nearest = is_candidate & (distances == nearest[clusters])
    picks = first(rows, jnp.where(is_nearest, clusters, k))
    # What is left, the farthest from its center first, for the clusters without rows.
    is_left = is_candidate.at[picks].set(False, mode="drop")
    far = jnp.where(is_left, distances, -1)
    _, spare = jax.lax.top_k(far, k)
    is_empty = picks == none
    turn = jnp.cumsum(is_empty, dtype=jnp.int32) - 1
    return jnp.where(is_empty, spare[turn].astype(jnp.int32), picks)


def _distances(features, where, centers, labels):
    """Squared distances to the own center, scaled; zero where there is none."""
    scale = blocks.to_unit_range(blocks.largest_entries(features), where)
    centers = centers * scale

    def of_block(start, size, _):
        label = jax.lax.dynamic_slice(labels, (start,), (size,))
        rows = blocks.take_slice(features, start, size) * scale
        squares = blocks.sum_rows((rows - centers[jnp.maximum(label, 0)]) ** 2)
        return jnp.where(label >= 0, squares, 0)

    return blocks.in_blocks(of_block, jnp.zeros(len(labels), scale.dtype))
