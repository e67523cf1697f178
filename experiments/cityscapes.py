"""Cityscapes: the paper's segmentation study.

    python -m experiments.cityscapes --data-dir DIR
    python -m experiments.cityscapes --data-dir DIR --precision bfloat16 --parts 3

DIR holds the official `leftImg8bit` and `gtFine` folders, or the two zip files of the
official site. DeepLabv3 with ResNet-50 from ImageNet weights (`--weights FILE`, or
fetched), for a GPU: `--parts` cuts a minibatch of 24 windows of 712² into parts where
memory is short. On a CPU, `--network efficientnet_lite0` trains a small head on the
maps of a frozen backbone instead.

Paper: Aljundi et al. 2020, supplement §6 and Fig. 7c: 248 scenes labeled at first, 122
a round, 248 for validation, the 500 official validation scenes as test, five runs. The
number of rounds is not stated; five is our choice.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.segmentation import command
from experiments.segmentation.config import Config

SETTINGS = Config(
    dataset="cityscapes",
    network="deeplabv3_resnet50",
    seeds=5,
    initial_size=248,
    acquire_size=122,
    holdout_size=248,
    out=Path("runs/cityscapes"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    command.main("cityscapes", __doc__, SETTINGS, arguments)


if __name__ == "__main__":
    main()
