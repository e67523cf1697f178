"""The segmentation benchmark: real runs with a small network, memory, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark_runs import run, timing
from command_output import words
from PIL import Image

from benchmarks import command, segmentation
from benchmarks import segmentation_scores as scores
from benchmarks import segmentation_steps as steps
from benchmarks.measure import Program
from experiments import models
from experiments.segmentation.methods import METHODS

TINY = (
    *("--classes", 3, "--scene", 16, 32, "--pool", 4, "--chunk-size", 2),
    *("--holdout-scenes", 3, "--side", 16, "--window", 24, "--minibatch", 2),
    *("--file", 40, 64, "--files", 5, "--threads", 1, 2, "--batches", 2),
    *("--repeats", 2, "--precisions", "float32"),
)


@pytest.fixture
def small_network(monkeypatch):
    """Instead of ResNet-50, which takes half a minute to compile, every 8th pixel."""
    made = []

    def make(classes, *, mean, std, width, compute_dtype):
        made.append((width, jnp.dtype(compute_dtype).name))
        head = models.deeplabv3_on_features(
            3, classes, mean=mean, std=std, stride=8, width=4, rates=(1,)
        )
        return head._replace(
            features=lambda v, x: head.features(v, x[:, ::8, ::8]),
            features_train=lambda k, v, x: head.features_train(k, v, x[:, ::8, ::8]),
        )

    monkeypatch.setattr(models, "deeplabv3_resnet50", make)
    return made


@pytest.mark.full
def test_a_run_measures_scores_steps_and_files(tmp_path, small_network, capsys):
    written = run(segmentation, tmp_path, *TINY)
    timings, ratios = written["timings"], written["ratios"]
    assert list(timings) == ["scoring", "training", "reading"]
    assert set(METHODS) - {"random"} < timings["scoring"].keys()
    assert set(small_network) == {(8, "float32")}
    for row in ratios["scoring"]:
        assert row["against"] == "features" and row["aim"] == "for information"
    assert {row["what"] for row in ratios["scoring"]} == set(METHODS) - {"random"}
    of_steps = timings["training"]
    assert list(of_steps) == ["float32, 1 part", "float32, 2 parts"]
    for name, step in of_steps.items():
        assert step["samples"] == 2 and len(step["seconds"]) == 2
        assert step["compile_seconds"] > 0
        assert step["memory_megabytes"] > step["temporary_megabytes"] > 0
        plan = written["plans"][name]
        assert plan["memory_megabytes"] == step["memory_megabytes"]
    assert timings["reading"]["step fed by 2 threads"]["samples"] == 4
    pairs = {(row["what"], row["against"]) for row in ratios["reading"]}
    # Windows of other sides than the step's are not what it is fed with.
    assert pairs == {
        (f"step fed by {n}", "step from memory") for n in ("1 thread", "2 threads")
    }
    assert min(written["core_seconds_a_scene"].values()) > 0
    shown = capsys.readouterr().out
    assert "step fed by 2 threads" in shown and "of a core's time" in shown


def test_files_alone_are_read_without_a_network(tmp_path, small_network):
    written = run(segmentation, tmp_path, *TINY, "--only", "reading", "--window", 16)
    assert small_network == [(8, "float32")]  # described, never made
    assert list(written["timings"]) == ["reading"]
    assert list(written["timings"]["reading"]) == [
        *("files read by 1 thread", "files read by 2 threads"),
    ]
    assert written["plans"] == {} and written["ratios"]["reading"] == []


def test_a_plan_needs_no_memory(tmp_path, small_network, capsys):
    huge = ("--side", 8000, "--minibatch", 4096, "--parts", 4096)  # a terabyte
    precise = ("--precisions", "bfloat16")
    written = run(segmentation, tmp_path, *TINY, *huge, *precise, "--compile-only")
    assert written["timings"] == {} and "bfloat16" in {
        made[1] for made in small_network
    }
    assert list(written["plans"]) == ["bfloat16, 4096 parts"]
    (plan,) = written["plans"].values()
    assert plan["memory_megabytes"] > 1e6 and plan["seconds"] == []
    assert "planned, not run" in capsys.readouterr().out


def test_the_network_is_the_studys():
    options = segmentation.Options(classes=21, width=64)
    network = steps.make_segmenter(options, "bfloat16")
    params = jax.eval_shape(network.init, jax.random.key(0)).params
    # As torchvision's with its auxiliary classifier left out.
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 39_638_869


def test_a_pass_is_charged_without_the_holdout():
    whole, first = timing(10, 5.0, 7.0), timing(4, 3.0, 4.0)
    rest = scores.without_first(whole, first)
    assert (rest.samples, rest.seconds) == (6, [2.0, 3.0])


# What does not fit


def raising(message):
    def fail():
        raise jax.errors.JaxRuntimeError(message)

    return Program(fail, (), 1)


def test_what_does_not_fit_says_so_and_the_others_run():
    fine = Program(lambda: jnp.ones(3), (), 3)
    full = raising("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nat ...")
    trial = command.tried({"full": full, "fine": fine})
    assert list(trial.fitting) == ["fine"] and list(trial.peaks) == ["full", "fine"]
    assert trial.failed["full"].not_measured == (
        "RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes."
    )


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        command.tried({"broken": raising("INTERNAL: a bug")})


def test_a_step_that_does_not_fit_leaves_the_others_their_state(small_network):
    tiny = [str(option) for option in TINY]
    options = command.parse(segmentation.Options, "segmentation", None, tiny)

    def fail(*arguments):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: too large")

    def planned(step, megabytes):
        return steps.Step(step, timing(2, megabytes=megabytes), 1)

    seen = []

    def learn(key, variables, momentum, rate, images, labels):
        seen.append(jax.tree.leaves(variables)[0].shape)
        assert images.shape == (1, 2, 16, 16, 3) and labels.shape == (1, 2, 16, 16)
        return variables, momentum

    made = {"large": planned(learn, 9.0), "failing": planned(fail, 5.0)}
    made |= {"small": planned(learn, 1.0), "never compiled": command.Unmeasured("-")}
    timings, peaks = steps.time_steps(made, steps.Learner(options), options)
    assert list(timings) == list(made)
    # The least memory first, and a peak after each.
    assert list(peaks) == ["compiled", "small", "failing", "large"]
    assert timings["failing"].not_measured == "RESOURCE_EXHAUSTED: too large"
    assert all(len(timings[name].seconds) == 2 for name in ("large", "small"))
    assert len(seen) == 2 * (1 + 1 + 2)  # tried, warmed up, and two turns
    assert steps.fastest(made, timings) in (made["large"], made["small"])


# Streams


def test_the_clock_starts_after_one_batch_and_the_stream_is_closed():
    closed, used = [], []

    def stream():
        try:
            yield from itertools.count()
        finally:
            closed.append(True)

    seconds, of_cores = steps.clocked(stream(), 3, used.append)
    assert used == [0, 1, 2, 3] and closed == [True]
    assert seconds > 0 and of_cores >= 0


def test_files_are_scenes_of_the_size_asked_for(tmp_path):
    options = segmentation.Options(file=(64, 96), files=5, classes=4)
    source = steps.write_files(tmp_path, options)
    scene = source[0]
    assert scene.image.shape == (64, 96, 3) and scene.mask.max() < 4
    assert len(source) == 4  # the fifth is a test scene
    first, second = (Image.open(tmp_path / "images" / f"000{i}.png") for i in (0, 1))
    assert np.any(np.asarray(first) != np.asarray(second))


# Wrong options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--side", "60"), "--side must be in multiples of 8, got 60."),
        (("--scene", "64", "30"), "--scene must be in multiples of 8, got 30."),
        (("--parts", "3"), "--parts must divide the minibatch of 4, got 3."),
        (("--pool", "4"), "--pool must be above --chunk-size of 4, got 4."),
        (("--files", "4"), "--files must be at least 5, got 4."),
        (("--only", "training", "speed"), "invalid choice 'speed'"),
        (("--repeats", "0"), "must be a positive integer, got '0'."),
        (("--repeat", "3"), "Unrecognized options: --repeat"),
        (("--out", "{}/file/numbers.json"), "cannot be created"),
    ],
)
def test_wrong_options_are_refused_before_the_work(tmp_path, capsys, options, sentence):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as exit_:
        segmentation.main([option.format(tmp_path) for option in options])
    assert exit_.value.code == 2
    assert sentence in words(capsys.readouterr().err)
