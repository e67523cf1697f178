"""What the step length of the look-ahead changes in segmentation: 1e-3 to 1.

    python -m experiments.ablations.segmentation_learning_rate
    python -m experiments.ablations.segmentation_learning_rate --smoke
    python -m experiments.ablations.segmentation_learning_rate --dataset cityscapes \
        --network deeplabv3_resnet50 --data-dir DIR --seeds 5 --initial-size 248 \
        --acquire-size 122 --holdout-size 248

Paper: Aljundi et al. 2020, supplement §6, Fig. 7c, on Cityscapes; here on digit scenes
unless another data set is named. The supplement finds that large values improve the
model in the first rounds, and that smaller ones give slower but more stable gains. The
rates of its figure are not stated; these four are our choice. Random is drawn beside
them.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.segmentation import command
from experiments.segmentation.config import Config
from experiments.segmentation.methods import RATE_VARIANTS

SETTINGS = Config(
    methods=("random", *RATE_VARIANTS),
    out=Path("runs/ablations.segmentation_learning_rate"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the ablation with the options of the command line."""
    command.main("ablations.segmentation_learning_rate", __doc__, SETTINGS, arguments)


if __name__ == "__main__":
    main()
