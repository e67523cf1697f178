"""The benchmarks: sums by hand, real runs of tiny sizes, refusals."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark_runs import run, timing
from command_output import words

import iwps_jax
from benchmarks import (
    command,
    compare,
    measure,
    networks,
    roofline,
    scores,
    study_time,
    throughput,
)
from benchmarks.measure import Program
from experiments.classification import flops

FAST_COMPILE = {"xla_backend_optimization_level": "0"}
MAINS = (throughput, networks, roofline, study_time)


# The clock


def test_programs_take_turns_and_the_first_call_is_not_timed():
    order = []

    def program(name):
        return Program(lambda x: order.append(name) or x, (name,), 1)

    timings = measure.in_turns({name: program(name) for name in "ab"}, 3)
    assert "".join(order) == "ab" + "ab" * 3
    assert all(len(timings[name].seconds) == 3 for name in "ab")


def test_memory_has_arguments_and_results_in_it():
    x = jnp.ones((250, 1000))
    program = Program(jax.jit(lambda x: x + 1), (x,), len(x))
    found = measure.in_turns({"add": program}, 1)["add"]
    assert found.memory_megabytes == pytest.approx(2.0, rel=1e-3)
    assert found.temporary_megabytes <= 1e-3 and found.compile_seconds > 0


def test_a_speed_ratio_is_per_sample_and_turn_by_turn():
    fast, slow = timing(10, 1.0, 2.0, 4.0), timing(5, 1.0, 1.0, 1.0)
    assert measure.speed_ratio(fast, slow) == (1.0, 0.5, 2.0)
    assert fast.rate == 5


def test_a_chunked_program_gets_what_is_not_cut_up():
    pool, kernel = jnp.arange(14.0).reshape(7, 2), jnp.array([[1.0], [3.0]])
    found = measure.chunked(lambda chunk, kernel: chunk @ kernel, 3)(pool, kernel)
    np.testing.assert_allclose(found, pool @ kernel)


# Scores on arrays


def test_features_of_any_size_couple_alike_and_each_branch_has_its_row():
    def couplings(dimension):
        arrays = scores.random_arrays(
            400, 3, dimension, 50, without=("logits", "draws")
        )
        return arrays.features @ arrays.holdout_features.T

    compiled = jax.jit(
        lambda: [couplings(64), couplings(1024)], compiler_options=FAST_COMPILE
    )
    for found in map(np.asarray, compiled()):
        assert found.std() == pytest.approx(16, rel=0.1)
        # A step moves no logit of the head by more than η.
        largest = 1 + np.abs(found).max()
        assert throughput.LEARNING_RATE * scores.STEPS * largest < 1
        assert scores.LARGE_RATE * largest > 10


def test_the_grid_has_an_axis_at_a_time_or_all():
    sizes = [1, 2, 3], [4, 5, 6], [7, 8, 9]
    axes = throughput.grid(*sizes, full=False)
    assert len(axes) == 1 + 3 * 2 + 1 and axes[0] == (1, 4, 7)
    assert (1, 6, 9) in axes and (2, 4, 7) in axes and (2, 5, 7) not in axes
    assert len(throughput.grid(*sizes, full=True)) == 27


def test_every_program_on_arrays_scores_its_samples():
    arrays = jax.eval_shape(lambda: scores.random_arrays(9, 3, 8, 4))
    found = {}
    for row in scores.rows(1e-3):

        def scored(arrays, row=row):
            program = scores.as_program(row, arrays, chunk_size=4, max_exponentials=72)
            found[row.name] = program.samples
            return program.run(*program.arguments)

        assert jax.eval_shape(scored, arrays).shape[0] == found[row.name]
    # 72 exponentials are those of two candidates: 3 x 3 classes, 4 holdout samples.
    few = {name for name, samples in found.items() if samples == 2}
    assert few == {"error_reduction", "expected_entropy_reduction"}
    assert found.pop("iwps_last_layer, large |k δ|") == 6
    assert {found[name] for name in found.keys() - few} == {9}


def test_throughput_times_what_fits_and_names_what_does_not(
    tmp_path, monkeypatch, capsys
):
    some = (scores.UNIT, "iwps_app_last_layer", "entropy", "variation_ratio")
    rows = scores.rows
    monkeypatch.setattr(
        scores, "rows", lambda rate: [row for row in rows(rate) if row.name in some]
    )
    written = run(
        throughput,
        tmp_path,
        *("--pool-sizes", 4000, "--classes", 3, "--dimensions", 8, 40_000),
        *("--holdout-size", 4, "--chunk-size", 1024, "--repeats", 2),
        *("--max-gigabytes", 1),
    )
    small, large = written["timings"].values()
    assert tuple(small) == some and tuple(large) == some[:2]
    for row in small.values():
        assert len(row["seconds"]) == 2 and min(row["seconds"]) > 0
        assert row["samples"] == 4000
    for row in large.values():
        assert row == {"not_measured": "needs 1.3 gigabytes, 1 allowed"}
    of_small, of_large = written["ratios"].values()
    assert [row["what"] for row in of_small] == list(some[1:]) and of_large == []
    assert "not measured, needs 1.3 gigabytes, 1 allowed" in capsys.readouterr().out


# The roofline


def test_a_floor_by_hand():
    need = roofline.Need(operations=6.0, moved=8.0)
    # 1, 2 and 4 operations a second, and 4 bytes.
    product, memory = timing(4, 4.0, 2.0, 1.0), timing(8, 2.0, 2.0, 2.0)
    found = roofline.reached(need, product, memory, timing(50, 12.0, 6.0, 6.0))
    assert found.bound == "operations" and found.floor_seconds == 3.0
    assert found.share == (0.5, 0.25, 0.5)
    found = roofline.reached(
        need._replace(moved=80.0), product, memory, timing(50, 40.0, 40.0, 40.0)
    )
    assert found.bound == "bytes" and found.share == (0.5, 0.5, 0.5)


@pytest.mark.full
@pytest.mark.parametrize("name", ["iwps_last_layer", "iwps_app_last_layer"])
def test_a_floor_is_not_above_what_the_program_does(name):
    n, m, d, c = 64, 32, 128, 5
    arrays = scores.random_arrays(n, c, d, m)
    counted = flops.count(getattr(iwps_jax, name), *arrays[:5]).flops
    floor = roofline.needs(n, m, d, c)[name].operations
    assert 0.5 * counted < floor <= counted


def test_a_pick_is_what_more_picks_take_longer():
    more = roofline.MORE_PICKS - roofline.FEW_PICKS
    few = timing(9, 1.0, 2.0)
    found = roofline.a_pick(few, timing(9, 1.0 + more, 2.0 + 3 * more), 9)
    assert found.samples == 9 and found.seconds == [1.0, 3.0]
    assert "larger --pool-size" in roofline.a_pick(few, few, 9).not_measured


@pytest.mark.full
def test_a_roofline_run(tmp_path, capsys):
    written = run(
        roofline,
        tmp_path,
        *("--pool-size", 2000, "--holdout-size", 8, "--dimension", 64),
        *("--square", 64, "--memory-megabytes", 1, "--repeats", 2),
    )
    assert {"matrix product", "memory", "entropy"} < written["timings"].keys()
    assert written["timings"]["matrix product"]["samples"] == 2 * 64**3
    for row in written["reached"].values():
        assert row["share"]["lowest"] <= row["share"]["median"] and row["moved"] > 0
        assert row["bound"] in ("operations", "bytes")
    assert "GFLOP/s" in capsys.readouterr().out


# A study's time


@pytest.mark.full
def test_a_study_is_split_into_phases_that_add_up(tmp_path, capsys):
    written = run(
        study_time,
        tmp_path,
        *("--methods", "entropy", "--seeds", 1, "--rounds", 1, "--repeats", 2),
        *("--folder", tmp_path / "run"),
    )
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    fit = sum(json.loads(line)["fit_seconds"] for line in lines)
    seconds = {
        name: row["seconds"][0]
        for name, row in written["timings"].items()
        if "entropy" not in name
    }
    wall = seconds.pop("whole study")
    assert list(seconds) == [
        *("compile", "fit", "test", "score", "select"),
        *("data", "disk", "report", "other"),
    ]
    assert sum(seconds.values()) == pytest.approx(wall)
    assert min(seconds.values()) >= 0 and seconds["disk"] > 0
    assert seconds["fit"] == pytest.approx(fit) and len(lines) == 2
    scored = sum(json.loads(line)["score_seconds"] or 0 for line in lines)
    of_method = written["methods"]["entropy"]
    assert of_method["score"] + of_method["select"] == pytest.approx(scored)
    assert written["timings"]["fit"]["samples"] == 2
    assert "one study" in capsys.readouterr().out


def test_the_selections_share_is_that_of_the_turns():
    phases = {"m": {"compile": 1.0, "fit": 2.0, "test": 0.5, "score": 8.0}}
    turns = {
        "m: score": timing(1, 1.0, 3.0, 1.0),
        "m: score and select": timing(1, 4.0, 4.0, 4.0),
    }
    found = study_time.split(phases, turns)["m"]
    assert (found["score"], found["select"], found["fit"]) == (2.0, 6.0, 2.0)


# Wrong options


@pytest.mark.parametrize("module", MAINS)
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--repeats", "0"), "must be a positive integer, got '0'."),
        (("--repeats", "few"), "must be a positive integer, got 'few'."),
        (("--repeat", "3"), "Unrecognized options: --repeat"),
        (("--out", "{}/file/numbers.json"), "cannot be created"),
        (("--out", "{}"), "must name a file"),
    ],
)
def test_wrong_options_are_refused_before_the_work(
    tmp_path, capsys, module, options, sentence
):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as exit_:
        module.main([option.format(tmp_path) for option in options])
    assert exit_.value.code == 2
    assert sentence in words(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("module", "options", "sentence"),
    [
        (roofline, ("--pool-size", "18"), "--pool-size must be above 18, got 18."),
        (study_time, ("--study", "mnist"), "unknown value of --study 'mnist'"),
        (study_time, ("--methods", "iwsp"), "unknown method 'iwsp'"),
        (networks, ("--networks", "vgg"), "invalid choice 'vgg'"),
        (compare, ("a", "b", "--tolerance", "0.5"), "at least 1, got '0.5'"),
    ],
)
def test_what_makes_no_sense_is_refused(capsys, module, options, sentence):
    with pytest.raises(SystemExit) as exit_:
        module.main(options)
    assert exit_.value.code == 2
    assert sentence in words(capsys.readouterr().err)


def test_digits_of_small_numbers_stay():
    assert command.digits(1234567.8) == "1,234,568"
    assert command.digits(0.00123456) == "0.00123"
