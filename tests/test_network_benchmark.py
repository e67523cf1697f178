"""Scores beside networks: fair opponents, all programs traced, a tiny real run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from benchmark_runs import run

import iwps_jax
from benchmarks import autodiff, networks, scores

FAST_COMPILE = {"xla_backend_optimization_level": "0"}


# The opponents compute the same


@pytest.fixture(scope="module")
def dense_network():
    keys = iter(jax.random.split(jax.random.key(0), 4))
    layers = [
        (jax.random.normal(next(keys), shape) / shape[0] ** 0.5, jnp.zeros(shape[1]))
        for shape in ((6, 5), (5, 3))
    ]
    pool = jax.random.normal(next(keys), (9, 6))
    holdout = jax.random.normal(next(keys), (7, 6)), jnp.arange(7) % 3
    return layers, pool, holdout


def test_exact_look_ahead_by_autodiff_is_the_librarys(dense_network):
    layers, pool, holdout = dense_network
    options = dict(steps=3, learning_rate=0.1)

    def both(layers, pool, *holdout):
        return (
            iwps_jax.iwps_mlp(layers, pool, *holdout, **options),
            autodiff.iwps(autodiff.dense, layers, pool, *holdout, **options),
        )

    compiled = jax.jit(both, compiler_options=FAST_COMPILE)
    found, expected = compiled(layers, pool, *holdout)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_first_order_by_autodiff_is_the_librarys(dense_network):
    layers, pool, holdout = dense_network

    def both(layers, pool, *holdout):
        gradient = iwps_jax.holdout_gradient(autodiff.dense, layers, *holdout)
        return (
            iwps_jax.iwps_app(autodiff.dense, layers, pool, gradient),
            autodiff.iwps_app(autodiff.dense, layers, pool, gradient),
        )

    compiled = jax.jit(both, compiler_options=FAST_COMPILE)
    found, expected = compiled(layers, pool, *holdout)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


# Beside networks


NETWORK_SIZES = networks.Options(
    **dict(mlp_pool=6, resnet18_pool=2, resnet50_pool=1, mlp_chunk=4, resnet_chunk=2),
    **dict(resnet_width=2, resnet_candidates=1),
)


@functools.cache
def network_programs(name):
    """Samples and shape of the result of every program of a network; none is run."""
    samples = {}

    def traced():
        subject = networks.make_subject(name, NETWORK_SIZES)
        scored = networks.prepare(subject, 4)
        programs = networks.on_network(subject, scored)
        if name == "resnet50":  # the same programs, which take long to trace
            programs = {networks.FORWARD: programs[networks.FORWARD]}
        samples.update({row: program.samples for row, program in programs.items()})
        results = {row: p.run(*p.arguments) for row, p in programs.items()}
        return results, scored

    with pytest.MonkeyPatch.context() as patch:
        # Its own compiler options cannot be within a trace.
        patch.setattr(
            networks, "initial_variables", lambda network, key: network.init(key)
        )
        results, scored = jax.eval_shape(traced)
    return samples, results, scored


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("mlp", 10),
        pytest.param("resnet18", 10, marks=pytest.mark.full),
        pytest.param("resnet50", 1000, marks=pytest.mark.full),
    ],
)
def test_every_program_on_a_network_scores_its_samples(name, classes):
    samples, results, scored = network_programs(name)
    assert results["forward pass"].shape == (samples["forward pass"], classes)
    for row, result in results.items():
        if row == "holdout_gradient":
            expected = jax.tree.map(jnp.shape, scored.variables.params)
            assert jax.tree.map(jnp.shape, result) == expected
        else:
            assert result.shape[0] == samples[row]
    assert samples.get("iwps", 1) == 1
    assert scored.arrays.features.shape[0] == networks.LEAST_ROWS
    assert scored.arrays.holdout_features.shape[0] == 4


def test_every_score_has_a_row_in_one_of_the_two():
    rows = [row.name for row in scores.rows(1e-3)] + list(network_programs("mlp")[0])
    functions = {name: getattr(iwps_jax, name) for name in iwps_jax.__all__}
    promised = {
        name
        for name, function in functions.items()
        if getattr(function, "__module__", "").startswith("iwps_jax.scores.")
    }
    others = {"CrossFit", "cross_fitted_iwps", "cross_fitted_iwps_app"}
    # Parts of a score, or what is asked of one.
    others |= {"dense_layers", "holdout_changes", "class_balanced_weights"}
    # Timed with their selectors by `benchmarks.batch_methods`.
    others |= {"balanced_margin", "fit_temperature", "prediction_changes"}
    assert others < promised
    for name in promised - others:
        assert any(row == name or row.startswith(f"{name} ") for row in rows), name


@pytest.mark.full
def test_the_aims_are_of_rows_that_exist():
    for name, aimed in (("mlp", 6), ("resnet18", 3), ("resnet50", 0)):
        rows = [*network_programs(name)[0], *(row.name for row in scores.rows(1e-3))]
        found = networks.comparisons(name, rows)
        pairs = [
            row for row in found if row.least and {row.what, row.against} <= {*rows}
        ]
        assert len(pairs) == aimed + (name == "mlp")


@pytest.mark.full
def test_a_network_run_compares_within_itself(tmp_path, monkeypatch, capsys):
    rows, on_network = scores.rows, networks.on_network
    some = ("forward pass", "iwps_last_layer with features", "iwps_app")
    monkeypatch.setattr(scores, "rows", lambda rate: rows(rate)[:1])
    monkeypatch.setattr(networks, "LEAST_ROWS", 1)
    monkeypatch.setattr(
        networks,
        "on_network",
        lambda *arguments: {
            row: program
            for row, program in on_network(*arguments).items()
            if row in some
        },
    )
    written = run(
        networks,
        tmp_path,
        *("--networks", "mlp", "--mlp-pool", 20, "--mlp-chunk", 8),
        *("--holdout-size", 4, "--repeats", 2),
    )
    timings, ratios = written["timings"]["mlp"], written["ratios"]["mlp"]
    assert [row["what"] for row in ratios] == [*some[1:], scores.UNIT]
    for row in ratios:
        what, forward = timings[row["what"]], timings["forward pass"]
        share = what["samples"] / forward["samples"]
        turns = np.array(forward["seconds"]) / what["seconds"] * share
        assert row["median"] == pytest.approx(np.median(turns))
    aims = [row["aim"] for row in ratios]
    assert aims == ["adds at most 35 %", "at most 3x slower", "for information"]
    assert ratios[1]["met"] is (ratios[1]["median"] >= 1 / 3)
    assert 0 < written["bounds"]["mlp"] < 1
    assert "η T max |k|" in capsys.readouterr().out
