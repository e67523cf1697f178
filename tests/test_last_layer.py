"""The last layer's look-ahead where it changes the form of its sums."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import iwps_jax
from iwps_jax.scores import head, step_forms


def last_layer(problem, learning_rate=1e-3):
    # A default of a jitted function would be a constant, of a program of its own.
    return jitted(problem, learning_rate)


@jax.jit
def jitted(problem, learning_rate):
    return iwps_jax.iwps_last_layer(**problem, learning_rate=learning_rate)


def changes_of(problem, **options):
    """The oracle's changes of every holdout loss, [pool, holdout]."""
    return reference.look_ahead_changes(
        [(problem["kernel"], problem["bias"])],
        problem["features"],
        problem["holdout_features"],
        problem["holdout_labels"],
        **options,
    )


def assert_matches_reference(problem, learning_rate, asked=slice(None)):
    scores = last_layer(problem, learning_rate=learning_rate)
    problem = {**problem, "features": problem["features"][asked]}
    changes = changes_of(problem, learning_rate=learning_rate)
    reference.assert_same_scores(
        scores[asked],
        changes.mean(axis=1),
        np.abs(changes).mean(axis=1),
        rtol=1e-5,
    )


@pytest.mark.parametrize("size", [3e1, 3e2, 3e4])
def test_a_huge_candidate_changes_no_other_score(size):
    """One of them decides for the whole pool how the classes are summed."""
    numbers = reference.head_problem(3, 256, 16, 5, 20)
    # Orthogonal to the head, so that it is unsure of its class for all its size.
    to_no_class = np.linalg.svd(numbers["kernel"])[0][:, -1:].T
    huge = np.float32(size) * np.float32(to_no_class)
    features = np.concatenate([numbers["features"], huge])
    alone = np.asarray(last_layer(numbers))
    among = np.asarray(last_layer({**numbers, "features": features}))
    error = np.abs(alone - among[:-1])
    assert (error <= 3e-6 * np.abs(changes_of(numbers)).mean(axis=1)).all()
    assert (alone != among[:-1]).any()  # both ways of summing did run


@jax.jit
def largest_change(problem, learning_rate):
    """What decides on the form: a bound of every |k δ|."""
    features = problem["features"]
    logits = head.head_logits(features, problem["kernel"], problem["bias"])
    displacement = partial(head.displacement, steps=3, learning_rate=learning_rate)
    deltas = jax.vmap(displacement)(features, logits)
    reach = head.reach(features, problem["holdout_features"])
    return (jnp.abs(deltas).max(-1) * reach).max()


def learning_rate_of(problem, change):
    """The learning rate at which `largest_change` is what is asked for."""
    problem = jax.tree.map(jnp.asarray, problem)
    low, high = 1e-6, 10.0
    for _ in range(30):
        middle = np.sqrt(low * high)
        if largest_change(problem, middle) < change:
            low = middle
        else:
            high = middle
    return float(low)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("side", [0.99, 1.01])
@pytest.mark.parametrize(
    "radius", [*(radius for radius, _ in step_forms.SERIES), step_forms.PLAIN_RADIUS]
)
def test_both_sides_of_every_radius_match_reference(radius, side, classes):
    problem = reference.head_problem(11, 4096, 16, classes, 20, 2.0)
    learning_rate = learning_rate_of(problem, side * radius)
    change = largest_change(problem, learning_rate)
    assert abs(change - side * radius) < 2e-3 * radius
    assert_matches_reference(problem, learning_rate, reference.ASKED)


@pytest.mark.parametrize("change", [0.2, 0.7, 3.0, 12.0])
@pytest.mark.parametrize("lead", [8.0, 30.0])
def test_confident_holdout_samples_keep_their_digits(change, lead):
    """Their changes are tiny beside the step itself, whichever form is taken."""
    problem = reference.head_problem(12, 256, 16, 4, 30)
    holdout, kernel = problem["holdout_features"], problem["kernel"]
    logits = holdout @ kernel + problem["bias"]
    problem["holdout_labels"] = logits.argmax(-1).astype(np.int32)
    problem["holdout_features"] = np.float32(lead) * holdout
    learning_rate = learning_rate_of(problem, change)
    assert_matches_reference(problem, learning_rate)


@pytest.mark.parametrize("shrunk", [1e-6, 1e-12])
def test_tiny_steps_along_huge_features_match_reference(shrunk):
    """Powers of δ alone would leave float32 where those of k δ do not."""
    problem = reference.head_problem(13, 64, 16, 5, 8)
    for name in ("features", "holdout_features"):
        problem[name] /= np.float32(np.sqrt(shrunk))
    problem["kernel"] *= np.float32(np.sqrt(shrunk))
    learning_rate = 3e-3 * shrunk
    assert 0.1 < largest_change(problem, learning_rate) < step_forms.SERIES[-1][0]
    assert_matches_reference(problem, learning_rate)
