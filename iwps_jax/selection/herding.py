"""MaxHerding and UHerding: cover the pool, or its uncertain rows, by a kernel."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks, numerics
from iwps_jax.scores.predictive import margin
from iwps_jax.selection import cover
from iwps_jax.types import AnyArray

NUM_TARGETS = 35_000
# Of the median distance: one for rows that have no direction in common, at √2.
OF_MEDIAN = 0.5**0.5
# Rows whose distances have the median.
NUM_MEASURED = 256
TINY = 1e-18
LABELED_AT_ONCE = 512


def max_herding(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    k: int,
    labeled: Bool[AnyArray, " pool"],
    *,
    bandwidth: Float[AnyArray, ""] | float | None = None,
    num_targets: int = NUM_TARGETS,
) -> Int[jax.Array, " k"]:
    """MaxHerding: always the row that raises the mean cover of the pool most.

        next = argmax_i Σ_u max(K(x_i, u) - cover_u, 0)
        K(x, u) = exp(-‖x - u‖² / h²),    cover_u = max_(j labeled or chosen) K(x_j, u)

    with x and u features of norm one. The targets u are the rows that may be chosen,
    or `num_targets` of them drawn at random; candidates are all rows. Ties go to the
    lower row. The bandwidth is h = √½ · the median distance of up to 256 rows drawn at
    random, and 1 where more than half of them are copies: so it is 1 for features
    without a common direction, the h of the authors' code, whatever is labeled.

    A gain can only fall, so gains of before bound it: few are computed anew for a pick,
    and the picks are those of computing all, up to rounding. O(pool · targets · d) for
    the first gains; for all 100 picks of 20,000 clustered rows, all of them targets,
    1.6 times that if 100 were labeled and 4 times if none was, k times at worst.
    Memory beside the arguments: [targets, d], 2^22 numbers of the kernel and as many
    distances, and a few numbers a row of the pool.

    Args:
        key: randomness of the targets, and of the rows that the bandwidth is made of.
        features: one embedding per row, labeled rows included.
        k: how many rows to choose.
        labeled: rows that cover from the start.
        bandwidth: h; None for the rule above.
        num_targets: at most so many targets.

    Returns:
        k distinct unlabeled rows, in order of choice; copies come last.

    Raises:
        ValueError: if k is not in [1, unlabeled rows], num_targets below 1, the
            bandwidth not positive, or shapes disagree; outside `jax.jit` also if a
            feature is not finite.
        TypeError: if features are not floating point or `labeled` is not boolean.

    References:
        Bae, Noh, Sutherland 2024, "Generalized Coverage for More Robust Low-Budget
        Active Learning", Algorithm 1. https://arxiv.org/abs/2407.12212. Their code
        draws up to 35,000 rows, which are targets and candidates both.

    Example:
        >>> plane = jnp.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
        >>> none = jnp.zeros(4, bool)
        >>> print(max_herding(jax.random.key(0), plane, 2, none, bandwidth=0.5))
        [1 3]
    """
    labeled = check_cover(key, features, k, labeled, num_targets)
    if bandwidth is not None:
        checks.require_positive("bandwidth", bandwidth)
    picks, _ = max_herd(
        key, features, labeled, bandwidth, k=int(k), num_targets=int(num_targets)
    )
    return picks


def uncertainty_herding(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    logits: Float[AnyArray, "pool classes"],
    k: int,
    labeled: Bool[AnyArray, " pool"],
    *,
    temperature: Float[AnyArray, ""] | float = 1.0,
    bandwidth: Float[AnyArray, ""] | float | None = None,
    num_targets: int = NUM_TARGETS,
) -> Int[jax.Array, " k"]:
    """UHerding: always the row that raises the cover of uncertain rows most.

        next = argmax_i Σ_u U(u) max(K(x_i, u) - cover_u, 0)
        U(u) = 1 - (p_first - p_second),    p = softmax(z_u / T)

    with K, cover, targets and candidates as for `max_herding`, to which it is close
    while h is large and the predictions are unsure; the smaller h is, the closer it is
    to `margin`. So h is the least distance between two labeled rows of norm one, and
    falls as labels come. Rows closer than 2^-9.5 (about 0.0014), which float32 cannot
    tell from copies, do not count for it. Before two labeled rows are apart, h is that
    of `max_herding`. The authors' code has h = 1 then, and U = 1 before the first
    label. Time and memory are those of `max_herding`, and labeled² · d for h.

    Args:
        key: randomness of the targets, and of the rows that the bandwidth is made of.
        features: one embedding per row, labeled rows included.
        logits: outputs of the last layer; those of labeled rows do not matter.
        k: how many rows to choose.
        labeled: rows that cover from the start.
        temperature: T, by `fit_temperature` of a holdout set where there is one.
        bandwidth: h; None for the rule above.
        num_targets: at most so many targets.

    Returns:
        k distinct unlabeled rows, in order of choice; copies come last.

    Raises:
        ValueError: if k is not in [1, unlabeled rows], num_targets below 1, the
            temperature or bandwidth not positive, or shapes disagree; outside
            `jax.jit` also if a feature is not finite or a row has no softmax.
        TypeError: if features or logits are not floating point or `labeled` is not
            boolean.

    References:
        Bae, Oliveira, Sutherland 2025, "Uncertainty Herding: One Active Learning Method
        for All Label Budgets", Algorithm 1. https://arxiv.org/abs/2412.20644

    Example:
        >>> plane = jnp.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
        >>> logits = jnp.array([[9.0, 0.0], [9.0, 0.0], [9.0, 0.0], [0.1, 0.0]])
        >>> none, key = jnp.zeros(4, bool), jax.random.key(0)
        >>> print(uncertainty_herding(key, plane, logits, 2, none, bandwidth=0.5))
        [3 1]
    """
    labeled = check_cover(key, features, k, labeled, num_targets)
    checks.require_logits("logits", logits, "pool classes")
    checks.require_size("logits", logits, 0, len(features), "features")
    checks.require_positive("temperature", temperature)
    if bandwidth is not None:
        checks.require_positive("bandwidth", bandwidth)
    picks, _ = uncertainty_herd(
        key,
        features,
        uncertainty(logits, temperature),
        labeled,
        bandwidth,
        k=int(k),
        num_targets=int(num_targets),
    )
    return picks


def check_cover(key, features, k, labeled, num_targets):
    """The mask, if what both herdings take fits together."""
    checks.require_key("key", key)
    checks.require_finite("features", features, "pool d")
    checks.require_mask("labeled", labeled, len(features))
    labeled = jnp.asarray(labeled)
    checks.require_at_most("k", k, len(features))
    checks.require_at_most("k", k, (~labeled).sum())
    if checks.require_integer("num_targets", num_targets) < 1:
        raise ValueError(f"num_targets must be at least 1, got {num_targets}.")
    return labeled


@jax.jit
def uncertainty(logits, temperature):
    """Margin at a temperature, from zero to one."""

    def of_block(start, size, _):
        return margin(blocks.take_slice(logits, start, size) / temperature)

    logits, temperature = jnp.asarray(logits), jnp.asarray(temperature)
    temperature = temperature.astype(numerics.upcast(logits[:1]).dtype)
    return blocks.in_blocks(of_block, jnp.zeros(len(logits), jnp.float32))


@partial(jax.jit, static_argnames=("k", "num_targets"))
def max_herd(key, features, labeled, bandwidth, *, k, num_targets):
    """`max_herding` without its checks, and how often rows were taken at hand."""
    weights = jnp.ones(len(features), jnp.float32)
    targets = cover.draw_targets(key, features, weights, ~labeled, num_targets)
    if bandwidth is None:
        bandwidth = median_bandwidth(features, targets)
    return herd(features, labeled, targets, bandwidth, k)


@partial(jax.jit, static_argnames=("k", "num_targets"))
def uncertainty_herd(key, features, weights, labeled, bandwidth, *, k, num_targets):
    """The same for `uncertainty_herding`, whose U are the weights."""
    targets = cover.draw_targets(key, features, weights, ~labeled, num_targets)
    if bandwidth is None:
        least = least_distance(features, labeled, targets.place)
        median = median_bandwidth(features, targets)
        bandwidth = jnp.where(jnp.isfinite(least), least, median)
    return herd(features, labeled, targets, bandwidth, k)


def herd(features, labeled, targets, bandwidth, k):
    """Picks by the RBF kernel of a bandwidth, and how often rows were at hand."""
    # A bandwidth whose square leaves float32 tells nothing but copies apart.
    bandwidth = jnp.asarray(bandwidth).astype(targets.squares.dtype)
    inverse = 1 / jnp.maximum(bandwidth, TINY)

    def kernel(squares):
        return jnp.exp(-squares * inverse * inverse)

    return cover.greedy_cover(features, ~labeled, targets, kernel, k=k)


def median_bandwidth(features, targets):
    """√½ · the median distance of the first targets, and 1 where it is zero."""
    first = cover.first_of(targets, NUM_MEASURED)
    found = cover.squared_distances(first, features, first.rows)
    numbers = jnp.arange(len(first.rows), dtype=jnp.int32)
    is_pair = first.counts[:, None] & first.counts[None]
    is_pair = is_pair & (numbers[:, None] < numbers[None])
    found = jnp.sort(jnp.where(is_pair, found, jnp.inf).ravel())
    square = found[jnp.maximum(is_pair.sum(dtype=jnp.int32) - 1, 0) // 2]
    is_there = (square > 0) & jnp.isfinite(square)
    return jnp.where(is_there, OF_MEDIAN * jnp.sqrt(jnp.where(is_there, square, 1)), 1)


def least_distance(features, labeled, place):
    """The least distance of labeled rows that are no copies; inf if there are none."""

    def add(least, nearest):
        return jnp.minimum(least, nearest.min())

    infinite = jnp.full((), jnp.inf, place.dtype)
    return jnp.sqrt(over_nearest(add, infinite, features, labeled, place))


def over_nearest(add, total, features, labeled, place):
    """`add(total, nearest)` over blocks of labeled rows.

    `nearest` has their squared distances to the nearest other labeled row that is no
    copy; infinite where there is none, and where a block is not filled.
    """
    some = cover.used(labeled)

    def add_rows(total, rows, counts):
        points = cover.unit_rows(blocks.take_rows(features, rows))
        targets = cover.targets_at(rows, points, counts, counts, place)
        nearest = cover.nearest_of(features, some, targets, least=cover.SAME)
        return add(total, jnp.where(counts, nearest, jnp.inf))

    return cover.over_rows(add_rows, total, some, LABELED_AT_ONCE)
