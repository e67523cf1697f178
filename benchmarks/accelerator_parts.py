"""The parts of `benchmarks.accelerator`, each a program of its own.

    python -m benchmarks.accelerator_parts PART --out FILE.json [--smoke]

adds what it measures to the file as it goes. A part that crashes, hangs or leaves its
device unusable takes nothing from the others, and its memory is free when it ends.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tyro import conf

from benchmarks import (
    accelerator_checks,
    accelerator_functions,
    command,
    measure,
    networks,
    roofline,
    segmentation_scores,
    segmentation_sizes,
    segmentation_steps,
    selection,
)
from benchmarks.accelerator_checks import Found
from benchmarks.command import Comparison, digits
from experiments.classification.config import Config
from experiments.classification.run import make_splits
from experiments.classification.study import compile_acquire, make_study
from experiments.data import datasets
from experiments.data.datasets import Dataset
from iwps_jax import command_line
from iwps_jax.app.options import Flag
from iwps_jax.atomic_write import write_atomically

Keep = Callable[[Mapping[str, Any]], None]
"""Adds to what a part has measured, and writes it."""


# Scores and selectors on arrays


def check(smoke: bool, keep: Keep) -> None:
    """Every public function against float64."""
    print(f"{'against float64':32}{'error / allowed':>16}{'short factors':>16}")
    checks = accelerator_functions.checks(smoke)
    for name, found in accelerator_checks.run_all(checks):
        if isinstance(found, Found):
            of_short = found.of_short_factors
            short = "-" if of_short is None else digits(of_short)
            verdict = "" if found.met else " blunt" if found.worst <= 1 else " WRONG"
            told, kept = f"{digits(found.worst):>16}{short:>16}", found._asdict()
        else:
            told, verdict = f" {found.partition(chr(10))[0]}", ""
            kept = {"error": found, "met": False}
        print(f"{name:32}{told}{verdict}", flush=True)
        keep({"checks": {name: kept}})
    keep({"default_product_error": error_of_default_product()})


def error_of_default_product() -> float:
    """What this device makes of a float32 product that does not say its precision."""
    matrix = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    found = np.asarray(jnp.matmul(matrix, matrix))
    expected = np.float64(matrix) @ np.float64(matrix)
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    print(f"a product by default is off by {error:.1g} of its largest entry")
    return error


ROOFLINES = {  # name -> pool, d and C, each with a thousand holdout samples
    "few classes": (1_000_000, 512, 10),
    "a thousand classes": (1_000_000, 768, 1000),
}


def rooflines(smoke: bool, keep: Keep) -> None:
    """How near the closed forms come to what the device could do."""
    for name, (pool, dimension, classes) in ROOFLINES.items():
        sizes: dict[str, int] = dict(
            pool_size=pool, dimension=dimension, classes=classes, chunk_size=65_536,
            square=8192, memory_megabytes=4000, repeats=5,
        )  # fmt: skip
        if smoke:
            sizes |= dict(pool_size=600, dimension=16, classes=min(classes, 40))
            sizes |= dict(square=64, memory_megabytes=1, repeats=2, chunk_size=256)
            sizes |= dict(holdout_size=20)
        keep({name: roofline.measured(roofline.Options(**sizes))})


def selectors(smoke: bool, keep: Keep) -> None:
    """k-center and BADGE over a million rows; a sample is a pick."""
    pool, dimension, k = (500, 8, 10) if smoke else (1_000_000, 384, 1000)
    features = jax.random.normal(jax.random.key(0), (pool, dimension))
    for case in (selection.CASES[0], selection.CASES[3]):
        program = {case.name: selection.make_program(case, features, k)}
        timings = measure.in_turns(program, 2)
        title = f"{k:,} picks of {pool:,} rows, d {dimension:,}"
        command.show_timings(title, timings)
        keep({"timings": command.as_json(timings)})


# Networks


ON_NETWORK = (
    networks.FORWARD,
    "iwps_last_layer with features",
    "iwps_app",
    "holdout_gradient",
)


def resnet18(smoke: bool, keep: Keep) -> None:
    """ResNet-18 on 32x32 images: what a score adds to the forward pass."""
    sizes = dict(resnet18_pool=16_384, resnet_chunk=1024, resnet_width=64)
    if smoke:
        sizes = dict(resnet18_pool=4, resnet_chunk=2, resnet_width=4)
    options = networks.Options(networks=("resnet18",), **sizes)
    subject = networks.make_subject("resnet18", options)
    scored = networks.prepare(subject, options.holdout_size)
    programs = networks.on_network(subject, scored)
    timings = measure.in_turns({name: programs[name] for name in ON_NETWORK}, 3)
    pairs = [Comparison(name, networks.FORWARD) for name in ON_NETWORK[1:]]
    ratios = command.compared(timings, pairs)
    command.show_timings(f"ResNet-18, {subject.pool_size:,} images", timings)
    command.show_ratios("speed ratios within this run", ratios)
    keep({"timings": command.as_json(timings), "ratios": ratios})


METHODS = ("iwps", "badge", "coreset")


def one_round(smoke: bool, keep: Keep) -> None:
    """One round of a study of CIFAR-10's size with ResNet-18, on made-up images."""
    dataset = made_up(*((400, 100) if smoke else (50_000, 10_000)))
    config = Config(
        dataset=dataset.name,
        network="mlp" if smoke else "resnet18",
        methods=METHODS,
        seeds=1,
        rounds=1,
        imbalance=1,
        base_size=10 if smoke else 100,
        acquire_size=20 if smoke else 1000,
        max_steps=10 if smoke else 500,
    )
    study = make_study(config, dataset, make_splits(config, dataset))
    shared = (study.keys, study.first_state, study.view, study.pool_labels)

    def step(name, work):
        start = time.perf_counter()
        found = jax.block_until_ready(work())
        seconds = time.perf_counter() - start
        print(f"{name}: {seconds:.2f} s")
        keep({"seconds": {name: seconds}})
        return found

    train = step("training, compile", study.compile_train)
    state = step("training", lambda: train(*shared))
    evaluate = step("test, compile", study.compile_evaluate)
    metrics = step("test", lambda: evaluate(state.train_state.variables))
    keep({"steps": int(state.train_state.steps[0])})
    keep({"accuracy": float(metrics.accuracy[0])})
    for name in METHODS:
        acquire = step(
            f"{name}, compile", partial(compile_acquire, study, study.methods[name])
        )
        picked = partial(acquire, study.keys, state, *shared[2:])
        step(f"{name}, score and select", picked)


def made_up(num_train: int, num_test: int) -> Dataset:
    """Images of the size of CIFAR-10's, with a color of its own for every class."""
    names = datasets.FACTS["cifar10"].class_names
    rng = np.random.default_rng(0)
    colors = rng.integers(64, 192, (len(names), 1, 1, 3))

    def draw(number):
        labels = (np.arange(number) % len(names)).astype(np.int32)
        noise = rng.integers(-64, 64, (number, 32, 32, 3), np.int8)
        return (colors[labels] + noise).astype(np.uint8), labels

    (train, test), source = (draw(num_train), draw(num_test)), "made up"
    return Dataset("cifar10", *train, *test, names, source, "")


def deeplab(smoke: bool, keep: Keep) -> None:
    """DeepLabv3-ResNet50 on 712x712 pixels: a training step, scores, memory."""
    sizes: dict[str, Any] = dict(
        **dict(width=64, side=712, window=712, minibatch=24, repeats=3),
        **dict(scene=(712, 712), pool=24, chunk_size=8, holdout_scenes=4),
    )
    if smoke:
        sizes = dict(
            **dict(width=1, side=16, window=16, minibatch=2, repeats=1, classes=3),
            **dict(scene=(16, 16), pool=3, chunk_size=2, holdout_scenes=1),
        )
    options = segmentation_sizes.Options(**sizes, parts=(PARTS_OF_STEP,))
    for precision in ("bfloat16",) if smoke else ("bfloat16", "float32"):
        own = dataclasses.replace(options, precisions=(precision,))
        made = segmentation_steps.compile_steps(own)
        learner = segmentation_steps.Learner(own)
        timings, peaks = segmentation_steps.time_steps(made, learner, own)
        del learner  # and its state
        command.show_timings("training step, a sample is a scene", timings)
        keep({"training": command.as_json(timings), "training_peaks": peaks})
        if precision == "bfloat16":  # the other step may leave no memory
            _score_scenes(own, keep)


def _score_scenes(options: segmentation_sizes.Options, keep: Keep) -> None:
    programs = segmentation_scores.scoring_programs(options)
    features = segmentation_scores.FEATURES
    chosen = [features, *(name for name in programs if name.startswith(SCORED))]
    trial = command.tried({name: programs[name] for name in chosen})
    timings = {**measure.in_turns(trial.fitting, options.repeats), **trial.failed}
    ratios = command.compared(timings, [Comparison(n, features) for n in chosen[1:]])
    command.show_timings("scores, a sample is a scene", timings)
    scored = {"timings": command.as_json(timings), "ratios": ratios}
    keep({"scoring": {**scored, "peaks": trial.peaks}})


SCORED = ("entropy", "iwps: holdout, whole")
"""How the names of the scores that are timed begin; each compiles for a while."""
PARTS_OF_STEP = 2


# One after another


def describe(smoke: bool, keep: Keep) -> None:
    """The device, and what the numbers depend on besides."""
    del smoke
    packages = ("flax", "optax", "grain")
    keep({"machine": measure.machine(packages)})


class Part(NamedTuple):
    """A part and the time that it may take.

    Attributes:
        measure: `measure(smoke, keep)`.
        seconds: what the part adds to the time by which it must have ended.
    """

    measure: Callable[[bool, Keep], None]
    seconds: int


PARTS = {
    "checks": Part(check, 90),
    "roofline": Part(rooflines, 90),
    "selectors": Part(selectors, 50),
    "resnet18": Part(resnet18, 60),
    "round": Part(one_round, 75),
    "deeplab": Part(deeplab, 80),
}
MACHINE = "machine"
"""The name of what every run begins with."""


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Both, and both of what both have where that is a mapping.

    Example:
        >>> merged({"a": {"b": 1}}, {"a": {"c": 2}, "d": 3})
        {'a': {'b': 1, 'c': 2}, 'd': 3}
    """
    both = {
        name: merged(old[name], value)
        if isinstance(value, Mapping) and isinstance(old.get(name), Mapping)
        else value
        for name, value in new.items()
    }
    return {**old, **both}


def add(out: Path, entries: Mapping[str, Any]) -> None:
    """Adds to a JSON file, which is whole at every moment."""
    before = json.loads(out.read_text(encoding="utf-8"))
    write_atomically(out, json.dumps(merged(before, entries), indent=1) + "\n")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """One part, and where its numbers go."""

    part: Annotated[str, conf.Positional, conf.arg(metavar="PART")]
    """its name"""
    out: Path
    """JSON file that is there already"""
    smoke: Flag = False
    """tiny sizes"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one part; what it has is kept whenever it is stopped."""
    options = command_line.parse(
        Options,
        prog="python -m benchmarks.accelerator_parts",
        about=__doc__,
        arguments=arguments,
    )
    if options.part == MACHINE:
        describe(options.smoke, partial(add, options.out))
        return

    def keep(results):
        add(options.out, {"parts": {options.part: {"results": results}}})

    PARTS[options.part].measure(options.smoke, keep)
    keep({"device_peak_megabytes": measure.device_peak_megabytes()})


if __name__ == "__main__":
    main()
