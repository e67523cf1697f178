"""Labeling with people: `start` a campaign, `ask` which to label, `tell` the answers.

The commands `iwps init`, `next`, `label` and `status` do the same in a folder; see
`iwps_jax.app.campaign.folder`.
"""

from iwps_jax.app.campaign.learn import tell
from iwps_jax.app.campaign.next_batch import ask
from iwps_jax.app.campaign.state import (
    METHODS,
    Answers,
    Batch,
    Campaign,
    Task,
    free_rows,
    labels_of,
    skipped_of,
    start,
    unanswered_of,
)
from iwps_jax.app.campaign.stopping import Outlook, Point, outlook
from iwps_jax.app.naming import SKIP, AnswerError

__all__ = [
    "METHODS",
    "SKIP",
    "AnswerError",
    "Answers",
    "Batch",
    "Campaign",
    "Outlook",
    "Point",
    "Task",
    "ask",
    "free_rows",
    "labels_of",
    "outlook",
    "skipped_of",
    "start",
    "tell",
    "unanswered_of",
]
