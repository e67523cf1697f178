"""Balanced Margin: its scores are Margin's, of probabilities over frequencies."""

import jax
import numpy as np
import pytest
import reference

import iwps_jax
from iwps_jax import methods
from iwps_jax.method import Model
from iwps_jax.picking import pick
from iwps_jax.types import Head, Holdout

CLASSES = 4
LOGITS = (3 * np.random.default_rng(0).normal(size=(256, CLASSES))).astype(np.float32)
LABELS = np.array([0] * 9 + [1] * 4 + [-1] * 5 + [3], np.int32)


@pytest.mark.parametrize("smoothing", [1.0, 0.1])
def test_scores_are_those_of_the_oracle(smoothing):
    counts = np.array([list(LABELS).count(c) for c in range(CLASSES)]) + smoothing
    probs = reference.softmax(LOGITS.astype(float)) / (counts / counts.sum())
    expected = reference.margin(np.log(probs / probs.sum(1, keepdims=True)))
    scores = iwps_jax.balanced_margin(LOGITS, LABELS, smoothing=smoothing)
    reference.assert_same_scores(scores, expected)


def test_with_no_or_as_many_labels_of_each_class_it_is_margin():
    expected = iwps_jax.margin(LOGITS)
    for labels in (np.full(3, -1), np.arange(8) % CLASSES):
        scores = iwps_jax.balanced_margin(LOGITS, labels.astype(np.int32))
        np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_the_row_takes_the_highest_scores():
    head = Head(np.eye(CLASSES, dtype=np.float32), np.zeros(CLASSES, np.float32))
    labels = LABELS[LABELS >= 0]
    model = Model(head=head, labeled=Holdout(LOGITS[: len(labels)], labels))
    where = np.arange(len(LOGITS)) % 3 > 0
    rows = pick(methods.BALANCED_MARGIN, model, LOGITS, where, 7).rows
    scores = iwps_jax.balanced_margin(LOGITS, LABELS)
    assert rows.tolist() == iwps_jax.top_k(scores, 7, where).tolist()


def test_seeds_at_once_are_those_one_by_one():
    labels = np.stack([LABELS, np.roll(LABELS, 3) % CLASSES])
    both = jax.vmap(iwps_jax.balanced_margin, in_axes=(None, 0))(LOGITS, labels)
    for scores, one in zip(both, labels, strict=True):
        np.testing.assert_allclose(
            scores, iwps_jax.balanced_margin(LOGITS, one), rtol=1e-6
        )


def test_wrong_arguments_are_named(without_jaxtyping):
    with pytest.raises(ValueError, match="labels"):
        iwps_jax.balanced_margin(LOGITS, LABELS + CLASSES)
    with pytest.raises(ValueError, match="smoothing"):
        iwps_jax.balanced_margin(LOGITS, LABELS, smoothing=0.0)


def test_no_labels_are_as_good_as_empty_places():
    scores = iwps_jax.balanced_margin(LOGITS, np.zeros(0, np.int64))
    expected = iwps_jax.balanced_margin(LOGITS, np.full(1, -1))
    assert (scores == expected).all()
