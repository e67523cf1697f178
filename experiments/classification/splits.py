"""Who is labeled, who is in the pool, who is held out: one split a seed.

Every id is a position in the dataset's training set. Holdout, initial set and pool
are disjoint. The sizes depend on the settings alone, never on the seed, so that the
seeds of a study can run side by side.
"""

from typing import NamedTuple

import numpy as np

from iwps_jax.refusal import Refusal


class Split(NamedTuple):
    """One seed's division of the training set.

    Attributes:
        pool_ids: sorted ids of the dataset that active learning works on, initially
            labeled or not; a *row* of the loop is a position in this array.
        labeled: which of those rows are labeled at first.
        holdout_ids: ids of the balanced validation and holdout set.
        minority_classes: sorted classes that are under-represented.
    """

    pool_ids: np.ndarray
    labeled: np.ndarray
    holdout_ids: np.ndarray
    minority_classes: np.ndarray


def make_split(
    labels: np.ndarray,
    seed: int,
    *,
    base_size: int,
    imbalance: int,
    holdout_per_class: int,
    pool_per_class: int | None = None,
) -> Split:
    """Draws holdout, initial set and imbalanced pool for one seed.

    Half of the classes, drawn by the seed, are the minority. Every majority class
    has as many samples as the smallest class can give, or `pool_per_class` if that is
    fewer, `base_size` of them labeled; every minority class has 1/imbalance of both, at
    least one.

    Args:
        labels: classes of the training set.
        seed: draws the minority classes and all ids.
        base_size: initially labeled samples of a majority class.
        imbalance: how many times rarer a minority class is; 1 is balanced.
        holdout_per_class: held-out samples of every class.
        pool_per_class: samples of a majority class at most, initially labeled ones
            included; None for all that the smallest class can give.

    Returns:
        The split.

    Raises:
        ValueError: if a class has too few samples for these settings.

    References:
        Aljundi et al. 2020, supplement §5.5 for the rates; that half of the classes
        are rare, and both initial set and pool imbalanced, is our choice.
    """
    num_classes = int(labels.max()) + 1
    generator = np.random.default_rng(seed)
    absent = np.setdiff1d(np.arange(num_classes), labels)
    if len(absent):
        raise Refusal(
            f"labels must be 0 to {num_classes - 1} with samples of each; class "
            f"{absent[0]} has none."
        )
    minority = np.sort(generator.permutation(num_classes)[: num_classes // 2])
    if imbalance == 1:
        minority = minority[:0]
    smallest_class = int(np.bincount(labels, minlength=num_classes).min())
    available = smallest_class - holdout_per_class
    limit = available if pool_per_class is None else pool_per_class
    majority_size = min(available, limit)
    initial_minority = max(base_size // imbalance, 1)
    minority_size = max(majority_size // imbalance, initial_minority)
    if available < 1:
        raise Refusal(
            f"holdout_per_class must be below {smallest_class}: the smallest class "
            f"has {smallest_class} samples; got {holdout_per_class}."
        )
    if pool_per_class is not None and pool_per_class < base_size:
        raise Refusal(
            f"pool_per_class must be at least base_size, {base_size}, got "
            f"{pool_per_class}."
        )
    if majority_size < max(base_size, minority_size):
        raise Refusal(
            f"base_size must be at most {max(majority_size, 0)}: the smallest class "
            f"has {smallest_class} samples and {holdout_per_class} of them are held "
            f"out; got {base_size}."
        )
    holdout, initial, unlabeled = [], [], []
    for label in range(num_classes):
        is_minority = label in minority
        size = minority_size if is_minority else majority_size
        num_initial = initial_minority if is_minority else base_size
        ids = generator.permutation(np.flatnonzero(labels == label))
        holdout.append(ids[:holdout_per_class])
        ids = ids[holdout_per_class:][:size]
        initial.append(ids[:num_initial])
        unlabeled.append(ids[num_initial:])
    initial_ids = np.concatenate(initial)
    pool_ids = np.sort(np.concatenate([initial_ids, *unlabeled]))
    return Split(
        pool_ids=pool_ids.astype(np.int32),
        labeled=np.isin(pool_ids, initial_ids),
        holdout_ids=np.concatenate(holdout).astype(np.int32),
        minority_classes=minority,
    )
