"""The look-ahead on the full network against the last layer alone.

    python -m experiments.ablations.full_network
    python -m experiments.ablations.full_network --smoke    # two cells, on digits

Paper: Aljundi et al. 2020, supplement §5.1, Fig. 3: imbalanced MNIST, base class sizes
10, 20 and 40, several acquire sizes. Expected: no significant difference.
"""

from collections.abc import Sequence

from experiments import grid
from experiments.classification import series
from experiments.classification.config import Config

RUNS = grid.cells(
    Config(methods=("random", "iwps", "iwps_full", "iwps_app", "iwps_app_full"))
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the ablation with the options of the command line."""
    series.main("ablations.full_network", __doc__, RUNS, arguments)


if __name__ == "__main__":
    main()
