"""The competitors on images: how a segmenter turns a row of the table into picks.

A method is a score and a selector for the loop, as in
`experiments.classification.methods`, from what its row has for pixels. The pool streams
through the network once a score, a batch of scenes of one shape at a time; only what a
score makes of a scene, one number or one vector, comes back to the host.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import iwps_jax
from experiments.engine.method import Method, take_highest
from experiments.models import Segmenter
from experiments.segmentation.data.loading import Batch
from experiments.segmentation.data.scenes import IGNORE
from iwps_jax import methods
from iwps_jax.method import PixelOptions, Pixels
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
"""The methods of the study."""
RATES = (1e-3, 1e-2, 1e-1, 1.0)
RATE_VARIANTS = tuple(f"{methods.IWPS.name}_rate_{rate:g}" for rate in RATES)
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
    found = {
        name: competitor(setting, row.pixels)
        for name, row in methods.ROWS.items()
        if row.pixels is not None
    }
    for name, rate in zip(RATE_VARIANTS, RATES, strict=True):
        at_rate = setting._replace(learning_rate=rate)
        found[name] = competitor(at_rate, methods.IWPS.pixels)
    return found


def competitor(setting: Setting, form: Pixels) -> Method:
    """A method's form for images, for the loop."""
    size = setting.acquire_size
    select = take_highest(size)
    if form.select is not None:

        def select(key, scores, where):
            return form.select(key, scores, size, where)

    # Compiled, a selector takes any scores, so that the run can name those that are
    # not finite and stop.
    return Method(_score(setting, form), jax.jit(select))


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


def _score(setting, form):
    segmenter = setting.segmenter
    options = PixelOptions(
        reduction=_reduction(setting),
        num_draws=NUM_DRAWS,
        dropout_rate=segmenter.dropout_rate,
        steps=setting.steps,
        learning_rate=setting.learning_rate,
    )

    @jax.jit  # compiled once for every shape of a batch
    def score_batch(variables, images, where, context):
        features = segmenter.features(variables, images)
        head = segmenter.head(variables)
        return form.score(features, where, head, context, options)

    summarize = form.summarize and jax.jit(form.summarize)

    def score(key, variables, view):
        if form.draw is not None:
            return np.asarray(form.draw(key, view.num_pool))
        context = key
        if form.needs_holdout:
            # A form that sums the holdout up once a round has a number of its own.
            number = setting.app_holdout_images if summarize else setting.holdout_images
            context = _judges(key, variables, view, setting, number)
            if summarize is not None:
                context = summarize(context, segmenter.head(variables))
        return _over_pool(lambda *batch: score_batch(*batch, context), variables, view)

    return score


def _reduction(setting):
    return {
        "mean": iwps_jax.mean_of_pixels,
        "highest": iwps_jax.mean_of_highest,
        "region": iwps_jax.highest_region,
        "classes": partial(iwps_jax.mean_of_classes, num_classes=setting.num_classes),
    }[setting.reduction]


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
