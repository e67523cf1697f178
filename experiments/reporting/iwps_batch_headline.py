"""The claims about one method against all others, from the report's JSON alone.

The committed `experiments/results/beyond.json` holds every comparison with its p-value,
so all numbers here can be computed from it again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.reporting import statistics

KINDS = ("balanced", "imbalanced")


def headline(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Counts, means and losses against the baselines.

    Args:
        summary: the result of `iwps_batch_study.summarize`, or the committed JSON.

    Returns:
        `num_comparisons`, the number of comparisons with all baselines in all settings
        in which they ran; `baselines`, by method and then by kind of setting:
        `settings`, their number; `mean`, ours minus the other; `better` and `worse`,
        the number of settings after Holm's correction within the setting;
        `better_of_all` and `worse_of_all`, the same after Holm's correction for all
        comparisons; and `below`, the comparisons in which our mean is lower, the
        largest difference first.
    """
    imbalances = {s["name"]: s["imbalance"] for s in summary["settings"]}
    comparisons = [
        {"method": method, **setting}
        for method, result in summary["compared"].items()
        if result["is_baseline"]
        for setting in result["settings"]
    ]
    p_values = statistics.holm(np.array([c["p_value"] for c in comparisons])).tolist()
    for comparison, p_value in zip(comparisons, p_values, strict=True):
        comparison["p_value_of_all"] = p_value
        comparison["verdict_of_all"] = (
            comparison["verdict"]
            if comparison["verdict"] == "no verdict"
            else statistics.verdict(comparison["mean_difference"], p_value)
        )
        is_balanced = imbalances[comparison["name"]] == 1
        comparison["kind"] = KINDS[0] if is_balanced else KINDS[1]
    of_method: dict[str, list[dict[str, Any]]] = {}
    for comparison in comparisons:
        of_method.setdefault(comparison["method"], []).append(comparison)
    below = [c for c in comparisons if c["mean_difference"] < 0]
    return {
        "num_comparisons": len(comparisons),
        "baselines": {
            method: {
                kind: _counted([c for c in found if c["kind"] == kind])
                for kind in KINDS
            }
            for method, found in of_method.items()
        },
        "below": sorted(below, key=lambda c: c["mean_difference"]),
    }


def _counted(comparisons: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def count(key: str, verdict: str) -> int:
        return sum(c[key] == verdict for c in comparisons)

    differences = [c["mean_difference"] for c in comparisons]
    return {
        "settings": len(comparisons),
        "mean": float(np.mean(differences)) if differences else None,
        "better": count("verdict_holm", "better"),
        "worse": count("verdict_holm", "worse"),
        "better_of_all": count("verdict_of_all", "better"),
        "worse_of_all": count("verdict_of_all", "worse"),
    }
