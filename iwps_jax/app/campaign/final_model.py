"""The model that a campaign delivers: the final head, with calibrated confidence."""

from typing import NamedTuple

import numpy as np

from iwps_jax.app.campaign.learn import final_head
from iwps_jax.app.campaign.scaling import Scaling, rows_of
from iwps_jax.app.campaign.state import (
    Campaign,
    counts_as,
    holdout_of,
    labels_of,
    open_classes,
    task_of,
)
from iwps_jax.app.naming import SKIPPED
from iwps_jax.heads.calibration import cross_validated_temperature
from iwps_jax.refusal import Refusal


class FinalModel(NamedTuple):
    """From features to class probabilities.

        p(h) = softmax((s(h) kernel + bias) / temperature),
        s(h) = clip((h - mean) · factor, ±cap)

    Attributes:
        classes: names of the classes that have a labeled sample and count.
        numbers: [classes], their numbers in the campaign.
        kernel: [d, classes], for scaled features; float64.
        bias: [classes].
        temperature: by which the logits are divided.
        scaling: s, with mean, factor and cap.
    """

    classes: tuple[str, ...]
    numbers: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    temperature: float
    scaling: Scaling

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities of some rows.

        Args:
            features: [n, d], not scaled.

        Returns:
            [n, classes], float64; NaN in rows with a feature that is not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # such rows become NaN
            scaled = self.scaling.of(features).astype(np.float64)
            logits = (scaled @ self.kernel + self.bias[None]) / self.temperature
        logits[~np.isfinite(scaled).all(axis=1)] = np.nan
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits


def fit_final_model(state: Campaign) -> FinalModel:
    """The model that has learned every label, those of the holdout set as well.

    It predicts no class that was merged, retired or never labeled. The temperature is
    that of `cross_validated_temperature` on the same samples.

    Args:
        state: with the head fitted to its labels, as `refitted` returns it.

    Raises:
        Refusal: if fewer than two classes are labeled.
    """
    head = final_head(state)
    if head is None:
        raise Refusal(
            "two classes must have labels before there is a model, got "
            f"{len({*labels_of(state).values()})}: label more samples with iwps next "
            "and iwps label."
        )
    task, labels, holdout = task_of(state), labels_of(state), holdout_of(state)
    features = np.concatenate(
        [task.scaling.rows(task.pool, [*labels]), task.scaling.of(holdout.features)]
    )
    told = np.concatenate([[*labels.values()], holdout.labels]).astype(np.int32)
    numbers, places = np.unique(told, return_inverse=True)
    temperature = cross_validated_temperature(
        features,
        places.astype(np.int32),
        num_classes=len(numbers),
        penalty=head.penalty,
    )
    return FinalModel(
        tuple(task.classes[number] for number in numbers.tolist()),
        numbers,
        np.asarray(head.kernel, np.float64)[:, numbers],
        np.asarray(head.bias, np.float64)[numbers],
        temperature,
        task.scaling,
    )


def never_labeled(state: Campaign, model: FinalModel) -> list[str]:
    """The open classes that the model cannot predict, since no sample has them."""
    return [name for name in open_classes(state) if name not in model.classes]


def given_labels(state: Campaign) -> dict[int, int]:
    """The class of every row of the pool that a person labeled, as it counts now.

    Holdout samples that are rows of the pool are among them.
    """
    task, target = task_of(state), counts_as(state)
    given, rows = labels_of(state), task.holdout_rows
    # Else nothing says which row is which holdout sample.
    if len(rows) == len(task.holdout_labels) > 0:
        found = rows_of(task.pool, rows.tolist()).astype(np.float32)
        is_same = (found == task.holdout_features).all(axis=1)
        told = target[task.holdout_labels]
        kept = is_same & (told != SKIPPED)
        given |= dict(zip(rows[kept].tolist(), told[kept].tolist(), strict=True))
    return given
