"""`iwps predict`: label every row of the pool with what the campaign has learned.

    iwps predict --out labels.csv

This trains the final head on all labels, those of the holdout set as well, and writes a
line for every row of the pool: id, label, confidence, margin and by_person. A label
that a person gave stays. Every other row gets the class that the head predicts, also
where people skipped it or were unsure.

The confidence is the model's probability of the label. The margin is the confidence
minus the largest probability of another class: it is negative where the head would have
said another label than the person. Heads that have not seen a part of the labels
calibrate the probabilities on that part (a temperature, by cross-validation).

The file ends in .csv or .parquet. The command replaces a file that it has written
before, and refuses any other, which may hold answers. It reads the pool part by part,
so the pool may have any size.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from iwps_jax.app.campaign import folder
from iwps_jax.app.campaign.final_model import (
    FinalModel,
    fit_final_model,
    never_labeled,
)
from iwps_jax.app.campaign.predictions import Predictions, predict
from iwps_jax.app.campaign.state import Campaign, ids_of
from iwps_jax.app.commands import (
    advice,
    answers,
    exit_status,
    outputs,
    prediction_files,
)
from iwps_jax.app.commands.jax_settings import Computing, start_jax
from iwps_jax.app.commands.prediction_files import Table
from iwps_jax.app.naming import some_of
from iwps_jax.app.options import Flag
from iwps_jax.atomic_write import open_atomically
from iwps_jax.heads.calibration import HIGHEST
from iwps_jax.pool.progress import progress_bar
from iwps_jax.refusal import refusing
from iwps_jax.wording import plural

UNSURE = HIGHEST / 2
"""The temperature from which on every class is about as likely as another."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(answers.OfCampaign, Computing):
    """The options of the command."""

    writes: ClassVar = ("out",)
    out: Path
    """the .csv or .parquet file to write"""
    probabilities: Flag = False
    """also write the probability of every class, in a column p_CLASS"""


def run(options: Options) -> int:
    """Predicts and writes; returns the exit status."""
    return exit_status.run(lambda: _predict(options))


def _predict(options: Options) -> None:
    outputs.require_writable(options.out)
    prediction_files.require_writer(options.out)
    start_jax(options)
    state = folder.read(options.campaign)
    with refusing(MemoryError, about=str(folder.paths_of(options.campaign).pool)):
        model = fit_final_model(state)
        num_rows, num_given, num_without = _write(options, state, model)
    print(
        f"{plural(num_rows, 'row')} in {options.out}: {num_given:,} labeled by people, "
        f"{num_rows - num_given - num_without:,} predicted. The confidence is "
        f"calibrated by a temperature of {model.temperature:.2f}."
    )
    if num_without:
        print(
            f"Rows without a label, because their features are not finite: "
            f"{num_without:,}."
        )
    say_limits(state, model)


def say_limits(state: Campaign, model: FinalModel) -> None:
    """Names the classes that the model cannot predict; warns if it only guesses."""
    if model.temperature > UNSURE:
        advice.warn(
            [
                "heads that left a part of the labels out predicted this part no "
                "better than by chance, so the model is sure of nothing. Label more "
                "samples, and check that ids and labels belong together."
            ]
        )
    names = never_labeled(state, model)
    if names:
        listed = some_of(names)
        print(f"No sample has a label of these classes, so none is predicted: {listed}")


def _write(options: Options, state, model) -> np.ndarray:
    """Writes the table; returns how many rows, given labels, and rows without one."""
    counts, classes = np.zeros(3, int), model.classes
    columns = classes if options.probabilities else ()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    size = len(state.task.pool)
    with (
        open_atomically(options.out) as file,
        prediction_files.opened(options.out, file, columns) as write,
        progress_bar(True, size, 0, doing="predicting") as advance,
    ):
        for block in predict(state, model):
            write(_table(state, classes, block, bool(columns)))
            counts += len(block.rows), block.by_person.sum(), (block.places < 0).sum()
            advance(len(block.rows))
    return counts


def _table(state, classes, block: Predictions, has_probabilities) -> Table:
    labels = [None if place < 0 else classes[place] for place in block.places.tolist()]
    probabilities = block.probabilities[:, : has_probabilities * len(classes)]
    return Table(ids_of(state.task, block.rows), labels, block, probabilities)
