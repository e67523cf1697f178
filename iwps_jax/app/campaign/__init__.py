"""Labeling with people: `start` a campaign, `ask` which to label, `tell` the answers.

The commands `iwps init`, `next`, `label` and `status` do the same in a folder; see
`iwps_jax.app.campaign.folder`.
"""

from iwps_jax.app.campaign.classes import (
    add_class,
    change_settings,
    merge_classes,
    rename_class,
    retire_class,
)
from iwps_jax.app.campaign.events import Answers, Batch
from iwps_jax.app.campaign.final_model import FinalModel, fit_final_model
from iwps_jax.app.campaign.learn import tell
from iwps_jax.app.campaign.next_batch import ask
from iwps_jax.app.campaign.predictions import Predictions, predict
from iwps_jax.app.campaign.state import (
    METHODS,
    Campaign,
    Task,
    free_rows,
    labels_of,
    skipped_of,
    start,
    unanswered_of,
    unsure_of,
)
from iwps_jax.app.campaign.stopping import Outlook, Point, outlook
from iwps_jax.app.naming import SKIP, UNSURE, AnswerError

__all__ = [
    "METHODS",
    "SKIP",
    "UNSURE",
    "AnswerError",
    "Answers",
    "Batch",
    "Campaign",
    "FinalModel",
    "Outlook",
    "Point",
    "Predictions",
    "Task",
    "add_class",
    "ask",
    "change_settings",
    "fit_final_model",
    "free_rows",
    "labels_of",
    "merge_classes",
    "outlook",
    "predict",
    "rename_class",
    "retire_class",
    "skipped_of",
    "start",
    "tell",
    "unanswered_of",
    "unsure_of",
]
