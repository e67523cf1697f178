"""Frozen ImageNet features of a dataset, computed once and kept.

    python -m experiments.backbone cifar10    # features: 3 minutes on 2 CPU cores

The command computes the features, which later runs then find in the cache folder, and
tries them with a linear probe: logistic regression on a few random labels. Expected on
CIFAR-10: about 66, 78 and 82 % of the test examples right with 100, 500 and 3,000
labels. The same probe on the features of random weights is the control.
"""

import dataclasses
import time
from collections.abc import Sequence

from tyro.conf import Positional

from experiments.data import datasets
from experiments.data.datasets import Dataset
from experiments.engine import command_line
from experiments.frozen.features import compute, embed
from experiments.frozen.probe import linear_probe
from iwps_jax.backbones import efficientnet


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command asks for."""

    dataset: Positional[str]
    """A dataset's name, as for the studies."""

    data_dir: str | None = None
    """A folder with the dataset's files."""

    weights: str | None = None
    """The weights' file; without it the published ones are fetched."""

    seeds: int = 5
    """Random choices of labels in the probe."""


CONTROL_SIZES = 4_000, 2_000  # training and test images that random weights see


def main(arguments: Sequence[str] | None = None) -> None:
    """Computes the features, probes them and those of random weights; prints both.

    A refusal is one sentence and exit code 2.
    """
    options = command_line.parse(Options, "backbone", __doc__, arguments)
    with command_line.refusals_in_one_sentence("continues the computation"):
        dataset = datasets.load(options.dataset, options.data_dir)
        _report(dataset, options)


def _report(dataset: Dataset, options: Options) -> None:
    seconds = time.perf_counter()
    features = embed(dataset, weights=options.weights)
    seconds = time.perf_counter() - seconds
    print(f"{dataset.name}: {features.description} ({seconds:.1f} s)")
    scores = linear_probe(
        features.train,
        dataset.train_labels,
        features.test,
        dataset.test_labels,
        num_seeds=options.seeds,
    )
    control = efficientnet.fold(efficientnet.random_state_dict(seed=0))
    num_train, num_test = CONTROL_SIZES
    control_scores = linear_probe(
        compute(control, dataset.train_images[:num_train]),
        dataset.train_labels[:num_train],
        compute(control, dataset.test_images[:num_test]),
        dataset.test_labels[:num_test],
        num_seeds=options.seeds,
    )
    print(f"linear probe, test accuracy in % ± sd over {options.seeds} random choices")
    print(f"{'labels':>8}{'these weights':>18}{'random weights':>18}")
    for ours, random in zip(scores, control_scores, strict=True):
        cells = [
            f"{100 * s.mean:.1f} ± {100 * s.deviation:.1f}" for s in (ours, random)
        ]
        print(f"{ours.num_labels:>8,}{cells[0]:>18}{cells[1]:>18}")


if __name__ == "__main__":
    main()
