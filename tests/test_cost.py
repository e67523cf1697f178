"""The cost table: counts against counts by hand, loops in full, a real run."""

import json
import math

import jax
import jax.numpy as jnp
import pytest

from experiments import cost, models
from experiments.classification import cost_programs, flops
from experiments.classification.cost_programs import HOLDOUT_SIZE, STEPS

SHAPE, HIDDEN = (16, 16, 1), (64, 48)
SIZES = (256, *HIDDEN, 10)
WEIGHTS = sum(d_in * d_out for d_in, d_out in zip(SIZES, SIZES[1:], strict=False))


@pytest.fixture(scope="module")
def network():
    return models.mlp(SHAPE, 10, mean=127.5, std=73.9, hidden_sizes=HIDDEN)


@pytest.fixture(scope="module")
def shared(network):
    return cost_programs.make_shared(network, SHAPE)


@pytest.fixture(scope="module")
def rows(network):
    return {row.method: row for row in cost_programs.make_rows(network, 3, 1e-3)}


@pytest.fixture(scope="module")
def counted(rows, shared):
    """Operations a candidate, by method, for any |k δ| if need be."""

    def count(method, size=4):
        return cost.count_per_candidate(rows[method], shared, SHAPE, size, 0).flops

    return count


def power(x, steps, unroll=1):
    return jax.lax.scan(lambda y, _: (y @ x, None), x, length=steps, unroll=unroll)[0]


def test_the_compilers_own_count_takes_a_loop_once():
    # Should this ever fail, `flops.count` can become one line.
    x = jnp.ones((16, 16))
    compiled = jax.jit(lambda x: power(x, 5)).lower(x).compile()
    assert compiled.cost_analysis()["flops"] < 1.5 * 2 * 16**3


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_loop_counts_as_often_as_it_runs(steps):
    count = flops.count(lambda x: power(x, steps), jnp.ones((16, 16)))
    assert count == (steps * 2 * 16**3, 0)


def test_loops_within_loops_and_within_functions_count():
    def program(x):
        def inner(i, y):
            return jnp.sin(power(y, 2))

        return jax.vmap(jax.jit(lambda y: jax.lax.fori_loop(0, 3, inner, y)))(x)

    count = flops.count(program, jnp.ones((4, 16, 16)))
    # Sines are no operations of this count, and a power of two has two products.
    assert count == (4 * 3 * 2 * 2 * 16**3, 0)


def test_a_loop_with_bounds_that_are_data_is_reported():
    def program(x, n):
        return jax.lax.fori_loop(0, n, lambda i, y: y @ x, x)

    assert flops.count(program, jnp.ones((16, 16)), 3).loops == 1


@pytest.mark.parametrize(("branch", "products"), [(0, 1), (1, 3), (None, 3)])
def test_the_named_branch_counts(branch, products):
    def program(x, is_long):
        return jax.lax.cond(is_long, lambda: x @ x @ x @ x, lambda: x @ x)

    count = flops.count(program, jnp.ones((16, 16)), True, branch=branch)
    assert count.flops == pytest.approx(products * 2 * 16**3, abs=2)


def test_counting_changes_no_result():
    def program(x, key):
        y = power(x, 3) + jax.random.normal(key, x.shape)
        return jax.lax.cond(y.sum() > 0, jnp.sin, jnp.cos, y)

    x, shapes = (
        jnp.linspace(0, 0.1, 16).reshape(4, 4),
        jax.eval_shape(jax.random.key, 3),
    )
    unrolled = jax.jit(flops.unrolled(program, x, shapes))
    (got,) = unrolled(x, jax.random.key(3))
    assert jnp.allclose(got, program(x, jax.random.key(3)), rtol=1e-6)


def test_a_forward_pass_is_two_operations_a_weight(counted):
    assert counted("forward pass") == pytest.approx(2 * WEIGHTS, rel=0.05)


def test_first_order_of_all_layers_by_hand(counted):
    # A layer's weights on activation and tangent, and the gradient on the activation.
    # The first layer's activation is the image, which has no tangent.
    by_hand = 2 * (3 * WEIGHTS - SIZES[0] * SIZES[1])
    assert counted("IWPS-app, full network") == pytest.approx(by_hand, rel=0.05)


def test_exact_look_ahead_of_all_layers_by_hand(counted):
    first = SIZES[0] * SIZES[1]
    # A step: forward, gradients of the weights, and back through all but the first.
    step = 2 * WEIGHTS + 2 * WEIGHTS + 2 * (WEIGHTS - first)
    # The holdout: at the moved weights, and tangents at the start and, with its
    # primal, at one more place; a product less of the first layer, whose inputs stay.
    tangents = (2 * WEIGHTS - first) + (3 * WEIGHTS - first)
    by_hand = STEPS * step + HOLDOUT_SIZE * 2 * (WEIGHTS + tangents)
    # A step adds to the displacement, and the displacement to the weights.
    by_hand += 2 * WEIGHTS * (2 * STEPS + 2)
    got = counted("IWPS, full network", size=2)
    assert got == pytest.approx(by_hand, rel=0.06)


def test_exact_look_ahead_of_the_last_layer_needs_no_forward_pass_of_the_holdout(
    counted, rows
):
    forward = counted("forward pass")
    more = counted("IWPS, last layer") - forward
    couplings = 2 * HOLDOUT_SIZE * HIDDEN[-1]
    assert couplings < more < 0.5 * HOLDOUT_SIZE * forward
    assert rows["IWPS, last layer"].passes == pytest.approx(50 + 1 + 1 / 3 + 4 / 3)


def test_formulas_are_the_supplements(rows):
    passes = {name: row.passes for name, row in rows.items() if row.formula != "-"}
    assert passes.pop("IWPS, last layer") == pytest.approx(52 + 2 / 3)
    assert passes.pop("IWPS-app, last layer") == pytest.approx(4 / 3)
    assert passes == {
        "forward pass": 1,
        "MC-Dropout": 10,
        "IWPS, full network": 56,
        "IWPS, full network, low rank": 56,
        "IWPS-app, full network": 2,
    }
    without = [name for name, row in rows.items() if row.formula == "-"]
    assert all(rows[name].passes is None for name in without)
    assert len(without) == 7


def test_layers_of_the_residual_network_are_its_eighteen():
    network = cost_programs.make_network("resnet18")
    assert (
        cost_programs.num_layers(jax.eval_shape(network.init, jax.random.key(0))) == 18
    )
    rows = cost_programs.make_rows(network, 18, 1e-4)
    assert "IWPS, full network, low rank" not in [row.method for row in rows]


@pytest.mark.parametrize(("learning_rate", "is_small"), [(1e-3, True), (1e3, False)])
def test_the_branch_taken_is_found_out(network, shared, learning_rate, is_small):
    rows = cost_programs.make_rows(network, 3, learning_rate)
    candidates = cost_programs.make_candidates(SHAPE, 8)
    branching = [row for row in rows if row.taken is not None]
    assert [row.method for row in branching] == ["Err-Reduction", "IWPS, last layer"]
    for row in branching:
        assert (int(row.taken(shared, candidates)) in row.small) is is_small


def test_turns_are_interleaved_and_slow_programs_leave_early():
    order = []
    slow = lambda: order.append("slow") or sum(range(2_000_000))  # noqa: E731
    times = cost.take_turns([lambda: order.append("fast"), slow], 3, seconds=1e-3)
    assert order == ["fast", "slow", "fast", "fast", "fast"]
    assert [len(of_one) for of_one in times] == [3, 1]
    assert times[1][0] > 1e-3


@pytest.fixture
def run_some(tmp_path, monkeypatch):
    """Runs the command for some rows at a small size; returns its two files."""

    def run(methods, *options):
        make_rows = cost.make_rows
        monkeypatch.setattr(
            cost,
            "make_rows",
            lambda *arguments: [
                row for row in make_rows(*arguments) if row.method in methods
            ],
        )
        monkeypatch.setitem(cost.TIMED, "mlp", cost.Size(16, 2))
        monkeypatch.setitem(cost.COUNTED, "mlp", cost.Size(4, 2))
        out, table = tmp_path / "new" / "cost.json", tmp_path / "cost.md"
        cost.main([*options, "--out", str(out), "--markdown", str(table)])
        return json.loads(out.read_text()), table.read_text()

    return run


def test_a_smoke_takes_one_turn(run_some):
    written, _ = run_some(("forward pass", "Entropy"), "--smoke")
    assert [row["turns"] for row in written["per_candidate"]] == [1, 1]


def test_a_run_prints_and_writes_the_same_numbers(run_some, capsys):
    cheap = ("forward pass", "Entropy", "MC-Dropout", "IWPS, last layer")
    written, text = run_some(cheap, "--turns", "2")
    costs = {row["method"]: row for row in written["per_candidate"]}
    assert tuple(costs) == cheap
    for row in costs.values():
        median, low, high = row["seconds"]
        assert 0 < low <= median <= high < math.inf
        assert row["turns"] == 2
        forward = costs["forward pass"]["flops"]
        assert row["flops_passes"] == pytest.approx(row["flops"] / forward)
    assert costs["forward pass"]["passes"] == [1, 1, 1]
    assert costs["IWPS, last layer"]["is_small"] is True
    assert costs["Entropy"]["formula_passes"] is None
    # By hand: the first layer once, the rest for each of ten draws, and random bits.
    draws = 2 * (784 * 256 + 10 * (256 * 256 + 256 * 10))
    assert draws < costs["MC-Dropout"]["flops"] < 1.35 * draws
    assert costs["MC-Dropout"]["loops_counted_once"] > 0
    assert text.count("\n| ") == len(cheap) + 1
    assert "the formula charges N^h C = 50 C" in text
    assert "13,300 multiply-adds" in text
    assert "13,300 multiply-adds" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("option", ["--turns", "--seconds"])
def test_what_measures_nothing_is_refused(option, capsys):
    with pytest.raises(SystemExit) as exit_:
        cost.main([option, "0"])
    assert exit_.value.code == 2
    assert f"{option[2:]} must be positive, got 0" in capsys.readouterr().err
