"""The training step of the segmentation study and what feeds it, for its benchmark."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from benchmarks import command, measure
from benchmarks.command import Comparison, Unmeasured
from benchmarks.measure import Program, Timing
from benchmarks.networks import initial_variables
from benchmarks.segmentation_sizes import Options
from experiments import models
from experiments.models import Segmenter, resnet_weights
from experiments.segmentation import training
from experiments.segmentation.config import Config
from experiments.segmentation.data import loading, mask_folder
from experiments.segmentation.data.loading import Batch
from experiments.segmentation.data.scenes import MemorySource, Source

STEP = "step from memory"
BUSY = 0.95  # share of the time that the device is to compute
# A step of no length leaves the weights as they are and takes as long.
RATE = np.float32(0)


def make_segmenter(options: Options, precision: str) -> Segmenter:
    """The network of the options."""
    return models.deeplabv3_resnet50(
        options.classes,
        mean=resnet_weights.PIXEL_MEAN,
        std=resnet_weights.PIXEL_STD,
        width=options.width,
        compute_dtype=jnp.dtype(precision),
    )


def random_scenes(number: int, sides: Sequence[int], classes: int) -> MemorySource:
    """Noise with a random class for every pixel."""
    rng = np.random.default_rng(0)
    return MemorySource(
        rng.integers(0, 256, (number, *sides, 3), np.uint8),
        rng.integers(0, classes, (number, *sides), np.uint8),
    )


# Training


class Step(NamedTuple):
    """A compiled step.

    Attributes:
        compiled: called with (key, variables, momentum, rate, images, labels).
        plan: a `Timing` without turns.
        parts: of its minibatch.
    """

    compiled: Callable
    plan: Timing
    parts: int


class Learner:
    """Hands the state from one step to the next, because a step reuses its memory."""

    def __init__(self, options: Options):
        """Take the options; the state comes with the first step."""
        self._segmenter = make_segmenter(options, "float32")
        self._state: Any = None

    def begin(self, step: Step, batch: Batch) -> Any:
        """Begins a step; what it returns is gone when the next one begins."""
        cut = (
            array.reshape(step.parts, -1, *array.shape[1:])
            for array in (batch.images, batch.labels)
        )
        state, self._state = self._state or self._first_state(), None
        self._state = step.compiled(jax.random.key(0), *state, RATE, *cut)
        return self._state

    def finish(self, step: Step, batch: Batch) -> None:
        """One step from beginning to end; after one that fails all begins anew."""
        try:
            jax.block_until_ready(self.begin(step, batch))
        except jax.errors.JaxRuntimeError:
            self._state = None
            raise

    def _first_state(self):
        variables = initial_variables(self._segmenter, jax.random.key(0))
        return variables, training.direction.init(variables.params)


def compile_steps(options: Options) -> dict[str, Step | Unmeasured]:
    """The step in every precision and number of parts; arrays are not made yet."""
    array, side, steps = jax.ShapeDtypeStruct, options.side, {}
    for precision, parts in itertools.product(options.precisions, options.parts):
        segmenter = make_segmenter(options, precision)
        key = jax.eval_shape(lambda: jax.random.key(0))
        variables = jax.eval_shape(segmenter.init, key)
        momentum = jax.eval_shape(training.direction.init, variables.params)
        shape = (parts, options.minibatch // parts, side, side)
        program = Program(
            training.make_programs(segmenter, options.classes).step,
            (
                *(key, variables, momentum, array((), jnp.float32)),
                *(array((*shape, 3), jnp.uint8), array(shape, jnp.uint8)),
            ),
            options.minibatch,
        )
        name = f"{precision}, {parts} part{'s' * (parts > 1)}"
        try:
            compiled, plan = measure.compiled(program)
        except jax.errors.JaxRuntimeError as error:
            steps[name] = command.too_large(error)
        else:
            steps[name] = Step(compiled, plan, parts)
    return steps


def a_minibatch(options: Options) -> Batch:
    """A batch of one step in the host's memory."""
    sides = (options.side, options.side)
    scenes = random_scenes(options.minibatch, sides, options.classes)
    rows, where = np.arange(options.minibatch), np.ones_like(scenes.masks, bool)
    return Batch(rows, scenes.images, scenes.masks, where)


def time_steps(
    steps: dict[str, Step | Unmeasured], learner: Learner, options: Options
) -> tuple[dict, dict]:
    """Timings of the steps that fit; peaks of the device, first after compiling."""
    peaks = {"compiled": measure.device_peak_megabytes()}
    compiled = {name: s for name, s in steps.items() if isinstance(s, Step)}
    by_memory = sorted(compiled, key=lambda name: compiled[name].plan.memory_megabytes)
    batch = a_minibatch(options)
    trial = command.tried(
        {
            name: Program(learner.finish, (compiled[name], batch), options.minibatch)
            for name in by_memory
        }
    )
    found = measure.in_turns(trial.fitting, options.repeats)
    timings = {
        name: step
        if isinstance(step, Unmeasured)
        else trial.failed[name]
        if name in trial.failed
        else step.plan._replace(seconds=found[name].seconds)
        for name, step in steps.items()
    }
    return timings, peaks | trial.peaks


def fastest(
    steps: dict[str, Step | Unmeasured], timings: dict[str, Timing | Unmeasured]
) -> Step | None:
    """The step that needs its scenes soonest, if any was timed."""
    timed = [name for name in timings if isinstance(timings[name], Timing)]
    return steps[max(timed, key=lambda name: timings[name].rate)] if timed else None


# Reading


def write_files(folder: Path, options: Options) -> Source:
    """PNG files that compress about as well as photographs, as the study reads them."""
    rng, (height, width) = np.random.default_rng(0), options.file
    coarse_sides = (max(height // 32, 1), max(width // 32, 1))
    for number in range(options.files):
        coarse = rng.integers(0, 256, (*coarse_sides, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        grain = rng.normal(0, 0.7, (height, width, 3))
        image = np.clip(np.rint(np.asarray(smooth) + grain), 0, 255).astype(np.uint8)
        classes = rng.integers(0, options.classes, coarse_sides, np.uint8)
        mask = Image.fromarray(classes).resize(
            (width, height), Image.Resampling.NEAREST
        )
        for kind, picture in (("images", Image.fromarray(image)), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            picture.save(folder / kind / f"{number:04d}.png", compress_level=1)
    return mask_folder.load(folder / "images", folder / "masks", options.classes).train


def stream_of(
    source: Source, side: int, num_threads: int, options: Options
) -> Iterator[Batch]:
    """Minibatches as the study trains on them."""
    return loading.training_batches(
        source,
        range(len(source)),
        seed=0,
        minibatch_size=options.minibatch,
        crop_size=side,
        max_side=Config().max_side,
        flip=True,
        side_multiple=models.deeplab.OUTPUT_STRIDE,
        num_threads=num_threads,
    )


def clocked(
    stream: Iterator[Batch], batches: int, use: Callable
) -> tuple[float, float]:
    """Seconds that `batches` of a stream take, one more ahead of the clock.

    Returns:
        By the clock, and of all cores together.
    """
    try:
        jax.block_until_ready(use(next(stream)))
        clocks = (time.perf_counter, time.process_time)
        starts = [clock() for clock in clocks]
        for _ in range(batches):
            used = use(next(stream))
        jax.block_until_ready(used)
        return tuple(
            clock() - start for clock, start in zip(clocks, starts, strict=True)
        )
    finally:
        stream.close()


def reading(
    source: Source, step: Step | None, learner: Learner, options: Options
) -> tuple[dict[str, Timing], dict[str, float]]:
    """Scenes from files, alone and into the step, and from memory into the step.

    Returns:
        Timings, and the seconds that all cores together spend on a scene.
    """

    def read(num_threads):
        stream = stream_of(source, options.window, num_threads, options)
        return clocked(stream, options.batches, lambda batch: None)

    def train(stream):
        return clocked(stream, options.batches, partial(learner.begin, step))

    def from_memory():
        batch = a_minibatch(options)
        while True:
            yield batch

    turns = {_read(n): lambda n=n: read(n) for n in options.threads}
    if step is not None:
        turns[STEP] = lambda: train(from_memory())
        turns |= {
            _fed(n): lambda n=n: train(stream_of(source, options.side, n, options))
            for n in options.threads
        }
    scenes = options.batches * options.minibatch
    timings = {name: Timing(scenes, [], None, None, None) for name in turns}
    work = {name: [] for name in turns}
    for _ in range(options.repeats):
        for name, turn in turns.items():
            seconds, of_cores = turn()
            timings[name].seconds.append(seconds)
            work[name].append(of_cores / scenes)
    return timings, {name: statistics.median(of) for name, of in work.items()}


def _threads(number):
    return f"{number} thread{'s' * (number > 1)}"


def _read(number):
    return f"files read by {_threads(number)}"


def _fed(number):
    return f"step fed by {_threads(number)}"


def comparisons_of_reading(options: Options) -> list[Comparison]:
    """The step fed from files against the same step from memory."""
    rows = []
    for number in options.threads:
        # On a CPU the threads take cores from the step.
        is_judged = number == max(options.threads) and jax.default_backend() != "cpu"
        aim = (f"busy {BUSY:.0%} of the time", BUSY) if is_judged else ()
        rows.append(Comparison(_fed(number), STEP, *aim))
        if options.window == options.side:
            rows.append(Comparison(_read(number), STEP))
    return rows
