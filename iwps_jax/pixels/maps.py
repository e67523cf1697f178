"""Uncertainty of every pixel of an image, reduced to one score an image.

The logits of a pixel head are enlarged to the resolution of the labels, a score of the
classes is taken at every pixel, and a *reduction* makes one number of an image's valid
pixels. Nothing of the size of pixels · classes outlives an image, and of several draws
only running sums do: memory is that of one chunk of images whatever the draws.

Reductions are those of `iwps_jax.pixels.reductions`, or any such function.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Key

from iwps_jax import checks, masks, numerics
from iwps_jax.pixels import checks as pixel_checks
from iwps_jax.pixels import head, upsampling
from iwps_jax.pixels.reductions import Reduction, mean_of_pixels
from iwps_jax.types import AnyArray


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

    Example:
        >>> from iwps_jax import entropy
        >>> scores = pixel_scores(
        ...     entropy,
        ...     jnp.array([0.0, 99.0]).reshape(2, 1, 1, 1),
        ...     where=jnp.ones((2, 8, 8), bool),
        ...     kernel=jnp.array([[1.0, -1.0]]),
        ...     bias=jnp.zeros(2),
        ... )
        >>> print(scores.round(4))
        [0.6931 0.    ]
    """
    head.check_pool(features, where, kernel, bias)
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
    grid = head.grid_of(features, where)
    logits = head.head_maps(head.corners_of(features), kernel, bias)
    cells = upsampling.enlarge(logits, grid)
    return jnp.moveaxis(upsampling.from_cells(cells, grid), 0, -1)


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

        H[1/n Σ_t p_t],    p_t = softmax(U kernelᵀ (h ∘ mask_t) / (1 - rate) + bias)

    A draw is one network: its mask depends on a feature's place alone, so it is the
    same for every image, padded or not, and whatever images are scored together.

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

    Example:
        >>> features = jnp.array([[0.0, 0.0], [3.0, 3.0]]).reshape(2, 1, 1, 2)
        >>> scores = pixel_mc_dropout(
        ...     jax.random.key(0),
        ...     features,
        ...     where=jnp.ones((2, 8, 8), bool),
        ...     kernel=jnp.array([[1.0, -1.0], [1.0, -1.0]]),
        ...     bias=jnp.zeros(2),
        ...     dropout_rate=0.5,
        ... )
        >>> bool(scores[1] < scores[0]), f"{scores[0]:.4f}"
        (True, '0.6931')
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

    Example:
        >>> features = jnp.array([[0.0, 0.0], [3.0, 3.0]]).reshape(2, 1, 1, 2)
        >>> scores = pixel_bald(
        ...     jax.random.key(0),
        ...     features,
        ...     where=jnp.ones((2, 8, 8), bool),
        ...     kernel=jnp.eye(2),
        ...     bias=jnp.zeros(2),
        ...     dropout_rate=0.5,
        ... )
        >>> bool(scores[1] > scores[0] == 0)
        True
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
    head.check_pool(features, where, kernel, bias)
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

    def score(image):
        features, where = image

        def log_probs(draw):
            draw_key = jax.random.fold_in(key, draw)
            kept = masks.kept(draw_key, 1 - dropout_rate, features.shape)
            dropped = jnp.where(kept, features / (1 - dropout_rate), 0)
            return numerics.log_softmax(_fine_logits(dropped, where, kernel, bias))

        mean = _log_mean_probs(log_probs, num_draws)
        values = score_pixels(mean, log_probs, num_draws)
        return reduction(values, where, mean.argmax(-1))

    return jax.lax.map(score, (features, where)).astype(jnp.float32)


def _log_mean_probs(log_probs, num_draws):
    def add(total, draw):
        return jnp.logaddexp(total, log_probs(draw)), None

    shape = jax.eval_shape(log_probs, 0)
    lowest = jnp.full(shape.shape, -jnp.inf, shape.dtype)
    total, _ = jax.lax.scan(add, lowest, jnp.arange(num_draws))
    return total - jnp.log(num_draws)


def _predictive_entropy(mean, log_probs, num_draws):
    del log_probs, num_draws
    return numerics.entropy_of(mean)


def _mutual_information(mean, log_probs, num_draws):
    probs = jnp.exp(mean)

    def add(total, draw):
        divergence = numerics.divergence_term(log_probs(draw) - mean)
        return total + (probs * divergence).sum(-1), None

    zeros = jnp.zeros(mean.shape[:-1], mean.dtype)
    total, _ = jax.lax.scan(add, zeros, jnp.arange(num_draws))
    return total / num_draws


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

    Raises:
        ValueError: as `pixel_scores`.
        TypeError: as `pixel_scores`.

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
    checks.require_finite("features", features, "images h w d")
    pixel_checks.require_mask("where", where)
    checks.require_size("where", where, 0, len(features), "features")
    factor = head.enlargement("where", where, "features", features)
    n, height, width, _ = features.shape
    blocks = jnp.reshape(where, (n, height, factor, width, factor))
    weight = blocks.sum((2, 4))[..., None].astype(jnp.float32)
    total = (numerics.upcast(features) * weight).sum((1, 2))
    return total / jnp.maximum(weight.sum((1, 2)), 1)
