"""BAIT: the batch that leaves least uncertainty where the pool lies.

The Fisher information of the head, C · d weights, at a sample with probabilities p and
features h, in expectation over its label:

    F_x = Σ_c p_c g_c g_cᵀ = (diag(p) - p pᵀ) ⊗ h hᵀ,    g_c = (p - e_c) ⊗ h

`fisher` has the algebra: ranks of C - 1 in place of matrices of C · d.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import blocks, checks, numerics
from iwps_jax.scores.head import check_head
from iwps_jax.selection import fisher
from iwps_jax.selection.highest import top_rows
from iwps_jax.types import AnyArray, Head

MOST_WEIGHTS = 4_000
"""C · d up to which `bait` keeps the whole matrix."""
# λ in the units of the scaled features is at most this: what is smaller beside it by
# more than float32 can tell is left as it is.
MOST_PRIOR = 1e6
MATRICES = 8
"""As large as A, while the sums are formed anew."""
STATIC = ("k", "number", "most", "by_class")


def bait(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    k: int,
    labeled: Bool[AnyArray, " pool"],
    *,
    prior: AnyArray | float = 1.0,
    labeled_weight: AnyArray | float = 1.0,
    oversampling: int = 2,
    num_candidates: int | None = None,
) -> Int[jax.Array, " k"]:
    """BAIT: rows whose labels bound the error on the pool most, by Fisher information.

        next = argmin_x tr (A + F_x)⁻¹ F_U,    A ← A + F_next
        F_x  = (diag(p) - p pᵀ) ⊗ h hᵀ,        A = λ I + w Σ_(labeled j) F_j at first

    with F_U the mean of F over the pool, labeled rows included. So 2 k rows are picked;
    then the one whose removal raises the trace least is removed, until k are left. The
    bias of the head is no part of h. `iwps_batch` has the forward step without the
    matrix over the classes: its gain takes one variance for it.

    Time: one pass over the pool takes its C² d² / 2 a row two or three times, and each
    of the 3 k steps C² d + C³ a row; a few times (C d)³ beside. Memory beside the
    arguments: 2 (C - 1)² + C numbers a candidate and eight (C d)². The sums are formed
    anew by their definition each time the best gain has fallen a hundredfold, and after
    512 picks. A λ below the rounding of A's trace counts as that much.

    Args:
        key: randomness of the candidates, where they are fewer than the pool.
        features: inputs h of the last layer, labeled rows included.
        kernel: weights of the last layer; C · d of them, at most 4,000.
        bias: bias of the last layer.
        k: how many rows to choose.
        labeled: rows that are labeled already.
        prior: λ, 1 in the public code (0.01 for CIFAR-10); positive.
        labeled_weight: w; positive.
        oversampling: so many times k rows are picked, if there are as many.
        num_candidates: rows that may be picked, drawn at random; None: all that are not
            labeled, as in the paper.

    Returns:
        k distinct unlabeled rows, in order of choice; ties go to the lower row.

    Raises:
        ValueError: if C · d is above 4,000, k is not in [1, unlabeled rows], there are
            fewer candidates than that or shapes disagree; outside `jax.jit` also if a
            number is not finite.
        TypeError: if features are not floating point or `labeled` is not boolean.

    The public code weighs a labeled sample 1 / (n + k) and a pick k / (n + k), for n
    labeled samples: its picks are those of λ (n + k) / k for λ and w = 1 / k.

    References:
        Ash, Goel, Krishnamurthy, Kakade 2021, "Gone Fishing: Neural Active Learning
        with Fisher Embeddings", Algorithm 1. https://arxiv.org/abs/2106.09675

    Example:
        >>> plane = jnp.array([[2.0, 0.0], [2.0, 0.1], [0.0, 2.0], [0.1, 0.1]])
        >>> head = jnp.zeros((2, 2)), jnp.zeros(2)
        >>> print(bait(jax.random.key(0), plane, *head, 2, jnp.zeros(4, bool)))
        [1 2]
    """
    return _bait(
        key,
        (kernel, bias),
        features,
        k,
        labeled,
        (prior, labeled_weight),
        (oversampling, num_candidates),
        by_class=False,
    )


def bait_by_class(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool d"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    k: int,
    labeled: Bool[AnyArray, " pool"],
    *,
    prior: AnyArray | float = 1.0,
    labeled_weight: AnyArray | float = 1.0,
    oversampling: int = 2,
    num_candidates: int | None = None,
) -> Int[jax.Array, " k"]:
    """BAIT with a matrix for each class, for more classes and features than `bait` has.

        next = argmin_x Σ_c tr (A_c + F_xc)⁻¹ F_Uc,    F_xc = p_c (1 - p_c) h hᵀ

    The parts of F between two classes are left out, so that nothing is larger than
    [d, d], C times; all else is as in `bait`.

    Time: one pass over the pool takes C d² a row two or three times, and each of the
    3 k steps 2 C d a row; a few times C d³ beside. Memory beside the arguments: 3 C
    numbers a candidate and eight times C d².

    Args:
        key: randomness of the candidates, where they are fewer than the pool.
        features: inputs h of the last layer, labeled rows included.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        k: how many rows to choose.
        labeled: rows that are labeled already.
        prior: λ; positive.
        labeled_weight: w; positive.
        oversampling: so many times k rows are picked, if there are as many.
        num_candidates: rows that may be picked, drawn at random; None: all that are not
            labeled.

    Returns:
        k distinct unlabeled rows, in order of choice; ties go to the lower row.

    Raises:
        ValueError: if k is not in [1, unlabeled rows], there are fewer candidates than
            that or shapes disagree; outside `jax.jit` also if a number is not finite.
        TypeError: if features are not floating point or `labeled` is not boolean.

    The paper and its public code have no such form.

    References:
        Ash, Goel, Krishnamurthy, Kakade 2021, "Gone Fishing: Neural Active Learning
        with Fisher Embeddings", Algorithm 1. https://arxiv.org/abs/2106.09675

    Example:
        >>> plane = jnp.array([[2.0, 0.0], [2.0, 0.1], [0.0, 2.0], [0.1, 0.1]])
        >>> head = jnp.zeros((2, 2)), jnp.zeros(2)
        >>> print(bait_by_class(jax.random.key(0), plane, *head, 2, jnp.zeros(4, bool)))
        [1 2]
    """
    return _bait(
        key,
        (kernel, bias),
        features,
        k,
        labeled,
        (prior, labeled_weight),
        (oversampling, num_candidates),
        by_class=True,
    )


def numbers_held(rows: int, d: int, classes: int, *, by_class: bool) -> int:
    """How many numbers either keeps beside the features.

    Raises:
        ValueError: if the head has more weights than `bait` is for.

    Example:
        >>> numbers_held(1000, 10, 3, by_class=False)
        18200
        >>> numbers_held(1000, 10, 3, by_class=True)
        11400
    """
    if not by_class:
        _require_few_weights(d * classes)
    problems, rank, width = (
        (classes, 1, d) if by_class else (1, classes - 1, classes * d)
    )
    sums = 2 * problems * rank**2
    return rows * (sums + classes) + MATRICES * problems * width**2


def _require_few_weights(number):
    if number > MOST_WEIGHTS:
        raise ValueError(
            f"bait is exact for heads of at most {MOST_WEIGHTS:,} weights, got "
            f"{number:,} (classes times features): take bait_by_class, which has a "
            "matrix for each class in place of one for all."
        )


def _bait(key, head_, features, k, labeled, weights, numbers, *, by_class):
    """Either of them: checks what is static, and picks."""
    checks.require_key("key", key)
    check_head(features, *head_)
    if not by_class:
        _require_few_weights(head_[0].shape[0] * head_[0].shape[1])
    checks.require_mask("labeled", labeled, len(features))
    checks.require_at_most("k", k, len(features))
    checks.require_at_most("k", k, (~jnp.asarray(labeled)).sum())
    for name, value in zip(("prior", "labeled_weight"), weights, strict=True):
        checks.require_positive(name, value)
    oversampling, number = numbers
    if checks.require_integer("oversampling", oversampling) < 1:
        raise ValueError(f"oversampling must be at least 1, got {oversampling}.")
    if number is not None:
        number = min(checks.require_integer("num_candidates", number), len(features))
        if number < k:
            raise ValueError(f"num_candidates must be at least k = {k}, got {number}.")
    picks = min(int(k) * int(oversampling), len(features) if number is None else number)
    return _picks(
        key,
        features,
        head_,
        labeled,
        weights,
        k=int(k),
        number=number,
        most=picks,
        by_class=by_class,
    )


@partial(jax.jit, static_argnames=STATIC)
def _picks(key, features, head_, labeled, weights, *, k, number, most, by_class):
    head_ = Head(*numerics.upcast((*head_, features[:1]))[:2])
    dtype, labeled = head_.kernel.dtype, jnp.asarray(labeled)
    pairs = fisher.layout(len(head_.bias), by_class)
    entries = blocks.largest_entries(features).astype(dtype)
    scale = blocks.to_unit_range(entries, jnp.ones_like(labeled))
    pool = fisher.points_of(features, head_, scale)
    known = jnp.argsort(~labeled, stable=True)
    orders = jnp.stack([jnp.arange(len(features)), known]).astype(jnp.int32)
    sizes = jnp.stack([jnp.int32(len(features)), labeled.sum(dtype=jnp.int32)])
    of_pool, of_labeled = jax.lax.map(  # one program for both
        lambda rows: fisher.information(pool, head_, *rows, pairs), (orders, sizes)
    )
    of_pool = of_pool / len(features)
    precision = of_labeled * jnp.asarray(weights[1], dtype)
    least = _rounding_of_trace(pool, precision, most)
    prior = jnp.asarray(weights[0], dtype) * scale * scale
    prior = jnp.clip(prior, least, jnp.maximum(least, MOST_PRIOR))
    precision = precision + prior * jnp.eye(precision.shape[-1], dtype=dtype)[None]
    rows = None
    if number is not None and number < len(features):
        drawn = top_rows(numerics.uniform(key, labeled.shape), ~labeled, k=number)
        rows = jnp.sort(drawn)
        pool = fisher.points_of(features[rows], head_, scale)
        labeled = labeled[rows]
    steps = pool, ~labeled, of_pool, pairs
    picks = _fewer(*steps, *_forward(*steps, precision, most), k)
    return picks if rows is None else rows[picks]


def _rounding_of_trace(pool, precision, most):
    """What rounding leaves of A's trace once everything is picked."""
    features, scale, _ = pool

    def squares(start, size, _):
        rows = blocks.take_slice(features, start, size) * scale
        return blocks.sum_rows(rows**2).astype(scale.dtype)

    largest = blocks.in_blocks(squares, jnp.zeros(len(features), scale.dtype)).max()
    trace = jnp.trace(precision, axis1=1, axis2=2).sum() + most * largest
    return jnp.maximum(trace, 1) * jnp.finfo(scale.dtype).eps


def _sample(points, row):
    """Scaled features and probabilities of one candidate."""
    features = blocks.take_rows(points.features, row[None])[0] * points.scale
    size = points.probs.shape[-1]
    block = jnp.minimum(row // size, len(points.probs) - 1)
    probs = points.probs[block, :, row - points.start(block)]
    return features, probs


def _forward(points, may_be_picked, of_pool, pairs, precision, most):
    """Always the row that lowers the trace most; and A with all of them.

    Where no row is left to pick, a pick adds nothing.
    """
    number = may_be_picked.sum(dtype=jnp.int32)

    def anew(carry):
        state, _, _, _, left = carry
        state, gains = fisher.begin(points, state.precision, of_pool, 1, pairs)
        best = jnp.where(left, gains, 0).max()
        return state, gains, best, jnp.int32(0), left

    def pick(i, both):
        picks, carry = both
        _, gains, best, since, left = carry
        is_exact = fisher.FALL * jnp.where(left, gains, 0).max() >= best
        is_exact = (is_exact | (i >= number)) & (since < fisher.PICKS)
        state, gains, best, since, left = jax.lax.cond(
            numerics.all_of_batch(is_exact), lambda carry: carry, anew, carry
        )
        row = blocks.argmax(jnp.where(left, gains, -jnp.inf))
        features, probs = _sample(points, row)
        root = jnp.where(i < number, fisher.root_of(probs, pairs), 0)
        state, gains = fisher.move(points, state, of_pool, features, root, 1, pairs)
        left = left.at[row].set(False)
        return picks.at[i].set(row), (state, gains, best, since + 1, left)

    zeros = jnp.zeros(len(points.features), precision.dtype)
    state = fisher.State(precision, precision, fisher.no_sums(points, pairs))
    # The sums are formed at the first pick.
    start = state, zeros, zeros[0], jnp.int32(fisher.PICKS), may_be_picked
    picks = jnp.zeros(most, jnp.int32)
    picks, (state, *_) = jax.lax.fori_loop(
        np.int32(0), np.int32(most), pick, (picks, start)
    )
    return picks, state.precision


def _fewer(points, may_be_picked, of_pool, pairs, picks, precision, k):
    """The k picks that are left when always one is removed that is missed least."""
    most = len(picks)
    features = blocks.take_rows(points.features, picks)
    probs = jax.vmap(lambda row: _sample(points, row)[1])(picks)
    picked = fisher.Points(features, points.scale, probs.T[None])
    order = jnp.arange(most, dtype=jnp.int32)
    is_pick = order < may_be_picked.sum(dtype=jnp.int32)
    state, costs = fisher.begin(picked, precision, of_pool, -1, pairs)

    def remove(_, carry):
        state, costs, left = carry
        costs = jnp.where(jnp.isfinite(costs), costs, jnp.finfo(costs.dtype).max)
        costs = jnp.where(left, jnp.where(is_pick, costs, -1), jnp.inf)
        # The later one of two that tie.
        place = most - 1 - blocks.argmax(-costs[::-1])
        features, probs = _sample(picked, place)
        root = jnp.where(is_pick[place], fisher.root_of(probs, pairs), 0)
        state, costs = fisher.move(picked, state, of_pool, features, root, -1, pairs)
        return state, costs, left.at[place].set(False)

    start = state, costs, jnp.ones(most, bool)
    left = jax.lax.fori_loop(0, most - k, remove, start)[-1]
    return picks[jnp.argsort(~left, stable=True)[:k]]
