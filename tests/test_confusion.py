"""Confusion matrices and their metrics: exact counts, absent classes, wide sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from experiments.segmentation import confusion
from experiments.segmentation.data.scenes import IGNORE

count = jax.jit(confusion.count, static_argnames="num_classes")


def some_pixels(seed, num_classes, shape=(3, 7, 5), absent=()):
    """Predicted and true classes, a fifth of them ignored."""
    rng = np.random.default_rng(seed)
    classes = [c for c in range(num_classes) if c not in absent]
    predicted, true = rng.choice(classes, (2, *shape))
    true = np.where(rng.random(shape) < 0.2, IGNORE, true).astype(np.uint8)
    return predicted.astype(np.int32), true


def counted_by_hand(predicted, true, num_classes):
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for p, t in zip(predicted.ravel().tolist(), true.ravel().tolist(), strict=True):
        if t != IGNORE:
            matrix[t][p] += 1
    return np.array(matrix)


@given(seed=st.integers(0, 2**31 - 1), num_classes=st.integers(2, 5))
def test_counts_are_exact(seed, num_classes):
    predicted, true = some_pixels(seed, num_classes)
    matrix = count(predicted, true, num_classes=num_classes)
    assert matrix.dtype == jnp.int32
    expected = counted_by_hand(predicted, true, num_classes)
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.sum() == (true != IGNORE).sum()


@pytest.mark.parametrize("num_classes", [2, 19, 255])
def test_counts_are_those_of_scikit_learn(num_classes):
    predicted, true = some_pixels(0, num_classes, (4, 100, 100))
    kept = true != IGNORE
    expected = sklearn.metrics.confusion_matrix(
        true[kept], predicted[kept], labels=range(num_classes)
    )
    found = count(predicted, true, num_classes=num_classes)
    np.testing.assert_array_equal(found, expected)


def test_ignored_pixels_count_nowhere():
    predicted = jnp.array([[0, 1, 2, 2]])
    nothing = jnp.full((1, 4), IGNORE, jnp.uint8)
    assert not count(predicted, nothing, num_classes=3).any()
    matrix = count(predicted, nothing.at[0, 1].set(2), num_classes=3)
    np.testing.assert_array_equal(matrix, [[0, 0, 0], [0, 0, 0], [0, 1, 0]])


def test_metrics_are_those_of_scikit_learn():
    predicted, true = some_pixels(3, 6, (5, 40, 40))
    kept = true != IGNORE
    found = confusion.metrics(np.asarray(count(predicted, true, num_classes=6)), 2)
    iou = sklearn.metrics.jaccard_score(true[kept], predicted[kept], average=None)
    np.testing.assert_allclose(found.class_iou, iou, rtol=1e-12)
    assert found.miou == pytest.approx(iou.mean(), rel=1e-12)
    assert found.foreground_miou == pytest.approx(np.delete(iou, 2).mean(), rel=1e-12)
    accuracy = sklearn.metrics.accuracy_score(true[kept], predicted[kept])
    assert found.pixel_accuracy == pytest.approx(accuracy, rel=1e-12)


@given(seed=st.integers(0, 2**31 - 1))
def test_images_may_be_counted_in_any_parts(seed):
    predicted, true = some_pixels(seed, 4)
    whole = count(predicted, true, num_classes=4)
    parts = [
        count(p[None], t[None], num_classes=4)
        for p, t in zip(predicted, true, strict=True)
    ]
    total = confusion.total(parts, 4)
    assert total.dtype == np.int64
    np.testing.assert_array_equal(total, whole)


def test_totals_go_beyond_32_bits():
    """500 scenes of 1024x2048 pixels are a billion; ten thousand are ten times more."""
    part = jnp.array([[2**31 - 1, 0], [1, 2**30]], jnp.int32)
    matrix = confusion.total([part] * 7, 2)
    assert matrix.tolist() == [[7 * (2**31 - 1), 0], [7, 7 * 2**30]]
    found = confusion.metrics(matrix)
    right, wrong = 7 * (2**31 - 1) + 7 * 2**30, 7
    assert found.pixel_accuracy == right / (right + wrong)
    assert found.class_iou[0] == 7 * (2**31 - 1) / (7 * 2**31)


def test_no_pixels_at_all():
    matrix = confusion.total([], 3)
    assert matrix.shape == (3, 3) and not matrix.any()
    found = confusion.metrics(matrix, background=0)
    assert np.isnan(found.class_iou).all()
    assert np.isnan([found.miou, found.foreground_miou, found.pixel_accuracy]).all()


def test_an_absent_class_is_in_no_mean():
    predicted, true = some_pixels(5, 5, (4, 30, 30), absent=(1, 3))
    matrix = np.array(count(predicted, true, num_classes=5))
    found = confusion.metrics(matrix, background=0)
    assert np.isnan(found.class_iou).tolist() == [False, True, False, True, False]
    without = confusion.metrics(matrix[np.ix_([0, 2, 4], [0, 2, 4])], background=0)
    assert found.miou == without.miou
    assert found.foreground_miou == without.foreground_miou
    assert found.pixel_accuracy == without.pixel_accuracy
    # An absent background takes nothing away; a class predicted once has an IoU of 0.
    assert confusion.metrics(matrix, background=1).foreground_miou == found.miou
    matrix[0, 3] = 1
    assert confusion.metrics(matrix).class_iou[3] == 0


def test_without_a_background_there_is_no_foreground():
    found = confusion.metrics(np.eye(3, dtype=np.int64))
    assert found.miou == 1 and np.isnan(found.foreground_miou)
    alone = confusion.metrics(np.diag([4, 0]), background=0)
    assert alone.miou == 1 and np.isnan(alone.foreground_miou)
