"""The label of every row of a pool: a person's, or else the model's prediction."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from iwps_jax.app.campaign.final_model import FinalModel, given_labels
from iwps_jax.app.campaign.state import Campaign

CELLS = 2**22
"""Numbers of a block of rows: in float64, 32 MiB."""
MOST_ROWS = 2**16
"""Rows of a block."""
NO_LABEL = -1
"""The place of the class where there is no label."""


class Predictions(NamedTuple):
    """Some rows of the pool, one after another.

    Attributes:
        rows: [n], their positions.
        places: [n], of their label in the model's classes, or `NO_LABEL`.
        confidence: [n], the model's probability of the label; NaN where the features
            are not finite.
        margin: [n], confidence minus the largest probability of another class; negative
            where the model would have said another label than the person.
        by_person: [n], whether a person gave the label.
        probabilities: [n, classes].
    """

    rows: np.ndarray
    places: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray
    by_person: np.ndarray
    probabilities: np.ndarray


def predict(state: Campaign, model: FinalModel) -> Iterator[Predictions]:
    """All rows of the pool, block by block, in memory that the pool does not enlarge.

    Skipped rows, and those of which a person was unsure, are predicted as well.

    Args:
        state: of the campaign.
        model: from `fit_final_model`.

    Raises:
        FileError: if rows cannot be read.
    """
    pool = state.task.pool
    place_of = {number: place for place, number in enumerate(model.numbers.tolist())}
    given = np.full(len(pool), NO_LABEL, np.int32)
    for row, number in given_labels(state).items():
        given[row] = place_of[number]
    size = max(1, min(MOST_ROWS, CELLS // max(model.kernel.shape)))
    for start in range(0, len(pool), size):
        features = np.asarray(pool[start : start + size])
        stop = start + len(features)
        yield _labeled(
            np.arange(start, stop), model.probabilities(features), given[start:stop]
        )


def _labeled(rows, probabilities, given) -> Predictions:
    by_person, has_numbers = given != NO_LABEL, np.isfinite(probabilities[:, 0])
    places = np.where(by_person, given, probabilities.argmax(axis=1))
    mine = places[:, None]
    confidence = np.take_along_axis(probabilities, mine, 1)[:, 0]
    others = probabilities.copy()
    np.put_along_axis(others, mine, -np.inf, 1)
    margin = confidence - others.max(axis=1)
    places = np.where(by_person | has_numbers, places, NO_LABEL)
    margin = np.where(has_numbers, margin, np.nan)
    return Predictions(rows, places, confidence, margin, by_person, probabilities)
