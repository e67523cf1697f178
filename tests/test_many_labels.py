"""Error reduction of many classes: against every label's update, and its own bound."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import stats

import iwps_jax
from iwps_jax.scores import entropy_change, error_reduction, head, many_labels

CLASSES = error_reduction.MANY_CLASSES
entropy_reduction = jax.jit(iwps_jax.expected_entropy_reduction)


def problem(scale, pool=24, dim=32, classes=CLASSES):
    """Half of the reference set are candidates, which couple to themselves most."""
    numbers = reference.head_problem(0, pool, dim, classes, 16, scale)
    numbers["holdout_features"][: pool // 3] = numbers["features"][: pool // 3]
    names = ("features", "kernel", "bias", "holdout_features")
    return [numbers[name] for name in names]


def changes(features, kernel, bias, references, learning_rate):
    """p(label) ΔH of every candidate, label and reference sample, in float64."""
    features, kernel, bias, references = map(
        reference.wide, (features, kernel, bias, references)
    )
    before = reference.log_softmax(references @ kernel + bias)
    now = reference.entropy(before)
    found = []
    for x, logits in zip(features, features @ kernel + bias, strict=True):
        deltas = np.zeros((len(bias), len(bias)))
        for _ in range(3):
            probs = reference.softmax(logits + (1 + x @ x) * deltas)
            deltas += learning_rate * (np.eye(len(bias)) - probs)
        moved = before + (1 + references @ x)[:, None] * deltas[:, None]
        after = reference.entropy(moved.reshape(-1, len(bias)))
        change = after.reshape(len(bias), -1) - now
        found.append(reference.softmax(logits)[:, None] * change)
    return np.array(found)


@pytest.mark.parametrize(
    ("scale", "learning_rate"),
    [(1.0, 1e-3), (8.0, 1e-2), (1.0, 1e-1), (1.0, 1.0)],
)
def test_matches_every_label_by_itself(scale, learning_rate):
    """Within the tolerance of what is left out, of bumps or of every label."""
    arrays = problem(scale)
    of_labels = changes(*arrays, learning_rate)
    expected, size = -of_labels.mean(-1).sum(-1), np.abs(of_labels).mean(-1).sum(-1)
    found = np.asarray(entropy_reduction(*arrays, learning_rate=learning_rate))
    allowed = error_reduction.TOLERANCE * np.abs(expected).max() + 1e-4 * size
    assert np.all(np.abs(found - expected) <= allowed)
    assert stats.spearmanr(found, expected)[0] > 0.999


@pytest.mark.parametrize(
    ("scale", "learning_rate", "num_exact"),
    [(1.0, 1e-2, 1), (1.0, 1e-2, 8), (4.0, 1e-2, 1), (4.0, 3e-2, 8)],
)
def test_no_error_is_above_its_bound(scale, learning_rate, num_exact):
    arrays = problem(scale)
    with jax.enable_x64(True):
        features, kernel, bias, references = map(jnp.float64, arrays)
        logits = head.head_logits(features, kernel, bias)
        candidates = error_reduction.Candidates(
            features, logits, head.couplings(features, references)
        )
        exact = jax.lax.top_k(logits, num_exact)[1]
        change, bound = jax.jit(partial(many_labels.mean_change, steps=3))(
            exact,
            candidates,
            entropy_change.reference_of(
                jax.nn.log_softmax(head.head_logits(references, kernel, bias))
            ),
            learning_rate=learning_rate,
        )
    of_labels = changes(*arrays, learning_rate).mean(-1)
    np.put_along_axis(of_labels, np.asarray(exact), 0, axis=1)
    # The exponentials are those of float32.
    rounding = 1e-7 * np.abs(of_labels).sum(-1) + 1e-15
    error = np.abs(np.asarray(change) - of_labels.sum(-1))
    assert np.all(error <= np.asarray(bound) + rounding)
    assert np.any(error > 10 * rounding)


def test_a_candidate_that_bumps_cannot_serve_sends_all_to_every_label():
    arrays = problem(1.0)
    sure = np.array(arrays[0])
    sure[0] *= np.float32(100)
    alone = np.asarray(entropy_reduction(*arrays, learning_rate=1e-2))
    among = np.asarray(entropy_reduction(sure, *arrays[1:], learning_rate=1e-2))
    size = np.abs(changes(*arrays, 1e-2)).mean(-1).sum(-1)
    error = np.abs(alone - among)[1:]
    allowed = error_reduction.TOLERANCE * np.abs(alone).max() + 1e-4 * size[1:]
    assert np.all(error <= allowed)
