"""IWPS-app on the last layer of a segmentation network, and its gradients.

The head, and the axis names, are those of `iwps_jax.pixels.head`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer

from iwps_jax import checks, numerics
from iwps_jax.pixels import head, upsampling
from iwps_jax.pixels.head import HeadGradient
from iwps_jax.types import AnyArray


def iwps_app_pixel_head(
    features: Float[AnyArray, "pool h w d"],
    where: Bool[AnyArray, "pool fh fw"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    gradient: HeadGradient,
) -> Float[jax.Array, " pool"]:
    """First-order IWPS of images on the last layer.

        score(x) = -⟨∇ℓ_v(θ), ∇ℓ(x, ŷ; θ)⟩
                 = mean over valid pixels of (onehot(ŷ) - p)ᵀ U(A h + a)

    with (A, a) the cached gradient of the holdout's loss. The limit of
    `iwps_pixel_head` / (η T) as η → 0.

    Args:
        features: inputs of the last layer.
        where: fine pixels that are of the image. An image without any scores zero.
        kernel: weights of the last layer.
        bias: its bias.
        gradient: of the holdout's loss, by `pixel_head_gradient`.

    Returns:
        One float32 score per candidate, in nats a pixel and unit of step length.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            number is not finite.
        TypeError: if masks are not boolean or features not floating point.

    References:
        Aljundi et al. 2020, Eq. 10; segmentation as in supplement §6.

    Example:
        >>> image, all_pixels = jnp.ones((1, 2, 2, 1)), jnp.ones((1, 4, 4), bool)
        >>> labels, head = jnp.ones((1, 4, 4), int), (jnp.zeros((1, 2)), jnp.zeros(2))
        >>> gradient = pixel_head_gradient(image, labels, all_pixels, *head)
        >>> print(iwps_app_pixel_head(image, all_pixels, *head, gradient))
        [1.]
    """
    head.check_pool(features, where, kernel, bias)
    for name in HeadGradient._fields:
        value, like = getattr(gradient, name), {"kernel": kernel, "bias": bias}[name]
        checks.require_same_tree(f"gradient.{name}", value, name, like)
        checks.require_finite_tree(f"gradient.{name}", value)
    return _iwps_app_pixel_head(features, where, kernel, bias, gradient)


def pixel_head_gradient(
    features: Float[AnyArray, "m h w d"],
    labels: Integer[AnyArray, "m fh fw"],
    where: Bool[AnyArray, "m fh fw"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
) -> HeadGradient:
    """The holdout's gradient on the last layer: compute it once a round and keep it.

        ∇ℓ_v(θ) = mean over valid pixels of all images of ∇ℓ(pixel; θ)

    Args:
        features: inputs of the last layer for the holdout images.
        labels: their true classes, in [0, classes) where `where`.
        where: fine pixels that have a label, at least one.
        kernel: weights of the last layer.
        bias: its bias.

    Returns:
        The gradient, for `iwps_app_pixel_head`.

    Raises:
        ValueError: if shapes or class counts disagree; outside `jax.jit` also if a
            label is out of range, no pixel has one or a number is not finite.
        TypeError: if labels are not integers, masks not boolean or features not
            floating point.

    References:
        Aljundi et al. 2020, Eq. 10 (there of 10 random holdout images, supplement §6).

    Example:
        >>> gradient = pixel_head_gradient(
        ...     features=jnp.full((1, 2, 2, 1), 2.0),
        ...     labels=jnp.zeros((1, 4, 4), int),
        ...     where=jnp.ones((1, 4, 4), bool),
        ...     kernel=jnp.zeros((1, 2)),
        ...     bias=jnp.zeros(2),
        ... )
        >>> print(gradient.kernel, gradient.bias)
        [[-1.  1.]] [-0.5  0.5]
    """
    checks.require_finite("kernel", kernel, "d classes")
    checks.require_finite("bias", bias, "classes")
    checks.require_size("bias", bias, 0, kernel.shape[1], "kernel")
    factor = head.enlargement("labels", labels, "features", features)
    head.check_labeled("", features, labels, where, kernel, factor)
    return _pixel_head_gradient(features, labels, where, kernel, bias)


def pixel_head_embedding(
    features: Float[AnyArray, "pool h w d"],
    where: Bool[AnyArray, "pool fh fw"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
) -> HeadGradient:
    """What BADGE clusters: every image's gradient under its own predictions.

        ∇ℓ(x, ŷ; θ) = mean over valid pixels of (p - onehot(ŷ)) ⊗ h

    A mean over pixels, so no product of two vectors as for a classifier, but still of
    the size of the last layer.

    Args:
        features: inputs of the last layer.
        where: fine pixels that are of the image. An image without any has gradient 0.
        kernel: weights of the last layer.
        bias: its bias.

    Returns:
        A gradient an image: kernel [pool, d, classes] and bias [pool, classes].

    Raises:
        ValueError: as `iwps_app_pixel_head`.
        TypeError: as `iwps_app_pixel_head`.

    References:
        Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient
        Lower Bounds", §3. https://arxiv.org/abs/1906.03671

    Example:
        >>> image, all_pixels = jnp.ones((1, 2, 2, 1)), jnp.ones((1, 4, 4), bool)
        >>> own = pixel_head_embedding(
        ...     image, all_pixels, jnp.zeros((1, 2)), jnp.zeros(2)
        ... )
        >>> print(own.kernel[0], own.bias[0])
        [[-0.5  0.5]] [-0.5  0.5]
    """
    head.check_pool(features, where, kernel, bias)
    return _pixel_head_embedding(features, where, kernel, bias)


@jax.jit
def _iwps_app_pixel_head(features, where, kernel, bias, gradient):
    features, kernel, bias, gradient = numerics.upcast(
        (features, kernel, bias, gradient)
    )

    def score(features, where):
        grid, corners = _prepare(features, where)
        logits, tangent = (
            upsampling.enlarge(head.head_maps(corners, *weights), grid)
            for weights in ((kernel, bias), gradient)
        )
        share = head.share_of_valid(upsampling.to_cells(where, grid))
        residual = head.residual_maps(logits, logits.argmax(0))
        return (residual * tangent * share[None]).sum()

    return jax.vmap(score)(features, where).astype(jnp.float32)


@jax.jit
def _pixel_head_gradient(features, labels, where, kernel, bias):
    features, kernel, bias = numerics.upcast((features, kernel, bias))
    weight = 1 / where.sum(dtype=kernel.dtype)

    def add_image(total, image):
        features, labels, where = image
        grid, corners = _prepare(features, where)
        labels, where = (upsampling.to_cells(fine, grid) for fine in (labels, where))
        logits = upsampling.enlarge(head.head_maps(corners, kernel, bias), grid)
        residual = head.residual_maps(logits, labels)
        residual = residual * jnp.where(where, weight, 0)[None]
        ascent = head.ascent(corners, residual, grid)
        return jax.tree.map(jnp.subtract, total, ascent), None

    zeros = HeadGradient(jnp.zeros_like(kernel), jnp.zeros_like(bias))
    return jax.lax.scan(add_image, zeros, (features, labels.astype(jnp.int32), where))[
        0
    ]


@jax.jit
def _pixel_head_embedding(features, where, kernel, bias):
    features, kernel, bias = numerics.upcast((features, kernel, bias))
    ascent = jax.vmap(lambda *image: _own_ascent(*image, kernel, bias))(features, where)
    return jax.tree.map(jnp.negative, ascent)


def _own_ascent(features, where, kernel, bias) -> HeadGradient:
    """Minus the gradient of one image under its own predictions."""
    grid, corners = _prepare(features, where)
    logits = upsampling.enlarge(head.head_maps(corners, kernel, bias), grid)
    share = head.share_of_valid(upsampling.to_cells(where, grid))
    residual = head.residual_maps(logits, logits.argmax(0)) * share[None]
    return head.ascent(corners, residual, grid)


def _prepare(features, where):
    return head.grid_of(features, where), head.corners_of(features)
