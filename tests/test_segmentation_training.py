"""Training of segmenters: steps in float64, parts, stopping, losses over batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some_segmenters import (
    NUM_CLASSES,
    STRIDE,
    ListSource,
    colored_scenes,
    small_segmenter,
)

from experiments.segmentation import confusion, training
from experiments.segmentation.data import loading
from experiments.segmentation.data.scenes import IGNORE, Scene
from experiments.segmentation.training import Programs
from iwps_jax.types import Variables

SEGMENTER = small_segmenter()
PROGRAMS = training.make_programs(SEGMENTER, NUM_CLASSES)


def some_minibatch(seed=0, number=4, height=8, width=12):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (number, height, width, 3), dtype=np.uint8)
    labels = rng.integers(0, NUM_CLASSES, (number, height, width)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = IGNORE
    labels[-1, : height // 2] = IGNORE  # so that parts have unequal shares
    return images, labels


def in_parts(array, parts):
    return array.reshape(parts, len(array) // parts, *array.shape[1:])


def step(key, variables, momentum, rate, images, labels, parts=1):
    """One step from copies, as the program reuses the memory of what it is given."""
    variables, momentum = jax.tree.map(jnp.array, (variables, momentum))
    arrays = (in_parts(array, parts) for array in (images, labels))
    return PROGRAMS.step(key, variables, momentum, np.float32(rate), *arrays)


def at_rest(variables):
    return training.direction.init(variables.params)


# An oracle: the whole network and its gradient, written out in float64.


def enlargement(coarse):
    """The matrix of bilinear upsampling with half-pixel centers, held at the ends."""
    matrix = np.zeros((coarse * STRIDE, coarse))
    for fine in range(coarse * STRIDE):
        place = min(max((fine + 0.5) / STRIDE - 0.5, 0), coarse - 1)
        low = min(int(place), coarse - 2)
        matrix[fine, low : low + 2] = low + 1 - place, place - low
    return matrix


def oracle(params, images, labels):
    """Mean cross-entropy and its gradient."""
    lift, kernel, bias = map(np.float64, params)
    n, height, width, _ = images.shape
    colors = (
        np.float64(images)
        .reshape(n, height // STRIDE, STRIDE, width // STRIDE, STRIDE, 3)
        .mean((2, 4))
        / 127.5
        - 1
    )
    features = np.tanh(colors @ lift)
    rows, columns = (enlargement(side // STRIDE) for side in (height, width))
    logits = np.einsum("ih,jw,nhwc->nijc", rows, columns, features @ kernel + bias)
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    counts = labels != IGNORE
    onehot = np.eye(NUM_CLASSES)[np.where(counts, labels, 0)]
    loss = -(np.log((probs * onehot).sum(-1)) * counts).sum() / counts.sum()
    fine = (probs - onehot) * counts[..., None] / counts.sum()
    coarse = np.einsum("ih,jw,nijc->nhwc", rows, columns, fine)
    hidden = (coarse @ kernel.T) * (1 - features**2)
    return loss, (
        np.einsum("nhwk,nhwd->kd", colors, hidden),
        np.einsum("nhwd,nhwc->dc", features, coarse),
        coarse.sum((0, 1, 2)),
    )


def as_list(params):
    return params["lift"], params["head"]["kernel"], params["head"]["bias"]


def test_steps_are_those_of_pytorch(key):
    """SGD with momentum 0.9 and decay 1e-4, as PyTorch does it, along the schedule."""
    variables = SEGMENTER.init(key)
    momentum, rates = at_rest(variables), [0.5, 0.3, 0.2, 0.05]
    params = [*map(np.float64, as_list(variables.params))]
    velocity = [0.0] * 3
    for seed, rate in enumerate(rates):
        images, labels = some_minibatch(seed)
        step_key = jax.random.fold_in(key, seed)
        variables, momentum = step(step_key, variables, momentum, rate, images, labels)
        _, gradient = oracle(params, images, labels)
        velocity = [
            0.9 * v + (g + 1e-4 * p)
            for v, g, p in zip(velocity, gradient, params, strict=True)
        ]
        params = [p - rate * v for p, v in zip(params, velocity, strict=True)]
    for found, expected in zip(as_list(variables.params), params, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


def test_the_loss_is_that_of_the_oracle(key):
    variables = SEGMENTER.init(key)
    images, labels = some_minibatch()
    total, pixels = PROGRAMS.loss(variables, images, labels)
    expected, _ = oracle(as_list(variables.params), images, labels)
    assert pixels == (labels != IGNORE).sum()
    assert float(total) / int(pixels) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_make_the_same_step(key, parts):
    variables, (images, labels) = SEGMENTER.init(key), some_minibatch()
    assert len({(half != IGNORE).sum() for half in in_parts(labels, parts)}) > 1
    momentum, key = at_rest(variables), jax.random.key(1)
    whole = step(key, variables, momentum, 0.3, images, labels)
    in_some = step(
        jax.random.clone(key), variables, momentum, 0.3, images, labels, parts
    )
    for one, other in zip(*map(jax.tree.leaves, (whole, in_some)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_parts_have_dropout_of_their_own(key):
    """Both hold the same images; with a shared mask they had the same features."""
    segmenter = small_segmenter(dropout_rate=0.5)
    seen = []

    def features_train(key, variables, images):
        features, statistics = segmenter.features_train(key, variables, images)
        jax.debug.callback(lambda f: seen.append(np.array(f)), features)
        return features, statistics

    programs = training.make_programs(
        segmenter._replace(features_train=features_train), NUM_CLASSES
    )
    images, labels = (np.stack([array] * 2) for array in some_minibatch(number=2))
    variables = SEGMENTER.init(key)
    momentum = at_rest(variables)
    done = programs.step(
        jax.random.key(1), variables, momentum, np.float32(0.1), images, labels
    )
    jax.block_until_ready(done)
    jax.effects_barrier()
    masks = [f != 0 for f in seen]
    assert len(masks) == 2 and (masks[0] != masks[1]).mean() > 0.2


def test_a_minibatch_without_labels_only_decays(key):
    variables, (images, labels) = SEGMENTER.init(key), some_minibatch()
    nothing = np.full_like(labels, IGNORE)
    for parts in (1, 2):
        moved, _ = step(
            jax.random.key(parts),
            variables,
            at_rest(variables),
            0.5,
            images,
            nothing,
            parts,
        )
        for after, before in zip(
            *map(jax.tree.leaves, (moved, variables)), strict=True
        ):
            np.testing.assert_allclose(after, before * (1 - 0.5 * 1e-4), rtol=1e-6)


# `fit`, with programs that only take notes.


def scripted(losses):
    """Programs whose epochs have these validation losses; and the rates they saw."""
    rates, epoch = [], iter(losses)

    def step(key, variables, momentum, rate, images, labels):
        rates.append(float(rate))
        return jax.tree.map(lambda p: p + 1, variables), momentum

    programs = Programs(
        step=step,
        loss=lambda variables, images, labels: (np.float64(next(epoch)), 1),
        predict=None,
        confusion=None,
    )
    return programs, rates


def fit_scripted(losses, *, steps_per_epoch=3, max_epochs=10, patience=2):
    programs, rates = scripted(losses)
    images, labels = some_minibatch()
    batch = loading.Batch(np.arange(4), images, labels, labels != IGNORE)
    fitted = training.fit(
        jax.random.key(0),
        Variables({"taken": jnp.zeros(())}, {}),
        iter(lambda: batch, None),
        lambda: [batch],
        programs=programs,
        learning_rate=0.5,
        steps_per_epoch=steps_per_epoch,
        max_epochs=max_epochs,
        patience=patience,
    )
    return fitted, rates


def test_the_best_epoch_is_kept_and_training_stops_after_patience():
    fitted, rates = fit_scripted([5, 4, 6, 3, 7, 3.5, 1])
    assert float(fitted.validation_loss) == 3
    assert float(fitted.variables.params["taken"]) == 4 * 3
    assert int(fitted.steps) == len(rates) == 6 * 3


def test_the_schedule_falls_to_zero_over_all_epochs():
    fitted, rates = fit_scripted(range(10, 6, -1), max_epochs=4)
    expected = [0.5 * (1 - i / 12) ** 0.9 for i in range(12)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert int(fitted.steps) == 12 and float(fitted.validation_loss) == 7


@pytest.mark.parametrize("loss", [0.1, 0.7, 1 / 3])
def test_a_loss_that_stays_is_no_improvement(loss):
    """In float32 0.1 is a little more than in float64."""
    fitted, _ = fit_scripted([loss] * 10)
    assert int(fitted.steps) == 3 * 3
    assert float(fitted.variables.params["taken"]) == 3


def test_losses_that_are_not_finite_are_never_the_best():
    fitted, _ = fit_scripted([np.nan, 2, np.nan, np.inf])
    assert float(fitted.validation_loss) == 2 and int(fitted.steps) == 12
    fitted, _ = fit_scripted([np.nan, np.inf])
    assert np.isinf(float(fitted.validation_loss)) and int(fitted.steps) == 6
    assert float(fitted.variables.params["taken"]) == 0  # as it began


# Over scenes of uneven sizes.


def batches_of(source, batch_size=2, ids=None):
    return loading.padded_batches(
        source,
        range(len(source)) if ids is None else ids,
        max_side=None,
        side_multiple=STRIDE,
        batch_size=batch_size,
        num_threads=0,
    )


@functools.cache
def trained():
    """A segmenter that has learned from stripes, and how it was at first."""
    source, held_out = colored_scenes(12), colored_scenes(5, seed=1)
    variables = SEGMENTER.init(jax.random.key(0))
    stream = loading.training_batches(
        source,
        range(len(source)),
        seed=0,
        minibatch_size=4,
        crop_size=12,
        max_side=None,
        flip=True,
        side_multiple=STRIDE,
        num_threads=0,
    )
    fitted = training.fit(
        jax.random.key(1),
        variables,
        stream,
        lambda: batches_of(held_out),
        programs=PROGRAMS,
        learning_rate=0.3,
        steps_per_epoch=3,
        max_epochs=20,
        patience=5,
        parts=2,
    )
    stream.close()
    return variables, fitted


def test_training_learns_and_says_its_loss():
    before, fitted = trained()
    held_out = colored_scenes(5, seed=1)
    losses = [
        training.mean_loss(PROGRAMS, variables, batches_of(held_out))
        for variables in (before, fitted.variables)
    ]
    assert losses[1] < 0.7 * losses[0]
    assert float(fitted.validation_loss) == pytest.approx(losses[1], rel=1e-6)
    # The start is still there: the steps reuse the memory of a copy.
    for leaf in jax.tree.leaves(before):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_losses_and_metrics_do_not_depend_on_batches(batch_size):
    _, fitted = trained()
    source = colored_scenes(11, seed=2)
    batches = list(batches_of(source, batch_size))
    assert any((batch.rows < 0).any() for batch in batches) == (batch_size > 1)
    found = training.measure(
        PROGRAMS, fitted.variables, batches, num_classes=NUM_CLASSES, background=0
    )
    # One pass, scene by scene, over what is predicted and what is true.
    matrix, total, pixels = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64), 0.0, 0
    for batch in batches_of(source, 1):
        predicted = np.asarray(PROGRAMS.predict(fitted.variables, batch.images))
        counts = batch.labels != IGNORE
        np.add.at(matrix, (batch.labels[counts], predicted[counts]), 1)
        params = as_list(fitted.variables.params)
        loss, _ = oracle(params, batch.images, batch.labels)
        total, pixels = total + loss * counts.sum(), pixels + counts.sum()
    assert matrix.sum() == sum((s.mask != IGNORE).sum() for s in source.scenes)
    expected = confusion.metrics(matrix, 0)
    np.testing.assert_array_equal(found.class_iou, expected.class_iou)
    assert found[1:] == expected[1:]
    mean = training.mean_loss(PROGRAMS, fitted.variables, batches)
    assert mean == pytest.approx(total / pixels, rel=1e-5)


def test_scenes_without_labels_have_no_loss():
    scene = colored_scenes(1).scenes[0]
    source = ListSource([Scene(scene.image, np.full_like(scene.mask, IGNORE))])
    variables = SEGMENTER.init(jax.random.key(0))
    assert np.isnan(training.mean_loss(PROGRAMS, variables, batches_of(source)))
    found = training.measure(
        PROGRAMS,
        variables,
        batches_of(source),
        num_classes=NUM_CLASSES,
        background=None,
    )
    assert np.isnan(found.miou) and np.isnan(found.pixel_accuracy)
