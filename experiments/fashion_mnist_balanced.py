"""Balanced Fashion-MNIST: eleven methods, five seeds.

    python -m experiments.fashion_mnist_balanced
    python -m experiments.fashion_mnist_balanced --smoke  # about a minute, on digits

Paper: Aljundi et al. 2020, supplement §5.4, Fig. 4. 200 initial labels, 50 a round.
Expected: small differences between the methods.

Not in the paper; the same settings as for MNIST.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.classification import command
from experiments.classification.config import Config

SETTINGS = (
    Config(
        dataset="fashion_mnist",
        imbalance=1,
        base_size=20,
        acquire_size=50,
        out=Path("runs/fashion_mnist_balanced"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    command.main("fashion_mnist_balanced", __doc__, SETTINGS, arguments)


if __name__ == "__main__":
    main()
