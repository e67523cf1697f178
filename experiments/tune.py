"""Chooses the look-ahead's T and η as the paper did, before a label is bought.

    python -m experiments.tune                       # imbalanced MNIST, half a minute
    python -m experiments.tune --imbalance 1         # balanced
    python -m experiments.tune --smoke               # on digits

Paper: Aljundi et al. 2020, supplement §4: "set based on the accuracy of selecting
wrongly predicted samples in an initial experiment on the initial training sets". The
wrong-rate of the picks, by cross-validation on the initial labeled set: train on all
folds but one, score the samples of that fold, pick the highest quarter, and count the
wrong predictions among them. Nothing but the initial set and the holdout set is looked
at: no label of the pool, and no test label.

The recommendation follows the one-standard-error rule: of the settings whose wrong-rate
is within one standard error (paired over seeds) of the highest, the one with the fewest
steps, and of those the smallest step length.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

import iwps_jax
from experiments.classification.config import Config
from experiments.classification.run import make_splits
from experiments.classification.splits import Split
from experiments.classification.study import ONE_SEED, Study, make_study
from experiments.data import datasets
from experiments.engine import command_line
from experiments.engine.command_line import ConfigError
from iwps_jax.atomic_write import write_atomically
from iwps_jax.loop import LoopState

LEARNING_RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
STEPS = (1, 3, 10)
PICKED_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class Options:
    """What is tuned, and for which study."""

    dataset: str = "mnist"
    """mnist, kmnist, fashion_mnist, svhn, cifar10 or digits."""
    network: str = "mlp"
    """mlp, resnet18 or efficientnet_lite0."""
    imbalance: int = 10
    """How many times rarer a minority class is; 1 is balanced."""
    base_size: int = 20
    """Initially labeled samples of each majority class."""
    holdout_per_class: int = 5
    """Held-out samples of each class."""
    seeds: int = 5
    """Number of initial sets."""
    folds: int = 5
    """Parts of each initial set, left out in turn."""
    learning_rates: tuple[float, ...] = LEARNING_RATES
    """Step lengths η to try."""
    steps: tuple[int, ...] = STEPS
    """Numbers of steps T to try."""
    data_dir: Path | None = None
    """Folder of prepared TFDS data or of the official files."""
    out: Path | None = None
    """JSON file for the grid."""
    smoke: bool = False
    """Try it on digits, with 2 seeds."""


class Tuning(NamedTuple):
    """Wrong-rates, each a share of the picks.

    Attributes:
        wrong_rate: [seeds, steps, rates] of IWPS.
        first_order: [seeds] of IWPS-app, which has neither T nor η.
        everywhere: [seeds] among all samples, which is what Random expects.
    """

    wrong_rate: np.ndarray
    first_order: np.ndarray
    everywhere: np.ndarray


def assign_folds(labels: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """A fold for every sample; the samples of a class are spread over the folds.

    Args:
        labels: [n] classes.
        num_folds: number of folds.
        seed: draws who goes where.

    Returns:
        [n] folds in 0 .. num_folds - 1, of sizes that differ by at most one.

    Example:
        >>> sorted(assign_folds(np.array([0, 0, 0, 1, 1, 1]), 3, seed=0).tolist())
        [0, 0, 1, 1, 2, 2]
    """
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    folds = np.empty(len(labels), int)
    folds[by_class] = np.arange(len(labels)) % num_folds
    return folds


def recommend(wrong_rate: np.ndarray) -> tuple[int, int]:
    """Positions of T and η by the one-standard-error rule.

    Args:
        wrong_rate: [seeds, steps, rates], both in ascending order.

    Returns:
        The fewest steps, then the smallest rate, within one standard error of the
        best; with one seed, the first of the best.

    Example:
        >>> recommend(np.array([[[0.1, 0.5, 0.5]], [[0.2, 0.6, 0.7]]]))
        (0, 1)
    """
    mean = wrong_rate.mean(0)
    best = np.unravel_index(mean.argmax(), mean.shape)
    behind = wrong_rate[:, best[0], best[1], None, None] - wrong_rate
    error = 0.0
    if len(wrong_rate) > 1:
        error = behind.std(0, ddof=1) / np.sqrt(len(wrong_rate))
    within = behind.mean(0) <= error + 1e-12
    step, rate = np.argwhere(within)[0]
    return int(step), int(rate)


def tune(options: Options) -> Tuning:
    """Wrong-rates of all settings, cross-validated on the initial sets."""
    # One round of one sample: nothing is acquired, only the sizes must fit.
    config = Config(
        dataset=options.dataset,
        network=options.network,
        imbalance=options.imbalance,
        base_size=options.base_size,
        holdout_per_class=options.holdout_per_class,
        seeds=options.seeds,
        rounds=1,
        acquire_size=1,
    )
    dataset = datasets.load(config.dataset, options.data_dir)
    splits = [
        leave_out(split, dataset.train_labels, fold, options.folds, seed)
        for seed, split in enumerate(make_splits(config, dataset))
        for fold in range(options.folds)
    ]
    study = make_study(config, dataset, splits)
    train = study.compile_train()
    state = train(study.keys, study.first_state, study.view, study.pool_labels)
    predicted, exact, first_order = _score_all(study, state, options)
    wrong = predicted != np.asarray(study.pool_labels)
    is_left_out = ~np.asarray(state.labeled)

    def rate_of(scores):
        """Wrong-rate by seed of the highest quarter of every fold."""
        by_model = [
            wrong_among_picks(*model)
            for model in zip(scores, wrong, is_left_out, strict=True)
        ]
        counts = np.array(by_model).reshape(options.seeds, options.folds, 2).sum(1)
        return counts[:, 0] / counts[:, 1]

    rates = [
        [rate_of(exact[t, r]) for r in range(exact.shape[1])] for t in range(len(exact))
    ]
    per_seed = (options.seeds, -1)
    return Tuning(
        wrong_rate=np.moveaxis(np.array(rates), -1, 0),
        first_order=rate_of(first_order),
        everywhere=(wrong & is_left_out).reshape(per_seed).sum(1)
        / is_left_out.reshape(per_seed).sum(1),
    )


def leave_out(
    split: Split, labels: np.ndarray, fold: int, num_folds: int, seed: int
) -> Split:
    """The initial set of a split as a pool whose samples of one fold are unlabeled."""
    ids = split.pool_ids[split.labeled]
    folds = assign_folds(labels[ids], num_folds, seed)
    return split._replace(pool_ids=ids, labeled=folds != fold)


def wrong_among_picks(
    scores: np.ndarray, wrong: np.ndarray, where: np.ndarray
) -> tuple[int, int]:
    """Wrong predictions among the highest quarter, and how many that are.

    Args:
        scores: [n] bigger = pick it first; ties to the lower row.
        wrong: [n] whether the prediction is wrong.
        where: [n] which rows can be picked.

    Returns:
        Two counts.

    Example:
        >>> scores, wrong = np.array([4.0, 3, 2, 1, 9]), np.array([1, 0, 0, 0, 1])
        >>> wrong_among_picks(scores, wrong, np.arange(5) < 4)
        (1, 1)
    """
    rows = np.flatnonzero(where)
    order = rows[np.argsort(-scores[rows], kind="stable")]
    picks = order[: int(np.ceil(PICKED_SHARE * len(rows)))]
    return int(wrong[picks].sum()), len(picks)


def _score_all(study: Study, state: LoopState, options: Options):
    """Predictions, IWPS of every setting and IWPS-app of every model and row."""
    network = study.setting.network

    def score(variables, view):
        features = network.features(variables, view.inputs[view.pool_ids])
        judges = network.features(variables, view.inputs[view.holdout_ids])
        head, labels = network.head(variables), view.holdout_labels
        exact = [
            [
                iwps_jax.iwps_last_layer(
                    features, *head, judges, labels, steps=steps, learning_rate=rate
                )
                for rate in options.learning_rates
            ]
            for steps in options.steps
        ]
        predicted = (features @ head[0] + head[1][None]).argmax(-1)
        first_order = iwps_jax.iwps_app_last_layer(features, *head, judges, labels)
        return predicted, jnp.array(exact), first_order

    of_all = jax.jit(study.over_seeds(score, (0, ONE_SEED)))
    predicted, exact, first_order = of_all(state.train_state.variables, study.view)
    # [models, steps, rates, rows] -> [steps, rates, models, rows]
    exact = np.moveaxis(np.asarray(exact), 0, 2)
    return np.asarray(predicted), exact, np.asarray(first_order)


def print_grid(
    tuning: Tuning, options: Options, console: Console | None = None
) -> None:
    """Prints the grid, the recommended setting and what to compare it with."""
    console = console or Console(width=100)
    step, rate = recommend(tuning.wrong_rate)
    table = Table(
        title=f"Wrong-rate of the picks in %, {options.dataset}, {options.network}, "
        f"1/{options.imbalance}, base {options.base_size}, {options.seeds} seeds",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("T")
    for value in options.learning_rates:
        table.add_column(f"η = {value:g}", justify="right")
    for t, steps in enumerate(options.steps):
        cells = [
            _mean_and_error(tuning.wrong_rate[:, t, r])
            + (" *" if (t, r) == (step, rate) else "")
            for r in range(len(options.learning_rates))
        ]
        table.add_row(str(steps), *cells)
    console.print(table)
    console.print(
        f"recommended (*): --steps {options.steps[step]} "
        f"--learning-rate {options.learning_rates[rate]:g}\n"
        f"IWPS-app, without T and η: {_mean_and_error(tuning.first_order)}; "
        f"all samples: {_mean_and_error(tuning.everywhere)}.\n"
        "Mean over the initial sets ± standard error.",
        highlight=False,
    )


def _mean_and_error(rates: np.ndarray) -> str:
    text = f"{100 * rates.mean():.1f}"
    if len(rates) == 1:
        return text
    return f"{text} ± {100 * rates.std(ddof=1) / np.sqrt(len(rates)):.1f}"


def as_json(tuning: Tuning, options: Options) -> dict:
    """The grid with its settings, as JSON."""
    step, rate = recommend(tuning.wrong_rate)
    settings = dataclasses.asdict(options)
    for where in ("data_dir", "out", "smoke"):
        del settings[where]
    return {
        "settings": settings,
        "picked_share": PICKED_SHARE,
        "wrong_rate": tuning.wrong_rate.round(4).tolist(),
        "wrong_rate_of_iwps_app": tuning.first_order.round(4).tolist(),
        "wrong_rate_of_all": tuning.everywhere.round(4).tolist(),
        "recommended": {
            "steps": options.steps[step],
            "learning_rate": options.learning_rates[rate],
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Tunes with the options of the command line."""
    given = command_line.program_arguments(arguments)
    small = Options(dataset="digits", seeds=2)
    options = command_line.parse(
        Options, "tune", __doc__, given, small if "--smoke" in given else Options()
    )
    with command_line.refusals_in_one_sentence("starts anew"):
        check(options)
        if options.out is not None:
            command_line.output_folder(options.out.parent)
        tuning = tune(options)
    print_grid(tuning, options)
    if options.out is not None:
        content = json.dumps(as_json(tuning, options), indent=1) + "\n"
        write_atomically(options.out, content.encode())


def check(options: Options) -> None:
    """Refuses grids that make no sense, with a sentence each."""
    if options.folds < 2:
        raise ConfigError(f"folds must be at least 2, got {options.folds}.")
    for name in ("learning_rates", "steps"):
        values = getattr(options, name)
        if not values or min(values) <= 0 or list(values) != sorted(set(values)):
            raise ConfigError(
                f"{name} must be positive, ascending and at least one, got {values}."
            )


if __name__ == "__main__":
    main()
