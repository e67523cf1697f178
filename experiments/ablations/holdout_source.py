"""A holdout set against a random subset of the training set, as the judge of IWPS.

    python -m experiments.ablations.holdout_source
    python -m experiments.ablations.holdout_source --smoke    # on digits

Paper: Aljundi et al. 2020, supplement §5.2, Fig. 6 a and b: balanced and imbalanced
MNIST. Expected: the training subset is worse, for its loss is close to zero already.
It is drawn anew every round, as large as the holdout set.
"""

from collections.abc import Sequence

from experiments.classification import series
from experiments.classification.config import Config

METHODS = (
    "random",
    "iwps",
    "iwps_on_training",
    "iwps_app",
    "iwps_app_on_training",
)
RUNS = {
    "balanced": Config(methods=METHODS, imbalance=1),
    "imbalanced": Config(methods=METHODS, imbalance=10),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the ablation with the options of the command line."""
    series.main("ablations.holdout_source", __doc__, RUNS, arguments)


if __name__ == "__main__":
    main()
