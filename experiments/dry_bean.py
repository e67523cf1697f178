"""Dry Bean: rows of a table, as imbalanced as nature made them.

    python -m experiments.dry_bean                  # an MLP
    python -m experiments.dry_bean --network table_linear
    python -m experiments.dry_bean --dataset pendigits
    python -m experiments.dry_bean --smoke          # half a minute, on 144 wines

Seven varieties, 16 measures of a bean's outline; the most frequent variety has seven
times as many beans as the rarest. The columns are scaled by median and quartiles. 20
labels of the most frequent variety at first, and of the others in proportion; 50 a
round. The data have no official test set: every fifth bean of a variety is a test bean.
Expected: with every method some 90 % of the test beans right at the end.
"""

from collections.abc import Sequence
from pathlib import Path

from experiments.classification import command
from experiments.classification.config import Config

METHODS = (
    "random",
    "margin",
    "badge",
    "uncertainty_herding",
    "bait",
    "iwps",
    "iwps_batch",
)
SETTINGS = (
    Config(
        methods=METHODS,
        dataset="dry_bean",
        network="table_mlp",
        distribution="natural",
        imbalance=1,
        test_sets=("official", "pool"),
        base_size=20,
        acquire_size=50,
        out=Path("runs/dry_bean"),
    ),
)
SMOKE = {
    "dataset": "wine",
    "seeds": 2,
    "rounds": 2,
    "base_size": 5,
    "acquire_size": 10,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    command.main("dry_bean", __doc__, SETTINGS, arguments, smoke=SMOKE)


if __name__ == "__main__":
    main()
