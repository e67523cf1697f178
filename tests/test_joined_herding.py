"""Herding joined with the gain of a process: each pick by its definition in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_herding import FEATURES, LABELED, LOGITS, POOL, distances, unsure

from experiments.linear_heads import joined
from iwps_jax.selection import cover, herding
from iwps_jax.selection.balanced_herding import mean_distance

K = 8


def probabilities():
    probs = np.exp(np.asarray(LOGITS, float))
    return probs / probs.sum(1, keepdims=True)


def process(is_linear, median):
    rows = np.asarray(FEATURES, float)
    if is_linear:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return joined.LINEAR_STRENGTH * rows @ rows.T
    width = median / herding.OF_MEDIAN / 2
    linear = rows @ rows.T / (rows**2).sum(1).mean()
    return (np.exp(-((distances(FEATURES) / width) ** 2)) + linear) / 2


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.full) if name == "product" else name
        for name in joined.JOINS
    ],
)
def test_each_pick_is_the_best_by_the_process_made_anew(name):
    key, where = jax.random.key(3), jnp.asarray(~LABELED)
    join = joined.JOINS[name]
    picks = np.asarray(joined.select(join, key, LOGITS, FEATURES, None, K, where))

    probs = probabilities()
    shares = (probs / (1 + probs[~LABELED].sum(0))).sum(1)
    variance = 1 - (probs**2).sum(1)
    ones = jnp.ones(POOL)
    targets = cover.draw_targets(key, FEATURES, ones, where, POOL)
    prior = process(join.is_linear, float(herding.median_bandwidth(FEATURES, targets)))
    place = cover.all_targets(jnp.asarray(FEATURES), where).place
    width = float(mean_distance(FEATURES, ~where, place))
    kernel = np.exp(-((distances(FEATURES) / width) ** 2))
    noise = 1 / np.maximum(variance, 0.05)

    known = np.flatnonzero(LABELED).tolist()
    for row in picks:
        among = prior[np.ix_(known, known)] + np.diag(noise[known])
        told = np.linalg.solve(among, prior[known])
        covariance = prior - prior[:, known] @ told
        to_targets = np.where(LABELED, 0, variance * shares)
        gain = covariance**2 @ to_targets / (np.diag(covariance) + noise)
        added = np.maximum(kernel - kernel[known].max(0), 0)
        weights = np.where(LABELED, 0, unsure(LOGITS) * shares)
        herd = added @ weights
        left = np.diag(covariance)
        gain[known] = herd[known] = 0
        expected = {
            "gain": gain,
            "sum": gain / gain.max() + herd / herd.max(),
            "product": gain * herd,
            "variance": added @ (weights * left),
            "linear_variance": added @ (weights * left),
        }[name]
        expected[known] = -1
        assert expected[row] >= expected.max() * (1 - 1e-3)
        known.append(int(row))
    assert len({*known}) == LABELED.sum() + K
