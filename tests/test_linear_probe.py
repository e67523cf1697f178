"""The head of given features: scikit-learn's optimum, whatever the order or padding."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from some_campaigns import some_digits

from iwps_jax.heads.linear_probe import (
    PENALTIES,
    UNJUDGED,
    fit_cross_validated_probe,
    fit_linear_probe,
    fit_to_all,
)


def scaled(features):
    centered = features - features.mean(0)
    return centered / np.sqrt((centered**2).mean())


@pytest.fixture(scope="module")
def samples():
    digits = some_digits(0, rarity=2)
    return scaled(digits["pool"]), digits["truth"], *digits["test"]


def fit(samples, rows):
    features, labels, holdout_features, holdout_labels = samples
    return fit_linear_probe(
        features[rows],
        labels[rows],
        scaled(holdout_features),
        holdout_labels,
        num_classes=10,
    )


@pytest.mark.parametrize("n", [100, 128])
def test_it_is_the_optimum_that_scikit_learn_finds(samples, n):
    """Padded to a power of two, and not."""
    rows = np.arange(n)
    assert len(np.unique(samples[1][rows])) == 10
    probe = fit(samples, rows)
    other = LogisticRegression(C=1 / (probe.penalty * n), tol=1e-9, max_iter=10_000)
    other.fit(samples[0][rows].astype(np.float64), samples[1][rows])
    np.testing.assert_allclose(probe.kernel, other.coef_.T, atol=2e-3)
    # The bias has no penalty: there, classes are as likely as they are frequent.
    logits = samples[0][rows].astype(np.float64) @ probe.kernel + probe.bias
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    shares = np.bincount(samples[1][rows], minlength=10) / n
    np.testing.assert_allclose(probs.mean(0), shares, atol=1e-5)


def by_scikit_learn(samples, rows, judging):
    """Losses of the judging samples and whether they are right, for all penalties."""
    losses, is_right = [], []
    for penalty in PENALTIES:
        other = LogisticRegression(
            C=1 / (penalty * len(rows)), tol=1e-8, max_iter=10_000
        )
        other.fit(samples[0][rows], samples[1][rows])
        logs = other.predict_log_proba(judging[0])
        losses.append(-logs[np.arange(len(judging[1])), judging[1]])
        is_right.append(logs.argmax(1) == judging[1])
    return np.array(losses), np.array(is_right)


@pytest.mark.parametrize("size", [60, 7, 1])
def test_no_sample_judges_the_penalty_that_it_has_chosen(samples, size):
    """Every half of the holdout set judges by the penalty that the other likes."""
    rows = np.arange(100)
    judging = scaled(samples[2])[:size], samples[3][:size]
    losses, is_right = by_scikit_learn(samples, rows, judging)
    order = np.argsort(judging[1], kind="stable")
    one, other = order[::2], order[1::2] if size > 1 else order[::2]
    chosen = [int(losses[:, part].mean(1).argmin()) for part in (other, one)]
    parts = [one, other][: min(size, 2)]
    sums = [
        (is_right[best, part].sum(), losses[best, part].sum())
        for best, part in zip(chosen, parts, strict=False)
    ]
    accuracy, loss = np.sum(sums, axis=0) / size
    known = samples[0][rows], samples[1][rows]
    probe = fit_linear_probe(*known, *judging, num_classes=10)
    assert probe.holdout_accuracy == pytest.approx(accuracy)
    # The kernel is within 1e-3 of the minimum, and a sample's loss moves with it.
    np.testing.assert_allclose(probe.holdout_loss, loss, rtol=1e-3, atol=1e-3)
    assert probe.penalty == PENALTIES[int(losses.mean(1).argmin())]


def test_the_head_to_deliver_has_learned_the_holdout_set(samples):
    rows = np.arange(100)
    judging = scaled(samples[2])[:60], samples[3][:60]
    known = samples[0][rows], samples[1][rows]
    probe = fit_linear_probe(*known, *judging, num_classes=10)
    head = fit_to_all(probe, *known, *judging)
    features, labels = map(np.concatenate, zip(known, judging, strict=True))
    other = LogisticRegression(C=1 / (probe.penalty * 160), tol=1e-9, max_iter=10_000)
    other.fit(features.astype(np.float64), labels)
    np.testing.assert_allclose(head.kernel, other.coef_.T, atol=2e-3)
    assert not np.allclose(head.kernel, probe.kernel, atol=1e-2)


def test_the_order_of_labels_does_not_matter(samples):
    first, second = fit(samples, np.arange(100)), fit(samples, np.arange(100)[::-1])
    np.testing.assert_allclose(first.kernel, second.kernel, atol=2e-3)  # 1e-3 each
    assert first.penalty == second.penalty


def test_a_class_without_labels_is_unlikely(samples):
    rows = np.flatnonzero(samples[1] != 3)[:100]
    probe = fit(samples, rows)
    logits = samples[0] @ probe.kernel + probe.bias[None]
    assert (logits.argmax(1) == 3).sum() == 0
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"labels": np.array([0, 1, 2])}, "labels must be in"),
        ({"labels": np.array([0, 1])}, "labels must"),
        ({"labels": np.array([0.0, 1.0, 0.0])}, "labels must be integers"),
        ({"features": np.full((3, 2), np.nan, np.float32)}, "features must be finite"),
        ({"holdout_features": np.ones((2, 3), np.float32)}, "holdout_features must"),
    ],
)
def test_refusals(without_jaxtyping, change, sentence):
    some = {
        "features": np.ones((3, 2), np.float32),
        "labels": np.array([0, 1, 0]),
        "holdout_features": np.ones((2, 2), np.float32),
        "holdout_labels": np.array([0, 1]),
    }
    with pytest.raises((ValueError, TypeError), match=sentence):
        fit_linear_probe(**{**some, **change}, num_classes=2)


def test_folds_judge_the_penalty_in_place_of_a_holdout_set(samples):
    """Every sample judges heads of other folds, by the penalty that those like."""
    rows = np.flatnonzero(np.isin(samples[1], [0, 1, 2]))[:43]
    features, labels = samples[0][rows], samples[1][rows]
    folds = np.empty(43, int)
    folds[np.argsort(labels, kind="stable")] = np.arange(43) % 5
    losses = np.zeros((len(PENALTIES), 43))
    is_right = np.zeros(losses.shape, bool)
    for fold in range(5):
        mine = folds == fold
        judging = features[mine], labels[mine]
        found = by_scikit_learn(samples, rows[~mine], judging)
        losses[:, mine], is_right[:, mine] = found
    chosen = [int(losses[:, folds != fold].mean(1).argmin()) for fold in range(5)]
    accuracy = np.mean([is_right[chosen[fold], i] for i, fold in enumerate(folds)])
    probe = fit_cross_validated_probe(features, labels, num_classes=3)
    assert probe.holdout_accuracy == pytest.approx(accuracy)
    assert probe.penalty == PENALTIES[int(losses.mean(1).argmin())]
    np.testing.assert_allclose(
        probe.kernel,
        fit_to_all(probe, features, labels, features[:0], labels[:0]).kernel,
    )


def test_a_sample_alone_in_its_class_judges_nothing(samples):
    first = [int(np.flatnonzero(samples[1] == c)[0]) for c in range(4)]
    known = samples[0][first], samples[1][first]
    probe = fit_cross_validated_probe(*known, num_classes=4)
    assert probe.penalty == PENALTIES[UNJUDGED] and probe.holdout_accuracy is None
    pair = np.flatnonzero(samples[1] == 0)[:2]
    both = [*first[1:], *pair.tolist()]
    probe = fit_cross_validated_probe(samples[0][both], samples[1][both], num_classes=4)
    assert probe.holdout_accuracy in (0.0, 0.5, 1.0)  # of two
