"""IWPS-batch: wrong predictions whose labels, together, tell most where it counts.

A label of sample i is a measurement of the head along a_i = (h_i, 1). Before it the
head is known up to the covariance A⁻¹, with

    A = λ I + Σ_(labeled j) max(v_j, v_min) a_j a_jᵀ,    v = Σ_c p_c (1 - p_c)

the precision that the labels so far have given it: v is the variance of a one-hot label
under the prediction, the trace of the logits' Fisher information. After it, the
variance of another sample's logits is lower by

    v_i (a_iᵀ A⁻¹ a_m)² / (1 + v_i a_iᵀ A⁻¹ a_i)

which is again a closed form: A grows by one outer product, and no weight is copied.
`information` picks by it.
Where it counts is at the *targets* m: one half the holdout set, which is small but
balanced, and one half samples of the pool, weighted until they are balanced as well.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Integer, Key

from iwps_jax import blocks, checks, numerics
from iwps_jax.scores.head import check_head, check_same_features, head_logits
from iwps_jax.selection.candidates import number_of_candidates, relative
from iwps_jax.selection.highest import top_rows
from iwps_jax.selection.information import Candidates, Targets, pick_in_turn
from iwps_jax.types import AnyArray, Head

# λ in units of the mean squared entry of the holdout set's a.
PRIOR = 1.0
# Targets drawn from the pool.
NUM_DRAWN = 300
# v_min: what a labeled sample tells at least, also where the head is sure of it.
LEAST_VARIANCE = 0.05


class Evidence(NamedTuple):
    """What IWPS-batch looks at besides the scores.

    Attributes:
        features: inputs h of the last layer.
        kernel: weights of the last layer.
        bias: bias of the last layer.
        holdout_features: inputs of the last layer for the holdout samples.
        labeled_features: those of the samples that are labeled.
        labels: their classes; negative where the buffer holds no sample.
        pool_sample: the same inputs for rows drawn at random from the pool, for where
            `features` are not the whole of it; None: drawn from `features` by the key.
    """

    features: Float[AnyArray, "pool d"]
    kernel: Float[AnyArray, "d classes"]
    bias: Float[AnyArray, " classes"]
    holdout_features: Float[AnyArray, "m d"]
    labeled_features: Float[AnyArray, "n d"]
    labels: Integer[AnyArray, " n"]
    pool_sample: Float[AnyArray, "s d"] | None = None


def iwps_batch(
    key: Key[jax.Array, ""],
    scores: Float[AnyArray, " pool"],
    evidence: Evidence,
    k: int,
    *,
    candidates_per_pick: int = 10,
    where: Bool[AnyArray, " pool"] | None = None,
) -> Int[jax.Array, " k"]:
    """One pick at a time: probably wrong, of a rare class, and telling where it counts.

        next = argmax_i max(score_i, 0) · rarity_i · gain_i
        rarity_i = Σ_c p_ic / (n_c + 1)
        gain_i   = Σ_m w_m v_m v_i (a_iᵀ A⁻¹ a_m)² / (1 + v_i a_iᵀ A⁻¹ a_i)

    with n_c the labeled samples of class c, and v, A and the targets m as above, with
    λ the mean squared entry of the holdout set's a and v_min = 0.05: w_m is 1 / (2 m)
    for a holdout sample and, for one of S = 300 eligible rows drawn from the pool,
    proportional to Σ_c p_mc / (1 + Σ_(m' drawn) p_m'c), one half in sum. After every
    pick A has learned it, A ← A + v_i a_i a_iᵀ, and so have the counts,
    n_c ← n_c + p_ic: a second pick like the first gains little. Candidates are the
    `candidates_per_pick · k` eligible rows with the highest max(score, 0) · rarity.
    Where all classes are as frequent, rarity is about the same for all.

    For scores whose zero means "of no use", as that of IWPS does; what scores zero or
    less comes last, by its score. Memory beside the arguments: candidates · 2 d, copies
    of the labeled set, (m + S) · d, d² and a few numbers a row of the pool; nothing
    grows with k · candidates.

    Args:
        key: randomness of the targets drawn from the pool.
        scores: those of `iwps_last_layer`, or any other.
        evidence: features, head, holdout and labeled set.
        k: how many rows to choose.
        candidates_per_pick: so many times k candidates.
        where: rows that may be chosen; all by default.

    Returns:
        k distinct rows, in order of choice; ties go to the earlier candidate.

    Raises:
        ValueError: if k is not in [1, rows left], there is no candidate a pick or
            shapes disagree; outside `jax.jit` also for a score of NaN, a label out of
            range or a number that is not finite.
        TypeError: if scores or features are not floating point, labels no integers
            or `where` is not boolean.

    References:
        Aljundi et al. 2020 for the scores; the gain is the sequential design of Yu, Bi,
        Tresp 2006, "Active Learning via Transductive Experimental Design", with the
        targets as the test points and the weights of a logistic head. It is also the
        forward step of BAIT (Ash et al. 2021, "Gone Fishing: Neural Active Learning
        with Fisher Embeddings", https://arxiv.org/abs/2106.09675) without the factor
        of the classes. Its product with score and rarity, and what the targets are,
        is ours.

    Example:
        >>> plane = jnp.array([[2.0, 0.0], [2.0, 0.1], [0.0, 2.0], [9.0, 9.0]])
        >>> evidence = Evidence(
        ...     features=plane,
        ...     kernel=jnp.zeros((2, 2)),
        ...     bias=jnp.zeros(2),
        ...     holdout_features=jnp.eye(2),
        ...     labeled_features=jnp.array([[0.5, 0.5]]),
        ...     labels=jnp.array([0]),
        ... )
        >>> scores = jnp.array([0.4, 0.3, 0.3, 0.0])
        >>> print(iwps_batch(jax.random.key(0), scores, evidence, 2))
        [0 2]
    """
    checks.require_key("key", key)
    checks.require_no_nan("scores", scores, "pool")
    check_head(evidence.features, evidence.kernel, evidence.bias)
    checks.require_size("features", evidence.features, 0, len(scores), "scores")
    checks.require_integers("labels", evidence.labels)
    checks.require_floating("labeled_features", evidence.labeled_features, "n d")
    labels = jnp.asarray(evidence.labels).astype(jnp.int32)
    labeled = jnp.asarray(evidence.labeled_features)
    checks.require_size("labels", labels, 0, len(labeled), "labeled_features")
    # What stands in an empty place of the buffer does not matter.
    labeled = jnp.where((labels >= 0)[:, None], labeled, 0)
    checks.require_labels("labels", jnp.maximum(labels, 0), len(evidence.bias))
    evidence = evidence._replace(labels=labels, labeled_features=labeled)
    for name in ("holdout_features", "labeled_features", "pool_sample"):
        if (samples := getattr(evidence, name)) is not None:
            check_same_features(name, samples, evidence.kernel)
    number, where = number_of_candidates(scores, k, candidates_per_pick, where)
    return _iwps_batch(key, scores, evidence, where, k=int(k), number=number)


@partial(jax.jit, static_argnames=("k", "number"))
def _iwps_batch(key, scores, evidence, where, *, k, number):
    where = jnp.asarray(where)
    scores, *narrow = numerics.upcast((scores, *(part[:1] for part in evidence[:5])))
    dtype = narrow[0].dtype
    head_ = Head(evidence.kernel.astype(dtype), evidence.bias.astype(dtype))
    is_class = (
        evidence.labels[:, None]
        == jnp.arange(len(evidence.bias), dtype=jnp.int32)[None]
    )
    counts = is_class.sum(0).astype(dtype)
    usefulness = relative(jnp.where(where, scores, 0))
    rarity = rarity_of(evidence.features, head_, counts)
    # What is of no use is ordered by its score, and so it is picked where it must be.
    order = jnp.where(usefulness > 0, usefulness * rarity, jnp.minimum(scores, 0))
    candidates = top_rows(order, where, k=number)
    points = _rows(evidence.features, candidates, dtype)
    probs, variance = label_variance(points, head_)
    targets, weights = targets_of(key, evidence, where, head_)
    whiten = whitening(evidence, head_)
    targets = whiten(targets)
    # Only ratios of gains matter, and squares of huge targets leave float32.
    targets = targets * unit_scale(jnp.abs(targets).max())
    picks = pick_in_turn(
        k,
        where[candidates],
        Candidates(usefulness[candidates], whiten(points), probs, variance),
        Targets(targets, weights),
        counts,
    )
    return candidates[picks]


_matmul = partial(jnp.matmul, precision=numerics.PRECISION)


def _rows(features, rows, dtype):
    return jnp.asarray(features)[rows].astype(dtype)


def rarity_of(features, head_, counts):
    """Σ_c p_ic / (n_c + 1) of all rows, a block at a time."""

    def of_block(start, size, _):
        block = blocks.take_slice(features, start, size)
        return _matmul(jax.nn.softmax(head_logits(block, *head_)), 1 / (1 + counts))

    return blocks.in_blocks(of_block, jnp.zeros(len(features), head_.kernel.dtype))


def label_variance(features, head_):
    """Probabilities, and v = Σ_c p_c (1 - p_c), with its digits near zero."""
    logits = head_logits(features, *head_)
    distance = jnp.abs(numerics.label_residual(logits, logits.argmax(-1)))
    # |onehot - p| is 1 - p at the prediction and p elsewhere: p (1 - p) both ways.
    return jax.nn.softmax(logits), blocks.sum_rows(distance * (1 - distance))


def targets_of(key, evidence, where, head_, *, num_drawn=NUM_DRAWN):
    """Features of the targets, the holdout set first, and their w_m v_m."""
    dtype = head_.kernel.dtype
    if evidence.pool_sample is None:
        draws = numerics.uniform(key, where.shape)
        drawn = top_rows(draws, where, k=min(num_drawn, len(where)))
        from_pool, is_there = _rows(evidence.features, drawn, dtype), where[drawn]
    else:
        from_pool = evidence.pool_sample.astype(dtype)
        is_there = jnp.ones(len(from_pool), bool)
    probs, variance = label_variance(from_pool, head_)
    probs = jnp.where(is_there[:, None], probs, 0)
    share = _matmul(probs, 1 / (1 + probs.sum(0)))
    holdout = evidence.holdout_features.astype(dtype)
    _, holdout_variance = label_variance(holdout, head_)
    weights = holdout_variance / len(holdout), variance * share / share.sum()
    return jnp.concatenate([holdout, from_pool]), jnp.concatenate(weights) / 2


def whitening(evidence, head_, *, prior=PRIOR, least_variance=LEAST_VARIANCE):
    """The map a -> L⁻¹ a with A = L Lᵀ, from rows of features to columns."""
    dtype = head_.kernel.dtype
    labeled = evidence.labeled_features.astype(dtype)
    holdout = evidence.holdout_features.astype(dtype)
    # Squares of huge features leave float32; a power of two brings them back exactly.
    largest = jnp.maximum(jnp.abs(holdout).max(), jnp.abs(labeled).max())
    scale = unit_scale(jnp.maximum(largest, 1))

    def augment(features):
        one = jnp.full((len(features), 1), scale, features.dtype)
        return jnp.concatenate([features * scale, one], axis=1)

    _, variance = label_variance(labeled, head_)
    weight = jnp.maximum(variance, least_variance)
    weight = jnp.where(evidence.labels >= 0, weight, 0)
    rows = augment(labeled)
    precision = _matmul((rows * weight[:, None]).T, rows)
    strength = prior * (augment(holdout) ** 2).mean()
    diagonal = strength * jnp.eye(len(precision), dtype=precision.dtype)
    factor = jnp.linalg.cholesky(precision + diagonal)

    def whiten(features):
        columns = augment(features).T
        return jax.scipy.linalg.solve_triangular(factor, columns, lower=True)

    return whiten


def unit_scale(largest):
    """A power of two that brings a number to about one."""
    return blocks.to_unit_range(largest[None], jnp.ones(1, bool))
