"""Which units there are, and who takes part in them, group by group."""

from typing import NamedTuple

from experiments.linear_heads.competitors import ABLATION, CONSTANTS, HERDING
from experiments.linear_heads.settings import (
    EQUAL_LABELS,
    FIRST_BATCHES,
    SEEN,
    SETTINGS,
    WITH_PARTS,
    Setting,
)
from experiments.reporting.referee_rule import Rule

OURS = "balanced_herding"
METHODS = (
    "random",
    "entropy",
    "margin",
    "balanced_margin",
    "power_margin",
    "coreset",
    "badge",
    "max_herding",
    "uncertainty_herding",
    "typiclust",
    "prob_cover",
    "drop_query",
    "cluster_margin",
    "flqmi",
    "galaxy",
    "direct",
    "bait",
    "bait_by_class",
    "glister",
    "iwps_app",
    "iwps",
    "iwps_batch",
    "iwps_cross_fitted",
    "iwps_batch_no_holdout",
    "balanced_herding",
    "pool_herding",
)
FIRST_BATCH = (
    "random",
    "typiclust",
    "prob_cover",
    "max_herding",
    "coreset",
    "k_means_centers",
    "gain",
    "balanced_herding",
)
"""With nothing labeled; then the gain has the same v for all rows."""


class Group(NamedTuple):
    """Units of one kind.

    Attributes:
        methods: who takes part.
        settings: the units.
    """

    methods: tuple[str, ...]
    settings: tuple[Setting, ...]


OF_PARTS = tuple(setting for setting in SETTINGS if setting.name in WITH_PARTS)
GROUPS = {
    "methods": Group(METHODS, SETTINGS),
    "batch_parts": Group(("iwps_batch", *ABLATION), OF_PARTS),
    "herding_parts": Group((OURS, *HERDING), OF_PARTS),
    "constants": Group((OURS, "iwps_batch", "iwps", *CONSTANTS), OF_PARTS),
    "first_batch": Group(FIRST_BATCH, FIRST_BATCHES),
}
"""The study, then what carries the methods, and the first batch of a cold start."""
RULE = Rule(
    settings=tuple(
        setting.name
        for setting in SETTINGS
        if setting.mode == EQUAL_LABELS and setting.dataset not in SEEN
    ),
    must_beat=("random", "margin", "badge"),
)
"""Of the verdict; `experiments.reporting.referee` states it."""
CONSTANTS_OF = {
    base: tuple(name for name in CONSTANTS if name.startswith(prefix))
    for base, prefix in (
        (OURS, "herding-"),
        ("iwps_batch", "batch-"),
        ("iwps", "iwps-"),
    )
}
"""The variants of a method with other constants."""
_ONE_A_CLASS = {
    setting.dataset: min(
        other.acquire_size
        for other in FIRST_BATCHES
        if other.dataset == setting.dataset
    )
    for setting in FIRST_BATCHES
}


def _column(is_small, is_seen):
    def belongs(setting):
        dataset, size = setting["dataset"], setting["acquire_size"]
        small = size == _ONE_A_CLASS.get(dataset)
        return small == is_small and (dataset in SEEN) == is_seen

    return belongs


FIRST_COLUMNS = {
    f"{number} a class, {data} data": _column(number == "one", data == "seen")
    for number in ("one", "five")
    for data in ("seen", "other")
}
"""Which first batches are averaged together."""
