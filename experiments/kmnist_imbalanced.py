"""Imbalanced KMNIST: eleven methods, five seeds.

    python -m experiments.kmnist_imbalanced                 # classes 1/10 as frequent
    python -m experiments.kmnist_imbalanced --imbalance 20  # 1/20, its own settings
    python -m experiments.kmnist_imbalanced --smoke         # a minute, on digits

Paper: Aljundi et al. 2020, supplement §4, §5 and, for 1/20, §5.5 and Fig. 5. Base class
size 20, at 1/20 40; 50 labels a round. Expected: IWPS and IWPS-app above Random,
and more of their picks wrongly predicted than of Random's.

Kuzushiji-MNIST is downloaded, or read from the folder --data-dir with its four IDX
files; no package registry ships it.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.classification import command
from experiments.classification.config import Config

SETTINGS = (
    Config(
        dataset="kmnist",
        imbalance=10,
        base_size=20,
        acquire_size=50,
        out=Path("runs/kmnist_imbalanced"),
    ),
    Config(
        dataset="kmnist",
        imbalance=20,
        base_size=40,
        # Supplement §5.5: balanced, a tenth of the initial set, here 210.
        holdout_per_class=2,
        acquire_size=50,
        out=Path("runs/kmnist_imbalanced_20"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    command.main("kmnist_imbalanced", __doc__, SETTINGS, arguments)


if __name__ == "__main__":
    main()
