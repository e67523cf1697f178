"""From the files of units to verdicts: one method against rivals, setting by setting.

The number of a seed is a measure's mean over the rounds *after* the start, which all
methods share. A setting's units are divided by their seeds:

    below 100        to choose methods on
    1000 to 1009     names the best rival of the setting, and nothing else
    1010 to 1039     the verdicts

so that no rival is named on the seeds on which it is then compared: the best of twenty
is partly luck.

**Non-inferior**: the lower end of the 95 % paired t interval of ours minus the named
rival is above -`MARGIN`. **Better**: p < 0.05 in the paired t-test after Holm's
correction for all comparisons of the table.

The rule, written before any seed from 1000 on ran:

1. Ours is `balanced_herding`, with the constants that it has by default. It was chosen
   on MNIST, CLINC150 and Dry Bean with seeds below 100.
2. A rival is every other method of `experiments.referee.METHODS` whose name does not
   begin with `iwps`. So `pool_herding` is one: it is UHerding with the mean distance in
   place of the least as bandwidth. UHerding itself runs at T = 1: with equal labels no
   holdout set is left to fit T.
3. The verdict is that of balanced accuracy in mode *equal labels*, over all settings of
   the datasets that are not in `settings.SEEN`, seeds 1010 to 1039. The other modes
   have seeds 1010 to 1019, stand in tables of their own, and decide nothing.
4. Ours is recommended if it is non-inferior to the named rival in at least nine of ten
   settings, is in no setting worse by more than 1.5 points on average, and is better
   than Random, Margin and BADGE, each pooled over all settings, after Holm's correction
   for all rivals.
5. If that fails, ours may still be recommended for a kind of pools (balanced,
   imbalanced, long-tailed, natural) whose settings alone meet 4. For every other kind
   the README names the rival with the highest mean over the settings of that kind in
   which it can take part.
6. A unit that failed is run again with the same seeds; no unit is left out, none is run
   twice with another form of a method, and there is no verdict before all have run.

**Pooled**: the number of a seed is the mean over the settings, ours minus the rival's.
The test is the paired t-test over the seeds: it speaks of these settings. The interval
beside it is a bootstrap that draws datasets, settings and seeds. It shows how much the
settings differ, and gives no p-value: five datasets are too few for one.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.reporting import statistics
from experiments.reporting.statistics import PairedComparison
from iwps_jax.refusal import Refusal

MARGIN = 0.005
"""Half a point."""
PRIMARY = "balanced_accuracy"
CHOOSING = range(100)
NAMING = range(1000, 1010)
JUDGING = range(1010, 1040)
NUM_RESAMPLES = 9_999


class Results(NamedTuple):
    """A setting with what its units measured.

    Attributes:
        name: of the setting.
        setting: its dataset, distribution and so on, as the files hold them.
        areas: by method, then by seed, then by measure, the mean over the rounds after
            the start.
        num_labeled: before each round and after the last.
        minutes: over all units.
    """

    name: str
    setting: dict[str, Any]
    areas: dict[str, dict[int, dict[str, float]]]
    num_labeled: list[int]
    minutes: float


def read_units(folder: Path) -> list[Results]:
    """Reads all files of results in a folder, the units of a setting as one.

    Raises:
        Refusal: if a file is not one of results, or two hold one seed of a method.
    """
    found: dict[str, Results] = {}
    for path in sorted(folder.glob("*-seeds_*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            name, setting = content["name"], content["setting"]
            seeds, methods = content["seeds"], content["methods"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal(
                f"{path} must be a unit's file of results: {error}"
            ) from error
        results = found.setdefault(
            name, Results(name, setting, {}, content["num_labeled"], 0.0)
        )
        found[name] = results._replace(minutes=results.minutes + content["minutes"])
        for method, measures in methods.items():
            of_method = results.areas.setdefault(method, {})
            for at, seed in enumerate(seeds):
                if seed in of_method:
                    raise Refusal(f"{path} holds seed {seed} of {method} again.")
                of_method[seed] = {
                    measure: float(np.mean(values[at][1:]))
                    for measure, values in measures.items()
                }
    return list(found.values())


def values_of(
    results: Results, method: str, seeds: Iterable[int], measure: str = PRIMARY
) -> Float[np.ndarray, " seeds"]:
    """One number a seed, for those of the seeds that the method has."""
    of_method = results.areas.get(method, {})
    return np.array([of_method[s][measure] for s in seeds if s in of_method])


def best_rival(
    results: Results, rivals: Sequence[str], seeds: Sequence[int]
) -> str | None:
    """The rival with the highest mean on these seeds; None if none has any."""
    means = {
        rival: float(values_of(results, rival, seeds).mean())
        for rival in rivals
        if len(values_of(results, rival, seeds))
    }
    return max(means, key=means.__getitem__) if means else None


class Comparison(NamedTuple):
    """Ours against a rival in a setting.

    Attributes:
        setting: its name.
        rival: the other method.
        paired: the comparison over the seeds that both have.
        is_non_inferior: by the rule above.
        p_value_holm: of the paired test, corrected for the table.
        verdict: that of the corrected test.
    """

    setting: str
    rival: str
    paired: PairedComparison
    is_non_inferior: bool
    p_value_holm: float
    verdict: str


def compare(
    all_results: Sequence[Results],
    ours: str,
    rival_of: Callable[[Results], Iterable[str]],
    is_of_verdict: Callable[[int], bool],
    measure: str = PRIMARY,
) -> list[Comparison]:
    """A table of comparisons, corrected together.

    Args:
        all_results: the settings.
        ours: the method that is compared.
        rival_of: `rival_of(results)` names the rivals of a setting.
        is_of_verdict: `is_of_verdict(seed)`, which seeds count.
        measure: to compare by.
    """
    found = []
    for results in all_results:
        for rival in rival_of(results):
            shared = sorted(
                seed
                for seed in results.areas.get(ours, {})
                if seed in results.areas.get(rival, {}) and is_of_verdict(seed)
            )
            if rival != ours and shared:
                pair = (values_of(results, m, shared, measure) for m in (ours, rival))
                paired = statistics.paired_comparison(*pair)
                found.append((results.name, rival, paired))
    corrected = statistics.holm(np.array([paired.p_value for *_, paired in found]))
    return [
        Comparison(
            setting,
            rival,
            paired,
            paired.low is not None and paired.low > -MARGIN,
            float(p_value),
            statistics.corrected_verdict(paired, float(p_value)),
        )
        for (setting, rival, paired), p_value in zip(found, corrected, strict=True)
    ]


class Pooled(NamedTuple):
    """Ours minus a rival over several settings.

    Attributes:
        rival: the other method.
        num_settings: in which both ran.
        mean: of the settings' means.
        low: lower end of the 95 % interval over datasets, settings and seeds.
        high: its upper end.
        p_value: of the paired t-test over seeds.
        p_value_holm: corrected for all rivals.
    """

    rival: str
    num_settings: int
    mean: float
    low: float
    high: float
    p_value: float
    p_value_holm: float


def pool(
    all_results: Sequence[Results],
    ours: str,
    rivals: Sequence[str],
    is_of_verdict: Callable[[int], bool],
    measure: str = PRIMARY,
) -> list[Pooled]:
    """Ours minus each rival over all settings in which both ran, as said above.

    The interval is a percentile bootstrap in three levels: datasets are drawn with
    replacement, then settings within each, then seeds within each. The test takes the
    seeds that all of these settings have.
    """
    rows = []
    for rival in rivals:
        by_dataset: dict[str, list[np.ndarray]] = {}
        by_seed: list[dict[int, float]] = []
        for results in all_results:
            both = results.areas.get(ours, {}).keys() & results.areas.get(rival, {})
            shared = sorted(seed for seed in both if is_of_verdict(seed))
            if shared:
                pair = (values_of(results, m, shared, measure) for m in (ours, rival))
                values = np.subtract(*pair)
                by_dataset.setdefault(results.setting["dataset"], []).append(values)
                by_seed.append(dict(zip(shared, values.tolist(), strict=True)))
        if by_dataset and rival != ours:
            seeds = sorted(set.intersection(*map(set, by_seed)))
            means = np.array([np.mean([one[s] for one in by_seed]) for s in seeds])
            paired = statistics.paired_comparison(means, np.zeros(len(means)))
            rows.append((rival, *_bootstrap(by_dataset), paired.p_value))
    corrected = statistics.holm(np.array([row[-1] for row in rows]))
    return [
        Pooled(*row, p_value_holm=float(p_value))
        for row, p_value in zip(rows, corrected, strict=True)
    ]


def _bootstrap(
    by_dataset: Mapping[str, Sequence[np.ndarray]],
) -> tuple[int, float, float, float]:
    """Number of settings, mean, and both ends of the pooled difference."""
    generator = np.random.default_rng(0)
    groups = [by_dataset[name] for name in sorted(by_dataset)]
    mean = float(np.mean([values.mean() for group in groups for values in group]))
    sums, counts = np.zeros(NUM_RESAMPLES), np.zeros(NUM_RESAMPLES)
    for _ in groups:  # all resamples draw a dataset, then its settings, then seeds
        drawn = generator.integers(len(groups), size=NUM_RESAMPLES)
        for at, settings in enumerate(groups):
            rows = np.flatnonzero(drawn == at)
            counts[rows] += len(settings)
            for _ in settings:
                places = generator.integers(len(settings), size=len(rows))
                for place, values in enumerate(settings):
                    mine = rows[places == place]
                    size = len(mine), len(values)
                    seeds = generator.integers(len(values), size=size)
                    sums[mine] += values[seeds].mean(1)
    low, high = np.quantile(sums / counts, (0.025, 0.975))
    return sum(map(len, groups)), mean, float(low), float(high)


def as_table(results: Results, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Every method of a setting with its means over the seeds, the best first."""
    rows = []
    for method in results.areas:
        values = values_of(results, method, seeds)
        if len(values):
            error = statistics.standard_error(values)
            rows.append(
                {
                    "method": method,
                    "seeds": len(values),
                    "mean": float(values.mean()),
                    "se": None if error is None else float(error),
                    **{
                        measure: float(
                            values_of(results, method, seeds, measure).mean()
                        )
                        for measure in ("test_accuracy", "pool_accuracy", "macro_f1")
                    },
                }
            )
    return sorted(rows, key=lambda row: -row["mean"])
