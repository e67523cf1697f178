"""The programs whose cost `experiments.cost` counts and times: one a row of its table.

Each is what a method does with one chunk of the pool, from the images to the scores,
or to the picks where the selection is the method. What a round makes once is made
before: features and gradient of the holdout, features that Err-Reduction refers to.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

import iwps_jax
from experiments import models
from experiments.classification.methods import NUM_DRAWS, REFERENCE_SIZE
from experiments.models import Network
from iwps_jax.scores import error_reduction, head, lookahead
from iwps_jax.types import Variables

NUM_CLASSES, HOLDOUT_SIZE, STEPS = 10, 50, 3
ACQUIRE_SIZE, NUM_LABELED = 50, 20  # for the selection of Coreset and BADGE
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
        noise = jax.random.uniform(reference_key, (REFERENCE_SIZE, features.shape[1]))
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
    look_ahead = {"steps": STEPS, "learning_rate": learning_rate}

    def of_logits(score_fn):
        return lambda shared, candidates: score_fn(
            network.apply(shared.variables, candidates.images)
        )

    def of_draws(score_fn):
        def score(shared, candidates):
            def draws_of_one(image, sample_key):
                def draw(key):
                    return network.apply_dropout(key, shared.variables, image[None])[0]

                return jax.vmap(draw)(jax.random.split(sample_key, NUM_DRAWS))

            logits = jax.vmap(draws_of_one, out_axes=1)(*candidates)
            return score_fn(jax.nn.log_softmax(logits))

        return score

    def of_features(score_fn):
        return lambda shared, candidates: score_fn(
            shared,
            network.features(shared.variables, candidates.images),
            *network.head(shared.variables),
        )

    def farthest(shared, features, kernel, bias):
        labeled = jnp.arange(len(features)) < NUM_LABELED
        return iwps_jax.k_center_greedy(features, ACQUIRE_SIZE, labeled)

    def diverse(shared, features, kernel, bias):
        logits = head.head_logits(features, kernel, bias)
        return iwps_jax.badge(jax.random.key(2), features, logits, ACQUIRE_SIZE)

    displace = partial(
        head.displacement, steps=STEPS, learning_rate=jnp.asarray(learning_rate)
    )

    def form_of_look_ahead(shared, features, kernel, bias):
        logits = head.head_logits(features, kernel, bias)
        deltas = jax.vmap(displace)(features, logits)
        return lookahead.form_of_step(deltas, head.reach(features, shared.features))

    def form_of_reduction(shared, features, kernel, bias):
        logits, labels = (
            head.head_logits(features, kernel, bias),
            jnp.arange(NUM_CLASSES),
        )
        over_labels = jax.vmap(displace, (None, None, 0))
        deltas = jax.vmap(over_labels, (0, 0, None))(features, logits, labels)
        couplings = head.couplings(features, shared.reference)
        return head.is_small_step(deltas, couplings, error_reduction.PLAIN_RADIUS)

    def of_network(score_fn):
        return lambda shared, candidates: score_fn(
            of_params(network, shared.variables), shared, candidates.images
        )

    def full_dense(shared, candidates):
        dense, normalize = network.dense_layers(shared.variables)
        return iwps_jax.iwps_mlp(
            dense,
            normalize(candidates.images),
            normalize(shared.images),
            shared.labels,
            **look_ahead,
        )

    holdout, steps, draws = HOLDOUT_SIZE, STEPS, NUM_DRAWS
    rows = [
        Row("forward pass", "C", 1, of_logits(lambda logits: logits)),
        Row(
            "Random",
            "-",
            None,
            lambda shared, candidates: jax.vmap(jax.random.uniform)(candidates.keys),
        ),
        Row("Entropy", "-", None, of_logits(iwps_jax.entropy)),
        Row("Margin", "-", None, of_logits(iwps_jax.margin)),
        Row("MC-Dropout", "n C", draws, of_draws(iwps_jax.mc_dropout)),
        Row("BALD", "-", None, of_draws(iwps_jax.bald)),
        Row("Coreset", "-", None, of_features(farthest)),
        Row("BADGE", "-", None, of_features(diverse)),
        Row(
            "Err-Reduction",
            "-",
            None,
            of_features(
                lambda shared, *last_layer: iwps_jax.expected_entropy_reduction(
                    *last_layer, shared.reference, **look_ahead
                )
            ),
            taken=of_features(form_of_reduction),
            small=(1,),
        ),
        Row(
            "IWPS, full network",
            "2 T C + N^h C",
            2 * steps + holdout,
            of_network(
                lambda apply, shared, images: iwps_jax.iwps(
                    apply,
                    shared.variables.params,
                    images,
                    shared.images,
                    shared.labels,
                    **look_ahead,
                )
            ),
            is_full=True,
        ),
        Row(
            "IWPS, full network, low rank",
            "2 T C + N^h C",
            2 * steps + holdout,
            full_dense,
            is_full=True,
        ),
        Row(
            "IWPS-app, full network",
            "2 C",
            2,
            of_network(
                lambda apply, shared, images: iwps_jax.iwps_app(
                    apply, shared.variables.params, images, shared.gradient
                )
            ),
        ),
        Row(
            "IWPS, last layer",
            "(N^h + 1 + 1/L + 2 (T-1)/L) C",
            holdout + 1 + 1 / layers + 2 * (steps - 1) / layers,
            of_features(
                lambda shared, *last_layer: iwps_jax.iwps_last_layer(
                    *last_layer, shared.features, shared.labels, **look_ahead
                )
            ),
            taken=of_features(form_of_look_ahead),
            small=tuple(range(len(lookahead.SERIES))),
        ),
        Row(
            "IWPS-app, last layer",
            "(1 + 1/L) C",
            1 + 1 / layers,
            of_features(
                lambda shared, *last_layer: iwps_jax.iwps_app_last_layer(
                    *last_layer, shared.features, shared.labels
                )
            ),
        ),
    ]
    if network.dense_layers is None:
        rows = [row for row in rows if row.program is not full_dense]
    return rows
