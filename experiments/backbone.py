"""Features of a dataset by a frozen backbone, computed once and kept.

    python -m experiments.backbone cifar10    # features: 3 minutes on 2 CPU cores
    python -m experiments.backbone clinc150   # features: 1 minute

The command computes the features, of images by EfficientNet-Lite0 and of texts by
MiniLM-L6, which later runs then find in the cache folder, and tries them with a linear
probe: logistic regression on a few random labels. Expected on CIFAR-10: about 66, 78
and 82 % of the test examples right with 100, 500 and 3,000 labels; on CLINC150 with its
150 classes about 28, 64 and 92 %. The same probe on the features of random weights is
the control.
"""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from tyro.conf import Positional

from experiments.data import datasets
from experiments.data.kinds import TEXTS, AnyDataset
from experiments.engine import command_line
from experiments.frozen.features import compute, compute_of_texts, embed
from experiments.frozen.probe import linear_probe
from iwps_jax.backbones import bert, efficientnet, minilm


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command asks for."""

    dataset: Positional[str]
    """A dataset's name, as for the studies."""

    data_dir: str | None = None
    """A folder with the dataset's files."""

    weights: str | None = None
    """The weights' file, of texts beside its tokenizer.json; without it the published
    ones are fetched."""

    seeds: int = 5
    """Random choices of labels in the probe."""


CONTROL_SIZES = 4_000, 2_000  # training and test samples that random weights see


def main(arguments: Sequence[str] | None = None) -> None:
    """Computes the features, probes them and those of random weights; prints both.

    A refusal is one sentence and exit code 2.
    """
    options = command_line.parse(Options, "backbone", __doc__, arguments)
    with command_line.refusals_in_one_sentence("continues the computation"):
        dataset = datasets.load(options.dataset, options.data_dir)
        _report(dataset, options)


def _report(dataset: AnyDataset, options: Options) -> None:
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
    control_scores = linear_probe(
        *_of_random_weights(dataset, options.weights), num_seeds=options.seeds
    )
    print(f"linear probe, test accuracy in % ± sd over {options.seeds} random choices")
    print(f"{'labels':>8}{'these weights':>18}{'random weights':>18}")
    for ours, random in zip(scores, control_scores, strict=True):
        cells = [
            f"{100 * s.mean:.1f} ± {100 * s.deviation:.1f}" for s in (ours, random)
        ]
        print(f"{ours.num_labels:>8,}{cells[0]:>18}{cells[1]:>18}")


def _of_random_weights(
    dataset: AnyDataset, weights: str | None
) -> Iterator[np.ndarray]:
    """Features and labels of some training samples, then of some test samples."""
    is_of_texts = dataset.kind == TEXTS
    if is_of_texts:
        state_dict = bert.random_state_dict(0, minilm.SIZES)
        network = bert.fold(state_dict, minilm.SIZES)
        encoder = minilm.load(weights)._replace(network=network)
        compute_rows = partial(compute_of_texts, encoder)
        splits = dataset.train_texts, dataset.test_texts
    else:
        network = efficientnet.fold(efficientnet.random_state_dict(seed=0))
        compute_rows = partial(compute, network)
        splits = dataset.train_images, dataset.test_images
    labels = dataset.train_labels, dataset.test_labels
    generator = np.random.default_rng(0)
    for samples, own_labels, size in zip(splits, labels, CONTROL_SIZES, strict=True):
        rows = np.arange(len(samples))[:size]
        if is_of_texts:  # their files may be sorted by class
            rows = np.sort(generator.permutation(len(samples))[:size])
            yield compute_rows([samples[row] for row in rows])
        else:
            yield compute_rows(samples[:size])
        yield own_labels[rows]


if __name__ == "__main__":
    main()
