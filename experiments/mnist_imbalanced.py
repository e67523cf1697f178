"""Imbalanced MNIST: ten methods, five seeds, the paper's main comparison.

    python -m experiments.mnist_imbalanced            # under 6 minutes on 2 CPU cores
    python -m experiments.mnist_imbalanced --smoke    # under a minute, on tiny digits

Paper: Aljundi et al. 2020, supplement §4 and §5 (imbalance 1/10, base class size 20,
50 labels a round). Expected: IWPS and IWPS-app above Random, Entropy, MC-Dropout,
BALD and Coreset in the mean accuracy over the rounds; more than half of their picks
wrongly predicted, against a fifth of Random's.
"""

import sys
from collections.abc import Sequence

from experiments import command
from experiments.config import Config


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command.main("mnist_imbalanced", __doc__, Config(), arguments)


if __name__ == "__main__":
    main()
