"""ProbCover: cover as many rows as possible by balls of one radius."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import checks
from iwps_jax.selection import cover
from iwps_jax.types import AnyArray

PURITY = 0.95
WIDEST = 2.0  # between rows of norm one


def prob_cover(
    features: Float[AnyArray, "pool d"],
    k: int,
    labeled: Bool[AnyArray, " pool"],
    *,
    delta: Float[AnyArray, ""] | float,
) -> Int[jax.Array, " k"]:
    """ProbCover: always the row whose ball has most rows that no ball has yet.

        next = argmax_i |{u : ‖x_i - x_u‖ < δ, ‖x_j - x_u‖ >= δ for all j chosen}|

    with features x of norm one, starting from all labeled rows as chosen. Once all
    rows are covered, and in ties, which are frequent, the lower row comes first. A row
    that float32 cannot tell from x_i is always in its ball, see `iwps_jax.selection.
    cover`.

    The graph of neighbors is not stored: counts can only fall, so counts of before
    bound them, and few are made anew for a pick. O(pool² · d) for the first counts;
    for all 100 picks of 20,000 clustered rows 1.7 to 2.3 times that, k times at worst.
    Memory beside the arguments: a copy of the features, 2^22 entries of the graph, and
    a few numbers a row.

    Args:
        features: one embedding per row, labeled rows included.
        k: how many rows to choose.
        labeled: rows whose balls are there from the start.
        delta: δ, the radius; `ball_radius` finds one.

    Returns:
        k distinct unlabeled rows, in order of choice.

    Raises:
        ValueError: if k is not in [1, unlabeled rows], delta is not positive, or shapes
            disagree; outside `jax.jit` also if a feature is not finite.
        TypeError: if features are not floating point or `labeled` is not boolean.

    References:
        Yehuda et al. 2022, "Active Learning Through a Covering Lens", Algorithm 1.
        https://arxiv.org/abs/2205.11320. The balls of their code are open as well; it
        may choose a row twice once all rows are covered.

    Example:
        >>> circle = jnp.array([[1.0, 0.0], [1.0, 0.2], [1.0, 0.4], [0.0, 1.0]])
        >>> print(prob_cover(circle, 2, jnp.zeros(4, bool), delta=0.3))
        [1 3]
    """
    checks.require_finite("features", features, "pool d")
    checks.require_mask("labeled", labeled, len(features))
    checks.require_at_most("k", k, len(features))
    checks.require_at_most("k", k, (~jnp.asarray(labeled)).sum())
    checks.require_positive("delta", delta)
    return cover_by_balls(features, labeled, delta, k=int(k))[0]


@partial(jax.jit, static_argnames="k")
def cover_by_balls(features, labeled, delta, *, k):
    """`prob_cover` without its checks, and how often rows were taken at hand."""
    labeled = jnp.asarray(labeled)
    targets = cover.all_targets(features, ~labeled)
    # At least as wide as what counts as a copy.
    square = jnp.asarray(delta).astype(targets.squares.dtype) ** 2
    square = jnp.maximum(square, cover.SAME)

    def kernel(squares):
        return (squares < square).astype(squares.dtype)

    return cover.greedy_cover(features, ~labeled, targets, kernel, k=k)


def ball_radius(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    clusters: Int[AnyArray, " pool"],
    *,
    purity: float = PURITY,
    num_rows: int | None = None,
) -> Float[jax.Array, ""]:
    """The largest radius with which most balls are pure: δ of `prob_cover`.

        π(δ) = |{i : c_u = c_i for all ‖x_u - x_i‖ < δ}| / pool,    max δ : π(δ) >= 0.95

    with features x of norm one and clusters c in the place of classes: those of
    `k_means` with as many clusters as there are classes. A ball is pure up to the
    distance to the nearest row of another cluster, so δ is a quantile of these
    distances, where the authors try a few values; δ² is 2^-19 less, the rounding of a
    squared distance. At most 2, which no ball needs more.

    O(num_rows · pool · d) time; memory beside the arguments: [num_rows, d] and 2^22
    distances.

    Args:
        key: of the rows whose balls are looked at, where these are not all.
        features: one embedding per row.
        clusters: one number per row, such as a class from k-means; rows with a negative
            one are left out.
        purity: π, in (0, 1].
        num_rows: look at so many balls, drawn at random; None for all, as the paper.

    Returns:
        One number in [0, 2].

    Raises:
        ValueError: if purity or num_rows is out of range, or shapes disagree; outside
            `jax.jit` also if a feature is not finite.
        TypeError: if features are not floating point or clusters no integers.

    References:
        Yehuda et al. 2022, "Active Learning Through a Covering Lens", on choosing δ.
        https://arxiv.org/abs/2205.11320

    Example:
        >>> circle = jnp.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [0.2, 1.0]])
        >>> clusters = jnp.array([0, 0, 1, 1])
        >>> print(f"{ball_radius(jax.random.key(0), circle, clusters):.3f}")
        1.109
    """
    checks.require_key("key", key)
    checks.require_finite("features", features, "pool d")
    checks.require_integers("clusters", clusters)
    checks.require_size("clusters", clusters, 0, len(features), "features")
    if not 0 < purity <= 1:
        raise ValueError(f"purity must be in (0, 1], got {purity}.")
    num_rows = len(features) if num_rows is None else num_rows
    if checks.require_integer("num_rows", num_rows) < 1:
        raise ValueError(f"num_rows must be at least 1, got {num_rows}.")
    return _ball_radius(key, features, clusters, purity, num_rows=int(num_rows))


@partial(jax.jit, static_argnames="num_rows")
def _ball_radius(key, features, clusters, purity, *, num_rows):
    clusters = jnp.asarray(clusters).astype(jnp.int32)
    counts = clusters >= 0
    ones = jnp.ones(len(features), jnp.float32)
    targets = cover.draw_targets(key, features, ones, counts, num_rows)
    mine, some = clusters[targets.rows], cover.used(counts)

    def is_other(rows):
        return clusters[rows][:, None] != mine[None]

    squares = cover.nearest_of(features, some, targets, may_meet=is_other)
    squares = jnp.sort(jnp.where(targets.counts, squares, jnp.inf))
    number = targets.counts.sum(dtype=jnp.int32)
    # A thousandth of a row: 0.05 · 100 is less than 5 in floats.
    share = 1 - jnp.asarray(purity).astype(squares.dtype)
    impure = jnp.floor(share * number.astype(squares.dtype) + 1e-3)
    place = jnp.minimum(impure.astype(jnp.int32), jnp.maximum(number - 1, 0))
    # The row at this distance is not in the ball, however `prob_cover` rounds.
    square = jnp.maximum(squares[place] - cover.SAME, 0)
    return jnp.minimum(jnp.sqrt(square), WIDEST)
