"""The events of a campaign, in order: everything else follows from them.

Rows are rows of the pool. Classes are numbers that never change and are never used
again: a class that is renamed, merged or retired keeps its number.
"""

from typing import NamedTuple

import numpy as np

from iwps_jax.method import RARITY

NO_MODEL = -1
PURPOSES = ("pick", "control", "overlap", "audit")
"""Why samples are handed out: the method picked them; drawn at random, to measure; to
be labeled by a second person; to check answers that exist."""
REPEATING = ("overlap", "audit")
"""The purposes for which a sample is handed out although it was before."""


class Batch(NamedTuple):
    """Rows handed out to be labeled, best first.

    Attributes:
        rows: [k], rows of the pool.
        scores: [k], scores of the method; NaN if it has none. They need not decrease if
            the method picks rows together.
        predicted: [k], the head's class, or `NO_MODEL`.
        confidence: [k], its probability.
        method: the method that chose them; random as long as there is no head.
        purpose: one of `PURPOSES`.
        annotator: the person for whom they are; empty if anyone may label them.
    """

    rows: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    method: str
    purpose: str = PURPOSES[0]
    annotator: str = ""


class Reissue(NamedTuple):
    """Rows without an answer, handed out again as they were before.

    Attributes:
        rows: [k], rows of the pool.
        annotator: the person for whom they are; empty if anyone may label them.
    """

    rows: np.ndarray
    annotator: str = ""


class Answers(NamedTuple):
    """Answers of people; a later answer replaces an earlier one.

    Attributes:
        rows: [n], rows of the pool.
        labels: [n], classes, `SKIPPED` or `UNSURED`.
        num_labeled: number of labeled rows after these answers.
        holdout_loss: loss by halves, see `LinearProbe`, in nats; None without a head.
        holdout_accuracy: accuracy likewise; None without a head.
        annotator: who answered; empty if that is not known.
        previous: [n], the answers that these correct; None if they correct none.
    """

    rows: np.ndarray
    labels: np.ndarray
    num_labeled: int
    holdout_loss: float | None
    holdout_accuracy: float | None
    annotator: str = ""
    previous: np.ndarray | None = None


class ClassAdded(NamedTuple):
    """A new class; its number is the number of classes before.

    Attributes:
        name: its name.
    """

    name: str


class ClassRenamed(NamedTuple):
    """A class with a new name; its labels stay.

    Attributes:
        label: the class.
        name: its new name.
    """

    label: int
    name: str


class ClassMerged(NamedTuple):
    """A class that from now on counts as another one, with all its labels.

    Attributes:
        label: the class.
        into: the class that its labels count as.
    """

    label: int
    into: int


class ClassRetired(NamedTuple):
    """A class that can no longer be an answer, and whose labels no longer count.

    Attributes:
        label: the class.
    """

    label: int


class ClassRestored(NamedTuple):
    """A retired class that is an answer again, with all its labels.

    Attributes:
        label: the class.
    """

    label: int


class SettingsChanged(NamedTuple):
    """Settings for the next batches.

    Attributes:
        method: the method.
        steps: T of the look-ahead.
        learning_rate: η of the look-ahead.
        rarity: γ of herding.
    """

    method: str
    steps: int
    learning_rate: float
    rarity: float = RARITY


Event = (
    Batch
    | Reissue
    | Answers
    | ClassAdded
    | ClassRenamed
    | ClassMerged
    | ClassRetired
    | ClassRestored
    | SettingsChanged
)
