"""What the heads see: features of a dataset, and who is labeled, seed by seed.

The features are the leading principal components of the training set's, `MOST_FEATURES`
at most, centered, and of a mean variance of one. They are made without a label, and are
the same for all methods and heads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.classification.splits import make_split
from experiments.data import datasets
from experiments.data.columns import scale
from experiments.data.kinds import TABLE, AnyDataset
from experiments.frozen.features import embed
from experiments.linear_heads.settings import EQUAL_LABELS, LARGEST_SHARE, Setting
from iwps_jax.refusal import Refusal

MOST_FEATURES = 128
ORDER = 19
"""Sets the draw of the pool's order apart from the other draws of a seed."""


class Samples(NamedTuple):
    """A dataset as vectors; the fields that `run_folder` and reports ask for as there.

    Attributes:
        train: float32 [n, d].
        train_labels: int32 [n].
        test: float32 [m, d].
        test_labels: int32 [m].
        class_names: in the order of the labels.
        source: where the data come from, as a sentence.
        sha256: of the data.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    sha256: str


class Division(NamedTuple):
    """One seed's division of the training set; see `Setting` for the three modes.

    Attributes:
        pool_ids: [pool] positions in the training set; a *row* is a position here.
        labeled: [pool] rows labeled at first.
        held: [pool] rows that are the holdout set: none, unless all learn it.
        holdout_ids: [holdout] positions of the holdout set, none without one.
        is_minority: [classes] which classes are rare.
    """

    pool_ids: np.ndarray
    labeled: np.ndarray
    held: np.ndarray
    holdout_ids: np.ndarray
    is_minority: np.ndarray


def load(name: str, data_dir: Path | None = None) -> Samples:
    """A dataset as vectors.

    Raises:
        datasets.DatasetError: if the data cannot be had.
        BackboneError: if the network for images or texts cannot be had.
    """
    return as_vectors(datasets.load(name, data_dir))


def as_vectors(dataset: AnyDataset) -> Samples:
    """A dataset as vectors: images and texts by a frozen network, tables scaled."""
    if dataset.kind == TABLE:
        train, test = scale(dataset.train_rows, dataset.test_rows)
    else:
        train, test, _ = embed(dataset)
    train, test = principal_components(train, test)
    return Samples(
        *(train, dataset.train_labels, test, dataset.test_labels),
        *(dataset.class_names, dataset.source, dataset.sha256),
    )


def principal_components(
    train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The leading principal components, with the training set's mean and axes.

    Args:
        train: [n, d].
        test: [m, d].

    Returns:
        Two float32 arrays with at most `MOST_FEATURES` columns, all divided by the same
        number, so that the mean variance of the training set's columns is one. The
        largest entry of each axis is positive.

    Example:
        >>> rows = np.array([[0.0, 0.0], [2.0, 2.0], [4.0, 4.0]])
        >>> print(principal_components(rows, rows)[0].round(2) + 0.0)
        [[-1.73  0.  ]
         [ 0.    0.  ]
         [ 1.73  0.  ]]
    """
    mean = train.mean(0, dtype=np.float64)
    centered = train - mean
    variances, axes = np.linalg.eigh(centered.T @ centered / len(train))
    order = np.argsort(-variances, kind="stable")[:MOST_FEATURES]
    axes = axes[:, order]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0)
    axes = axes * np.sign(largest) / np.sqrt(variances[order].mean())
    return tuple((rows @ axes).astype(np.float32) for rows in (centered, test - mean))


def divide(samples: Samples, setting: Setting, seed: int) -> Division:
    """Draws pool, initial set and holdout set of one seed.

    Raises:
        Refusal: if the data are too few for the setting.
    """
    split = make_split(
        samples.train_labels,
        seed,
        base_size=max(setting.start, 1),
        imbalance=setting.imbalance,
        holdout_per_class=setting.holdout_per_class,
        pool_per_class=setting.pool_per_class,
        distribution=setting.distribution,
    )
    labeled = split.labeled & (setting.start > 0)
    held = np.zeros(len(labeled), bool)
    pool_ids = split.pool_ids
    if setting.mode == EQUAL_LABELS:
        pool_ids = np.concatenate([pool_ids, split.holdout_ids])
        held = np.concatenate([held, np.ones(len(split.holdout_ids), bool)])
        labeled = np.concatenate([labeled, np.zeros(len(split.holdout_ids), bool)])
    budget = int(labeled.sum()) + setting.rounds * setting.acquire_size
    if budget > LARGEST_SHARE * len(split.pool_ids):
        raise Refusal(
            f"{setting.name}: at the end {budget} rows are labeled, more than "
            f"{LARGEST_SHARE:.0%} of a pool of {len(split.pool_ids)}."
        )
    classes = np.arange(len(samples.class_names))
    # Files are sorted by class, and ties go to the lower row: the order must not tell.
    order = np.random.default_rng([seed, ORDER]).permutation(len(pool_ids))
    return Division(
        pool_ids=pool_ids[order],
        labeled=(labeled | held)[order],
        held=held[order],
        holdout_ids=split.holdout_ids,
        is_minority=np.isin(classes, split.minority_classes),
    )


def divide_all(
    samples: Samples, setting: Setting, seeds: Sequence[int]
) -> list[Division]:
    """One division a seed."""
    return [divide(samples, setting, seed) for seed in seeds]
