"""Exact IWPS against its first-order version, on the same models.

    python -m experiments.ablations.exact_vs_first_order
    python -m experiments.ablations.exact_vs_first_order --smoke    # on digits

Along the rounds of IWPS, every trained model scores the pool by IWPS and by IWPS-app:
Spearman's rank correlation over the unlabeled rows, and how many of the picks the two
share, the overlap |A ∩ B| / b. The same again for longer look-aheads, since the two
must agree as η → 0 and part as the steps grow. Writes agreement.json and agreement.png.

Paper: Aljundi et al. 2020, Eq. 3 against Eq. 10; the supplement shows both in its Figs.
4 to 6 but not how far they agree.
"""

import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from scipy import stats

from experiments.classification.config import Config
from experiments.classification.methods import competitor
from experiments.classification.run import make_splits
from experiments.classification.study import (
    ONE_SEED,
    Study,
    compile_acquire,
    make_study,
)
from experiments.data import datasets
from experiments.engine import command_line
from iwps_jax import methods
from iwps_jax.atomic_write import write_atomically
from iwps_jax.loop import LoopState

LEARNING_RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclasses.dataclass(frozen=True)
class Options:
    """What is compared."""

    imbalance: int = 10
    """How many times rarer a minority class is; 1 is balanced."""
    seeds: int = 5
    """Number of repetitions."""
    rounds: int = 6
    """Acquisitions, by IWPS."""
    dataset: str = "mnist"
    """mnist, kmnist, fashion_mnist, svhn, cifar10 or digits."""
    network: str = "mlp"
    """mlp, resnet18 or efficientnet_lite0."""
    learning_rates: tuple[float, ...] = LEARNING_RATES
    """Step lengths η to compare at; the study's own is used for the picks."""
    data_dir: Path | None = None
    """Folder of prepared TFDS data or of the official files."""
    out: Path | None = None
    """Folder for the table and the picture."""
    smoke: bool = False
    """Try it on digits, with 2 seeds and 2 rounds."""


class Agreement(NamedTuple):
    """How far two scores agree, in every round and for every seed and step length.

    Attributes:
        correlation: [rounds, rates, seeds] Spearman's, over the unlabeled rows.
        overlap: [rounds, rates, seeds] share of the picks that are the same.
    """

    correlation: np.ndarray
    overlap: np.ndarray


def agreement(
    exact: np.ndarray, first_order: np.ndarray, where: np.ndarray, k: int
) -> tuple[float, float]:
    """Rank correlation of two scores, and overlap of their k highest.

    Args:
        exact: [pool] scores.
        first_order: [pool] scores of the same candidates.
        where: [pool] which rows count.
        k: number of picks.

    Returns:
        Spearman's correlation, and |A ∩ B| / k.

    Example:
        >>> exact, other = np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3])
        >>> rank, share = agreement(exact, other, np.ones(4, bool), 1)
        >>> round(float(rank), 6), share
        (0.8, 0.0)
    """
    rows = np.flatnonzero(where)
    exact, first_order = exact[rows], first_order[rows]
    picks = [
        set(np.argsort(-scores, kind="stable")[:k]) for scores in (exact, first_order)
    ]
    correlation = stats.spearmanr(exact, first_order).statistic
    return float(correlation), len(picks[0] & picks[1]) / k


def compare(config: Config, rates: Sequence[float], console: Console) -> Agreement:
    """Runs IWPS and compares the two scores on every model of it."""
    dataset = datasets.load(config.dataset, config.data_dir)
    study = make_study(config, dataset, make_splits(config, dataset))
    train = study.compile_train()
    acquire = compile_acquire(study, study.methods[methods.IWPS.name])
    score_both = _both_scores(study, rates)
    state, found = study.first_state, []
    for round_ in range(config.rounds):
        state = train(study.keys, state, study.view, study.pool_labels)
        found.append(_of_round(study, state, score_both, config.acquire_size))
        state, _ = acquire(study.keys, state, study.view, study.pool_labels)
        console.print(f"round {round_} of {config.rounds - 1}: done", highlight=False)
    return Agreement(*np.moveaxis(np.array(found), -1, 0))


def _both_scores(study: Study, rates: Sequence[float]) -> Callable:
    """`(variables, view) -> (exact [rates, pool], first order [pool])` of all seeds."""
    setting = study.setting

    def exact_at(rate):
        at_rate = setting._replace(learning_rate=rate)
        return competitor(at_rate, methods.IWPS).score

    first_order = competitor(setting, methods.IWPS_APP).score

    def score(key, variables, view):
        exact = jnp.stack([exact_at(rate)(key, variables, view) for rate in rates])
        return exact, first_order(key, variables, view)

    return jax.jit(study.over_seeds(score, (0, 0, ONE_SEED)))


def _of_round(
    study: Study, state: LoopState, score_both: Callable, acquire_size: int
) -> list[list[tuple[float, float]]]:
    """[rates][seeds] of (correlation, overlap) for one round's models."""
    exact, first_order = score_both(study.keys, state.train_state.variables, study.view)
    exact, first_order = np.asarray(exact), np.asarray(first_order)
    where = ~np.asarray(state.labeled)
    return [
        [
            agreement(exact[seed, rate], first_order[seed], where[seed], acquire_size)
            for seed in range(len(where))
        ]
        for rate in range(exact.shape[1])
    ]


def print_table(found: Agreement, rates: Sequence[float], console: Console) -> None:
    """Prints a row a step length: first round, last round, mean over all."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("η", justify="right")
    for quantity in ("rank correlation", "overlap of the picks, %"):
        for when in ("first round", "last", "all"):
            table.add_column(f"{quantity}\n{when}", justify="right")
    for rate, value in enumerate(rates):
        cells = []
        for values, form in ((found.correlation, "{:.4f}"), (found.overlap, "{:.1%}")):
            of_rate = values[:, rate].mean(-1)
            numbers = (of_rate[0], of_rate[-1], of_rate.mean())
            cells += [form.format(number).rstrip("%") for number in numbers]
        table.add_row(f"{value:g}", *cells)
    console.print(table)


def draw(found: Agreement, rates: Sequence[float], title: str) -> bytes:
    """A PNG: correlation and overlap over the rounds, a line for every step length."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(rates)))
    names = ("Spearman's rank correlation", "Overlap of the picks")
    for axes, name, values in zip(figure.subplots(1, 2), names, found, strict=True):
        for rate, color in enumerate(colors):
            mean = values[:, rate].mean(-1)
            axes.plot(mean, color=color, marker="o", label=f"η = {rates[rate]:g}")
            low, high = values[:, rate].min(-1), values[:, rate].max(-1)
            axes.fill_between(
                np.arange(len(mean)), low, high, color=color, alpha=0.15, linewidth=0
            )
        axes.set_xlabel("Round")
        axes.set_ylabel(name)
        axes.set_xticks(np.arange(len(values)))
        axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(frameon=False)
    figure.suptitle(f"{title}; bands: lowest to highest seed", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the ablation with the options of the command line."""
    name = "ablations.exact_vs_first_order"
    given = command_line.program_arguments(arguments)
    small = Options(dataset="digits", seeds=2, rounds=2)
    options = command_line.parse(
        Options, name, __doc__, given, small if "--smoke" in given else Options()
    )
    out = options.out or Path("runs/smoke" if options.smoke else "runs", name)
    console = Console(width=100)
    with command_line.refusals_in_one_sentence("starts anew"):
        config = Config(
            methods=(methods.IWPS.name,),
            imbalance=options.imbalance,
            seeds=options.seeds,
            rounds=options.rounds,
            dataset=options.dataset,
            network=options.network,
            data_dir=options.data_dir,
        )
        command_line.output_folder(out)
        found = compare(config, options.learning_rates, console)
    print_table(found, options.learning_rates, console)
    content = {
        "settings": config.settings(),
        "learning_rates": options.learning_rates,
        "axes": ["round", "learning rate", "seed"],
        "correlation": found.correlation.round(5).tolist(),
        "overlap": found.overlap.round(5).tolist(),
    }
    write_atomically(
        out / "agreement.json", (json.dumps(content, indent=1) + "\n").encode()
    )
    setting = f"{options.dataset}, 1/{options.imbalance}, {options.seeds} seeds"
    title = f"IWPS (T = {config.steps}) against IWPS-app on {setting}"
    write_atomically(out / "agreement.png", draw(found, options.learning_rates, title))
    console.print(f"{out}/agreement.json, agreement.png", highlight=False)


if __name__ == "__main__":
    main()
