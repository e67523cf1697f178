"""The measures of a test set that curves, tables and sentences are about."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Measure(NamedTuple):
    """A share in [0, 1] of which more is better.

    Attributes:
        key: its name in `metrics.jsonl`.
        name: as the label of an axis.
        short: in sentences and columns.
    """

    key: str
    name: str
    short: str


ACCURACY = Measure("test_accuracy", "Test accuracy", "accuracy")
BALANCED_ACCURACY = Measure(
    "balanced_accuracy", "Balanced test accuracy", "balanced accuracy"
)
FOREGROUND_MIOU = Measure(
    "foreground_miou", "Test mIoU without background", "mIoU without background"
)
MIOU = Measure("miou", "Test mIoU", "mIoU")
PIXEL_ACCURACY = Measure("pixel_accuracy", "Test pixel accuracy", "pixel accuracy")

SECOND = {
    ACCURACY: BALANCED_ACCURACY,
    FOREGROUND_MIOU: MIOU,
    MIOU: PIXEL_ACCURACY,
}
"""A run's main measure, and the second that is told beside it."""


def measure_of(config: Mapping[str, Any]) -> Measure:
    """The main measure of a run, by its `config.json` or its `summary.json`.

    Raises:
        ValueError: it is not one of ours.
    """
    key = config.get("measure", ACCURACY.key)
    for measure in SECOND:
        if measure.key == key:
            return measure
    known = ", ".join(measure.key for measure in SECOND)
    raise ValueError(f"measure must be one of {known}, got {key!r}.")
