"""Cases of IWPS-batch, and its formula in float64: A is inverted after every pick."""

from functools import partial

import jax
import numpy as np
import reference

from iwps_jax import Evidence, iwps_batch
from iwps_jax.selection.iwps_batch import LEAST_VARIANCE, PRIOR


def select(scores, evidence, where, k, candidates_per_pick=4, seed=0):
    # Defaults of a jitted function would be constants, of programs of their own.
    return jitted(scores, evidence, where, k, candidates_per_pick, seed)


@partial(jax.jit, static_argnums=(3, 4))
def jitted(scores, evidence, where, k, candidates_per_pick, seed):
    options = dict(candidates_per_pick=candidates_per_pick, where=where)
    return iwps_batch(jax.random.key(seed), scores, evidence, k, **options)


def some_case(seed, pool=40, features=5, classes=4, scale=1.0):
    """Scores, evidence whose buffer has empty places with rubbish in them, a mask."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    labels = rng.integers(-1, classes, 12)
    labeled = np.where(labels[:, None] < 0, 1e3, normal(12, features))
    evidence = Evidence(
        features=normal(pool, features),
        kernel=scale * normal(features, classes),
        bias=normal(classes),
        holdout_features=normal(8, features),
        labeled_features=labeled.astype(np.float32),
        labels=labels,
    )
    return normal(pool), evidence, rng.random(pool) < 0.8


# The oracle


def rarity(evidence, counts):
    features, kernel, bias = map(reference.wide, evidence[:3])
    return reference.softmax(features @ kernel + bias) @ (1 / (counts + 1))


def counts_of(evidence):
    return np.array([np.sum(evidence.labels == c) for c in range(len(evidence.bias))])


def usefulness(scores, evidence):
    """What the candidates are chosen by."""
    scores = np.maximum(reference.wide(scores), 0)
    return scores * rarity(evidence, counts_of(evidence))


def values(scores, evidence, where, picks):
    """The value of every row of the pool after these picks; all eligible rows judge."""
    pool, kernel, bias, holdout, labeled = map(reference.wide, evidence[:5])

    def points(features):
        return np.hstack([features, np.ones((len(features), 1))])

    def probs_of(features):
        return reference.softmax(features @ kernel + bias)

    def variance(features):
        probs = probs_of(features)
        return np.sum(probs * (1 - probs), axis=1)

    prior = PRIOR * np.mean(points(holdout) ** 2)
    precision = prior * np.eye(len(kernel) + 1)
    for label, h, a in zip(evidence.labels, labeled, points(labeled), strict=True):
        if label >= 0:
            v = max(variance(h[None])[0], LEAST_VARIANCE)
            precision = precision + v * np.outer(a, a)
    probs, v, a = probs_of(pool), variance(pool), points(pool)
    counts = counts_of(evidence).astype(float)
    for i in picks:
        precision = precision + v[i] * np.outer(a[i], a[i])
        counts = counts + probs[i]
    inverse = np.linalg.inv(precision)

    share = probs[where] @ (1 / (1 + probs[where].sum(0)))
    share = share / share.sum()
    weights = np.concatenate([np.full(len(holdout), 1 / len(holdout)), share]) / 2
    targets = np.vstack([points(holdout), a[where]])
    weights = weights * np.concatenate([variance(holdout), v[where]])
    told = (a @ inverse @ targets.T) ** 2 @ weights
    gain = v * told / (1 + v * np.sum((a @ inverse) * a, axis=1))
    return np.maximum(reference.wide(scores), 0) * rarity(evidence, counts) * gain


def brute_force(scores, evidence, where, k, candidates_per_pick):
    best = usefulness(scores, evidence)
    free = list(reference.top_k(best, candidates_per_pick * k, where))
    picks = []
    for _ in range(k):
        value = values(scores, evidence, where, picks)
        picks.append(max(free, key=lambda row: value[row]))  # the first of them
        free.remove(picks[-1])
    return np.array(picks)
