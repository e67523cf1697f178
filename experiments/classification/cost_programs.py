"""The programs whose cost `experiments.cost` counts and times: one a row of its table.

Each is what a method does with one chunk of the pool, from the images to the scores,
or to the picks where the selection is the method. What a round makes once is made
before: features and gradient of the holdout, features that Err-Reduction refers to.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

import iwps_jax
from experiments import models
from experiments.classification.methods import METHODS as STUDIED
from experiments.classification.methods import NUM_DRAWS, read_rows
from experiments.models import Network
from iwps_jax import methods
from iwps_jax.method import Model, Sizes
from iwps_jax.types import Head, Holdout, Variables

NUM_CLASSES, HOLDOUT_SIZE, STEPS = 10, 50, 3
ACQUIRE_SIZE, NUM_LABELED = 50, 20  # for the selection of Coreset and BADGE
METHODS = [name for name in STUDIED if "holdout" not in methods.ROWS[name].needs]
LAST_LAYER = ("iwps", "iwps_app")
NUM_REFERENCES = methods.ERROR_REDUCTION.sample
SHAPES = {"mlp": (28, 28, 1), "resnet18": (32, 32, 3)}


class Shared(NamedTuple):
    """What a round makes once, for all candidates."""

    variables: Variables
    images: jax.Array  # of the holdout
    labels: jax.Array
    features: jax.Array
    reference: jax.Array  # features of the samples that Err-Reduction refers to
    gradient: Any


class Candidates(NamedTuple):
    """One chunk of the pool."""

    images: jax.Array
    keys: jax.Array


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        method: its name.
        formula: the supplement's, "-" where it gives none.
        passes: the formula's value in forward passes.
        program: `program(shared, candidates)`, the score or the picks of a chunk.
        is_full: whether each candidate carries weights, or factors, of its own.
        taken: `taken(shared, candidates)`, which branch of its conditional the program
            takes; None where it has none.
        small: the branches for small |k δ|.
    """

    method: str
    formula: str
    passes: float | None
    program: Callable
    is_full: bool = False
    taken: Callable | None = None
    small: tuple[int, ...] = ()


def num_layers(variables: Variables) -> int:
    """Layers with weights, L; a shortcut's projection is beside them, not among them.

    Example:
        >>> network = models.mlp((3,), 10, mean=0.0, std=1.0)
        >>> num_layers(network.init(jax.random.key(0)))
        3
    """
    paths = [path for path, _ in jax.tree.leaves_with_path(variables.params)]
    names = [jax.tree_util.keystr(path) for path in paths]
    return sum("kernel" in name and "shortcut" not in name for name in names)


def make_network(name: Literal["mlp", "resnet18"]) -> Network:
    """The network for images of the size that the paper gives it."""
    make = {"mlp": models.mlp, "resnet18": models.resnet18}[name]
    return make(SHAPES[name], NUM_CLASSES, mean=127.5, std=73.9)


def make_candidates(image_shape: tuple[int, ...], size: int) -> Candidates:
    """Random images, a key each for the methods that draw."""
    image_key, sample_key = jax.random.split(jax.random.key(1))
    shape = (size, *image_shape)
    return Candidates(
        images=jax.random.randint(image_key, shape, 0, 256, jnp.uint8),
        keys=jax.random.split(sample_key, size),
    )


def make_shared(network: Network, image_shape: tuple[int, ...]) -> Shared:
    """An untrained network, a random holdout and what a round makes of them."""

    @jax.jit
    def make(key):
        init_key, image_key, reference_key = jax.random.split(key, 3)
        variables = network.init(init_key)
        shape = (HOLDOUT_SIZE, *image_shape)
        images = jax.random.randint(image_key, shape, 0, 256, jnp.uint8)
        labels = jnp.arange(HOLDOUT_SIZE) % NUM_CLASSES
        features = network.features(variables, images)
        # As large as features are; what they are the cost does not depend on.
        noise = jax.random.uniform(reference_key, (NUM_REFERENCES, features.shape[1]))
        return Shared(
            variables=variables,
            images=images,
            labels=labels,
            features=features,
            reference=2 * noise * features.mean(),
            gradient=iwps_jax.holdout_gradient(
                of_params(network, variables), variables.params, images, labels
            ),
        )

    return make(jax.random.key(0))


def of_params(network: Network, variables: Variables) -> Callable:
    """The network as a function of what gradients move."""
    return lambda params, inputs: network.apply(
        variables._replace(params=params), inputs
    )


def make_rows(network: Network, layers: int, learning_rate: float) -> list[Row]:
    """All rows, in the order of the table; the first is the unit."""
    sizes = Sizes(HOLDOUT_SIZE, STEPS, layers, NUM_DRAWS)
    rows = [
        Row(
            "forward pass",
            "C",
            1,
            lambda shared, candidates: network.apply(
                shared.variables, candidates.images
            ),
        ),
        *(_row(network, name, sizes, learning_rate) for name in METHODS),
        *_full_network(network, sizes, learning_rate),
        *(
            _row(network, name, sizes, learning_rate, ", last layer")
            for name in LAST_LAYER
        ),
    ]
    return rows


def _row(network, name, sizes, learning_rate, which="") -> Row:
    """What a method of the table does with one chunk."""
    method = methods.ROWS[name]
    reads = (*method.reads, *["features"] * method.selects_by_features)

    def read(shared, candidates):
        model = Model(
            head=Head(*network.head(shared.variables)),
            holdout=Holdout(shared.features, shared.labels),
            sample=shared.reference,
            key=jax.random.key(2),
            steps=STEPS,
            learning_rate=learning_rate,
        )
        numbers = jnp.arange(len(candidates.images))
        variables, images, keys = shared.variables, *candidates
        return read_rows(network, reads, variables, images, numbers, keys), model

    def program(shared, candidates):
        rows, model = read(shared, candidates)
        scores = None if method.score is None else method.score(rows, model)
        if method.select is None:
            return scores
        may_be_picked = jnp.arange(len(rows.features)) >= NUM_LABELED
        return method.select(
            model.key, scores, rows.features, model, ACQUIRE_SIZE, may_be_picked
        )

    def taken(shared, candidates):
        return method.cost.branch(*read(shared, candidates))

    return Row(
        f"{method.label}{which}",
        method.cost.formula,
        method.cost.passes and method.cost.passes(sizes),
        program,
        taken=method.cost.branch and taken,
        small=method.cost.small,
    )


def _full_network(network, sizes, learning_rate) -> list[Row]:
    """The look-aheads that move every layer: not methods of the table."""
    look_ahead = {"steps": STEPS, "learning_rate": learning_rate}

    def exact(shared, candidates):
        return iwps_jax.iwps(
            of_params(network, shared.variables),
            shared.variables.params,
            candidates.images,
            shared.images,
            shared.labels,
            **look_ahead,
        )

    def low_rank(shared, candidates):
        dense, normalize = network.dense_layers(shared.variables)
        return iwps_jax.iwps_mlp(
            dense,
            normalize(candidates.images),
            normalize(shared.images),
            shared.labels,
            **look_ahead,
        )

    def first_order(shared, candidates):
        return iwps_jax.iwps_app(
            of_params(network, shared.variables),
            shared.variables.params,
            candidates.images,
            shared.gradient,
        )

    formula, passes = "2 T C + N^h C", 2 * sizes.steps + sizes.holdout
    iwps, iwps_app = (
        f"{row.label}, full network" for row in (methods.IWPS, methods.IWPS_APP)
    )
    rows = [Row(iwps, formula, passes, exact, is_full=True)]
    if network.dense_layers is not None:
        rows.append(Row(f"{iwps}, low rank", formula, passes, low_rank, is_full=True))
    return [*rows, Row(iwps_app, "2 C", 2, first_order)]
