"""Float64 NumPy oracles: loops over real gradients, written for clarity, not speed.

Nothing here uses a closed form of the library. A network is a list of layers
(kernel [in, out], bias [out]) with a ReLU between them, so a classification head on
fixed features is simply a network of one layer. Inputs may have any float type; all
work happens in float64 (or in long double, where the inputs already are).

The scores of confident candidates are 1e-9 and far smaller. Wherever a plain formula
would subtract two nearly equal numbers (1 - p, one loss minus another), the oracle uses
the same quantity written without the subtraction; the tests check each such form
against the plain one.
"""

import numpy as np
from scipy import stats

FLOAT32_FLOOR = 1e-35  # below it products of two float32 numbers flush to zero


# Arrays and comparisons.


def wide(array):
    """The array in float64, or unchanged where it is wider already."""
    array = np.asarray(array)
    return array.astype(np.result_type(array.dtype, np.float64))


def wide_layers(layers):
    """The network with every array in float64."""
    return [(wide(kernel), wide(bias)) for kernel, bias in layers]


ASKED = slice(None, None, 15)
"""Of a pool of 4,096, the candidates that an oracle which takes them one by one is
asked of: all are scored at once, and these stand at every place of a vector and of a
block, since 15 shares no factor with a power of two."""


def assert_same_scores(scores, expected, scale=0.0, rtol=1e-4, ranked=slice(None)):
    """Checks float32 scores against the oracle's, by value and by order.

    Args:
        scores: What the library returned.
        expected: The oracle's scores.
        scale: Natural size of each candidate's terms (the mean absolute change of the
            holdout losses), for scores that cross zero.
        rtol: Allowed error, relative to the larger of |expected| and scale.
        ranked: Which candidates to compare by order; all unless told.
    """
    scores = np.asarray(scores)
    assert scores.dtype == np.float32
    assert scores.shape == expected.shape
    allowed = rtol * np.maximum(np.abs(expected), scale) + FLOAT32_FLOOR
    excess = np.abs(scores.astype(np.float64) - expected) / allowed
    worst = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
    assert excess[worst] <= 1.0, (
        f"{np.sum(~(excess <= 1.0))} of {excess.size} scores differ; the worst, at "
        f"{worst}, is {scores[worst]!r} and should be {expected[worst]!r}: "
        f"{excess[worst]:.3g} times the allowed error."
    )
    assert stats.spearmanr(scores[ranked], expected[ranked]).statistic > 0.9999


# Softmax, in forms that stay exact for confident logits.


def softmax(logits):
    """Class probabilities along the last axis."""
    shifted = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return shifted / np.sum(shifted, axis=-1, keepdims=True)


def log_softmax(logits):
    """Log of the class probabilities; the largest one is -log1p(sum of the others)."""
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    top = np.argmax(logits, axis=-1)[..., None]
    others = np.exp(shifted)
    np.put_along_axis(others, top, 0.0, axis=-1)
    return shifted - np.log1p(np.sum(others, axis=-1, keepdims=True))


def cross_entropy(logits, labels):
    """-log p(label), one value per row."""
    return -np.take_along_axis(log_softmax(logits), labels[:, None], axis=-1)[:, 0]


def residual(logits, label):
    """softmax - onehot(label) of one candidate; its label entry is -(the others)."""
    error = softmax(logits)
    error[label] = 0.0
    error[label] = -np.sum(error)
    return error


# Networks: forward pass, hand-written backward pass, T-step look-ahead.


def forward(layers, inputs):
    """Logits of a batch, or of one input."""
    for kernel, bias in layers[:-1]:
        inputs = np.maximum(inputs @ kernel + bias, 0.0)
    kernel, bias = layers[-1]
    return inputs @ kernel + bias


def gradient(layers, one_input, label):
    """Gradient of one sample's cross-entropy, as a list of layers."""
    activations = [one_input]
    for kernel, bias in layers[:-1]:
        activations.append(np.maximum(activations[-1] @ kernel + bias, 0.0))
    kernel, bias = layers[-1]
    error = residual(activations[-1] @ kernel + bias, label)
    gradients = []
    for (kernel, _), activation in zip(layers[::-1], activations[::-1], strict=True):
        gradients.append((np.outer(activation, error), error))
        error = (kernel @ error) * (activation > 0.0)
    return gradients[::-1]


def flat(layers):
    """All numbers of a list of layers as one vector."""
    return np.concatenate([part.ravel() for layer in layers for part in layer])


def moved(layers, change):
    """The network after a change of its parameters."""
    return [(k + dk, b + db) for (k, b), (dk, db) in zip(layers, change, strict=True)]


def look_ahead(layers, one_input, label, steps, learning_rate):
    """Parameter change after T plain SGD steps on one sample."""
    change = [(np.zeros_like(kernel), np.zeros_like(bias)) for kernel, bias in layers]
    for _ in range(steps):
        slope = gradient(moved(layers, change), one_input, label)
        step = [
            (-learning_rate * kernel, -learning_rate * bias) for kernel, bias in slope
        ]
        change = moved(change, step)
    return change


def logits_change(layers, change, inputs):
    """New logits minus old ones, carried through the layers as a change.

    Subtracting two forward passes would lose all digits of a change of 1e-16.
    """
    delta = np.zeros_like(inputs)
    for index, ((kernel, bias), (d_kernel, d_bias)) in enumerate(
        zip(layers, change, strict=True)
    ):
        before = inputs @ kernel + bias
        delta = delta @ (kernel + d_kernel) + (inputs @ d_kernel + d_bias)
        if index < len(layers) - 1:
            after = before + delta
            clipped = np.maximum(after, 0.0) - np.maximum(before, 0.0)
            delta = np.where((before > 0.0) & (after > 0.0), delta, clipped)
            inputs = np.maximum(before, 0.0)
    return delta


def loss_change(logits, delta, labels):
    """Cross-entropy at logits + delta minus the one at logits, for each row."""
    probs, log_probs = softmax(logits), log_softmax(logits)
    delta = delta - np.take_along_axis(delta, labels[:, None], axis=-1)
    largest = np.max(delta + log_probs, axis=-1, keepdims=True)
    large = largest[:, 0] + np.log(np.sum(np.exp(delta + log_probs - largest), axis=-1))
    small = np.log1p(np.sum(probs * np.expm1(np.minimum(delta, 1.0)), axis=-1))
    return np.where(np.max(np.abs(delta), axis=-1) < 1.0, small, large)


def look_ahead_changes(
    layers,
    inputs,
    holdout_inputs,
    holdout_labels,
    *,
    steps=3,
    learning_rate=1e-3,
    plain=False,
):
    """Change of every holdout loss after each candidate's look-ahead, [pool, holdout].

    Its mean over the holdout is the score IWPS, the mean of its absolute value that
    score's natural scale. With plain=True the change is the difference of two losses,
    the definition itself, which rounds away changes below 1e-16.
    """
    layers, holdout_inputs = wide_layers(layers), wide(holdout_inputs)
    holdout_labels = np.asarray(holdout_labels)
    holdout_logits = forward(layers, holdout_inputs)
    changes = []
    for one_input in wide(inputs):
        label = int(np.argmax(forward(layers, one_input)))
        change = look_ahead(layers, one_input, label, steps, learning_rate)
        if plain:
            logits = forward(moved(layers, change), holdout_inputs)
            after = cross_entropy(logits, holdout_labels)
            changes.append(after - cross_entropy(holdout_logits, holdout_labels))
        else:
            delta = logits_change(layers, change, holdout_inputs)
            changes.append(loss_change(holdout_logits, delta, holdout_labels))
    return np.array(changes)


# First order: explicit per-sample gradients.


def per_sample_gradients(layers, inputs, labels=None):
    """One flat gradient per sample; without labels, for the predicted ones."""
    layers, inputs = wide_layers(layers), wide(inputs)
    if labels is None:
        labels = np.argmax(forward(layers, inputs), axis=-1)
    return np.array(
        [
            flat(gradient(layers, x, int(y)))
            for x, y in zip(inputs, np.asarray(labels), strict=True)
        ]
    )


def gradient_kernel(layers, inputs_a, labels_a, inputs_b, labels_b):
    """Dot products of the samples' gradients; labels None stands for predicted ones."""
    gradients_a = per_sample_gradients(layers, inputs_a, labels_a)
    return gradients_a @ per_sample_gradients(layers, inputs_b, labels_b).T


def iwps_app(layers, inputs, holdout_inputs, holdout_labels):
    """-<mean holdout gradient, candidate's gradient under its predicted label>."""
    holdout = per_sample_gradients(layers, holdout_inputs, holdout_labels)
    return -per_sample_gradients(layers, inputs) @ holdout.mean(axis=0)


# Predictive scores, one candidate at a time.


def entropy_of(log_probs):
    """-Σ p log p of one distribution, 0 log 0 = 0."""
    log_probs = log_probs[log_probs > -np.inf]
    return -np.sum(np.exp(log_probs) * log_probs)


def entropy(logits):
    """Predictive entropy in nats."""
    return np.array([entropy_of(log_softmax(row)) for row in wide(logits)])


def least_confidence(logits):
    """1 - p_max, as the sum of all other probabilities."""
    return np.array([np.sum(np.sort(softmax(row))[:-1]) for row in wide(logits)])


def margin(logits):
    """1 - (p_first - p_second), as the sum of all others plus p_second."""
    ordered = np.array([np.sort(softmax(row)) for row in wide(logits)])
    return np.sum(ordered[:, :-1], axis=-1) + ordered[:, -2]


def log_mean_exp(log_probs):
    """Log of the mean over the first axis, exact also where all are nearly zero."""
    largest = np.max(log_probs, axis=0)
    shift = np.where(largest == -np.inf, 0.0, largest)
    with np.errstate(divide="ignore"):
        return shift + np.log1p(np.mean(np.expm1(log_probs - shift), axis=0))


def mc_dropout(log_probs):
    """Entropy of the mean distribution over the draws."""
    log_probs = wide(log_probs)
    pool = range(log_probs.shape[1])
    return np.array([entropy_of(log_mean_exp(log_probs[:, i])) for i in pool])


def variation_ratio(log_probs):
    """Share of the draws that do not vote for the modal class."""
    votes = np.argmax(np.asarray(log_probs), axis=-1)
    return np.array([1.0 - np.bincount(v).max() / len(v) for v in votes.T])


def bald(log_probs):
    """Mutual information, enumerated over draws and classes.

    Each term is p log(p / m) - p + m >= 0 with m the mean over the draws; the last two
    add up to zero over the draws and keep the sum free of cancellation.
    """
    scores = []
    for draws in np.moveaxis(wide(log_probs), 1, 0):
        total = 0.0
        for column in draws.T:
            log_mean = log_mean_exp(column)
            for log_prob in column if log_mean > -np.inf else ():
                ratio = log_prob - log_mean
                inner = 0.0 if ratio == -np.inf else np.exp(ratio) * ratio
                total += np.exp(log_mean) * (inner - np.expm1(ratio))
        scores.append(total / len(draws))
    return np.array(scores)


def error_reduction(
    features, kernel, bias, reference_features, steps=3, learning_rate=1e-3
):
    """Minus the expected mean entropy after an update with each possible label."""
    layers = wide_layers([(kernel, bias)])
    features, reference_features = wide(features), wide(reference_features)
    scores = []
    for one_input in features:
        expected = 0.0
        for label, prob in enumerate(softmax(forward(layers, one_input))):
            change = look_ahead(layers, one_input, label, steps, learning_rate)
            log_probs = log_softmax(forward(moved(layers, change), reference_features))
            expected -= prob * np.mean(np.sum(np.exp(log_probs) * log_probs, axis=-1))
        scores.append(-expected)
    return np.array(scores)


# Selectors.


def top_k(scores, k, where=None):
    """The k highest eligible scores, ties to the lower index."""
    eligible = range(len(scores)) if where is None else np.flatnonzero(where)
    return np.array(sorted(eligible, key=lambda i: (-scores[i], i))[:k])


def k_center_greedy(features, k, labeled):
    """Every pick is the point farthest from all labeled and picked ones."""
    features, centers, picks = wide(features), list(np.flatnonzero(labeled)), []
    for _ in range(k):
        best, best_distance = None, -1.0
        for i in sorted(set(range(len(features))) - set(centers)):
            nearest = min(
                (np.sum((features[i] - features[c]) ** 2) for c in centers),
                default=np.inf,
            )
            if nearest > best_distance:
                best, best_distance = i, nearest
        centers.append(best)
        picks.append(best)
    return np.array(picks)


def badge_embedding(features, logits):
    """(p - onehot(predicted)) ⊗ h, formed explicitly, one row per candidate."""
    rows = zip(wide(features), wide(logits), strict=True)
    return np.array([np.outer(residual(z, np.argmax(z)), h).ravel() for h, z in rows])


def badge_law(embedding, picked, where=None):
    """Probability of every candidate to be BADGE's next pick."""
    free = np.ones(len(embedding), bool) if where is None else np.array(where)
    free[list(picked)] = False
    if picked:
        gaps = embedding[:, None] - embedding[list(picked)]
        weight = np.where(free, np.min(np.sum(gaps**2, axis=-1), axis=1), 0.0)
    else:
        norms = np.where(free, np.sum(embedding**2, axis=-1), -1.0)
        weight = (np.arange(len(norms)) == np.argmax(norms)).astype(float)
    weight = weight if weight.sum() > 0.0 else free.astype(float)
    return weight / weight.sum()


# Problems to score.


def head_problem(seed, pool, dim, classes, holdout, scale=1.0, rectified=False):
    """A head on random features; logits have about the given standard deviation.

    Three quarters of the holdout carry their predicted label, the others a random one.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(pool + holdout, dim))
    features = np.abs(features) if rectified else features
    kernel = scale * rng.normal(size=(dim, classes)) / np.sqrt(dim)
    bias = 0.1 * scale * rng.normal(size=classes)
    labels = np.argmax(features[pool:] @ kernel + bias, axis=-1)
    random_labels = rng.integers(0, classes, holdout)
    labels = np.where(np.arange(holdout) % 4 == 3, random_labels, labels)
    return {
        "features": features[:pool].astype(np.float32),
        "kernel": kernel.astype(np.float32),
        "bias": bias.astype(np.float32),
        "holdout_features": features[pool:].astype(np.float32),
        "holdout_labels": labels.astype(np.int32),
    }


def network_problem(seed, pool, sizes, holdout, scale=1.0):
    """A small network on random inputs; same conventions as `head_problem`."""
    rng = np.random.default_rng(seed)
    layers = []
    for index, (size_in, size_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        gain = scale if index == len(sizes) - 2 else 1.0
        kernel = gain * rng.normal(size=(size_in, size_out)) * np.sqrt(2.0 / size_in)
        bias = 0.1 * gain * rng.normal(size=size_out)
        layers.append((kernel.astype(np.float32), bias.astype(np.float32)))
    inputs = rng.normal(size=(pool + holdout, sizes[0])).astype(np.float32)
    labels = np.argmax(forward(wide_layers(layers), inputs[pool:]), axis=-1)
    random_labels = rng.integers(0, sizes[-1], holdout)
    labels = np.where(np.arange(holdout) % 4 == 3, random_labels, labels)
    return layers, inputs[:pool], inputs[pool:], labels.astype(np.int32)
