"""Balanced herding: cover the uncertain rows by a kernel, rare classes first."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks, numerics
from iwps_jax.selection import cover, herding
from iwps_jax.types import AnyArray

NUM_TARGETS = 8_192


def balanced_herding(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    logits: Float[AnyArray, "pool classes"],
    k: int,
    labeled: Bool[AnyArray, " pool"],
    *,
    rarity: float | Float[AnyArray, ""] = 1.0,
    bandwidth: Float[AnyArray, ""] | float | None = None,
    num_targets: int = NUM_TARGETS,
) -> Int[jax.Array, " k"]:
    """Always the row that raises the cover of uncertain rows of rare classes most.

        next = argmax_i Σ_u w_u max(K(x_i, u) - cover_u, 0)
        w_u = U(u) r_u^γ,    r_u = Σ_c p_uc / (1 + Σ_(v unlabeled) p_vc)

    with K, U and cover as for `uncertainty_herding`, of which this is a form: γ, the
    `rarity`, says how much a row of a rare class counts. With 1, every class counts
    about the same, which serves the mean recall of the classes; with 0, every row,
    which serves the accuracy on samples as frequent as in the pool. Of more than
    `num_targets` rows, so many are drawn by their weights and stand for all: the
    expected gain of a row is that over all targets. The bandwidth is
    the mean distance, between features of norm one, from a labeled row to the nearest
    other one that is no copy; before two labeled rows are apart, h is that of
    `max_herding`. Time and memory are those of `max_herding`, and labeled² · d for h.

    Args:
        key: randomness of the targets, if there are more rows than `num_targets`.
        features: one embedding per row, labeled rows included.
        logits: outputs of the last layer; those of labeled rows do not matter.
        k: how many rows to choose.
        labeled: rows that cover from the start.
        rarity: γ, at least 0.
        bandwidth: h; None for the rule above.
        num_targets: at most so many targets.

    Returns:
        k distinct unlabeled rows, in order of choice; copies come last.

    Raises:
        ValueError: if k is not in [1, unlabeled rows], num_targets below 1, the rarity
            negative, the bandwidth not positive, or shapes disagree; outside `jax.jit`
            also if a feature is not finite or a row has no softmax.
        TypeError: if features or logits are not floating point or `labeled` is not
            boolean.

    References:
        Bae, Oliveira, Sutherland 2025, Algorithm 1, https://arxiv.org/abs/2412.20644,
        for γ = 0, the least distance in place of the mean and targets drawn alike.
        Duffield, Lund, Thorup 2007 for the draw. The weights are ours.

    Example:
        >>> plane = jnp.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
        >>> logits = jnp.array([[0.4, 0.0], [0.4, 0.0], [0.4, 0.0], [0.0, 0.4]])
        >>> none, key = jnp.zeros(4, bool), jax.random.key(0)
        >>> print(balanced_herding(key, plane, logits, 2, none, bandwidth=0.5))
        [1 3]
    """
    labeled = herding.check_cover(key, features, k, labeled, num_targets)
    checks.require_logits("logits", logits, "pool classes")
    checks.require_size("logits", logits, 0, len(features), "features")
    checks.require_not_negative("rarity", rarity)
    if bandwidth is not None:
        checks.require_positive("bandwidth", bandwidth)
    picks, _ = balanced_herd(
        key,
        features,
        target_weights(logits, ~labeled, rarity),
        labeled,
        bandwidth,
        k=int(k),
        num_targets=int(num_targets),
    )
    return picks


@jax.jit
def target_weights(logits, eligible, rarity):
    """w, the weights of the rows as targets; those of other rows do not matter."""
    unsure = herding.uncertainty(logits, jnp.float32(1))
    return unsure * class_shares(logits, eligible, rarity)


def class_shares(logits, eligible, rarity):
    """r^γ of the rows; those of other rows do not matter."""
    logits, eligible = jnp.asarray(logits), jnp.asarray(eligible)
    dtype = numerics.upcast(logits[:1]).dtype

    def probabilities(start, size):
        return jax.nn.softmax(blocks.take_slice(logits, start, size))

    def add(totals, start, size, is_new):
        counts = is_new & jax.lax.dynamic_slice(eligible, (start,), (size,))
        return totals + jnp.where(counts[:, None], probabilities(start, size), 0).sum(0)

    def of_block(start, size, _):
        shares = probabilities(start, size) * (1 / (1 + totals))[None]
        return blocks.sum_rows(shares) ** rarity

    totals = blocks.add_up(add, jnp.zeros(logits.shape[1], dtype), len(logits))
    rarity = jnp.asarray(rarity).astype(dtype)
    return blocks.in_blocks(of_block, jnp.zeros(len(logits), dtype))


@partial(jax.jit, static_argnames=("k", "num_targets"))
def balanced_herd(key, features, weights, labeled, bandwidth, *, k, num_targets):
    """`balanced_herding` without its checks, from the weights of the targets.

    Returns the picks, and how often rows were taken at hand.
    """
    targets = cover.draw_by_priority(key, features, weights, ~labeled, num_targets)
    if bandwidth is None:
        mean = mean_distance(features, labeled, targets.place)
        median = herding.median_bandwidth(features, targets)
        bandwidth = jnp.where(mean > 0, mean, median)
    return herding.herd(features, labeled, targets, bandwidth, k)


def mean_distance(features, labeled, place):
    """Mean distance of labeled rows to the nearest other that is no copy; or zero."""

    def add(total, nearest):
        is_there = jnp.isfinite(nearest)
        apart = jnp.sqrt(jnp.where(is_there, nearest, 0))
        return total + jnp.stack([apart.sum(), is_there.sum().astype(total.dtype)])

    zeros = jnp.zeros(2, place.dtype)
    total, number = herding.over_nearest(add, zeros, features, labeled, place)
    return total / jnp.maximum(number, 1)
