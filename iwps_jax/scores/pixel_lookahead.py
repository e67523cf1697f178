"""Exact IWPS on the last layer of a segmentation network.

The T steps of an image move its head by one [d, classes] matrix and a bias, so the
look-ahead needs no pass through the network below the head.

The head, and the axis names, are those of `iwps_jax.scores.pixel_head`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer

from iwps_jax import checks, numerics, upsampling
from iwps_jax.scores import pixel_head
from iwps_jax.scores.lookahead import SERIES
from iwps_jax.scores.pixel_head import HeadGradient
from iwps_jax.types import AnyArray


def iwps_pixel_head(
    features: Float[AnyArray, "pool h w d"],
    where: Bool[AnyArray, "pool fh fw"],
    kernel: Float[AnyArray, "d classes"],
    bias: Float[AnyArray, " classes"],
    holdout_features: Float[AnyArray, "m g v d"],
    holdout_labels: Integer[AnyArray, "m fg fv"],
    holdout_where: Bool[AnyArray, "m fg fv"],
    *,
    steps: int = 10,
    learning_rate: float | Float[AnyArray, ""] = 1e-2,
) -> Float[jax.Array, " pool"]:
    """Exact IWPS of images when only the last layer learns.

        score(x) = mean over valid holdout pixels of [ℓ(θ_x) - ℓ(θ)]

    with θ_x after T SGD steps of the head on the image x under its own predictions, the
    loss taken as in training: at the resolution of the labels, as a mean over pixels.
    Equal to `iwps` on the head's parameters with the labels of every pixel.

    The holdout images are walked one at a time, each against all candidates by one
    matrix product with pool · classes columns. Memory: a few times pool · fh · fw +
    classes · fg · fv floats while they are walked, and pool · classes · fh · fw while
    the candidates learn, so score a large pool in chunks. Up to |change of a logit| of
    0.75 the exponentials are short series; the score is as exact beyond.

    Args:
        features: inputs of the last layer.
        where: fine pixels that are of the image, not padding. An image without any
            scores zero.
        kernel: weights of the last layer, a 1x1 convolution.
        bias: its bias.
        holdout_features: the same for the holdout images, of any size.
        holdout_labels: their true classes, in [0, classes) where `holdout_where`.
        holdout_where: fine pixels that have a label, at least one.
        steps: T, the SGD steps on each image.
        learning_rate: η, the length of a step.

    Returns:
        One float32 score per candidate, in nats a pixel.

    Raises:
        ValueError: if shapes or class counts disagree, or the fine pixels are not a
            whole number of times, and as often in the holdout as in the pool, those of
            the features; outside `jax.jit` also if a label is out of range, no pixel of
            the holdout has one or a number is not finite.
        TypeError: if labels are not integers, masks not boolean or features not
            floating point.

    References:
        Aljundi et al. 2020, Eq. 2 and Eq. 3; T = 10, η = 1e-2 and segmentation as in
        supplement §6.

    Example:
        >>> unsure, sure = jnp.full((2, 2, 1), 0.1), jnp.full((2, 2, 1), 9.0)
        >>> scores = iwps_pixel_head(
        ...     features=jnp.stack([unsure, sure]),
        ...     where=jnp.ones((2, 4, 4), bool),
        ...     kernel=jnp.array([[1.0, -1.0]]),
        ...     bias=jnp.zeros(2),
        ...     holdout_features=jnp.full((1, 2, 2, 1), 0.1),
        ...     holdout_labels=jnp.ones((1, 4, 4), int),
        ...     holdout_where=jnp.ones((1, 4, 4), bool),
        ... )
        >>> bool(scores[0] > scores[1] > 0)
        True
    """
    factor = pixel_head.check_pool(features, where, kernel, bias)
    pixel_head.check_labeled(
        "holdout_", holdout_features, holdout_labels, holdout_where, kernel, factor
    )
    checks.require_steps(steps, learning_rate)
    return _iwps_pixel_head(
        features,
        where,
        kernel,
        bias,
        holdout_features,
        holdout_labels,
        holdout_where,
        learning_rate,
        steps=int(steps),
    )


@partial(jax.jit, static_argnames="steps")
def _iwps_pixel_head(
    features,
    where,
    kernel,
    bias,
    holdout_features,
    holdout_labels,
    holdout_where,
    learning_rate,
    *,
    steps,
):
    features, kernel, bias, holdout_features = numerics.upcast(
        (features, kernel, bias, holdout_features)
    )
    factor = where.shape[1] // features.shape[1]
    learn = partial(
        _displacement, factor=factor, steps=steps, learning_rate=learning_rate
    )
    moved = jax.vmap(lambda *image: learn(*image, kernel, bias))(features, where)

    def add_image(total, image):
        return total + _sum_of_changes(moved, kernel, bias, *image, factor), None

    images = holdout_features, holdout_labels.astype(jnp.int32), holdout_where
    zero = jnp.zeros(len(features), features.dtype)
    total, _ = jax.lax.scan(add_image, zero, images)
    return (total / holdout_where.sum()).astype(jnp.float32)


def _displacement(
    features, where, kernel, bias, *, factor, steps, learning_rate
) -> HeadGradient:
    """θ_x - θ after T SGD steps on one image under its own predictions (Eq. 2)."""
    start = pixel_head.head_maps(features, kernel, bias)
    enlarge = partial(upsampling.to_phases, factor=factor)
    labels = enlarge(start).argmax(0)
    share = pixel_head.share_of_valid(upsampling.sort_by_phase(where, factor))

    def step(moved, _):
        logits = start + pixel_head.head_maps(features, *moved)
        residual = pixel_head.residual_maps(enlarge(logits), labels) * share[None]
        ascent = pixel_head.ascent(features, residual, factor)
        return jax.tree.map(lambda m, a: m + learning_rate * a, moved, ascent), None

    at_start = HeadGradient(jnp.zeros_like(kernel), jnp.zeros_like(bias))
    return jax.lax.scan(step, at_start, length=steps)[0]


def _sum_of_changes(
    moved: HeadGradient, kernel, bias, features, labels, where, factor
) -> Float[jax.Array, " pool"]:
    """Σ over the valid pixels of one holdout image of ℓ(θ_x) - ℓ(θ), for every x."""
    n, d, num_classes = moved.kernel.shape
    columns = moved.kernel.swapaxes(1, 2).reshape(n * num_classes, d)
    change = pixel_head.matmul(columns, pixel_head.flat(features).T).reshape(
        n, num_classes, -1
    )
    change = (change + moved.bias[..., None]).swapaxes(0, 1)
    change = change.reshape(num_classes, n, *features.shape[:2])
    labels, where = (upsampling.sort_by_phase(fine, factor) for fine in (labels, where))
    logits = upsampling.to_phases(pixel_head.head_maps(features, kernel, bias), factor)
    # Enlarging blends neighbors, so no fine change is larger than every coarse one.
    largest = jnp.abs(change).max()
    form = sum(~numerics.all_of_batch(largest <= radius) for radius, _ in SERIES)
    changes = jax.lax.switch(
        form,
        [
            *(
                partial(_change_by_series, numerics.expm1_series(*series))
                for series in SERIES
            ),
            _change_of_any_step,
        ],
        change,
        logits,
        labels,
    )
    return pixel_head.matmul(
        changes.reshape(n, -1), where.astype(changes.dtype).ravel()
    )


def _change_by_series(series, change, logits, labels):
    """Δ of every pixel for small changes u; q is p of the others, zero at the label y.

        exp(Δ) - 1 = A + (A + 1 - p_y) expm1(-u_y),    A = Σ_c q_c expm1(u_c)

    One walk over the classes; every term carries a factor q, so that a pixel that is
    already sure of its label keeps its digits.
    """
    num_classes, factor = len(change), labels.shape[0]
    others = jnp.where(
        pixel_head.is_label_map(labels, num_classes), 0, jax.nn.softmax(logits, axis=0)
    )

    def add_class(sums, of_class):
        total, label_change = sums
        of_coarse, other, c = of_class
        u = upsampling.to_phases(of_coarse, factor)
        total = total + other[None] * numerics.polynomial((0.0, *series), u)
        return (total, jnp.where((labels == c)[None], u, label_change)), None

    zeros = jnp.zeros((change.shape[1], *labels.shape), change.dtype)
    (total, label_change), _ = jax.lax.scan(
        add_class,
        (zeros, zeros),
        (change, others, jnp.arange(num_classes)),
    )
    shrink = numerics.polynomial((0.0, *series), -label_change)
    excess = total + (total + others.sum(0)[None]) * shrink
    return numerics.moderate_log1p(excess)


def _change_of_any_step(change, logits, labels):
    """The same for changes of any size."""
    factor = labels.shape[0]
    log_probs = jax.nn.log_softmax(logits, axis=0)
    flat_log_probs = log_probs.reshape(len(log_probs), -1)

    def of_candidate(change):
        def of_class(c):
            return upsampling.to_phases(change[c], factor)

        of_label = jax.lax.fori_loop(
            0,
            len(change),
            lambda c, u: jnp.where(labels == c, of_class(c), u),
            jnp.zeros(labels.shape, change.dtype),
        )
        return numerics.cross_entropy_change(
            flat_log_probs, lambda c: (of_class(c) - of_label).ravel()
        )

    changes = jax.vmap(of_candidate, in_axes=1)(change)
    return changes.reshape(-1, *labels.shape)
