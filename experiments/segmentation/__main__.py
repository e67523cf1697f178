"""Segmentation of digit scenes on a CPU, or of your own images with masks.

    python -m experiments.segmentation            # digit scenes, 20 minutes
    python -m experiments.segmentation --smoke    # a minute or two
    python -m experiments.segmentation --images photos --masks masks --classes road,car

Digit scenes are textured canvases with real MNIST digits on them, half of the digits
ten times rarer; a small DeepLabv3 learns from the feature maps of a frozen ImageNet
backbone. Nine methods, three seeds, 100 labeled scenes at first and 40 a round.

Paper: Aljundi et al. 2020, supplement §6 (T = 10, step length 1e-2, 10 random holdout
images for IWPS-app, MC-Dropout n = 10, SGD with early stopping, resumed every round).
"""

from collections.abc import Sequence

from experiments.segmentation import command
from experiments.segmentation.config import Config


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    command.main("segmentation", __doc__, Config(), arguments)


if __name__ == "__main__":
    main()
