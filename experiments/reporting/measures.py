"""The measures on the test set, with their names in curves, tables and sentences."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Measure(NamedTuple):
    """A share in [0, 1]; a larger one is better.

    Attributes:
        key: its name in `metrics.jsonl`.
        name: its name as the label of an axis.
        short: its name in sentences and columns.
        title: its name as a heading.
        of_pixels: whether a sample is an image whose pixels have classes. Then a label
            is the mask of an image, and the wrong-rate is a share of the picks' pixels.
    """

    key: str
    name: str
    short: str
    title: str
    of_pixels: bool = False

    @property
    def final_keys(self) -> tuple[str, str]:
        """Keys of the final value's mean and standard deviation in a summary."""
        stem = f"final_{self.key.removeprefix('test_')}"
        return f"{stem}_mean", f"{stem}_sd"

    @property
    def x_name(self) -> str:
        """Label of the horizontal axis."""
        return "Number of labeled images" if self.of_pixels else "Number of labels"

    @property
    def wrong_name(self) -> str:
        """Name of the picks' wrong-rate, as the label of an axis."""
        if self.of_pixels:
            return "Wrongly predicted pixels of the picks"
        return "Wrongly predicted among the picks"


ACCURACY = Measure("test_accuracy", "Test accuracy", "accuracy", "Accuracy")
BALANCED_ACCURACY = Measure(
    *("balanced_accuracy", "Balanced accuracy", "balanced accuracy"),
    "Balanced accuracy",
)
POOL_ACCURACY = Measure(
    *("pool_accuracy", "Test accuracy, classes as in the pool"),
    *("accuracy with the classes of the pool", "Accuracy, classes as in the pool"),
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
    ACCURACY: (BALANCED_ACCURACY, POOL_ACCURACY),
    FOREGROUND_MIOU: (MIOU, PIXEL_ACCURACY),
    MIOU: (PIXEL_ACCURACY,),
}
"""The main measures, each with its secondary measures."""


def measure_of(config: Mapping[str, Any]) -> Measure:
    """The main measure of a run, from its `config.json` or its `summary.json`.

    Raises:
        ValueError: the measure is unknown.
    """
    key = config.get("measure", ACCURACY.key)
    for measure in MEASURES:
        if measure.key == key:
            return measure
    known = ", ".join(measure.key for measure in MEASURES)
    raise ValueError(f"measure must be one of {known}, got {key!r}.")
