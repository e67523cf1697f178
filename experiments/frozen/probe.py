"""Linear probe: what a linear classifier learns from features and a few labels."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ProbeScore(NamedTuple):
    """Test accuracy over the seeds, as fractions."""

    num_labels: int
    mean: float
    deviation: float  # standard deviation of a single seed's accuracy


def linear_probe(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    label_counts: Sequence[int] = (100, 500, 3_000),
    num_seeds: int = 5,
) -> list[ProbeScore]:
    """Logistic regression on standardized features of randomly labeled examples.

    A seed orders the training examples once; a larger number of labels contains the
    smaller one. Mean and deviation for the standardization come from the labeled
    examples alone.

    Args:
        train: Features [n, features] to label from.
        train_labels: Their classes [n].
        test: Features [m, features].
        test_labels: Their classes [m].
        label_counts: How many examples are labeled; counts above n are left out.
        num_seeds: Number of random orders, at least 2.

    Returns:
        One score for every count.

    Raises:
        ValueError: there are fewer than two seeds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if num_seeds < 2:
        raise ValueError(f"num_seeds must be at least 2, got {num_seeds}.")
    orders = [
        np.random.default_rng(seed).permutation(len(train)) for seed in range(num_seeds)
    ]
    scores = []
    for count in label_counts:
        if count > len(train):
            continue
        accuracies = []
        for order in orders:
            labeled = order[:count]
            # As many features as labels: without this much shrinkage it overfits.
            probe = make_pipeline(
                StandardScaler(), LogisticRegression(C=SHRINKAGE, max_iter=1_000)
            )
            with warnings.catch_warnings():
                # Of 150 classes, 100 labels hold nearly as many.
                warnings.filterwarnings("ignore", "The number of unique classes is")
                probe.fit(train[labeled], train_labels[labeled])
            accuracies.append(probe.score(test, test_labels))
        scores.append(
            ProbeScore(count, np.mean(accuracies), np.std(accuracies, ddof=1))
        )
    return scores


SHRINKAGE = 0.01  # scikit-learn's C: the inverse strength of the penalty
