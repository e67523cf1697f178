"""IWPS-app on a pixel head and its gradients: against explicit float64 gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import reference_pixels

import iwps_jax

HOLDOUT = ("holdout_features", "holdout_labels", "holdout_where", "kernel", "bias")


def gradient_of(problem):
    return iwps_jax.pixel_head_gradient(*(problem[name] for name in HOLDOUT))


def score(problem):
    return iwps_jax.iwps_app_pixel_head(
        **reference_pixels.of_pool(problem), gradient=gradient_of(problem)
    )


def assert_close(found, expected):
    for part, whole in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, whole, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize(("factor", "scale"), [(2, 1.0), (2, 1e3), (3, 20.0), (1, 1.0)])
def test_scores_and_gradients_match_the_oracle(factor, scale):
    problem = reference_pixels.problem(0, factor=factor, scale=scale, classes=12)
    problem = reference_pixels.on_a_grid(problem) if scale > 100 else problem
    gradient = gradient_of(problem)
    assert_close(gradient, reference_pixels.holdout_gradient(problem))
    embedding = iwps_jax.pixel_head_embedding(**reference_pixels.of_pool(problem))
    assert_close(embedding, reference_pixels.own_gradients(problem))
    expected, size = reference_pixels.iwps_app(problem)
    reference.assert_same_scores(score(problem), expected, size, rtol=3e-5)


def test_thousands_of_small_images_match_the_oracle_in_one_program():
    size = {"pool": 4100, "side": (2, 2), "d": 2, "classes": 3, "holdout": 2}
    problem = reference_pixels.problem(1, **size)
    reference.assert_same_scores(
        jax.jit(score)(problem), *reference_pixels.iwps_app(problem), rtol=3e-5
    )


def test_the_embedding_is_the_gradient_by_autodiff():
    problem = reference_pixels.problem(2)
    problem["where"][1] = False

    def loss(head, features, where):
        logits = features @ head.kernel + head.bias[None, None]
        fine = jax.image.resize(logits, (*where.shape, logits.shape[-1]), "bilinear")
        log_probs = jax.nn.log_softmax(fine)
        labels = jax.lax.stop_gradient(fine.argmax(-1))
        losses = -jnp.take_along_axis(log_probs, labels[..., None], -1)[..., 0]
        return jnp.where(where, losses, 0).sum() / jnp.maximum(where.sum(), 1)

    images = problem["features"], problem["where"]
    head = iwps_jax.HeadGradient(problem["kernel"], problem["bias"])
    of_images = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0, 0)))
    expected = of_images(head, *images)
    found = iwps_jax.pixel_head_embedding(**reference_pixels.of_pool(problem))
    assert isinstance(found, iwps_jax.HeadGradient)
    assert_close(found, expected)
    assert not found.kernel[1].any() and not found.bias[1].any()


def test_confident_images_keep_their_digits():
    problem = reference_pixels.confident(reference_pixels.problem(3))
    expected, size = reference_pixels.iwps_app(problem)
    assert np.all(size < 1e-6)
    reference.assert_same_scores(score(problem), expected, size, rtol=3e-5)


def test_images_without_pixels_score_zero():
    problem = reference_pixels.problem(4)
    problem["where"][2] = False
    problem["holdout_where"][1] = False
    found = score(problem)
    assert found[2] == 0 and np.all(np.isfinite(found))
    reference.assert_same_scores(found, *reference_pixels.iwps_app(problem))


def test_order_and_company_change_nothing():
    problem = reference_pixels.problem(5)
    whole, gradient = score(problem), gradient_of(problem)
    some = reference_pixels.of_pool(problem)
    some |= {name: some[name][2:0:-1] for name in ("features", "where")}
    found = iwps_jax.iwps_app_pixel_head(**some, gradient=gradient)
    np.testing.assert_allclose(found, whole[2:0:-1], rtol=1e-5)


@pytest.mark.parametrize(
    ("field", "change", "sentence"),
    [
        ("kernel", lambda x: x[:-1], "gradient.kernel must have the shapes of kernel"),
        ("bias", lambda x: x[:-1], "gradient.bias must have the shapes of bias"),
    ],
)
def test_a_gradient_of_another_head_is_named(
    without_jaxtyping, field, change, sentence
):
    problem = reference_pixels.problem(6)
    gradient = gradient_of(problem)
    gradient = gradient._replace(**{field: change(getattr(gradient, field))})
    with pytest.raises(ValueError, match=sentence):
        iwps_jax.iwps_app_pixel_head(
            **reference_pixels.of_pool(problem), gradient=gradient
        )


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("features", lambda x: x[..., :-1], "features must have length 5 on axis 3"),
        ("features", lambda x: x * np.inf, "features must be finite"),
        ("labels", lambda x: x * 0 + 4, r"labels must be in \[0, 4\)"),
        ("where", lambda x: x & False, "labels must have a pixel that counts"),
        ("where", lambda x: x.astype(int), "where must be boolean"),
    ],
)
def test_wrong_holdouts_are_named(without_jaxtyping, name, change, sentence):
    problem = reference_pixels.problem(6)
    names = [name.removeprefix("holdout_") for name in HOLDOUT]
    values = [problem[name] for name in HOLDOUT]
    arguments = dict(zip(names, values, strict=True))
    arguments[name] = change(arguments[name])
    with pytest.raises((ValueError, TypeError), match=sentence):
        iwps_jax.pixel_head_gradient(**arguments)
