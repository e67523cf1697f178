"""IWPS on a pixel head: against gradient descent in float64 at full resolution."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import reference_pixels

import iwps_jax

STEPS = {"steps": 4, "learning_rate": 0.05}


def score(problem, **options):
    return iwps_jax.iwps_pixel_head(**problem, **{**STEPS, **options})


def assert_exact(problem, found=None, **options):
    options = {**STEPS, **options}
    changes = reference_pixels.look_ahead_changes(problem, **options)
    found = score(problem, **options) if found is None else found
    reference.assert_same_scores(
        found, changes.mean(1), np.abs(changes).mean(1), rtol=3e-5
    )


def changed(problem, **arrays):
    return {**problem, **arrays}


# Parity with the oracle


def test_the_oracle_is_a_difference_of_two_losses():
    problem = reference_pixels.problem(0)
    stable = reference_pixels.look_ahead_changes(problem, **STEPS)
    plain = reference_pixels.look_ahead_changes(problem, **STEPS, plain=True)
    np.testing.assert_allclose(stable, plain, atol=1e-13)


@pytest.mark.parametrize(
    ("learning_rate", "least", "most"),
    [(0.02, 0.1, 0.25), (0.06, 0.25, 0.75), (0.2, 0.75, 4.0), (50.0, 50.0, 900.0)],
)
def test_every_step_length_matches_the_oracle(learning_rate, least, most):
    problem = reference_pixels.problem(1)
    options = {**STEPS, "learning_rate": learning_rate}
    assert least < reference_pixels.largest_change(problem, **options) <= most
    assert_exact(problem, learning_rate=learning_rate)


@pytest.mark.parametrize("learning_rate", [1e-3, 10.0])
def test_logits_of_thousands_match_the_oracle(learning_rate):
    problem = reference_pixels.on_a_grid(reference_pixels.problem(1, scale=1e3))
    assert np.abs(problem["features"] @ problem["kernel"]).max() > 1e3
    assert_exact(problem, steps=1, learning_rate=learning_rate)


@pytest.mark.parametrize(
    ("factor", "side", "classes", "d"),
    # More than two dozen classes are not written out one by one.
    [
        (1, (3, 2), 2, 3),
        (3, (2, 4), 26, 5),
        pytest.param(3, (2, 4), 5, 5, marks=pytest.mark.full),
        pytest.param(2, (2, 3), 26, 4, marks=pytest.mark.full),
    ],
)
def test_other_sizes_match_the_oracle(factor, side, classes, d):
    size = {"factor": factor, "side": side, "classes": classes, "d": d}
    for learning_rate in (0.01, 1.0):
        problem = reference_pixels.problem(2, **size)
        assert_exact(problem, learning_rate=learning_rate)


def test_a_large_factor_matches_the_oracle():
    for scale, learning_rate in ((1.0, 1e-2), (30.0, 1e-2), (1.0, 1.0)):
        problem = reference_pixels.problem(3, factor=8, scale=scale)
        assert_exact(problem, learning_rate=learning_rate)


def test_thousands_of_small_images_match_the_oracle_in_one_program():
    size = {"pool": 4100, "side": (2, 2), "d": 2, "classes": 3, "holdout": 2}
    problem = reference_pixels.problem(4, **size)
    found = jax.jit(partial(iwps_jax.iwps_pixel_head, **STEPS))(**problem)
    assert_exact(problem, found)


def test_confident_images_keep_their_digits():
    problem = reference_pixels.confident(reference_pixels.problem(5))
    found = np.asarray(score(problem))
    assert np.all(np.abs(found) < 1e-7)
    assert np.all(np.abs(found) > 0)
    assert_exact(problem, found)


def test_a_confident_holdout_keeps_its_digits():
    problem = reference_pixels.problem(6)
    kernel = problem["kernel"]
    direction = np.linalg.pinv(kernel.T)[:, 1].astype(np.float32)
    problem["holdout_features"] = 0.1 * problem["holdout_features"] + 25 * direction
    labels = np.full_like(problem["holdout_labels"], 1)
    problem["holdout_labels"] = np.where(problem["holdout_where"], labels, 255)
    found = np.asarray(score(problem, learning_rate=1e-3))
    assert np.all(np.abs(found) < 1e-8)
    assert_exact(problem, found, learning_rate=1e-3)


# Limits and equalities


def test_small_steps_tend_to_the_first_order():
    problem = reference_pixels.problem(7)
    first, size = reference_pixels.iwps_app(problem)
    for rate in (1e-5, 1e-6):
        found = np.asarray(score(problem, learning_rate=rate))
        found = found / (STEPS["steps"] * rate)
        assert np.all(np.abs(found - first) <= (100 * rate + 1e-5) * size)


def test_a_step_is_never_below_its_first_order():
    problem = reference_pixels.problem(8)
    first, size = reference_pixels.iwps_app(problem)
    for rate in (1e-3, 0.1, 1.0):
        found = np.asarray(score(problem, steps=1, learning_rate=rate))
        assert np.all(found - rate * first >= -1e-5 * rate * size)


@pytest.mark.parametrize("learning_rate", [1e-3, 1.0])
def test_one_pixel_is_a_classification(learning_rate):
    numbers = reference.head_problem(9, 6, 8, 4, 5)
    names = {"features": (-1, 1, 1, 8), "holdout_features": (-1, 1, 1, 8)}
    names |= {"holdout_labels": (-1, 1, 1)}
    problem = {
        name: array.reshape(names.get(name, array.shape))
        for name, array in numbers.items()
    }
    problem["where"] = np.ones((6, 1, 1), bool)
    problem["holdout_where"] = np.ones((5, 1, 1), bool)
    found = score(problem, learning_rate=learning_rate)
    options = {**STEPS, "learning_rate": learning_rate}
    expected = iwps_jax.iwps_last_layer(**numbers, **options)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-7)


# What must change nothing


def test_chunks_and_order_change_nothing():
    problem = reference_pixels.problem(10)
    whole = np.asarray(score(problem))
    fixed = {k: v for k, v in problem.items() if k not in ("features", "where")}

    def chunked(images):
        def score_fn(chunk):
            features, where = chunk
            return score({**fixed, "features": features, "where": where})

        return iwps_jax.score_in_chunks(score_fn, images, chunk_size=3)

    images = problem["features"], problem["where"]
    np.testing.assert_allclose(jax.jit(chunked)(images), whole, rtol=1e-5)
    backward = score(changed(problem, features=images[0][::-1], where=images[1][::-1]))
    np.testing.assert_allclose(np.asarray(backward)[::-1], whole, rtol=1e-5)
    features, where = (np.repeat(array[3:4], 4, axis=0) for array in images)
    among_copies = score(changed(problem, features=features, where=where))
    np.testing.assert_allclose(among_copies, whole[[3, 3, 3, 3]], rtol=1e-5)


def test_the_order_of_the_holdout_changes_nothing():
    problem = reference_pixels.problem(11)
    backward = {k: v[::-1] if "holdout" in k else v for k, v in problem.items()}
    np.testing.assert_allclose(score(backward), score(problem), rtol=1e-5)


def padded(problem, prefix, factor=2):
    """One more column and two more rows of anything at all, beside padding."""
    features, where = problem[f"{prefix}features"], problem[f"{prefix}where"]
    where = where.copy()
    # The last pixels within blend with the first beyond: those must be padding already.
    where[:, -factor:], where[:, :, -factor:] = False, False
    tight = {**problem, f"{prefix}where": where}
    wider = np.pad(features, ((0, 0), (0, 2), (0, 1), (0, 0)), constant_values=3.0)
    fine = ((0, 0), (0, 2 * factor), (0, factor))
    after = {f"{prefix}features": wider, f"{prefix}where": np.pad(where, fine)}
    if prefix:
        labels = problem["holdout_labels"]
        after["holdout_labels"] = np.pad(labels, fine, constant_values=255)
    return tight, {**tight, **after}


@pytest.mark.parametrize("prefix", ["", "holdout_"])
def test_padding_changes_nothing(prefix):
    tight, wide = padded(reference_pixels.problem(12), prefix)
    np.testing.assert_allclose(score(wide), score(tight), rtol=1e-5)


def test_ignored_labels_may_be_anything():
    problem = reference_pixels.problem(13)
    expected = score(problem)
    for ignored in (0, 3, 77):
        labels = np.where(problem["holdout_where"], problem["holdout_labels"], ignored)
        found = score(changed(problem, holdout_labels=labels.astype(np.uint8)))
        np.testing.assert_array_equal(found, expected)
    labels = problem["holdout_labels"].astype(np.int32)
    signed = np.where(problem["holdout_where"], labels, -100)
    found = score(changed(problem, holdout_labels=signed))
    np.testing.assert_array_equal(found, expected)


def test_images_without_pixels_score_zero():
    problem = reference_pixels.problem(14)
    problem["where"][1] = False
    problem["holdout_where"][0] = False
    for rate in (0.01, 5.0):
        found = np.asarray(score(problem, learning_rate=rate))
        assert found[1] == 0 and np.all(found[[0, 2, 3]] != 0)
        assert_exact(problem, found, learning_rate=rate)


def test_narrow_features_are_widened():
    problem = reference_pixels.problem(15)
    features = problem["features"].astype(jnp.bfloat16)
    found = score(changed(problem, features=features))
    widened = score(changed(problem, features=features.astype(np.float32)))
    np.testing.assert_array_equal(found, widened)


# Refusals


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("features", lambda x: x[..., :-1], "kernel must have length 4 on axis 0"),
        ("features", lambda x: x.astype(int), "features must be floating point"),
        ("features", lambda x: x * np.nan, "features must be finite"),
        ("features", lambda x: x[:, :, :-1], "where must have a whole number of times"),
        ("features", lambda x: x[0], "features must have 4 axes"),
        ("where", lambda x: x[:-1], "where must have length 4 on axis 0"),
        ("where", lambda x: x.astype(int), "where must be boolean"),
        ("bias", lambda x: x[:-1], "bias must have length 4"),
        (
            "holdout_features",
            lambda x: x[..., :-1],
            "holdout_features must have length",
        ),
        ("holdout_features", lambda x: x[:, :1, :2], "holdout_labels must .* whole"),
        (
            "holdout_labels",
            lambda x: x.astype(float),
            "holdout_labels must be integers",
        ),
        ("holdout_labels", lambda x: x * 0 + 4, r"holdout_labels must be in \[0, 4\)"),
        ("holdout_labels", lambda x: x[:, :-1], "holdout_labels must have the shape"),
        ("holdout_where", lambda x: x & False, "holdout_labels must have a pixel"),
        ("holdout_where", lambda x: x.astype(int), "holdout_where must be boolean"),
    ],
)
def test_wrong_arguments_are_named(without_jaxtyping, name, change, sentence):
    problem = reference_pixels.problem(16)
    with pytest.raises((ValueError, TypeError), match=sentence):
        score(changed(problem, **{name: change(problem[name])}))


def test_another_enlargement_of_the_holdout_is_named(without_jaxtyping):
    problem = reference_pixels.problem(16)
    finer = {
        name: problem[name].repeat(2, 1).repeat(2, 2)
        for name in ("holdout_labels", "holdout_where")
    }
    with pytest.raises(ValueError, match="holdout_labels must be enlarged by 2"):
        score(changed(problem, **finer))


@pytest.mark.parametrize("options", [{"steps": 0}, {"learning_rate": -1.0}])
def test_no_or_backward_steps_are_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must be"):
        score(reference_pixels.problem(16), **options)
