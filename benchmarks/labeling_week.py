"""A simulated week of labeling photos, texts or a table, from nothing.

    python -m benchmarks.labeling_week mnist --out benchmarks/results/week_mnist.json
    python -m benchmarks.labeling_week --seeds 1 --days 2   # 1,797 digits, two minutes

The datasets: mnist, fashion_mnist, banking77, dry_bean and digits. Per seed a pool is
drawn; of images, half of the classes are ten times rarer. `iwps embed` makes the
features from PNG files, a file of texts or a table. A campaign without a holdout set
and without known classes, as `iwps init pool` begins it, gets its labels day by day;
one in ten samples is a control row. So does a campaign that takes random samples. Both
deliver a head that has learned all labels, and are compared by its balanced accuracy on
test samples, mean over the evenings. Expected: at least 3 points more than Random on
mnist and fashion_mnist, and not less on banking77 and dry_bean; ten to twenty minutes a
dataset on two shared cores, embedding included.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats
from tyro import conf

from benchmarks import command
from benchmarks.command import Positive
from benchmarks.embedded_pools import Embedded, embedded
from benchmarks.played_week import ARMS, play
from experiments.data import datasets
from experiments.data.kinds import AnyDataset
from experiments.engine.command_line import refusals_in_one_sentence
from iwps_jax import methods
from iwps_jax.app.campaign.state import RECOMMENDED
from iwps_jax.refusal import Refusal


class Plan(NamedTuple):
    """What is embedded and drawn of a dataset.

    Attributes:
        of_class: training samples of each class that are embedded; 0 for all.
        of_test: test samples of each class, likewise.
        rarity: how many times rarer the rare half of the classes is in a pool.
        pool_size: rows of a pool, where no class is rare; 0 for all.
        labels_a_day: how many.
    """

    of_class: int
    of_test: int
    rarity: int
    pool_size: int
    labels_a_day: int


IMAGES = Plan(500, 100, 10, 0, 40)
PLANS = {
    "mnist": IMAGES,
    "fashion_mnist": IMAGES,
    "banking77": Plan(0, 0, 1, 4000, 150),
    "dry_bean": Plan(0, 0, 1, 4000, 30),
    "digits": Plan(80, 20, 10, 0, 20),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the benchmark."""

    name: conf.Positional[str] = "digits"
    """the dataset"""
    seeds: Positive = 5
    """pools and campaigns"""
    days: Positive = 5
    """evenings on which labels are learned"""
    data_dir: Path | None = None
    """folder of prepared TFDS data or of the official files"""
    folder: Path = Path("runs/labeling_week")
    """folder for photos, texts, tables and features; they are made once"""
    out: Path | None = None
    """JSON file for the numbers"""


def drawn_rows(dataset: AnyDataset, plan: Plan) -> np.ndarray:
    """Positions to embed: the first so many of each class, then test samples."""
    parts, start = [], 0
    for labels, number in (
        (dataset.train_labels, plan.of_class),
        (dataset.test_labels, plan.of_test),
    ):
        kept = [np.flatnonzero(labels == c)[: number or None] for c in set(labels)]
        parts.append(start + np.sort(np.concatenate(kept)))
        start += len(labels)
    return np.concatenate(parts)


def pool_of(samples: Embedded, plan: Plan, seed: int) -> Embedded:
    """The pool of a seed."""
    rng = np.random.default_rng(seed)
    classes = np.unique(samples.labels)
    rare = rng.permutation(classes)[: len(classes) // 2] if plan.rarity > 1 else ()
    rows = [rng.permutation(np.flatnonzero(samples.labels == c)) for c in classes]
    kept = [
        some[: len(some) // plan.rarity] if c in rare else some
        for c, some in zip(classes, rows, strict=True)
    ]
    all_rows = rng.permutation(np.concatenate(kept))[: plan.pool_size or None]
    return Embedded(samples.features[all_rows], samples.labels[all_rows])


def measure(options: Options) -> dict[str, Any]:
    """All weeks of a dataset."""
    plan, dataset = PLANS[options.name], datasets.load(options.name, options.data_dir)
    rows = drawn_rows(dataset, plan)
    samples = embedded(dataset, rows, options.folder / options.name)
    of_training = int((rows < len(dataset.train_labels)).sum())
    if len(samples.labels) != len(rows):
        raise Refusal(f"iwps embed kept {len(samples.labels)} of {len(rows)} samples.")
    train, test = (
        Embedded(samples.features[part], samples.labels[part])
        for part in (slice(of_training), slice(of_training, None))
    )
    weeks: dict[str, list] = {arm: [] for arm in ARMS}
    for seed in range(options.seeds):
        pool = pool_of(train, plan, seed)
        for arm, evenings in weeks.items():
            week = play(
                *(pool, test, dataset.class_names, arm, seed),
                days=options.days,
                labels_a_day=plan.labels_a_day,
            )
            evenings.append([day._asdict() for day in week])
            shown = " ".join(f"{100 * day.balanced_accuracy:.1f}" for day in week)
            print(f"{options.name}, seed {seed}, {arm}: {shown}", flush=True)
    return {
        **plan._asdict(),
        "pool_rows": len(pool.labels),
        "data_sha256": dataset.sha256,
        "weeks": weeks,
    }


def summary(results: dict[str, Any]) -> dict[str, str]:
    """Balanced accuracy, mean over the evenings; ± is the standard deviation."""
    means = {
        arm: np.array([_mean_of_week(week) for week in weeks])
        for arm, weeks in results["weeks"].items()
    }
    gains = means[RECOMMENDED] - means[methods.RANDOM.name]
    found = {name: f"{values.mean():.1f}" for name, values in means.items()}
    found["difference"] = f"{gains.mean():+.1f}"
    if (n := len(gains)) > 1:
        half = float(stats.t.ppf(0.975, n - 1) * stats.sem(gains))
        low, high = gains.mean() - half, gains.mean() + half
        found["difference"] += f" ± {np.std(gains, ddof=1):.1f}"
        found["95 % interval"] = f"{low:+.1f} to {high:+.1f}"
    days = (day for week in results["weeks"][RECOMMENDED] for day in week)
    told = [day["covered"] for day in days if day["covered"] is not None]
    found["control intervals that hold"] = f"{sum(told)} of {len(told)}"
    return found


def _mean_of_week(week) -> float:
    return 100 * float(np.mean([day["balanced_accuracy"] for day in week]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Plays the weeks, prints the means and keeps all numbers."""
    options = command.parse(Options, "labeling_week", __doc__, arguments)
    with refusals_in_one_sentence("starts anew"):
        command.require_known("name", [options.name], [*PLANS])
        results = measure(options)
    told = summary(results)
    table = Table(*told, title=f"{options.name}: balanced accuracy of a week")
    table.add_row(*told.values())
    Console(width=100).print(table)
    command.finish(
        "labeling_week",
        options,
        {**results, "summary": told},
        ignored=("data_dir", "folder"),
    )


if __name__ == "__main__":
    main()
