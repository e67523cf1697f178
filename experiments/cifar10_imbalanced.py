"""Imbalanced CIFAR-10: eleven methods, five seeds.

    python -m experiments.cifar10_imbalanced                 # classes 1/10 as frequent
    python -m experiments.cifar10_imbalanced --imbalance 20  # 1/20, its own settings
    python -m experiments.cifar10_imbalanced --smoke         # a minute, on digits

Paper: Aljundi et al. 2020, supplement §4, §5 and, for 1/20, §5.5 and Fig. 5. Base class
size 100; 250 labels a round. Expected: IWPS and IWPS-app above Random,
and more of their picks wrongly predicted than of Random's.

The paper trains a ResNet: --network resnet18, for which a GPU is wanted; the default,
an MLP on the features of a frozen ImageNet backbone, is what a CPU can train fifty
times. The features are computed once and kept.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.classification import command
from experiments.classification.config import Config

SETTINGS = (
    Config(
        dataset="cifar10",
        network="efficientnet_lite0",
        imbalance=10,
        base_size=100,
        acquire_size=250,
        out=Path("runs/cifar10_imbalanced"),
    ),
    Config(
        dataset="cifar10",
        network="efficientnet_lite0",
        imbalance=20,
        base_size=100,
        # Supplement §5.5: balanced, a tenth of the initial set, here 525.
        holdout_per_class=5,
        acquire_size=250,
        out=Path("runs/cifar10_imbalanced_20"),
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    command.main("cifar10_imbalanced", __doc__, SETTINGS, arguments)


if __name__ == "__main__":
    main()
