"""What the methods pick, on a map of the features: initial labels, pool and picks.

    python -m experiments.tsne           # half a minute, balanced MNIST
    python -m experiments.tsne --smoke   # some twenty seconds, on digits

Paper: Aljundi et al. 2020, supplement §5.3, Fig. 1. 200 initial labels, one model
trained on them, and 50 picks each by Random, IWPS and IWPS-app from that model; the
picks are those of the first round of the study with the same settings
(`python -m experiments.mnist_balanced`). One t-SNE of the features before the last
layer, so that the panels share their map. Writes tsne.png and tsne.json.
Expected: Random picks within the clusters, the other two between them, where the
model is often wrong.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import iwps_jax
from experiments.classification.config import Config
from experiments.classification.run import RunError, make_splits
from experiments.classification.study import Study, compile_acquire, make_study
from experiments.data import datasets
from experiments.data.datasets import Dataset
from experiments.engine import command_line
from experiments.reporting.embedding_plot import Panel, Points, embedding_png
from experiments.reporting.styles import display_name, setting_name
from iwps_jax.atomic_write import write_atomically

METHODS = ("random", "iwps", "iwps_app")
MAX_COMPONENTS = 50  # of the principal component analysis before t-SNE
PERPLEXITY = 30.0


@dataclasses.dataclass(frozen=True)
class Options:
    """What is drawn; the first six are settings of the study."""

    dataset: str = "mnist"
    """mnist, kmnist, fashion_mnist, svhn, cifar10 or digits."""
    network: str = "mlp"
    """mlp, resnet18 or efficientnet_lite0."""
    base_size: int = 20
    """Initially labeled samples of each class."""
    acquire_size: int = 50
    """Picks of each method."""
    rounds: int = 6
    """Rounds of the study whose first one this is."""
    seeds: int = 5
    """Seeds of that study, trained side by side as there."""
    seed: int = 0
    """The one to draw."""
    background: int = 1500
    """Other samples of the pool, drawn at random, that show where the pool is."""
    data_dir: Path | None = None
    """Folder of prepared TFDS data or of the official files."""
    out: Path = Path("runs/tsne")
    """Folder for the picture and the coordinates."""
    smoke: bool = False
    """Try it on digits: 1 seed, 1 round, 20 picks, 300 other samples."""


SMOKE = {
    "dataset": "digits",
    "acquire_size": 20,
    "rounds": 1,
    "seeds": 1,
    "background": 300,
    "out": Path("runs/smoke/tsne"),
}


class Selection(NamedTuple):
    """What one trained model and the methods say of one seed's pool.

    Attributes:
        initial: rows labeled at first.
        picks: rows by method, in order.
        others: rows for the background, none of the above.
    """

    initial: np.ndarray
    picks: dict[str, np.ndarray]
    others: np.ndarray


class Map(NamedTuple):
    """Some rows of the pool on the plane; arrays run along the rows.

    Attributes:
        rows: sorted.
        ids: positions in the official training set.
        coordinates: [n, 2].
        true: classes.
        predicted: classes.
    """

    rows: np.ndarray
    ids: np.ndarray
    coordinates: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


def select(options: Options, study: Study) -> tuple[Selection, jax.Array]:
    """Trains on the initial labels and lets every method pick from that model.

    Returns:
        The rows of the seed that is drawn, and its trained variables.
    """
    train = study.compile_train()
    arguments = study.view, study.pool_labels
    state = train(study.keys, study.first_state, *arguments)
    picks = {}
    for name in METHODS:
        acquire = compile_acquire(study, study.methods[name])
        _, info = acquire(study.keys, state, *arguments)
        if int(info.num_nonfinite.sum()):
            raise RunError(f"{name} gave scores that are not finite.")
        picks[name] = np.asarray(info.picks[options.seed])
    labeled = np.asarray(state.labeled[options.seed])
    rest = np.setdiff1d(np.flatnonzero(~labeled), np.concatenate([*picks.values()]))
    generator = np.random.default_rng(options.seed)
    others = generator.permutation(rest)[: options.background]
    variables = jax.tree.map(
        lambda leaf: leaf[options.seed], state.train_state.variables
    )
    return Selection(np.flatnonzero(labeled), picks, others), variables


def make_map(options: Options, study: Study, selection: Selection, variables) -> Map:
    """Places all rows of a selection on the plane by their features."""
    network, view = study.setting.network, study.view
    rows = np.unique(
        np.concatenate([selection.initial, selection.others, *selection.picks.values()])
    )

    def look(inputs):
        return (
            network.features(variables, inputs),
            network.apply(variables, inputs).argmax(-1),
        )

    ids = np.asarray(view.pool_ids[options.seed])[rows]
    features, predicted = jax.jit(
        lambda inputs: iwps_jax.score_in_chunks(
            look, inputs, chunk_size=study.setting.chunk_size
        )
    )(view.inputs[ids])
    return Map(
        rows=rows,
        ids=ids,
        coordinates=embed(np.asarray(features), options.seed),
        true=np.asarray(study.pool_labels[options.seed])[rows],
        predicted=np.asarray(predicted),
    )


def embed(features: np.ndarray, seed: int) -> np.ndarray:
    """Places features on the plane by t-SNE of their principal components.

    Args:
        features: [n, d], at least five rows.
        seed: of t-SNE; equal seeds give equal coordinates.

    Returns:
        [n, 2] coordinates.

    References:
        van der Maaten, Hinton 2008, "Visualizing Data using t-SNE".
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    num_components = min(MAX_COMPONENTS, *features.shape)
    # Several threads wait for each other on busy cores, and add in another order.
    with threadpool_limits(1):
        components = PCA(num_components, svd_solver="full").fit_transform(
            features.astype(np.float64)
        )
        return TSNE(
            init="pca",
            perplexity=min(PERPLEXITY, (len(features) - 1) / 4),
            random_state=seed,
        ).fit_transform(components)


def draw(options: Options, dataset: Dataset, selection: Selection, map_: Map) -> bytes:
    """The picture: one panel a method on the same map."""

    def points(rows):
        at = np.searchsorted(map_.rows, rows)
        return Points(
            map_.coordinates[at], map_.true[at], map_.predicted[at] != map_.true[at]
        )

    initial, others = points(selection.initial), points(selection.others)
    panels = [
        Panel(display_name(name), points(rows))
        for name, rows in selection.picks.items()
    ]
    title = (
        f"{setting_name(options.dataset, 1)}: {len(selection.initial)} initial labels "
        f"and the next {options.acquire_size} picks"
    )
    return embedding_png(panels, initial, others, dataset.class_names, title)


def as_json(options: Options, dataset: Dataset, selection: Selection, map_: Map) -> str:
    """Settings, and for every group of points ids, classes and coordinates."""

    def group(rows):
        at = np.searchsorted(map_.rows, rows)
        return {
            "ids": map_.ids[at].tolist(),
            "true": map_.true[at].tolist(),
            "predicted": map_.predicted[at].tolist(),
            "coordinates": map_.coordinates[at].astype(float).round(4).tolist(),
        }

    settings = dataclasses.asdict(options)
    for where_or_how in ("data_dir", "out", "smoke"):
        del settings[where_or_how]
    content = {
        "settings": settings,
        "data_sha256": dataset.sha256,
        "class_names": dataset.class_names,
        "initial": group(selection.initial),
        "others": group(selection.others),
        "picks": {name: group(rows) for name, rows in selection.picks.items()},
    }
    return json.dumps(content) + "\n"


def run(options: Options) -> None:
    """Selects, embeds, draws and writes.

    Raises:
        RunError: if the settings do not fit the data, or each other.
    """
    if not 0 <= options.seed < options.seeds:
        raise RunError(
            f"seed must be in [0, {options.seeds}), below seeds, got {options.seed}."
        )
    if options.background < 0:
        raise RunError(f"background must be at least 0, got {options.background}.")
    config = Config(
        methods=METHODS,
        imbalance=1,
        base_size=options.base_size,
        acquire_size=options.acquire_size,
        rounds=options.rounds,
        seeds=options.seeds,
        dataset=options.dataset,
        network=options.network,
        data_dir=options.data_dir,
    )
    dataset = datasets.load(config.dataset, config.data_dir)
    splits = make_splits(config, dataset)
    command_line.output_folder(options.out)
    study = make_study(config, dataset, splits)
    selection, variables = select(options, study)
    map_ = make_map(options, study, selection, variables)
    write_atomically(
        options.out / "tsne.json", as_json(options, dataset, selection, map_).encode()
    )
    picture = draw(options, dataset, selection, map_)
    write_atomically(options.out / "tsne.png", picture)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws with the options of the command line."""
    arguments = command_line.program_arguments(arguments)
    defaults = Options()
    if "--smoke" in arguments:
        defaults = dataclasses.replace(defaults, **SMOKE)
    options = command_line.parse(Options, "tsne", __doc__, arguments, defaults)
    with command_line.refusals_in_one_sentence("starts anew"):
        run(options)
    print(f"{options.out}/tsne.png, tsne.json")


if __name__ == "__main__":
    main()
