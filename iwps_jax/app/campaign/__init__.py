"""Labeling with people: `start` a campaign, `ask` which to label, `tell` the answers.

The commands `iwps init`, `next`, `label` and `status` do the same in a folder; see
`iwps_jax.app.campaign.folder`.
"""

from iwps_jax.app.campaign.classes import (
    add_class,
    add_classes,
    change_settings,
    merge_classes,
    rename_class,
    retire_class,
    unknown_names,
)
from iwps_jax.app.campaign.control import Measured, control_rows, measure
from iwps_jax.app.campaign.events import Answers, Batch
from iwps_jax.app.campaign.final_model import FinalModel, fit_final_model
from iwps_jax.app.campaign.learn import tell
from iwps_jax.app.campaign.next_batch import ask
from iwps_jax.app.campaign.predictions import Predictions, predict
from iwps_jax.app.campaign.state import (
    METHODS,
    RECOMMENDED,
    Campaign,
    Task,
    free_rows,
    labels_of,
    open_classes,
    skipped_of,
    start,
    unanswered_of,
    unsure_of,
)
from iwps_jax.app.campaign.stopping import Outlook, Point, judged_by, outlook
from iwps_jax.app.naming import SKIP, UNSURE, AnswerError

__all__ = [
    "METHODS",
    "RECOMMENDED",
    "SKIP",
    "UNSURE",
    "AnswerError",
    "Answers",
    "Batch",
    "Campaign",
    "Measured",
    "FinalModel",
    "Outlook",
    "Point",
    "Predictions",
    "Task",
    "add_class",
    "add_classes",
    "ask",
    "change_settings",
    "control_rows",
    "fit_final_model",
    "free_rows",
    "judged_by",
    "labels_of",
    "measure",
    "merge_classes",
    "open_classes",
    "outlook",
    "predict",
    "rename_class",
    "retire_class",
    "skipped_of",
    "start",
    "tell",
    "unanswered_of",
    "unknown_names",
    "unsure_of",
]
