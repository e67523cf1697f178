"""The native forms of other platforms, run on a CPU against the same oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import iwps_jax
from iwps_jax import dialect

# Shapes of their own: what was compiled for a CPU's forms serves no other form.
ROWS = 61


@pytest.fixture
def elsewhere(monkeypatch):
    """As if every program were for another platform, with blocks of a few rows."""
    monkeypatch.setattr(dialect, "by_platform", lambda cpu, others: others)
    monkeypatch.setattr(dialect, "OTHER_ROWS", 16)


def some_values(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("learning_rate", [1e-3, 0.3, 30.0])  # one for every form
def test_the_look_ahead_is_that_of_the_oracle(elsewhere, learning_rate):
    problem = reference.head_problem(0, ROWS, 5, dialect.CLASSES_OF_A_FUSION + 3, 7)
    options = {"steps": 2, "learning_rate": learning_rate}
    scores = iwps_jax.iwps_last_layer(**problem, **options)
    layers = [(problem.pop("kernel"), problem.pop("bias"))]
    inputs = problem.pop("features"), *problem.values()
    changes = reference.look_ahead_changes(layers, *inputs, **options)
    scale = np.abs(changes).mean(1)
    reference.assert_same_scores(scores, changes.mean(1), scale)


def test_the_picks_are_those_of_the_oracle(elsewhere):
    features, labeled = some_values(ROWS, 3), np.arange(ROWS) < 2
    features[-1] = features[-2]  # ties go to the lower row
    picks = iwps_jax.k_center_greedy(features, 9, labeled)
    np.testing.assert_array_equal(
        picks, reference.k_center_greedy(features, 9, labeled)
    )
    first = iwps_jax.badge(jax.random.key(0), features, features, 5)
    norms = (reference.badge_embedding(features, features) ** 2).sum(1)
    assert first[0] == norms.argmax()
    assert len(set(first.tolist())) == 5


def test_reductions_are_those_of_numpy(elsewhere):
    values = some_values(ROWS, 3)
    values[40] = values[20] = values.max() + 1
    given = jnp.asarray(values)
    for form in (dialect.argmax, dialect._argmax_by_comparing):
        np.testing.assert_array_equal(form(given), values.argmax(0))
        assert form(given).dtype == jnp.int32
    np.testing.assert_allclose(dialect.sum_rows(given), values.sum(1), rtol=1e-5)


@pytest.mark.parametrize("number", [1, 5, 40])
def test_items_are_added_in_order(number):
    """Both forms: 2 (… 2 (2 t + x_0) + x_1 …) + x_n tells every order apart."""
    items = some_values(number)

    def add(total, item):
        return 2 * total + item

    expected = np.float64(1)
    for item in items:
        expected = add(expected, item)
    for form in (
        *(dialect.fold, jax.jit(dialect.fold, static_argnums=0)),
        lambda *of: dialect.over_classes(*of, on_cpu=3),
        lambda *of: dialect._scan(*of, unroll=1),
    ):
        found = form(add, jnp.ones(()), items)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_exponentials_and_logarithm_are_those_of_numpy(elsewhere):
    x = np.linspace(-2, 2, 1001, dtype=np.float32)
    exp, expm1 = dialect.exp_and_expm1(jnp.asarray(x))
    np.testing.assert_allclose(exp, np.exp(x), rtol=1e-6)
    np.testing.assert_allclose(expm1, np.expm1(x), rtol=1e-6)
    np.testing.assert_allclose(dialect.moderate_log1p(expm1), x, rtol=1e-5, atol=1e-7)
