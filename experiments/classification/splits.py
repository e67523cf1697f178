"""Who is labeled, who is in the pool, who is held out: one split a seed.

Every id is a position in the dataset's training set. Holdout, initial set and pool
are disjoint. The sizes depend on the settings alone, never on the seed, so that the
seeds of a study can run side by side.

How many samples a class has in the pool follows one of `DISTRIBUTIONS`:

    minority      half of the classes are rarer by the ratio; ratio 1: balanced
    long_tailed   from class to class rarer by the same factor, the last by the ratio
    natural       as rare as in the data
"""

from collections.abc import Callable
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
        minority_classes: sorted classes that are under-represented: the rarer half,
            none if all are equally frequent.
    """

    pool_ids: np.ndarray
    labeled: np.ndarray
    holdout_ids: np.ndarray
    minority_classes: np.ndarray


def minority(order: np.ndarray, counts: np.ndarray, imbalance: int) -> np.ndarray:
    """The first half of the classes in `order` is rarer, all others are not."""
    rarity = np.ones(len(counts))
    rarity[order[: len(order) // 2]] = imbalance
    return rarity


def long_tailed(order: np.ndarray, counts: np.ndarray, imbalance: int) -> np.ndarray:
    """The exponential profile: imbalance^(i / (classes - 1)), i = 0 last in `order`.

    The order is drawn by the seed; in the reference it is that of the labels.

    References:
        Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples",
        §5.1.
    """
    rarity = np.ones(len(counts))
    position = np.arange(len(order))[::-1] / max(len(order) - 1, 1)
    rarity[order] = float(imbalance) ** position
    return rarity


def natural(order: np.ndarray, counts: np.ndarray, imbalance: int) -> np.ndarray:
    """As in the data; neither order nor ratio matters."""
    return counts.max() / counts


class Distribution(NamedTuple):
    """How many samples each class has.

    Attributes:
        rarity: `rarity(order, counts, imbalance)`, how many times rarer than the most
            frequent class each class is; from an order of the classes drawn by the
            seed, what each class can give, and the ratio.
        limit: whether the most frequent class has what the "smallest" class can give
            or the "largest".
    """

    rarity: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    limit: str


DISTRIBUTIONS = {
    "minority": Distribution(minority, "smallest"),
    "long_tailed": Distribution(long_tailed, "smallest"),
    "natural": Distribution(natural, "largest"),
}
ROUNDING = 1e-9
"""A quotient this close below an integer is that integer."""


def make_split(
    labels: np.ndarray,
    seed: int,
    *,
    base_size: int,
    imbalance: int,
    holdout_per_class: int,
    pool_per_class: int | None = None,
    distribution: str = "minority",
) -> Split:
    """Draws holdout, initial set and imbalanced pool for one seed.

    The most frequent classes have as many samples as the smallest class can give, or
    `pool_per_class` if that is fewer, `base_size` of them labeled. A class that is r
    times rarer has 1/r of both, rounded down, at least one. With the minority scheme
    half of the classes, drawn by the seed, are `imbalance` times rarer. With the
    natural distribution every class has all that it can give, unless `pool_per_class`
    makes all of them smaller by the same factor.

    Args:
        labels: classes of the training set.
        seed: draws the minority classes and all ids.
        base_size: initially labeled samples of a majority class.
        imbalance: how many times rarer a minority class is, or the last one of a long
            tail; 1 is balanced.
        holdout_per_class: held-out samples of every class.
        pool_per_class: samples of a majority class at most, initially labeled ones
            included; None for all that the smallest class can give.
        distribution: a name of `DISTRIBUTIONS`.

    Returns:
        The split.

    Raises:
        ValueError: if a class has too few samples for these settings.

    References:
        Aljundi et al. 2020, supplement §5.5 for the rates of the minority scheme; that
        half of the classes are rare, and both initial set and pool imbalanced, is our
        choice.
    """
    num_classes = int(labels.max()) + 1
    generator = np.random.default_rng(seed)
    absent = np.setdiff1d(np.arange(num_classes), labels)
    if len(absent):
        raise Refusal(
            f"labels must be 0 to {num_classes - 1} with samples of each; class "
            f"{absent[0]} has none."
        )
    order = generator.permutation(num_classes)
    counts = np.bincount(labels, minlength=num_classes)
    smallest_class = int(counts.min())
    if smallest_class <= holdout_per_class:
        raise Refusal(
            f"holdout_per_class must be below {smallest_class}: the smallest class "
            f"has {smallest_class} samples; got {holdout_per_class}."
        )
    if pool_per_class is not None and pool_per_class < base_size:
        raise Refusal(
            f"pool_per_class must be at least base_size, {base_size}, got "
            f"{pool_per_class}."
        )
    rarity_of, limit = DISTRIBUTIONS[distribution]
    limiting = smallest_class if limit == "smallest" else int(counts.max())
    most = limiting - holdout_per_class
    majority_size = most if pool_per_class is None else min(most, pool_per_class)
    if majority_size < base_size:
        raise Refusal(
            f"base_size must be at most {most}: the {limit} class has {limiting} "
            f"samples and {holdout_per_class} of them are held out; got {base_size}."
        )
    rarity = rarity_of(order, counts - holdout_per_class, imbalance)
    initial_sizes = _rarer(base_size, rarity, 1)
    sizes = _rarer(majority_size, rarity, initial_sizes)
    holdout, initial, unlabeled = [], [], []
    for label in range(num_classes):
        size, num_initial = sizes[label], initial_sizes[label]
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
        minority_classes=_rarer_half(rarity),
    )


def _rarer(size: int, rarity: np.ndarray, least) -> np.ndarray:
    return np.maximum(np.floor(size / rarity + ROUNDING).astype(int), least)


def _rarer_half(rarity: np.ndarray) -> np.ndarray:
    """The rarer half of the classes; none if all are as frequent."""
    if (rarity == rarity[0]).all():
        return np.zeros(0, int)
    rarest_first = np.argsort(-rarity, kind="stable")
    return np.sort(rarest_first[: len(rarity) // 2])
