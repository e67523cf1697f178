"""Balanced SVHN: eleven methods, five seeds.

    python -m experiments.svhn_balanced
    python -m experiments.svhn_balanced --smoke  # about a minute, on digits

Paper: Aljundi et al. 2020, supplement §5.4, Fig. 4. 1,000 initial labels, 250 a round.
Expected: small differences between the methods.

SVHN is downloaded, or read from the folder --data-dir with train_32x32.mat and
test_32x32.mat; no package registry ships it. The paper trains a ResNet: --network
resnet18, for which a GPU is wanted; the default is what a CPU can train fifty times.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.classification import command
from experiments.classification.config import Config

SETTINGS = (
    Config(
        dataset="svhn",
        network="efficientnet_lite0",
        imbalance=1,
        base_size=100,
        acquire_size=250,
        out=Path("runs/svhn_balanced"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    command.main("svhn_balanced", __doc__, SETTINGS, arguments)


if __name__ == "__main__":
    main()
