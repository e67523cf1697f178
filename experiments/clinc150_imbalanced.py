"""CLINC150: requests to an assistant, 150 intents in scope, imbalanced.

    python -m experiments.clinc150_imbalanced                  # a long tail, 1/10
    python -m experiments.clinc150_imbalanced --imbalance 100  # or 50: a longer one
    python -m experiments.clinc150_imbalanced --distribution minority
    python -m experiments.clinc150_imbalanced --dataset clinc150_domains  # ten classes
    python -m experiments.clinc150_imbalanced --smoke          # few requests

The network is an MLP on the embeddings of a frozen sentence encoder; they are computed
once, in one or two minutes, and kept. With 150 classes BAIT's matrices would have
150 x 256 rows: the study runs its form that is block-diagonal by class,
`bait_by_class`. The ten domains as classes are few enough for `bait`, which --methods
chooses. Expected: all methods above Random.
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
    "bait_by_class",
    "iwps",
    "iwps_batch",
)
SETTINGS = (
    Config(
        methods=METHODS,
        dataset="clinc150",
        network="minilm",
        distribution="long_tailed",
        imbalance=10,
        test_sets=("official", "pool"),
        base_size=5,
        pool_per_class=60,  # as a whole study in ten minutes allows
        holdout_per_class=2,
        acquire_size=100,  # every pick costs BAIT all classes
        rounds=4,
        seeds=3,
        out=Path("runs/clinc150_imbalanced"),
    ),
)
SMOKE = {
    "seeds": 2,
    "rounds": 2,
    "base_size": 2,
    "pool_per_class": 20,
    "acquire_size": 50,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the study with the options of the command line."""
    command.main("clinc150_imbalanced", __doc__, SETTINGS, arguments, smoke=SMOKE)


if __name__ == "__main__":
    main()
