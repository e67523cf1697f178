"""A simulated week of labeling photos, texts or a table, from nothing.

    python -m experiments.labeling_week mnist fashion_mnist banking77 dry_bean
    python -m experiments.labeling_week --report    # the table of all results
    python -m experiments.labeling_week --smoke     # one short week on 1,797 digits

Per dataset and seed a pool is drawn; of images, half of the classes are ten times
rarer. `iwps embed` makes the features from PNG files, a file of texts or a table. A
campaign without a holdout set and without known classes, as `iwps init pool` begins it,
gets its labels day by day; one in ten samples is a control row. So does a campaign that
takes random samples. Both deliver a head that has learned all labels, and are compared
by its balanced accuracy on test samples, mean over the evenings. Expected: at least 3
points more than Random on the images, and not less on texts and tables; ten to twenty
minutes a dataset on two shared cores, embedding included.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from tyro import conf

from experiments.data import datasets
from experiments.data.kinds import AnyDataset
from experiments.engine import command_line
from experiments.engine.command_line import ConfigError
from experiments.engine.run_folder import versions
from experiments.labeling.pools import Embedded, embedded
from experiments.labeling.week import ARMS, play
from iwps_jax import methods
from iwps_jax.app.campaign.state import RECOMMENDED
from iwps_jax.atomic_write import write_atomically
from iwps_jax.refusal import nearest


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
}
SMOKE = {"digits": Plan(80, 20, 10, 0, 20)}
DAYS = 5


@dataclasses.dataclass(frozen=True)
class Options:
    """Which datasets, and where their files lie."""

    names: conf.Positional[tuple[str, ...]] = ()
    """Datasets."""
    seeds: int = 5
    """Number of seeds, from 0 on."""
    data_dir: Path | None = None
    """Folder of prepared TFDS data or of the official files."""
    out: Path = Path("runs/labeling_week")
    """Folder for photos, texts, tables and features."""
    results: Path = Path("experiments/results/labeling_week")
    """Folder for the files of results."""
    report: bool = False
    """Run nothing: print the table of all files of results."""
    smoke: bool = False
    """Try it on scikit-learn's digits: one seed, two days."""


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


def run(name: str, plan: Plan, options: Options, days: int) -> dict[str, Any]:
    """All weeks of a dataset, as its file of results holds them."""
    began = time.perf_counter()
    dataset = datasets.load(name, options.data_dir)
    rows = drawn_rows(dataset, plan)
    samples = embedded(dataset, rows, options.out / name)
    of_training = int((rows < len(dataset.train_labels)).sum())
    if len(samples.labels) != len(rows):
        raise ConfigError(f"iwps embed kept {len(samples.labels)} of {len(rows)} rows.")
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
                days=days,
                labels_a_day=plan.labels_a_day,
            )
            evenings.append([day._asdict() for day in week])
            shown = " ".join(f"{100 * day.balanced_accuracy:.1f}" for day in week)
            print(f"{name}, seed {seed}, {arm}: {shown}", flush=True)
    return {
        "dataset": name,
        **plan._asdict(),
        "seeds": options.seeds,
        "days": days,
        "pool_rows": len(pool.labels),
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "data_sha256": dataset.sha256,
        "versions": versions(),
        "weeks": weeks,
    }


def table(all_results: Sequence[dict]) -> str:
    """Balanced accuracy, mean over the evenings; ± is the standard deviation."""
    lines = [
        "| dataset | labels | recommended | Random | difference | 95 % interval | "
        "control intervals that hold |",
        "|---|---|---|---|---|---|---|",
    ]
    for results in all_results:
        means = {
            arm: np.array([_mean_of_week(week) for week in weeks])
            for arm, weeks in results["weeks"].items()
        }
        ours, random = means[RECOMMENDED], means[methods.RANDOM.name]
        gains, n = ours - random, len(ours)
        gain, spread, half = gains.mean(), np.nan, np.nan
        if n > 1:
            spread = np.std(gains, ddof=1)
            half = float(stats.t.ppf(0.975, n - 1) * stats.sem(gains))
        days = (day for week in results["weeks"][RECOMMENDED] for day in week)
        told = [day["covered"] for day in days if day["covered"] is not None]
        cells = (
            results["dataset"],
            results["days"] * results["labels_a_day"],
            f"{ours.mean():.1f}",
            f"{random.mean():.1f}",
            f"{gain:+.1f} ± {spread:.1f}",
            f"{gain - half:+.1f} to {gain + half:+.1f}",
            f"{sum(told)} of {len(told)}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _mean_of_week(week) -> float:
    return 100 * float(np.mean([day["balanced_accuracy"] for day in week]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Plays weeks with the options of the command line."""
    arguments = command_line.program_arguments(arguments)
    options = command_line.parse(Options, "labeling_week", __doc__, arguments)
    plans, days = PLANS, DAYS
    if options.smoke:
        plans, days = SMOKE, 2
        folder = Path("runs/smoke/labeling_week")
        options = dataclasses.replace(
            options, names=("digits",), seeds=1, out=folder, results=folder
        )
    with command_line.refusals_in_one_sentence():
        for name in options.names:
            if name not in plans:
                raise ConfigError(nearest(name, "dataset", tuple(plans)))
        if not options.names and not options.report:
            raise ConfigError(f"name at least one of {', '.join(plans)}.")
        for name in options.names:
            results = run(name, plans[name], options, days)
            options.results.mkdir(parents=True, exist_ok=True)
            path = options.results / f"{name}.json"
            write_atomically(path, json.dumps(results, indent=1))
            print(f"results: {path}")
        paths = [options.results / f"{name}.json" for name in plans]
        found = [json.loads(path.read_text("utf-8")) for path in paths if path.exists()]
        if found:
            print(table(found))


if __name__ == "__main__":
    main()
