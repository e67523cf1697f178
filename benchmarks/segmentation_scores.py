"""The scores of the segmentation study over a pool of scenes, for its benchmark."""

from collections.abc import Callable, Sequence

import jax

from benchmarks import command, measure
from benchmarks.command import Comparison, Unmeasured
from benchmarks.measure import Program, Timing
from benchmarks.networks import initial_variables
from benchmarks.segmentation_sizes import Options
from benchmarks.segmentation_steps import make_segmenter, random_scenes
from experiments.segmentation.config import Config
from experiments.segmentation.data import loading
from experiments.segmentation.data.loading import Batch
from experiments.segmentation.methods import METHODS, SceneView, Setting, make_methods
from iwps_jax.methods import ROWS
from iwps_jax.types import Variables

FEATURES = "features"
ASKING = [name for name in METHODS if ROWS[name].pixels.needs_holdout]
"""Scores that ask the holdout scenes once a round."""


def scoring_programs(options: Options) -> dict[str, Program]:
    """The bare features and every score, over the same pool."""
    segmenter = make_segmenter(options, options.precisions[0])
    variables = initial_variables(segmenter, jax.random.key(0))

    def batches(number):
        scenes = random_scenes(number, options.scene, options.classes)
        whole = loading.padded_batches(
            scenes,
            range(number),
            max_side=None,
            side_multiple=segmenter.stride,
            batch_size=options.chunk_size,
            num_threads=0,
        )
        return list(whole)

    pool, holdout = batches(options.pool), batches(options.holdout_scenes)
    view = SceneView(
        pool=lambda: pool,
        num_pool=options.pool,
        holdout=lambda rows: holdout,
        num_holdout=options.holdout_scenes,
    )
    config = Config()
    methods = make_methods(
        Setting(
            segmenter=segmenter,
            num_classes=options.classes,
            acquire_size=1,
            steps=config.steps,
            learning_rate=config.learning_rate,
            holdout_images=None,
            app_holdout_images=None,
            reduction=config.reduction,
        )
    )
    features_of = jax.jit(segmenter.features)
    programs = {
        FEATURES: Program(_bare_pass, (features_of, variables, pool), options.pool)
    }
    key = jax.random.key(1)
    for name in METHODS:
        if ROWS[name].pixels.draw is not None:  # looks at no scene
            continue
        score = methods[name].score
        if name in ASKING:
            first = view._replace(pool=lambda: pool[:1])
            programs[_of_first(name)] = Program(
                score, (key, variables, first), options.chunk_size
            )
            name = _of_all(name)
        programs[name] = Program(score, (key, variables, view), options.pool)
    return programs


def _of_first(name):
    return f"{name}: holdout, first batch"


def _of_all(name):
    return f"{name}: holdout, whole pool"


def _bare_pass(
    features_of: Callable, variables: Variables, pool: Sequence[Batch]
) -> jax.Array:
    """The features of the last batch; as for a score, two are under way at most."""
    waiting = None
    for batch in pool:
        found = features_of(variables, batch.images)
        jax.block_until_ready(waiting)
        waiting = found
    return waiting


def without_first(whole: Timing, first: Timing) -> Timing:
    """What the rest of a pool takes, turn by turn."""
    pairs = zip(whole.seconds, first.seconds, strict=True)
    seconds = [both - one for both, one in pairs]
    return Timing(whole.samples - first.samples, seconds, None, None, None)


def scoring(options: Options) -> tuple[dict, dict]:
    """Timings of the bare features and of every score; peaks of the device."""
    trial = command.tried(scoring_programs(options))
    timings = {**measure.in_turns(trial.fitting, options.repeats), **trial.failed}
    for name in ASKING:
        parts = [timings[_of_all(name)], timings[_of_first(name)]]
        failed = [part for part in parts if isinstance(part, Unmeasured)]
        timings[name] = failed[0] if failed else without_first(*parts)
    return timings, trial.peaks


def comparisons(names: Sequence[str]) -> list[Comparison]:
    """Every score against the bare features."""
    raw = {part(name) for name in ASKING for part in (_of_first, _of_all)}
    scores = [name for name in names if name not in {FEATURES, *raw}]
    return [Comparison(name, FEATURES) for name in scores]
