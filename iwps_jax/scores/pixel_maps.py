"""Uncertainty of every pixel of an image, reduced to one score an image.

The logits of a pixel head are enlarged to the resolution of the labels, a score of the
classes is taken at every pixel, and a *reduction* makes one number of an image's valid
pixels. Nothing of the size of pixels · classes outlives an image, and of several draws
only running sums do: memory is that of one chunk of images whatever the draws.

A reduction is `reduction(values [h, w], where [h, w], predicted [h, w]) -> scalar`, of
one image; `where` marks its valid pixels. An image without any scores zero.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from iwps_jax import checks, numerics, upsampling
from iwps_jax.scores import pixel_head
from iwps_jax.types import AnyArray

Reduction: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def mean_of_pixels(
    values: Float[jax.Array, "h w"],
    where: Bool[jax.Array, "h w"],
    predicted: Int[jax.Array, "h w"],
) -> Float[jax.Array, ""]:
    """The mean over the valid pixels."""
    del predicted
    return _masked_mean(values, where)


def mean_of_highest(
    values: Float[jax.Array, "h w"],
    where: Bool[jax.Array, "h w"],
    predicted: Int[jax.Array, "h w"],
    *,
    share: float = 0.1,
) -> Float[jax.Array, ""]:
    """The mean over the highest tenth, or other share, of the valid pixels.

    At least one pixel. What a small object adds is not lost among easy background.
    """
    del predicted
    ranked = jnp.sort(jnp.where(where, values, -jnp.inf), axis=None)[::-1]
    num_valid = where.sum()
    count = jnp.maximum(jnp.ceil(share * num_valid), 1)
    return _masked_mean(ranked, jnp.arange(len(ranked)) < jnp.minimum(count, num_valid))


def highest_region(
    values: Float[jax.Array, "h w"],
    where: Bool[jax.Array, "h w"],
    predicted: Int[jax.Array, "h w"],
    *,
    side: int = 16,
) -> Float[jax.Array, ""]:
    """The highest mean over the cells of a grid of side² pixels.

    Cells with less than half of their pixels valid count only if there are no others.
    """
    del predicted
    rows, columns = (-(-size // side) for size in values.shape)
    padding = [
        (0, cells * side - size)
        for cells, size in zip((rows, columns), values.shape, strict=True)
    ]

    def by_cell(array):
        return jnp.pad(array, padding).reshape(rows, side, columns, side).sum((1, 3))

    count = by_cell(where.astype(values.dtype))
    means = by_cell(jnp.where(where, values, 0)) / jnp.maximum(count, 1)
    enough = jnp.minimum(count.max(), side**2 / 2)
    return jnp.where(count >= enough, means, -jnp.inf).max()


def mean_of_classes(
    values: Float[jax.Array, "h w"],
    where: Bool[jax.Array, "h w"],
    predicted: Int[jax.Array, "h w"],
    *,
    num_classes: int,
) -> Float[jax.Array, ""]:
    """The mean over the predicted classes of the mean over a class's pixels.

    So that a small region of a rare class counts as much as a large background.
    """
    classes = jnp.where(where, predicted, num_classes).ravel()
    sums = jax.ops.segment_sum(values.ravel(), classes, num_classes + 1)[:-1]
    counts = jnp.bincount(classes, length=num_classes + 1)[:-1]
    return _masked_mean(sums / jnp.maximum(counts, 1), counts > 0)


def _masked_mean(values, where):
    return jnp.where(where, values, 0).sum() / jnp.maximum(where.sum(), 1)


def pixel_scores(
    score_fn: Callable[[jax.Array], jax.Array],
    features: Float[AnyArray, "pool h w d"],
    where: Bool[AnyArray, "pool fh fw"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    *,
    reduction: Reduction = mean_of_pixels,
) -> Float[jax.Array, " pool"]:
    """One score an image from a score of every pixel's logits.

    Args:
        score_fn: `score_fn(logits [n, classes]) -> [n]`, such as `iwps_jax.entropy` or
            `iwps_jax.margin`.
        features: inputs of the last layer, a 1x1 convolution.
        where: fine pixels that are of the image, a whole factor more than the features
            a side.
        kernel: weights of the last layer.
        bias: its bias.
        reduction: from pixels to an image; the mean by default.

    Returns:
        One float32 score per image, in the unit of `score_fn`.

    Raises:
        ValueError: if shapes disagree or the fine pixels are not a whole number of
            times those of the features; outside `jax.jit` also if a number is not
            finite.
        TypeError: if the mask is not boolean or features are not floating point.
    """
    pixel_head.check_pool(features, where, kernel, bias)
    return _pixel_scores(score_fn, features, where, kernel, bias, reduction=reduction)


@partial(jax.jit, static_argnames=("score_fn", "reduction"))
def _pixel_scores(score_fn, features, where, kernel, bias, *, reduction):
    features, kernel, bias = numerics.upcast((features, kernel, bias))

    def score(image):
        features, where = image
        logits = _fine_logits(features, where, kernel, bias)
        values = score_fn(logits.reshape(-1, logits.shape[-1])).reshape(where.shape)
        return reduction(values, where, logits.argmax(-1))

    return jax.lax.map(score, (features, where)).astype(jnp.float32)


def _fine_logits(features, where, kernel, bias):
    factor = where.shape[0] // features.shape[0]
    coarse = pixel_head.head_maps(features, kernel, bias)
    return jnp.moveaxis(
        upsampling.from_phases(upsampling.to_phases(coarse, factor)), 0, -1
    )


def pixel_mc_dropout(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool h w d"],
    where: Bool[AnyArray, "pool fh fw"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    *,
    num_draws: int = 10,
    dropout_rate: float = 0.1,
    reduction: Reduction = mean_of_pixels,
) -> Float[jax.Array, " pool"]:
    """Predictive entropy of every pixel under dropout of the features.

        H[1/n Σ_t p_t],    p_t = softmax(U(kernelᵀ (h ∘ mask_t) / (1 - rate) + bias))

    A draw is one network: its mask is the same for every image of a size, and does not
    change with the images scored together.

    Args:
        key: randomness of the masks; the same key, the same masks.
        features: inputs of the last layer, before dropout.
        where: fine pixels that are of the image.
        kernel: weights of the last layer.
        bias: its bias.
        num_draws: n, masks drawn.
        dropout_rate: share of the features dropped, in [0, 1).
        reduction: from pixels to an image; the mean by default.

    Returns:
        One float32 score per image, in nats if the reduction is a mean.

    Raises:
        ValueError: as `pixel_scores`, or for no draws or a rate outside [0, 1).
        TypeError: as `pixel_scores`.

    References:
        Gal and Ghahramani 2016; n = 10 and p = 0.1 as in Aljundi et al. 2020,
        supplement §6.
    """
    return _of_draws(
        _predictive_entropy,
        (key, features, where, kernel, bias),
        (num_draws, dropout_rate, reduction),
    )


def pixel_bald(
    key: Key[jax.Array, ""],
    features: Float[AnyArray, "pool h w d"],
    where: Bool[AnyArray, "pool fh fw"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    *,
    num_draws: int = 10,
    dropout_rate: float = 0.1,
    reduction: Reduction = mean_of_pixels,
) -> Float[jax.Array, " pool"]:
    """Mutual information of every pixel's label and the dropout mask.

        H[1/n Σ_t p_t] - 1/n Σ_t H[p_t] = 1/n Σ_t KL(p_t ‖ 1/n Σ_s p_s)

    as the divergences on the right, which do not cancel. Never negative. Draws as in
    `pixel_mc_dropout`; they are made twice, so that none is kept.

    Args:
        key: as for `pixel_mc_dropout`, as are the others.
        features: inputs of the last layer, before dropout.
        where: fine pixels that are of the image.
        kernel: weights of the last layer.
        bias: its bias.
        num_draws: n, masks drawn.
        dropout_rate: share of the features dropped, in [0, 1).
        reduction: from pixels to an image; the mean by default.

    Returns:
        One float32 score per image, in nats if the reduction is a mean.

    Raises:
        ValueError: as `pixel_mc_dropout`.
        TypeError: as `pixel_mc_dropout`.

    References:
        Houlsby et al. 2011, Eq. 2; n = 10 and p = 0.1 as in Aljundi et al. 2020,
        supplement §4 and §6.
    """
    return _of_draws(
        _mutual_information,
        (key, features, where, kernel, bias),
        (num_draws, dropout_rate, reduction),
    )


def _of_draws(score_pixels, arrays, options):
    key, features, where, kernel, bias = arrays
    num_draws, dropout_rate, reduction = options
    checks.require_key("key", key)
    pixel_head.check_pool(features, where, kernel, bias)
    if checks.require_integer("num_draws", num_draws) < 1:
        raise ValueError(f"num_draws must be at least 1, got {num_draws}.")
    if not 0 <= dropout_rate < 1:
        raise ValueError(f"dropout_rate must be in [0, 1), got {dropout_rate}.")
    return _jit_of_draws(
        key,
        features,
        where,
        kernel,
        bias,
        score_pixels=score_pixels,
        num_draws=int(num_draws),
        dropout_rate=float(dropout_rate),
        reduction=reduction,
    )


@partial(
    jax.jit,
    static_argnames=("score_pixels", "num_draws", "dropout_rate", "reduction"),
)
def _jit_of_draws(
    key,
    features,
    where,
    kernel,
    bias,
    *,
    score_pixels,
    num_draws,
    dropout_rate,
    reduction,
):
    features, kernel, bias = numerics.upcast((features, kernel, bias))
    draw_keys = jax.random.split(key, num_draws)

    def score(image):
        features, where = image

        def log_probs(draw_key):
            kept = jax.random.bernoulli(draw_key, 1 - dropout_rate, features.shape)
            dropped = jnp.where(kept, features / (1 - dropout_rate), 0)
            return numerics.log_softmax(_fine_logits(dropped, where, kernel, bias))

        mean = _log_mean_probs(log_probs, draw_keys)
        values = score_pixels(mean, log_probs, draw_keys)
        return reduction(values, where, mean.argmax(-1))

    return jax.lax.map(score, (features, where)).astype(jnp.float32)


def _log_mean_probs(log_probs, draw_keys):
    def add(total, draw_key):
        return jnp.logaddexp(total, log_probs(draw_key)), None

    shape = jax.eval_shape(log_probs, draw_keys[0])
    lowest = jnp.full(shape.shape, -jnp.inf, shape.dtype)
    total, _ = jax.lax.scan(add, lowest, draw_keys)
    return total - jnp.log(len(draw_keys))


def _predictive_entropy(mean, log_probs, draw_keys):
    del log_probs, draw_keys
    return numerics.entropy_of(mean)


def _mutual_information(mean, log_probs, draw_keys):
    probs = jnp.exp(mean)

    def add(total, draw_key):
        divergence = numerics.divergence_term(log_probs(draw_key) - mean)
        return total + (probs * divergence).sum(-1), None

    total, _ = jax.lax.scan(add, jnp.zeros(mean.shape[:-1], mean.dtype), draw_keys)
    return total / len(draw_keys)


def pooled_features(
    features: Float[AnyArray, "pool h w d"], where: Bool[AnyArray, "pool fh fw"]
) -> Float[jax.Array, "pool d"]:
    """The mean of an image's features over its valid pixels, for a core-set of images.

    A coarse pixel counts as much as the share of its fine pixels that is valid.

    Args:
        features: inputs of the last layer.
        where: fine pixels that are of the image.

    Returns:
        float32 [pool, d]; zero for an image without valid pixels.

    References:
        Sener and Savarese 2018, "Active Learning for Convolutional Neural Networks: A
        Core-Set Approach", on pooled features of images.

    Example:
        >>> features = jnp.array([1.0, 5.0]).reshape(1, 1, 2, 1)
        >>> where = jnp.array([[[True, True, False, False]]])
        >>> where = jnp.concatenate([where, where], axis=1)  # the right half is padding
        >>> print(pooled_features(features, where))
        [[1.]]
    """
    factor = where.shape[1] // features.shape[1]
    weight = upsampling.sort_by_phase(jnp.asarray(where), factor).sum((1, 2))
    weight = weight[..., None].astype(jnp.float32)
    total = (numerics.upcast(features) * weight).sum((1, 2))
    return total / jnp.maximum(weight.sum((1, 2)), 1)
