"""Exact IWPS on the last layer of a segmentation network.

The T steps of an image move its head by one [d, classes] matrix and a bias, so the
look-ahead needs no pass through the network below the head.

The head, and the axis names, are those of `iwps_jax.pixels.head`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Integer

from iwps_jax import blocks, checks, dialect, numerics
from iwps_jax.pixels import head, upsampling
from iwps_jax.pixels.head import HeadGradient
from iwps_jax.scores.step_forms import PLAIN_RADIUS, SERIES
from iwps_jax.types import AnyArray

# Up to |change of a logit| = RADIUS, a series of ORDER terms serves.
RADIUS, ORDER = SERIES[-1]
# Written out, so many classes are one pass over the pixels; more are walked by a loop.
FEW_CLASSES = 24
# Of classes and pixels, in images that learn at the same time.
ENTRIES_AT_ONCE = 2**18


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
    matrix product with pool · classes columns. Memory: a few times pool · fg · fv +
    classes · fg · fv floats while they are walked, so score a large pool in chunks; of
    large images one learns at a time. The time depends on the largest |change of a
    logit|: up to 0.75 exponentials are short series, up to 16 they are taken plainly,
    and beyond it is several times as long. The score is as exact in every case.

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
    factor = head.check_pool(features, where, kernel, bias)
    head.check_labeled(
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
    learn = partial(_displacement, steps=steps, learning_rate=learning_rate)
    moved = jax.lax.map(
        lambda image: learn(*image, kernel, bias),
        (features, where),
        batch_size=_images_at_once(where, len(bias)),
    )

    def add_image(total, image):
        return total + _sum_of_changes(moved, kernel, bias, *image)

    images = holdout_features, holdout_labels.astype(jnp.int32), holdout_where
    total = blocks.fold(add_image, jnp.zeros(len(features), features.dtype), images)
    return (total / holdout_where.sum(dtype=total.dtype)).astype(jnp.float32)


def _images_at_once(where, num_classes) -> int:
    """As many as learn from caches; a divisor, so that one program serves them all."""
    num_images, height, width = where.shape
    most = max(1, ENTRIES_AT_ONCE // (num_classes * height * width))
    return max(b for b in range(1, min(most, num_images) + 1) if num_images % b == 0)


def _over_classes(add, total, of_classes):
    """`add(total, of_class)`; few classes are one pass."""
    if len(jax.tree.leaves(of_classes)[0]) > FEW_CLASSES:
        return dialect.fold(add, total, of_classes)
    return dialect.over_classes(add, total, of_classes, on_cpu=FEW_CLASSES)


def _displacement(
    features, where, kernel, bias, *, steps, learning_rate
) -> HeadGradient:
    """θ_x - θ after T SGD steps on one image under its own predictions (Eq. 2)."""
    grid, corners = head.grid_of(features, where), head.corners_of(features)
    start = head.head_maps(corners, kernel, bias)
    learning_rate = jnp.asarray(learning_rate, start.dtype)
    labels = blocks.argmax(upsampling.enlarge(start, grid))
    share = head.share_of_valid(upsampling.to_cells(where, grid))

    def step(state, _):
        moved, logits, sums = state
        residual = _residual(upsampling.enlarge(logits, grid), labels, sums)
        ascent = head.ascent(corners, residual * share[None], grid)
        moved = jax.tree.map(lambda m, a: m + learning_rate * a, moved, ascent)
        logits = start + head.head_maps(corners, *moved)
        # Handed to the next step: where they are used, XLA would form the sums anew
        # for every class.
        return (moved, logits, _softmax_sums(logits, labels, grid)), None

    at_start = HeadGradient(jnp.zeros_like(kernel), jnp.zeros_like(bias))
    state = at_start, start, _softmax_sums(start, labels, grid)
    return jax.lax.scan(step, state, length=steps)[0][0]


class _Sums(NamedTuple):
    """Of a softmax over classes, for every fine pixel, [places, cells].

    Attributes:
        peak: the largest logit.
        of_label: the label's.
        others: Σ exp(logit - peak) of the classes that are not the label.
    """

    peak: jax.Array
    of_label: jax.Array
    others: jax.Array


def _softmax_sums(logits, labels, grid) -> _Sums:
    enlarge = partial(upsampling.enlarge, grid=grid)
    of_classes = logits, jnp.arange(len(logits), dtype=labels.dtype)
    zeros = jnp.zeros(labels.shape, logits.dtype)
    lowest = jnp.full_like(zeros, -jnp.inf)

    def compare(sums, of_class):
        peak, of_label = sums
        logit, c = enlarge(of_class[0]), of_class[1]
        return jnp.maximum(peak, logit), jnp.where(labels == c, logit, of_label)

    peak, of_label = _over_classes(compare, (lowest, zeros), of_classes)

    def add(others, of_class):
        logit, c = enlarge(of_class[0]), of_class[1]
        return others + jnp.where(labels == c, 0, jnp.exp(logit - peak))

    return _Sums(peak, of_label, _over_classes(add, zeros, of_classes))


def _residual(logits, labels, sums: _Sums):
    """onehot(y) - softmax; the label's entry is the sum of the others."""
    scale = 1 / (sums.others + jnp.exp(sums.of_label - sums.peak))
    return jnp.where(
        head.is_label_map(labels, len(logits)),
        (sums.others * scale)[None],
        -jnp.exp(logits - sums.peak[None]) * scale[None],
    )


class _Pixels(NamedTuple):
    """The fine pixels of a holdout image, [places, cells].

    Attributes:
        labels: y.
        label_probs: p_y.
        others: [classes, places, cells], p of the other classes, zero at y.
        log_probs: [classes, places, cells], log p.
    """

    labels: jax.Array
    label_probs: jax.Array
    others: jax.Array
    log_probs: jax.Array


def _sum_of_changes(
    moved: HeadGradient, kernel, bias, features, labels, where
) -> Float[jax.Array, " pool"]:
    """Σ over the valid pixels of one holdout image of ℓ(θ_x) - ℓ(θ), for every x."""
    grid, corners = head.grid_of(features, where), head.corners_of(features)
    n, d, num_classes = moved.kernel.shape
    columns = moved.kernel.swapaxes(1, 2).reshape(n * num_classes, d)
    change = head.matmul(columns, corners).reshape(n, num_classes, -1)
    change = (change + moved.bias[..., None]).swapaxes(0, 1)
    labels, where = (upsampling.to_cells(fine, grid) for fine in (labels, where))
    logits = upsampling.enlarge(head.head_maps(corners, kernel, bias), grid)
    log_probs = jax.nn.log_softmax(logits, axis=0)
    is_label = head.is_label_map(labels, num_classes)
    probs = jnp.exp(log_probs)
    pixels = _Pixels(
        labels,
        jnp.where(is_label, probs, 0).sum(0),
        jnp.where(is_label, 0, probs),
        log_probs,
    )
    # Enlarging blends neighbors, so no fine change is larger than every coarse one.
    largest = jnp.abs(change).max()
    beyond = [~numerics.all_of_batch(largest <= r) for r in (RADIUS, PLAIN_RADIUS)]
    form = jnp.stack(beyond).sum(dtype=jnp.int32)
    changes = jax.lax.switch(
        form,
        [
            partial(form, grid=grid)
            for form in (_change_by_series, _change_by_exp, _change_of_any_step)
        ],
        change,
        pixels,
    )
    return head.matmul(changes.reshape(n, -1), where.astype(changes.dtype).ravel())


def _change_by_series(change, pixels: _Pixels, grid):
    """Δ of every pixel for small changes u; q is p of the others, zero at the label y.

        exp(Δ) - 1 = A + (A + 1 - p_y) expm1(-u_y),    A = Σ_c q_c expm1(u_c)

    Every term carries a factor q, so that a pixel that is already sure of its label
    keeps its digits.
    """
    series = 0.0, *numerics.expm1_series(RADIUS, ORDER)

    def add_class(sums, of_class):
        total, label_change = sums
        of_corners, other, c = of_class
        u = upsampling.enlarge(of_corners, grid)
        total = total + other[None] * numerics.polynomial(series, u)
        return total, jnp.where((pixels.labels == c)[None], u, label_change)

    zeros = jnp.zeros((change.shape[1], *pixels.labels.shape), change.dtype)
    total, label_change = _over_classes(
        add_class,
        (zeros, zeros),
        (change, pixels.others, jnp.arange(len(change), dtype=pixels.labels.dtype)),
    )
    shrink = numerics.polynomial(series, -label_change)
    excess = total + (total + pixels.others.sum(0)[None]) * shrink
    return numerics.moderate_log1p(excess)


def _label_change(change, pixels: _Pixels, grid):
    """u_y of every pixel."""

    def choose(chosen, of_class):
        u = upsampling.enlarge(of_class[0], grid)
        return jnp.where((pixels.labels == of_class[1])[None], u, chosen)

    zeros = jnp.zeros((change.shape[1], *pixels.labels.shape), change.dtype)
    return _over_classes(
        choose, zeros, (change, jnp.arange(len(change), dtype=pixels.labels.dtype))
    )


def _change_by_exp(change, pixels: _Pixels, grid):
    """The same for |u| up to PLAIN_RADIUS, as of `numerics.log_of_sum`.

    exp(Δ) - 1 = Σ_c q_c expm1(u_c - u_y)
    """
    label_change = _label_change(change, pixels, grid)

    def add_class(sums, of_class):
        total, excess = sums
        of_corners, other = of_class
        exp, expm1 = numerics.exp_and_expm1(
            upsampling.enlarge(of_corners, grid) - label_change
        )
        return total + other[None] * exp, excess + other[None] * expm1

    of_label = jnp.broadcast_to(pixels.label_probs, label_change.shape)
    total, excess = _over_classes(
        add_class, (of_label, jnp.zeros_like(label_change)), (change, pixels.others)
    )
    return numerics.log_of_sum(total, excess)


def _change_of_any_step(change, pixels: _Pixels, grid):
    """The same beyond, where an exponential may leave float32."""
    label_change = _label_change(change, pixels, grid)
    flat_log_probs = pixels.log_probs.reshape(len(change), -1)

    def of_candidate(change, label_change):
        return numerics.cross_entropy_change(
            flat_log_probs,
            lambda c: (upsampling.enlarge(change[c], grid) - label_change).ravel(),
        )

    changes = jax.vmap(of_candidate, in_axes=(1, 0))(change, label_change)
    return changes.reshape(label_change.shape)
