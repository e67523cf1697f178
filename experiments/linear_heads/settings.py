"""Settings of the referee study, and the three ways to deal with a holdout set.

equal_labels    Every label is in everybody's budget. Methods that choose with the
                holdout set choose by a head that has not learned it; all others
                have it among their labeled samples from the start. The head that is
                tested has learned all labels, with every method.
shared_holdout  No head learns the holdout set; some methods choose with it.
no_holdout      There is none.
"""

import dataclasses

from experiments.classification.splits import DISTRIBUTIONS
from experiments.engine.command_line import ConfigError

EQUAL_LABELS, SHARED_HOLDOUT, NO_HOLDOUT = (
    "equal_labels",
    "shared_holdout",
    "no_holdout",
)
MODES = (EQUAL_LABELS, SHARED_HOLDOUT, NO_HOLDOUT)
LARGEST_SHARE = 0.3
"""Of the pool that may be labeled at the end."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all methods of a unit share.

    Attributes:
        dataset: its name.
        distribution: of `splits.DISTRIBUTIONS`.
        imbalance: how many times rarer the rare classes are.
        start: samples of a frequent class that are labeled at first; 0: nothing is.
        acquire_size: samples labeled each round.
        rounds: acquisitions.
        pool_per_class: samples of a frequent class in the pool.
        holdout_per_class: held-out samples of each class; 0 without a holdout set.
        mode: of `MODES`.
        balanced_loss: whether each class has the same weight in the loss of the head.
    """

    dataset: str
    distribution: str = "minority"
    imbalance: int = 1
    start: int = 5
    acquire_size: int = 50
    rounds: int = 6
    pool_per_class: int = 300
    holdout_per_class: int = 5
    mode: str = EQUAL_LABELS
    balanced_loss: bool = False

    def __post_init__(self):
        """Refuses settings that contradict each other."""
        if self.mode not in MODES or self.distribution not in DISTRIBUTIONS:
            raise ConfigError(
                f"mode and distribution must be of {MODES} and {(*DISTRIBUTIONS,)}, "
                f"got {self.mode} and {self.distribution}."
            )
        if (self.mode == NO_HOLDOUT) != (self.holdout_per_class == 0):
            raise ConfigError(
                f"holdout_per_class must be 0 with no_holdout and only there, got "
                f"{self.holdout_per_class} with {self.mode}."
            )

    @property
    def name(self) -> str:
        """As its folder and its file are named.

        Example:
            >>> Setting("mnist", "long_tailed", 10).name
            'mnist-long_tailed_10-start_5-batch_50-equal_labels'
        """
        shares = self.distribution
        if shares == "minority" and self.imbalance == 1:
            shares = "balanced"
        elif shares != "natural":
            shares = f"{shares}_{self.imbalance}"
        loss = "-balanced_loss" * self.balanced_loss
        return (
            f"{self.dataset}-{shares}-start_{self.start}-batch_{self.acquire_size}-"
            f"{self.mode}{loss}"
        )


def _table(rows: str) -> tuple[Setting, ...]:
    """Settings from lines of a table, which are easier to compare than calls."""
    made = []
    for line in rows.strip().splitlines():
        dataset, shares, start, size, rounds, pool, held, mode, *loss = line.split()
        distribution, _, imbalance = shares.rpartition("_")
        if not imbalance.isdigit():
            distribution, imbalance = (
                ("minority" if shares == "balanced" else shares),
                1,
            )
        made.append(
            Setting(
                dataset,
                distribution,
                int(imbalance),
                *map(int, (start, size, rounds, pool, held)),
                mode,
                bool(loss),
            )
        )
    return tuple(made)


SEEN = ("mnist", "clinc150_domains", "clinc150", "dry_bean")
"""Datasets that methods may be chosen on; all others of `SETTINGS` are for the end."""
SETTINGS = _table(
    """
    mnist            balanced         1  10 8  300 5 equal_labels
    mnist            balanced         5  50 6  300 5 equal_labels
    mnist            minority_10      5  50 6  400 5 equal_labels
    mnist            minority_20     20  10 8  400 2 equal_labels
    mnist            long_tailed_10   5  50 6  600 5 equal_labels
    mnist            long_tailed_100  5  50 6 1000 5 equal_labels
    mnist            minority_10      5  50 6  400 5 shared_holdout
    mnist            minority_10      0  10 8  400 0 no_holdout
    mnist            balanced         0  50 6  300 0 no_holdout
    clinc150_domains balanced         5  50 6  300 5 equal_labels
    clinc150_domains long_tailed_50   5  50 6  900 5 equal_labels
    clinc150_domains minority_10      0  10 8  400 0 no_holdout
    clinc150         balanced         1 150 3   40 1 equal_labels
    dry_bean         natural          5  35 6  900 5 equal_labels
    dry_bean         natural          0   7 8  900 0 no_holdout
    fashion_mnist    balanced         5  50 6  300 5 equal_labels
    fashion_mnist    minority_10      5  50 6  400 5 equal_labels
    fashion_mnist    minority_20     20 200 3  600 2 equal_labels
    fashion_mnist    long_tailed_100  5  50 6 1000 5 equal_labels
    fashion_mnist    minority_10      5  50 6  400 5 shared_holdout
    fashion_mnist    long_tailed_10   0  10 8  600 0 no_holdout
    cifar10          balanced         1  10 8  300 5 equal_labels
    cifar10          balanced         5 200 3  300 5 equal_labels
    cifar10          minority_10      5  50 6  400 5 equal_labels
    cifar10          minority_10      5  50 6  400 5 equal_labels balanced_loss
    cifar10          long_tailed_50   5  50 6  900 5 equal_labels
    cifar10          long_tailed_50   5  50 6  900 5 shared_holdout
    cifar10          minority_10      0  50 6  400 0 no_holdout
    banking77        balanced         1  77 4   34 1 equal_labels
    banking77        natural          1  77 6  100 1 equal_labels
    banking77        natural          5 385 2  100 1 equal_labels
    banking77        natural          1  77 6  100 1 shared_holdout
    hwu64            natural          1  64 6   80 1 equal_labels
    hwu64            natural          5  64 6   80 2 equal_labels
    hwu64            minority_10      1  64 3   34 1 equal_labels
    hwu64            natural          0  64 6   80 0 no_holdout
    pendigits        balanced         5  50 6  300 5 equal_labels
    pendigits        minority_20     20  10 8  400 2 equal_labels
    pendigits        long_tailed_100  5  50 5  500 5 equal_labels
    pendigits        balanced         0  10 8  300 0 no_holdout
    """
)
"""Columns: dataset, classes, start, labels a round, rounds, samples of a frequent class
in the pool, held-out samples of each class, mode, loss."""
WITH_PARTS = (
    "mnist-balanced-start_1-batch_10-equal_labels",
    "mnist-balanced-start_5-batch_50-equal_labels",
    "mnist-minority_10-start_5-batch_50-equal_labels",
    "mnist-long_tailed_100-start_5-batch_50-equal_labels",
    "clinc150_domains-balanced-start_5-batch_50-equal_labels",
    "clinc150_domains-long_tailed_50-start_5-batch_50-equal_labels",
    "clinc150-balanced-start_1-batch_150-equal_labels",
    "dry_bean-natural-start_5-batch_35-equal_labels",
)
"""Settings for the parts and the constants of methods."""
FIRST_BATCHES = _table(
    """
    mnist            balanced         0  10 1  300 0 no_holdout
    mnist            balanced         0  50 1  300 0 no_holdout
    mnist            long_tailed_10   0  10 1  600 0 no_holdout
    mnist            long_tailed_10   0  50 1  600 0 no_holdout
    clinc150_domains balanced         0  10 1  300 0 no_holdout
    clinc150_domains balanced         0  50 1  300 0 no_holdout
    clinc150         balanced         0 150 1   40 0 no_holdout
    clinc150         balanced         0 750 1   40 0 no_holdout
    dry_bean         natural          0   7 1  900 0 no_holdout
    dry_bean         natural          0  35 1  900 0 no_holdout
    fashion_mnist    balanced         0  10 1  300 0 no_holdout
    fashion_mnist    balanced         0  50 1  300 0 no_holdout
    cifar10          balanced         0  10 1  300 0 no_holdout
    cifar10          balanced         0  50 1  300 0 no_holdout
    cifar10          long_tailed_50   0  10 1  900 0 no_holdout
    cifar10          long_tailed_50   0  50 1  900 0 no_holdout
    banking77        natural          0  77 1  100 0 no_holdout
    banking77        natural          0 385 1  100 0 no_holdout
    hwu64            natural          0  64 1   80 0 no_holdout
    hwu64            natural          0 320 1   80 0 no_holdout
    pendigits        balanced         0  10 1  300 0 no_holdout
    pendigits        balanced         0  50 1  300 0 no_holdout
    """
)
"""A first batch of one and of five a class with nothing labeled; columns as above."""
