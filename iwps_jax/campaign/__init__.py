"""Labeling with people: `start` a campaign, `ask` which to label, `tell` the answers.

The commands `iwps init`, `next`, `label` and `status` do the same in a folder; see
`iwps_jax.campaign.folder`.
"""

from iwps_jax.campaign.asking import ask
from iwps_jax.campaign.state import (
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
from iwps_jax.campaign.stopping import Outlook, Point, outlook
from iwps_jax.campaign.telling import tell
from iwps_jax.naming import SKIP, AnswerError

__all__ = [
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
