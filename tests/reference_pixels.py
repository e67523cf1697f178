"""Float64 NumPy oracles of the scores of images, and problems for them.

Written out: enlarging is a product with a matrix of weights, learning is gradient
descent on the loss at full resolution, a score is a mean over the pixels that count.
Images lead every array, so that many small ones are one product.
"""

import numpy as np
import reference
from reference import wide


def weights(size, factor):
    """[fine, coarse]: how a fine position blends the coarse ones, half-pixel centers.

    The centers of a coarse position q and a fine one i lie at q + 1/2 and
    (i + 1/2) / factor; beyond the outermost centers nothing is left to blend.
    """
    matrix = np.zeros((size * factor, size))
    for i in range(size * factor):
        place = np.clip((i + 0.5) / factor - 0.5, 0, size - 1)
        first = int(np.floor(place))
        second = min(first + 1, size - 1)
        matrix[i, first] += 1 - (place - first)
        matrix[i, second] += place - first
    return matrix


def enlarge(maps, factor):
    """[n, h, w, c] -> [n, f h, f w, c]."""
    rows, columns = (weights(size, factor) for size in maps.shape[1:3])
    return np.einsum("yi,xj,nijc->nyxc", rows, columns, maps, optimize=True)


def shrink(maps, factor):
    """The transposed product."""
    rows, columns = (weights(size // factor, factor) for size in maps.shape[1:3])
    return np.einsum("yi,xj,nyxc->nijc", rows, columns, maps, optimize=True)


def fine_logits(features, kernel, bias, factor):
    """Logits of every fine pixel; kernel [d, c] or one for each image."""
    product = "nijd,ndc->nijc" if kernel.ndim == 3 else "nijd,dc->nijc"
    maps = np.einsum(product, features, kernel) + np.reshape(
        bias, (-1, 1, 1, bias.shape[-1])
    )
    return enlarge(maps, factor)


def errors(logits, labels):
    """softmax - onehot; the label's own entry is minus the sum of the others."""
    others = reference.softmax(logits)
    np.put_along_axis(others, labels[..., None], 0.0, axis=-1)
    of_label = -others.sum(-1, keepdims=True)
    np.put_along_axis(others, labels[..., None], of_label, axis=-1)
    return others


def gradients(features, labels, where, kernel, bias, factor):
    """Of every image's mean loss: kernel [n, d, c] and bias [n, c]."""
    slope = errors(fine_logits(features, kernel, bias, factor), labels)
    counts = np.maximum(where.sum((1, 2)), 1).reshape(-1, 1, 1, 1)
    slope = shrink(slope * where[..., None] / counts, factor)
    return np.einsum("nijd,nijc->ndc", features, slope), slope.sum((1, 2))


def own_labels(features, kernel, bias, factor):
    """What the head predicts at every fine pixel."""
    return fine_logits(features, kernel, bias, factor).argmax(-1)


def split(problem):
    """The numbers of a problem in float64, and its factor."""
    problem = {k: wide(v) if v.dtype.kind == "f" else v for k, v in problem.items()}
    factor = problem["where"].shape[1] // problem["features"].shape[1]
    counts = problem["holdout_where"]
    labels = np.where(counts, problem["holdout_labels"], 0).astype(int)
    return problem, labels, factor


def look_ahead(problem, *, steps, learning_rate):
    """Change of every image's head after T steps of plain gradient descent."""
    problem, _, factor = split(problem)
    features, where = problem["features"], problem["where"]
    kernel, bias = problem["kernel"], problem["bias"]
    labels = own_labels(features, kernel, bias, factor)
    change = (
        np.zeros((len(features), *kernel.shape)),
        np.zeros((len(features), len(bias))),
    )
    for _ in range(steps):
        moved = kernel + change[0], bias + change[1]
        slope = gradients(features, labels, where, *moved, factor)
        change = tuple(
            c - learning_rate * s for c, s in zip(change, slope, strict=True)
        )
    return change


def look_ahead_changes(problem, *, steps=10, learning_rate=1e-2, plain=False):
    """Change of the loss at every holdout pixel that counts, [pool, pixels].

    With plain=True as a difference of two losses, the definition, which rounds away
    changes below 1e-16.
    """
    change = look_ahead(problem, steps=steps, learning_rate=learning_rate)
    problem, labels, factor = split(problem)
    counts, features = problem["holdout_where"], problem["holdout_features"]
    kernel, bias = problem["kernel"], problem["bias"]
    labels = labels[counts]
    logits = fine_logits(features, kernel, bias, factor)[counts]
    found = []
    for kernel_change, bias_change in zip(*change, strict=True):
        if plain:
            moved = kernel + kernel_change, bias + bias_change
            after = fine_logits(features, *moved, factor)[counts]
            losses = (reference.cross_entropy(z, labels) for z in (after, logits))
            found.append(np.subtract(*losses))
        else:
            delta = fine_logits(features, kernel_change, bias_change, factor)[counts]
            found.append(reference.loss_change(logits, delta, labels))
    return np.array(found)


def largest_change(problem, *, steps, learning_rate):
    """The largest absolute change of a holdout logit."""
    change = look_ahead(problem, steps=steps, learning_rate=learning_rate)
    problem, _, factor = split(problem)
    return max(
        np.abs(fine_logits(problem["holdout_features"], *of_image, factor)).max()
        for of_image in zip(*change, strict=True)
    )


def holdout_gradient(problem):
    """Of the mean loss over all holdout pixels that count, whatever their image."""
    problem, labels, factor = split(problem)
    where = problem["holdout_where"]
    head = problem["kernel"], problem["bias"]
    of_images = gradients(problem["holdout_features"], labels, where, *head, factor)
    share = where.sum((1, 2)) / where.sum()
    return tuple(np.tensordot(share, gradient, 1) for gradient in of_images)


def own_gradients(problem):
    """Of every image's loss under its own predictions."""
    problem, _, factor = split(problem)
    features, head = problem["features"], (problem["kernel"], problem["bias"])
    labels = own_labels(features, *head, factor)
    return gradients(features, labels, problem["where"], *head, factor)


def iwps_app(problem):
    """Minus the product of the two gradients, and the products' absolute size."""
    kernel, bias = holdout_gradient(problem)
    own_kernel, own_bias = own_gradients(problem)
    products = np.concatenate(
        [(own_kernel * kernel).reshape(len(own_bias), -1), own_bias * bias], axis=1
    )
    return -products.sum(1), np.abs(products).sum(1)


def problem(
    seed, *, pool=4, side=(3, 4), d=5, classes=4, factor=2, holdout=3, scale=1.0
):
    """Images of uneven sizes for a head, some labels ignored or wrong.

    Their padding is at the bottom and the right; ignored labels lie anywhere.
    """
    rng = np.random.default_rng(seed)
    h, w = side
    features = rng.normal(size=(pool + holdout, h, w, d)) + rng.normal(
        size=(pool + holdout, 1, 1, d)
    )
    kernel = scale * rng.normal(size=(d, classes)) / np.sqrt(d)
    bias = 0.1 * scale * rng.normal(size=classes)
    valid = np.ones((pool + holdout, h * factor, w * factor), bool)
    for i, (bottom, right) in enumerate(rng.integers(0, factor + 1, (len(valid), 2))):
        valid[i, h * factor - bottom :] = False
        valid[i, :, w * factor - right :] = False
    labels = own_labels(features[pool:], kernel, bias, factor)
    is_wrong = rng.random(labels.shape) < 0.25
    labels = np.where(is_wrong, rng.integers(0, classes, labels.shape), labels)
    counts = valid[pool:] & (rng.random(labels.shape) < 0.8)
    return {
        "features": features[:pool].astype(np.float32),
        "where": valid[:pool],
        "kernel": kernel.astype(np.float32),
        "bias": bias.astype(np.float32),
        "holdout_features": features[pool:].astype(np.float32),
        "holdout_labels": np.where(counts, labels, 255).astype(np.uint8),
        "holdout_where": counts,
    }


def on_a_grid(problem):
    """The same with features and weights rounded so that float32 logits are exact.

    Else those of thousands would carry rounding errors of 1e-4 themselves.
    """
    rounded = {
        name: np.round(array * 4) / 4
        for name, array in problem.items()
        if array.dtype == np.float32
    }
    return {**problem, **rounded}


def confident(problem):
    """The same with images that are sure of class 0, by margins of about 20 to 40.

    The probabilities of all others round away beside one.
    """
    margins = np.linspace(20, 40, len(problem["features"])).reshape(-1, 1, 1, 1)
    direction = np.linalg.pinv(wide(problem["kernel"]).T)[:, 0]
    features = 0.1 * problem["features"] + margins * direction
    return {**problem, "features": features.astype(np.float32)}


POOL = ("features", "where", "kernel", "bias")
"""What the scores without a holdout take."""


def of_pool(problem):
    """The arguments of those scores."""
    return {name: problem[name] for name in POOL}
