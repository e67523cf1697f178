"""A pixel head, and what its scores have in common.

The last layer of a segmentation network is a 1x1 convolution at the resolution of the
features. Its logits are enlarged bilinearly to that of the labels, where the loss is:

    z_q = h_q kernel + bias    at every coarse pixel q, the head's resolution
    ℓ(θ) = mean over valid fine pixels p of cross-entropy(Σ_q U_pq z_q, y_p)

U is `iwps_jax.pixels.upsampling.upsample`. The gradient is a sum over the pixels of an
image, a full matrix as large as the head, and still tiny beside the features:

    -∂ℓ/∂kernel = Σ_q h_q r_qᵀ,  -∂ℓ/∂bias = Σ_q r_q,  r = Uᵀ (onehot(y) - p) / |valid|

Axis names beside those of `iwps_jax.types`:

    h, w     coarse pixels: rows and columns of the features
    fh, fw   fine pixels, those of the labels: f times as many a side, f whole
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from iwps_jax import checks, numerics
from iwps_jax.pixels import checks as pixel_checks
from iwps_jax.pixels import upsampling
from iwps_jax.pixels.upsampling import Grid


class HeadGradient(NamedTuple):
    """The gradient of a mean loss in the parameters of a pixel head.

    Attributes:
        kernel: [d, classes], or [pool, d, classes] for one of every image.
        bias: [classes], or [pool, classes].
    """

    kernel: jax.Array
    bias: jax.Array


def enlargement(name, fine, coarse_name, coarse) -> int:
    """Fine pixels a side of a coarse one."""
    factor = fine.shape[1] // coarse.shape[1]
    if factor < 1 or fine.shape[1:3] != (
        factor * coarse.shape[1],
        factor * coarse.shape[2],
    ):
        raise ValueError(
            f"{name} must have a whole number of times the rows and columns of "
            f"{coarse_name}, the same for both; got {tuple(fine.shape[1:])} for "
            f"{tuple(coarse.shape[1:3])}."
        )
    return factor


def _check_features(name, features, kernel, bias) -> None:
    checks.require_finite(name, features, "images h w d")
    checks.require_finite("kernel", kernel, "d classes")
    checks.require_finite("bias", bias, "classes")
    checks.require_size("kernel", kernel, 0, features.shape[3], name)
    checks.require_size("bias", bias, 0, kernel.shape[1], "kernel")


def check_pool(features, where, kernel, bias) -> int:
    """Refuses images and a head that do not fit; returns the enlargement."""
    _check_features("features", features, kernel, bias)
    pixel_checks.require_mask("where", where)
    checks.require_size("where", where, 0, len(features), "features")
    return enlargement("where", where, "features", features)


def check_labeled(prefix, features, labels, where, kernel, factor) -> None:
    """Refuses labeled images, their arguments so prefixed, that do not fit."""
    name = f"{prefix}features"
    checks.require_finite(name, features, "images h w d")
    checks.require_size(name, features, 3, len(kernel), "kernel")
    pixel_checks.require_mask(f"{prefix}where", where)
    pixel_checks.require_labels(f"{prefix}labels", labels, where, kernel.shape[1])
    checks.require_size(f"{prefix}labels", labels, 0, len(features), name)
    found = enlargement(f"{prefix}labels", labels, name, features)
    if found != factor:
        raise ValueError(
            f"{prefix}labels must be enlarged by {factor} like those of the pool, got "
            f"a factor of {found}."
        )


# The head on images: classes in front, so that a map is one long row


matmul = partial(jnp.matmul, precision=numerics.PRECISION)


def grid_of(features, fine) -> Grid:
    """The sizes of one image, [h, w, d], and of what is given for its fine pixels."""
    height, width, _ = features.shape
    return Grid(height, width, fine.shape[0] // height)


def corners_of(features) -> Float[jax.Array, "d corners"]:
    """The features of one image, padded as the enlargement needs them."""
    return upsampling.to_corners(features).T


def head_maps(
    corners: Float[jax.Array, "d corners"],
    kernel: Float[jax.Array, "d classes"],
    bias: Float[jax.Array, " classes"],
) -> Float[jax.Array, "classes corners"]:
    """The logits of one image at the head's resolution."""
    return matmul(kernel.T, corners) + bias[:, None]


def is_label_map(labels, num_classes):
    """onehot(y) with the classes in front, as booleans."""
    classes = jnp.arange(num_classes, dtype=labels.dtype)
    return labels[None] == classes.reshape(-1, *(1,) * labels.ndim)


def residual_maps(logits, labels):
    """onehot(y) - softmax with the classes in front; as `numerics.label_residual`."""
    probs = jax.nn.softmax(logits, axis=0)
    is_label = is_label_map(labels, len(logits))
    others = jnp.where(is_label, 0, probs)
    return jnp.where(is_label, others.sum(0, keepdims=True), -others)


def share_of_valid(where):
    """1 / |valid| on the valid pixels of an image; zero if it has none."""
    where = where.astype(jnp.float32)
    return where / jnp.maximum(where.sum(), 1)


def ascent(corners, residual, grid) -> HeadGradient:
    """Σ_q h_q r_qᵀ and Σ_q r_q: minus a loss's gradient, from the fine residuals."""
    rows = upsampling.shrink(residual, grid)
    return HeadGradient(matmul(rows, corners.T).T, rows.sum(1))
