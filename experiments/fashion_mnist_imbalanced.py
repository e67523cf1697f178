"""Imbalanced Fashion-MNIST: eleven methods, five seeds.

    python -m experiments.fashion_mnist_imbalanced                 # 1/10
    python -m experiments.fashion_mnist_imbalanced --imbalance 20  # 1/20
    python -m experiments.fashion_mnist_imbalanced --smoke         # on digits

Paper: Aljundi et al. 2020, supplement §4, §5 and, for 1/20, §5.5 and Fig. 5. Base class
size 20, at 1/20 40; 50 labels a round. Expected: IWPS and IWPS-app above Random,
and more of their picks wrongly predicted than of Random's.

Not in the paper; the same settings as for MNIST.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.classification import command
from experiments.classification.config import Config

SETTINGS = (
    Config(
        dataset="fashion_mnist",
        imbalance=10,
        base_size=20,
        acquire_size=50,
        out=Path("runs/fashion_mnist_imbalanced"),
    ),
    Config(
        dataset="fashion_mnist",
        imbalance=20,
        base_size=40,
        # Supplement §5.5: balanced, a tenth of the initial set, here 210.
        holdout_per_class=2,
        acquire_size=50,
        out=Path("runs/fashion_mnist_imbalanced_20"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    command.main("fashion_mnist_imbalanced", __doc__, SETTINGS, arguments)


if __name__ == "__main__":
    main()
