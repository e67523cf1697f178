"""The nine competitors on images: how each turns a trained segmenter into picks.

A method is a score and a selector for the loop, as in
`experiments.classification.methods`. The pool streams through the network once a score,
a batch of scenes of one shape at a time; only what a score makes of a scene, one number
or one vector, comes back to the host. To add a method, write its score in `iwps_jax`
and add a row to `make_methods`.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import iwps_jax
from experiments.engine.method import Method, take_farthest, take_highest
from experiments.models import Segmenter
from experiments.segmentation.data.loading import Batch
from experiments.segmentation.data.scenes import IGNORE
from iwps_jax.types import Variables

METHODS = (
    "random",
    "entropy",
    "margin",
    "mc_dropout",
    "bald",
    "coreset",
    "badge",
    "iwps_app",
    "iwps",
)
RATES = (1e-3, 1e-2, 1e-1, 1.0)
RATE_VARIANTS = tuple(f"iwps_rate_{rate:g}" for rate in RATES)
"""IWPS with other step lengths, for the ablation of Fig. 7c."""
NUM_DRAWS = 10  # supplement §6
REDUCTIONS = ("mean", "highest", "region", "classes")


class SceneView(NamedTuple):
    """What a method may look at; no labels of the pool.

    Attributes:
        pool: `pool()` reads the pool, in batches whose `rows` are rows of the loop.
        num_pool: rows of the pool.
        holdout: `holdout(rows)` reads these of the holdout scenes, with labels.
        num_holdout: how many of them there are.
    """

    pool: Callable[[], Iterable[Batch]]
    num_pool: int
    holdout: Callable[[np.ndarray], Iterable[Batch]]
    num_holdout: int


class Setting(NamedTuple):
    """What the methods of a study share.

    Attributes:
        segmenter: the network.
        num_classes: its classes.
        acquire_size: scenes to choose each round.
        steps: T of the look-ahead.
        learning_rate: η of the look-ahead.
        holdout_images: holdout scenes that judge for IWPS, drawn anew each round; None
            for all.
        app_holdout_images: the same for IWPS-app.
        reduction: how the pixels of a scene make its uncertainty, of `REDUCTIONS`.
    """

    segmenter: Segmenter
    num_classes: int
    acquire_size: int
    steps: int
    learning_rate: float
    holdout_images: int | None
    app_holdout_images: int | None
    reduction: str


class _Holdout(NamedTuple):
    """Holdout scenes as the head sees them, padded to one shape."""

    features: jax.Array
    labels: jax.Array
    where: jax.Array


def make_methods(setting: Setting) -> dict[str, Method]:
    """All methods by name, and the step lengths of the ablation, for one network."""
    look_ahead = partial(_iwps, setting)
    # Compiled, a selector takes any scores, so that the run can name those that are
    # not finite and stop.
    highest, farthest, spread = map(
        jax.jit,
        (
            take_highest(setting.acquire_size),
            take_farthest(setting.acquire_size),
            _k_means_plus_plus(setting),
        ),
    )
    by_rate = {
        name: Method(look_ahead(rate), highest)
        for name, rate in zip(RATE_VARIANTS, RATES, strict=True)
    }
    return by_rate | {
        "random": Method(_uniform, highest),
        "entropy": Method(_of_pixels(setting, iwps_jax.entropy), highest),
        "margin": Method(_of_pixels(setting, iwps_jax.margin), highest),
        "mc_dropout": Method(_of_draws(setting, iwps_jax.pixel_mc_dropout), highest),
        "bald": Method(_of_draws(setting, iwps_jax.pixel_bald), highest),
        "coreset": Method(_pooled_features(setting), farthest),
        "badge": Method(_gradients(setting), spread),
        "iwps_app": Method(_iwps_app(setting), highest),
        "iwps": Method(look_ahead(setting.learning_rate), highest),
    }


# Scores


def _over_pool(score_batch: Callable, variables: Variables, view: SceneView):
    """`score_batch(variables, images, where)` of every row of the pool, on the host."""
    scores = None
    # One batch is under way on the device while the next is read.
    waiting: list[tuple[np.ndarray, jax.Array]] = []

    def keep():
        nonlocal scores
        rows, found = waiting.pop(0)
        found = np.asarray(found)
        if scores is None:
            scores = np.zeros((view.num_pool, *found.shape[1:]), found.dtype)
        scores[rows[rows >= 0]] = found[rows >= 0]

    for batch in view.pool():
        waiting.append((batch.rows, score_batch(variables, batch.images, batch.where)))
        if len(waiting) > 1:
            keep()
    while waiting:
        keep()
    return scores


def _of_features(setting: Setting, score_fn: Callable) -> Callable:
    """A score of images from one of features, `score_fn(features, where, head, *more)`.

    Compiled once for every shape of a batch.
    """
    segmenter = setting.segmenter

    @jax.jit
    def score(variables, images, where, *more):
        features = segmenter.features(variables, images)
        return score_fn(features, where, segmenter.head(variables), *more)

    return score


def _uniform(key, variables, view):
    del variables
    return np.asarray(jax.random.uniform(key, (view.num_pool,)))


def _of_pixels(setting, score_fn):
    reduction = _reduction(setting)
    score_batch = _of_features(
        setting,
        lambda features, where, head: iwps_jax.pixel_scores(
            score_fn, features, where, *head, reduction=reduction
        ),
    )

    def score(key, variables, view):
        del key
        return _over_pool(score_batch, variables, view)

    return score


def _of_draws(setting, score_fn):
    options = {
        "num_draws": NUM_DRAWS,
        "dropout_rate": setting.segmenter.dropout_rate,
        "reduction": _reduction(setting),
    }
    score_batch = _of_features(
        setting,
        lambda features, where, head, key: score_fn(
            key, features, where, *head, **options
        ),
    )

    def score(key, variables, view):
        return _over_pool(lambda *batch: score_batch(*batch, key), variables, view)

    return score


def _reduction(setting):
    return {
        "mean": iwps_jax.mean_of_pixels,
        "highest": iwps_jax.mean_of_highest,
        "region": iwps_jax.highest_region,
        "classes": partial(iwps_jax.mean_of_classes, num_classes=setting.num_classes),
    }[setting.reduction]


def _pooled_features(setting):
    score_batch = _of_features(
        setting, lambda features, where, head: iwps_jax.pooled_features(features, where)
    )

    def score(key, variables, view):
        del key
        return _over_pool(score_batch, variables, view)

    return score


def _gradients(setting):
    def embedding(features, where, head):
        gradient = iwps_jax.pixel_head_embedding(features, where, *head)
        return gradient.kernel.reshape(len(features), -1)

    score_batch = _of_features(setting, embedding)

    def score(key, variables, view):
        del key
        return _over_pool(score_batch, variables, view)

    return score


def _iwps_app(setting):
    score_batch = _of_features(
        setting,
        lambda features, where, head, gradient: iwps_jax.iwps_app_pixel_head(
            features, where, *head, gradient
        ),
    )
    gradient_of = jax.jit(iwps_jax.pixel_head_gradient)

    def score(key, variables, view):
        judges = _judges(key, variables, view, setting, setting.app_holdout_images)
        gradient = gradient_of(*judges, *setting.segmenter.head(variables))
        return _over_pool(lambda *batch: score_batch(*batch, gradient), variables, view)

    return score


def _iwps(setting, learning_rate):
    score_batch = _of_features(
        setting,
        lambda features, where, head, judges: iwps_jax.iwps_pixel_head(
            features,
            where,
            *head,
            *judges,
            steps=setting.steps,
            learning_rate=learning_rate,
        ),
    )

    def score(key, variables, view):
        judges = _judges(key, variables, view, setting, setting.holdout_images)
        return _over_pool(lambda *batch: score_batch(*batch, judges), variables, view)

    return score


def _judges(key, variables, view, setting, number) -> _Holdout:
    """The holdout scenes that are asked for their loss, a random part or all."""
    rows = np.arange(view.num_holdout)
    if number is not None and number < view.num_holdout:
        drawn = jax.random.choice(key, view.num_holdout, (number,), replace=False)
        rows = np.sort(np.asarray(drawn))
    parts = []
    for batch in view.holdout(rows):
        real = batch.rows >= 0
        features = _features(setting.segmenter, variables, batch.images)
        labels = np.where(batch.where, batch.labels, IGNORE)
        parts.append((features[real], labels[real]))
    height, width = (max(labels.shape[axis] for _, labels in parts) for axis in (1, 2))
    stride = setting.segmenter.stride
    # Repeated at the border, features are enlarged as if nothing came after them.
    features = jnp.concatenate(
        [
            jnp.pad(f, _missing(f, height // stride, width // stride), mode="edge")
            for f, _ in parts
        ]
    )
    labels = np.concatenate(
        [
            np.pad(y, _missing(y, height, width), constant_values=IGNORE)
            for _, y in parts
        ]
    )
    return _Holdout(
        features,
        jnp.asarray(np.where(labels == IGNORE, 0, labels)),
        jnp.asarray(labels != IGNORE),
    )


@partial(jax.jit, static_argnums=0)
def _features(segmenter, variables, images):
    return segmenter.features(variables, images)


def _missing(array, height, width):
    """The padding at the bottom and on the right up to these sides."""
    sides = [(0, height - array.shape[1]), (0, width - array.shape[2])]
    return [(0, 0), *sides, *[(0, 0)] * (array.ndim - 3)]


# The selector that is not a classifier's


def _k_means_plus_plus(setting):
    def select(key, gradients, where):
        # BADGE clusters residual ⊗ feature; under residuals that are all equal that is
        # k-means++ on the features, which here are whole gradients.
        equal = jnp.zeros((len(gradients), 2))
        return iwps_jax.badge(key, gradients, equal, setting.acquire_size, where)

    return select
