"""Tables of the referee's other units: parts of methods, constants, first batches.

All differences are in points of balanced accuracy, mean over rounds after the start: of
each setting the mean over its seeds, then the mean over settings ± the standard error
of that mean over settings. None of them is a verdict.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from experiments.reporting import referee
from experiments.reporting.markdown import as_points, markdown_table
from experiments.reporting.referee import Results
from experiments.reporting.statistics import standard_error
from experiments.reporting.styles import display_name


def differences(
    all_results: Sequence[Results], base: str
) -> dict[str, Float[np.ndarray, " settings"]]:
    """By method, its mean minus that of another one in every setting.

    NaN where a method did not take part.
    """
    methods = dict.fromkeys(m for results in all_results for m in results.areas)

    def of_setting(results, method):
        seeds = [
            seed
            for seed in results.areas.get(method, {})
            if seed in results.areas.get(base, {})
        ]
        if not seeds:
            return np.nan
        pair = (referee.values_of(results, m, seeds) for m in (method, base))
        return float(np.subtract(*pair).mean())

    return {
        method: np.array([of_setting(results, method) for results in all_results])
        for method in methods
    }


def variants_table(
    all_results: Sequence[Results], base: str, names: Sequence[str] | None = None
) -> str:
    """Every variant against its base: mean over settings, and the two ends of these.

    Args:
        all_results: the settings.
        base: the method that all are compared with.
        names: of the variants; all by default.
    """
    rows = []
    for method, values in differences(all_results, base).items():
        if names is not None and method not in names:
            continue
        values = values[~np.isnan(values)]
        if method != base and len(values):
            ends = f"{as_points(values.min())} to {as_points(values.max())}"
            rows.append([method, with_error(values), ends])
    head = (f"minus {display_name(base)}", "mean over settings", "least to largest")
    return markdown_table(head, rows)


def factorial_table(
    all_results: Sequence[Results], base: str, factors: Sequence[Sequence[str]]
) -> str:
    """Tells the worth of each level of each factor, averaged over all the others.

    Args:
        all_results: the settings.
        base: the method that all are compared with.
        factors: the levels of each, which stand between hyphens in the names.
    """
    found = differences(all_results, base)
    rows = []
    for levels in factors:
        for level in levels:
            of_level = [found[m] for m in found if level in m.split("-")]
            if of_level:
                rows.append([level, with_error(np.nanmean(of_level, axis=0))])
    everywhere = [m for m in found if not np.isnan(found[m]).any()]
    best = sorted(everywhere, key=lambda m: -found[m].mean())[:5]
    rows += [[f"{m} (of the best five)", with_error(found[m])] for m in best]
    head = ("level, over all others", f"minus {display_name(base)}")
    return markdown_table(head, rows)


def first_batch_table(
    all_results: Sequence[Results], base: str, columns: Mapping[str, Callable]
) -> str:
    """Each method minus another one, in columns of settings.

    Args:
        all_results: the settings.
        base: the method that all are compared with.
        columns: by heading, whether a setting belongs to it.
    """
    parts = {
        heading: differences([r for r in all_results if belongs(r.setting)], base)
        for heading, belongs in columns.items()
    }
    methods = dict.fromkeys(m for found in parts.values() for m in found if m != base)

    def cell(found, method):
        values = found.get(method, np.zeros(0))
        values = values[~np.isnan(values)]
        return with_error(values) if len(values) else ""

    rows = [
        [display_name(m), *(cell(found, m) for found in parts.values())]
        for m in methods
    ]
    return markdown_table((f"minus {display_name(base)}", *parts), rows)


def factors_table(
    all_results: Sequence[Results],
    others: Mapping[float, Sequence[Results]],
    base: str,
) -> str:
    """Each method minus another one, with all penalties as chosen and as multiplied.

    Args:
        all_results: the settings with the penalties as chosen.
        others: by factor, those that ran with other penalties.
        base: the method that all are compared with.
    """
    by_factor = {1.0: all_results, **others}
    shared = set.intersection(*({r.name for r in part} for part in by_factor.values()))
    found = {
        factor: differences([r for r in part if r.name in shared], base)
        for factor, part in by_factor.items()
    }
    factors = sorted(found)
    # Means over the same settings: those in which a method always took part.
    means = {
        m: [found[factor].get(m, np.array([np.nan])).mean() for factor in factors]
        for m in found[1.0]
        if m != base
    }
    methods = [m for m in means if not np.isnan(means[m]).any()]
    order = sorted(methods, key=lambda m: -found[1.0][m].mean())
    rows = [
        [display_name(m), *(with_error(found[f][m]) for f in factors)] for m in order
    ]
    heads = (f"penalties × {factor:g}" for factor in factors)
    return markdown_table((f"minus {display_name(base)}", *heads), rows)


def with_error(values: Float[np.ndarray, " settings"]) -> str:
    """Mean ± standard error in points; the mean alone of a single value.

    Example:
        >>> with_error(np.array([0.01, 0.02])), with_error(np.array([0.01]))
        ('+1.50 ± 0.50', '+1.00')
    """
    error = standard_error(values)
    text = as_points(float(values.mean()))
    return text if error is None else f"{text} ± {100 * error:.2f}"
