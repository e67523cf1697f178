"""Arrays that cannot be one dataset are refused, whatever file they are from."""

import numpy as np
import pytest

from experiments.data.facts import FACTS
from experiments.data.official import Arrays, SourceError, check_consistent

MNIST = FACTS["mnist"]
IMAGES, LABELS = np.zeros((4, 28, 28, 1), np.uint8), np.arange(4, dtype=np.int32)
GOOD = Arrays(IMAGES, LABELS, IMAGES, LABELS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train_labels": LABELS[:3]}, "train split has 4 images but 3 labels"),
        ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, "split is empty"),
        ({"test_labels": LABELS + 7}, "test split has the label 10"),
        ({"train_labels": LABELS - 1}, "train split has the label -1"),
        ({"train_images": IMAGES[:, :27]}, "train images are"),
    ],
)
def test_arrays_that_cannot_be_one_dataset_are_refused(change, sentence):
    check_consistent(GOOD, MNIST)
    with pytest.raises(SourceError, match=sentence):
        check_consistent(GOOD._replace(**change), MNIST)
