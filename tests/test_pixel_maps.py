"""Uncertainties of pixels, their reductions, and dropout of features."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import reference_pixels
from reference_pixels import of_pool, wide

import iwps_jax
from iwps_jax.pixels import reductions


def pixel_logits(problem):
    """Of every image, the float64 logits of its pixels and which are valid."""
    problem, _, factor = reference_pixels.split(problem)
    head = problem["kernel"], problem["bias"]
    logits = reference_pixels.fine_logits(problem["features"], *head, factor)
    return logits, problem["where"]


def by_image(oracle, problem):
    """A mean over valid pixels of an oracle of logits [n, classes]."""
    images = zip(*pixel_logits(problem), strict=True)
    return np.array([oracle(z[w]).mean() if w.any() else 0.0 for z, w in images])


@pytest.mark.parametrize("name", ["entropy", "margin", "least_confidence"])
def test_means_of_pixels_match_the_oracle(name):
    problem = reference_pixels.problem(0)
    problem["where"][1] = False
    found = iwps_jax.pixel_scores(getattr(iwps_jax, name), **of_pool(problem))
    assert found[1] == 0
    expected = by_image(getattr(reference, name), problem)
    reference.assert_same_scores(found, expected)


# Reductions


def mean_of_highest(values, where, predicted, share=0.1):
    ranked = sorted(values[where])[::-1]
    return np.mean(ranked[: max(1, int(np.ceil(share * len(ranked))))])


def highest_region(values, where, predicted, side=16):
    cells = {}
    for i, j in zip(*np.nonzero(where), strict=True):
        cells.setdefault((i // side, j // side), []).append(values[i, j])
    largest = max(map(len, cells.values()))
    enough = min(largest, side**2 / 2)
    return max(np.mean(cell) for cell in cells.values() if len(cell) >= enough)


def mean_of_classes(values, where, predicted, num_classes):
    classes = np.unique(predicted[where])
    return np.mean([values[where & (predicted == c)].mean() for c in classes])


@pytest.mark.parametrize(
    ("reduction", "options"),
    [
        (mean_of_highest, {}),
        (mean_of_highest, {"share": 0.37}),
        (highest_region, {"side": 3}),
        (highest_region, {}),
        (mean_of_classes, {"num_classes": 5}),
    ],
)
def test_reductions_match_loops(reduction, options):
    rng = np.random.default_rng(1)
    reduce = jax.jit(partial(getattr(reductions, reduction.__name__), **options))
    for share in (0.9, 0.5, 0.05):
        values = rng.normal(size=(7, 11)).astype(np.float32)
        where, predicted = rng.random((7, 11)) < share, rng.integers(0, 4, (7, 11))
        found = reduce(values, where, predicted)
        np.testing.assert_allclose(
            found, reduction(wide(values), where, predicted, **options), rtol=1e-5
        )
        ignored = np.where(where, values, 1e6).astype(np.float32)
        np.testing.assert_allclose(reduce(ignored, where, predicted), found, rtol=1e-6)
    assert reduce(values, where & False, predicted) == 0


@pytest.mark.parametrize(
    "reduction",
    [
        iwps_jax.mean_of_highest,
        iwps_jax.highest_region,
        partial(iwps_jax.mean_of_classes, num_classes=4),
    ],
)
def test_scores_are_reduced_as_told(reduction):
    """From the values and predictions of pixels in their places."""
    problem = reference_pixels.problem(2)
    found = iwps_jax.pixel_scores(
        iwps_jax.entropy, **of_pool(problem), reduction=reduction
    )
    logits, where = pixel_logits(problem)
    entropy = reference.entropy(logits.reshape(-1, 4)).reshape(where.shape)
    reduce = jax.jit(reduction)
    expected = [
        reduce(v.astype(np.float32), w, p)
        for v, w, p in zip(entropy, where, logits.argmax(-1), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Dropout


def entropy_of_two(margin):
    return reference.entropy(np.stack([margin, 0 * margin], -1))


def masks_of(key, side, d, num_draws, rate):
    """[draws, h, w, d], read off the scores of images with one feature each."""
    size = side[0] * side[1] * d
    images = 2 * np.eye(size, dtype=np.float32).reshape(size, *side, d)
    kernel = np.tile(np.array([1.0, 0.0], np.float32), (d, 1))
    where = np.ones((size, *side), bool)
    kept, masks = np.zeros(size, int), []
    for n in range(1, num_draws + 1):
        found = iwps_jax.pixel_mc_dropout(
            key,
            *(images, where, kernel, np.zeros(2, np.float32)),
            num_draws=n,
            dropout_rate=rate,
        )
        p = 1 / (1 + np.exp(-2 / (1 - rate)))
        counts = np.arange(n + 1)
        mean = counts / n * p + (1 - counts / n) / 2
        levels = np.array([reference.entropy_of(np.log([m, 1 - m])) for m in mean])
        # Of an image, one pixel is in doubt and the others have even odds.
        pixels = side[0] * side[1]
        levels = (levels + (pixels - 1) * np.log(2)) / pixels
        now = np.abs(np.asarray(found)[:, None] - levels).argmin(1)
        masks.append(now - kept)
        kept = now
    masks = np.array(masks)
    assert set(masks.ravel()) <= {0, 1}
    return masks.reshape(num_draws, *side, d).astype(bool)


def draws_of(problem, masks, rate):
    """Float64 log-probabilities under these masks, [draws, images, h, w, classes]."""
    problem, _, factor = reference_pixels.split(problem)
    head = problem["kernel"], problem["bias"]
    features = (problem["features"] * mask / (1 - rate) for mask in masks)
    logits = [reference_pixels.fine_logits(f, *head, factor) for f in features]
    return reference.log_softmax(np.array(logits))


def test_mc_dropout_and_bald_are_those_of_the_same_networks(key):
    side, d, num_draws, rate = (2, 3), 2, 3, 0.25
    masks = masks_of(key, side, d, num_draws, rate)
    problem = reference_pixels.problem(3, side=side, d=d, pool=6)
    log_probs = draws_of(problem, masks, rate)
    for name in ("mc_dropout", "bald"):
        found = getattr(iwps_jax, f"pixel_{name}")(
            key, **of_pool(problem), num_draws=num_draws, dropout_rate=rate
        )
        expected = [
            getattr(reference, name)(log_probs[:, i][:, w]).mean()
            for i, w in enumerate(problem["where"])
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_share_kept_is_the_one_asked_for(key):
    ones = np.ones((1, 40, 50, 1), np.float32)
    where, kernel = np.ones((1, 40, 50), bool), np.array([[100.0, 0.0]], np.float32)
    found = iwps_jax.pixel_mc_dropout(
        key, ones, where, kernel, np.zeros(2, np.float32), num_draws=1, dropout_rate=0.1
    )
    dropped = found[0] / np.log(2)  # only those pixels are in doubt
    assert abs(dropped - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 2000)


@pytest.mark.parametrize(
    "score_fn", [iwps_jax.pixel_mc_dropout, iwps_jax.pixel_bald], ids=["mc", "bald"]
)
def test_draws_do_not_depend_on_company_or_padding(key, score_fn):
    problem = of_pool(reference_pixels.problem(4))
    problem["where"][:, -2:], problem["where"][:, :, -2:] = False, False
    whole = np.asarray(score_fn(key, **problem, num_draws=3))
    assert np.all(whole > 0)
    rows = [2, 1, 1, 2]
    some = {**problem, **{n: problem[n][rows] for n in ("features", "where")}}
    found = score_fn(key, **some, num_draws=3)
    np.testing.assert_allclose(found, whole[rows], rtol=1e-5)
    padded = {
        **problem,
        "features": np.pad(problem["features"], ((0, 0), (0, 2), (0, 1), (0, 0))),
        "where": np.pad(problem["where"], ((0, 0), (0, 4), (0, 2))),
    }
    found = score_fn(key, **padded, num_draws=3)
    np.testing.assert_allclose(found, whole, rtol=1e-5)
    assert np.all(score_fn(jax.random.key(1), **problem, num_draws=3) != whole)


def test_without_dropout_draws_agree(key):
    problem = reference_pixels.problem(5)
    options = {"num_draws": 3, "dropout_rate": 0.0}
    found = iwps_jax.pixel_bald(key, **of_pool(problem), **options)
    np.testing.assert_allclose(found, 0, atol=1e-9)
    assert np.all(found >= 0)
    entropy = by_image(reference.entropy, problem)
    found = iwps_jax.pixel_mc_dropout(key, **of_pool(problem), **options)
    np.testing.assert_allclose(found, entropy, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_bald_is_neither_negative_nor_above_mc_dropout(key, scale):
    problem = of_pool(reference_pixels.problem(6, pool=16, scale=scale))
    bald, mc_dropout = (
        score_fn(key, **problem, num_draws=4)
        for score_fn in (iwps_jax.pixel_bald, iwps_jax.pixel_mc_dropout)
    )
    assert np.all(bald >= 0) and np.all(bald <= mc_dropout * (1 + 1e-5) + 1e-6)


def test_memory_does_not_grow_with_the_draws_or_the_images(key):
    def temporary(pool, num_draws):
        shapes = jax.eval_shape(
            lambda: {
                "features": jnp.zeros((pool, 16, 16, 8)),
                "where": jnp.zeros((pool, 64, 64), bool),
                "kernel": jnp.zeros((8, 5)),
                "bias": jnp.zeros(5),
            }
        )
        score_fn = jax.jit(partial(iwps_jax.pixel_bald, num_draws=num_draws))
        compiled = score_fn.lower(key, **shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few = temporary(2, 2)
    assert temporary(2, 20) <= 1.01 * few + 4096
    # An image more is features and a mask that are sliced, no maps of classes.
    assert temporary(8, 2) - few < 6 * 4 * 64 * 64 * 5


# Pooled features


def test_pooled_features_are_means_over_valid_pixels():
    problem = reference_pixels.problem(7)
    problem["where"][1] = False
    found = iwps_jax.pooled_features(problem["features"], problem["where"])
    for image, where, pooled in zip(
        wide(problem["features"]), problem["where"], found, strict=True
    ):
        pixels = image.repeat(2, 0).repeat(2, 1)[where]
        expected = pixels.mean(0) if len(pixels) else np.zeros(5)
        np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)


# Refusals


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_draws": 0}, "num_draws must be at least 1, got 0."),
        ({"num_draws": 2.5}, "num_draws must be an integer"),
        ({"dropout_rate": 1.0}, r"dropout_rate must be in \[0, 1\), got 1.0."),
        ({"key": 3}, "key must be one key"),
        ({"where": np.ones((4, 6, 8))}, "where must be boolean"),
        ({"where": np.ones((4, 7, 8), bool)}, "where must have a whole number"),
    ],
)
def test_wrong_options_are_named(without_jaxtyping, key, options, sentence):
    arguments = {"key": key, **of_pool(reference_pixels.problem(8)), **options}
    for score_fn in (iwps_jax.pixel_mc_dropout, iwps_jax.pixel_bald):
        with pytest.raises((ValueError, TypeError), match=sentence):
            score_fn(**arguments)


def test_wrong_reductions_are_named():
    values = jnp.zeros((2, 2))
    maps = values, values == 0, jnp.zeros((2, 2), int)
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, got 0"):
        iwps_jax.mean_of_highest(*maps, share=0.0)
    with pytest.raises(ValueError, match="side must be at least 1, got 0."):
        iwps_jax.highest_region(*maps, side=0)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        (np.ones((4, 6, 8)), "where must be boolean"),
        (np.ones((3, 6, 8), bool), "where must have length 4"),
        (np.ones((4, 6, 9), bool), "where must have a whole number"),
    ],
)
def test_masks_that_do_not_fit_are_named(without_jaxtyping, where, sentence):
    arguments = {**of_pool(reference_pixels.problem(8)), "where": where}
    with pytest.raises((ValueError, TypeError), match=sentence):
        iwps_jax.pixel_scores(iwps_jax.entropy, **arguments)
    with pytest.raises((ValueError, TypeError), match=sentence):
        iwps_jax.pooled_features(arguments["features"], where)
