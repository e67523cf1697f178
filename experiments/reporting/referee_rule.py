"""Whether the referee's rule is met; `experiments.reporting.referee` states it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.reporting import referee
from experiments.reporting.markdown import as_points
from experiments.reporting.referee import JUDGING, NAMING, Comparison, Results

KINDS = ("balanced", "imbalanced", "long-tailed", "natural")
LARGEST_LOSS = 0.015
"""No setting may be worse by more, on average."""
SHARE_OF_SETTINGS = 0.9
"""In which ours must be non-inferior to the named rival."""
LEVEL = 0.05


class Rule(NamedTuple):
    """The parts of the rule that are names.

    Attributes:
        settings: names of those that the verdict is over.
        must_beat: the rivals that ours must be better than, pooled.
    """

    settings: Sequence[str]
    must_beat: Sequence[str]


def kind_of(setting: Mapping[str, Any]) -> str:
    """How the classes are distributed.

    Example:
        >>> kind_of({"distribution": "long_tailed", "imbalance": 10})
        'long-tailed'
    """
    if setting["distribution"] == "minority":
        return "balanced" if setting["imbalance"] == 1 else "imbalanced"
    return setting["distribution"].replace("_", "-")


def is_judged(seed: int) -> bool:
    """Whether a seed counts for verdicts."""
    return seed in JUDGING


def with_named_rivals(
    all_results: Sequence[Results],
    ours: str,
    rivals: Sequence[str],
    counts: Callable[[int], bool] = is_judged,
) -> list[Comparison]:
    """Ours with the best rival of each setting, which other seeds have named."""
    others = [rival for rival in rivals if rival != ours]

    def named(results):
        return filter(None, [referee.best_rival(results, others, NAMING)])

    return referee.compare(all_results, ours, named, counts)


def verdict(
    all_results: Sequence[Results], ours: str, rivals: Sequence[str], rule: Rule
) -> str:
    """The rule for all settings and for each kind of pools, a sentence each.

    Args:
        all_results: the settings that have run, others than those of the rule included.
        ours: the method that is compared.
        rivals: all others that may be named as the best.
        rule: as above.
    """
    chosen = [r for r in all_results if r.name in rule.settings]
    needed = {*NAMING, *JUDGING}
    finished = [r for r in chosen if needed <= r.areas.get(ours, {}).keys()]
    number = len(rule.settings)
    if len(finished) < number:
        return (
            f"There is no verdict yet: {len(finished)} of {number} settings have all "
            f"{len(needed)} seeds.\n\n"
        )
    lines = []
    for kind in ("all", *KINDS):
        part = [r for r in finished if kind in ("all", kind_of(r.setting))]
        if part:
            lines.append(f"- {kind}: {_of_part(part, ours, rivals, rule.must_beat)}\n")
    return "".join([*lines, "\n"])


def _of_part(part, ours, rivals, must_beat):
    compared = with_named_rivals(part, ours, rivals)
    good = sum(one.is_non_inferior for one in compared)
    worst = min(compared, key=lambda one: one.paired.mean_difference)
    pooled = referee.pool(part, ours, rivals, is_judged)
    beaten = [r.rival for r in pooled if r.mean > 0 and r.p_value_holm < LEVEL]
    is_met = (
        good >= SHARE_OF_SETTINGS * len(compared)
        and worst.paired.mean_difference >= -LARGEST_LOSS
        and {*must_beat} <= {*beaten}
    )
    return (
        f"**{'met' if is_met else 'not met'}**. Non-inferior to the named rival in "
        f"{good} of {len(compared)} settings; the least difference is "
        f"{as_points(worst.paired.mean_difference)} ({worst.setting}); better, pooled, "
        f"than {sum(rival in beaten for rival in must_beat)} of the {len(must_beat)} "
        f"that it must beat, and than {len(beaten)} of {len(pooled)} rivals."
    )
