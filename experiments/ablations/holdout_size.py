"""How many holdout samples of each class IWPS needs: 1, 2, 5, 10 or 20.

    python -m experiments.ablations.holdout_size
    python -m experiments.ablations.holdout_size --smoke    # on digits

Paper: Aljundi et al. 2020, supplement §5.2, Fig. 7 a and b: balanced and imbalanced
MNIST. Expected: only one sample of each class is worse. Training stops early by the
same 20 validation samples of each class for all; only what IWPS asks is varied.
"""

from collections.abc import Sequence

from experiments.classification import series
from experiments.classification.config import Config
from experiments.classification.variants import HOLDOUT_SIZE, HOLDOUT_SIZES

METHODS = ("random", *HOLDOUT_SIZE)
RUNS = {
    "balanced": Config(
        methods=METHODS, imbalance=1, holdout_per_class=max(HOLDOUT_SIZES)
    ),
    "imbalanced": Config(
        methods=METHODS, imbalance=10, holdout_per_class=max(HOLDOUT_SIZES)
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the ablation with the options of the command line."""
    series.main("ablations.holdout_size", __doc__, RUNS, arguments)


if __name__ == "__main__":
    main()
