"""The measures of a test set that curves, tables and sentences are about."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Measure(NamedTuple):
    """A share in [0, 1] of which more is better.

    Attributes:
        key: its name in `metrics.jsonl`.
        name: as the label of an axis.
        short: in sentences and columns.
        title: as a heading.
        of_pixels: whether a sample is an image whose pixels have classes. Then a label
            is an image's mask, and the wrong-rate of picks is a share of their pixels.
    """

    key: str
    name: str
    short: str
    title: str
    of_pixels: bool = False

    @property
    def final_keys(self) -> tuple[str, str]:
        """In a summary, keys of the final value's mean and standard deviation."""
        stem = f"final_{self.key.removeprefix('test_')}"
        return f"{stem}_mean", f"{stem}_sd"

    @property
    def x_name(self) -> str:
        """What it is drawn against."""
        return "Number of labeled images" if self.of_pixels else "Number of labels"

    @property
    def wrong_name(self) -> str:
        """What the wrong-rate of the picks is, as the label of an axis."""
        if self.of_pixels:
            return "Wrongly predicted pixels of the picks"
        return "Wrongly predicted among the picks"


ACCURACY = Measure("test_accuracy", "Test accuracy", "accuracy", "Accuracy")
BALANCED_ACCURACY = Measure(
    *("balanced_accuracy", "Balanced accuracy", "balanced accuracy"),
    "Balanced accuracy",
)
FOREGROUND_MIOU = Measure(
    *("foreground_miou", "Test mIoU without background", "mIoU without background"),
    *("mIoU without background", True),
)
MIOU = Measure("miou", "Test mIoU", "mIoU", "mIoU", True)
PIXEL_ACCURACY = Measure(
    *("pixel_accuracy", "Test pixel accuracy", "pixel accuracy"),
    *("Pixel accuracy", True),
)

MEASURES = {
    ACCURACY: (BALANCED_ACCURACY,),
    FOREGROUND_MIOU: (MIOU, PIXEL_ACCURACY),
    MIOU: (PIXEL_ACCURACY,),
}
"""The main measures, each with what is told beside it."""


def measure_of(config: Mapping[str, Any]) -> Measure:
    """The main measure of a run, by its `config.json` or its `summary.json`.

    Raises:
        ValueError: it is not one of ours.
    """
    key = config.get("measure", ACCURACY.key)
    for measure in MEASURES:
        if measure.key == key:
            return measure
    known = ", ".join(measure.key for measure in MEASURES)
    raise ValueError(f"measure must be one of {known}, got {key!r}.")
