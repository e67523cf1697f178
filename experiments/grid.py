"""A grid of base class sizes and acquire sizes: one run for every pair.

    python -m experiments.grid                       # imbalanced MNIST
    python -m experiments.grid --imbalance 1 --dataset fashion_mnist
    python -m experiments.grid --smoke               # two cells, on digits

Paper: Aljundi et al. 2020, supplement Figs. 3, 4 and 5, whose columns are such pairs.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments.classification import series
from experiments.classification.config import Config
from experiments.engine import command_line
from experiments.engine.command_line import ConfigError

BASE_SIZES = (10, 20, 40)
ACQUIRE_SIZES = (25, 50)


@dataclasses.dataclass(frozen=True)
class Options(series.Options):
    """What can be changed for all cells, and which cells there are."""

    imbalance: int = 10
    """How many times rarer a minority class is; 1 is balanced."""
    holdout_per_class: int | None = None
    """Held-out samples of each class; 5, or at 1/20 a tenth of the initial set."""
    base_sizes: tuple[int, ...] = BASE_SIZES
    """Initially labeled samples of each majority class."""
    acquire_sizes: tuple[int, ...] = ACQUIRE_SIZES
    """Samples labeled each round."""


def cells(
    config: Config,
    base_sizes: Sequence[int] = BASE_SIZES,
    acquire_sizes: Sequence[int] = ACQUIRE_SIZES,
) -> dict[str, Config]:
    """The settings of every cell by name, the same but for the two sizes.

    Example:
        >>> list(cells(Config(), (10, 20), (50,)))
        ['base10_acquire50', 'base20_acquire50']
    """
    if not base_sizes or not acquire_sizes:
        raise ConfigError("base_sizes and acquire_sizes must name at least one each.")
    # Cells of one acquire size come together: they share compiled programs.
    return {
        f"base{base}_acquire{acquire}": dataclasses.replace(
            config, base_size=base, acquire_size=acquire
        )
        for acquire in acquire_sizes
        for base in base_sizes
    }


def tenth_of_initial(config: Config) -> Config:
    """Holds out, class by class, a tenth of the initial set; at least one sample each.

    References:
        Aljundi et al. 2020, supplement §5.5, for classes 1/20 as frequent.

    Example:
        >>> tenth_of_initial(Config(imbalance=20, base_size=40)).holdout_per_class
        2
    """
    rare = max(config.base_size // config.imbalance, 1)
    per_class = (config.base_size + rare) / 2  # half of the classes are rare
    return dataclasses.replace(config, holdout_per_class=max(round(per_class / 10), 1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the grid with the options of the command line."""
    options = command_line.parse(
        Options, "grid", __doc__, command_line.program_arguments(arguments)
    )
    dataset = options.dataset or "mnist"
    kind = "balanced" if options.imbalance == 1 else f"imbalanced_{options.imbalance}"
    folder = Path("runs/smoke" if options.smoke else "runs", "grid")
    out = options.out or folder / f"{dataset}_{kind}"
    with command_line.refusals_in_one_sentence():
        runs = cells(
            Config(imbalance=options.imbalance),
            options.base_sizes,
            options.acquire_sizes,
        )
        if options.holdout_per_class is None and options.imbalance >= 20:
            runs = {name: tenth_of_initial(config) for name, config in runs.items()}
        series.run_all(series.configure(runs, options, out), out)


if __name__ == "__main__":
    main()
