"""Against long double NumPy, and at the places where the code changes its form."""

import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iwps_jax import numerics
from iwps_jax.scores import step_forms

SEEDS = st.integers(0, 2**31 - 1)
TINY = 1e-35  # products of float32 numbers flush to zero below


@jax.jit
def cross_entropy_change(log_probs, change):
    return numerics.cross_entropy_change(log_probs, lambda c: change[c])


def exact_change(log_probs, change):
    """The change, and the sum of its terms' sizes, in long double."""
    log_probs, change = np.longdouble(log_probs), np.longdouble(change)
    with np.errstate(over="ignore", under="ignore"):
        probs, moved = np.exp(log_probs), np.exp(log_probs + change)
        terms = np.where(
            change < 1, probs * np.expm1(np.minimum(change, 1)), moved - probs
        )
        peak = (log_probs + change).max(0)
        far = peak + np.log(np.exp(log_probs + change - peak).sum(0))
    total = terms.sum(0)
    near = np.log1p(np.clip(total, -0.9, 0.9))
    return np.where(np.abs(total) < 0.5, near, far), np.abs(terms).sum(0)


def assert_exact(log_probs, change, rtol=1e-5):
    """Compares by the change, or by its largest terms where those cancel."""
    log_probs, change = np.float32(log_probs), np.float32(change)
    found = np.asarray(cross_entropy_change(log_probs, change))
    expected, terms = exact_change(log_probs, change)
    assert found.dtype == np.float32 and np.isfinite(found).all()
    allowed = np.maximum(np.abs(expected), np.minimum(terms, 1))
    assert (np.abs(found - expected) <= rtol * allowed + TINY).all()


def some_log_probs(rng, classes, samples, scale):
    logits = scale * rng.normal(size=(classes, samples))
    logits -= logits.max(0)
    return logits - np.log(np.exp(logits).sum(0))


def some_margin_change(rng, classes, samples, scale):
    """Zero at a random label of every sample."""
    change = scale * rng.normal(size=(classes, samples))
    change[rng.integers(classes, size=samples), np.arange(samples)] = 0
    return change


# Change of the cross-entropy


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1000.0])  # uniform … one-hot
def test_change_is_exact_over_eighteen_decades(classes, scale):
    rng = np.random.default_rng(classes)
    for size in np.logspace(-12, 6, 10):
        assert_exact(
            some_log_probs(rng, classes, 100, scale),
            some_margin_change(rng, classes, 100, size),
        )


@given(seed=SEEDS, size=st.floats(-12, 6), scale=st.floats(-2, 3))
def test_change_is_exact_anywhere(seed, size, scale):
    rng = np.random.default_rng(seed)
    log_probs = some_log_probs(rng, 5, 50, 10**scale)
    assert_exact(log_probs, some_margin_change(rng, 5, 50, 10**size))


@pytest.mark.parametrize("label_log_prob", [-1e4, -np.inf])
def test_change_with_an_impossible_class_and_an_impossible_label(label_log_prob):
    rng = np.random.default_rng(0)
    for size in np.logspace(-12, 6, 10):
        change = some_margin_change(rng, 4, 50, size)
        change[1] = 0  # the label
        log_probs = some_log_probs(rng, 4, 50, 1.0)
        log_probs[1], log_probs[3] = label_log_prob, -np.inf
        log_probs -= np.log(np.exp(log_probs).sum(0))
        assert_exact(log_probs, change)


@pytest.mark.parametrize(
    "log_probs, change, expected",
    [
        ([0.0, -np.inf], [0.0, 1e6], 0.0),
        ([-np.inf, 0.0], [0.0, -1e6], -1e6),
        ([-np.inf, 0.0], [0.0, 1e-12], 1e-12),
        ([-np.inf, 0.0], [0.0, -3e38], -3e38),
        ([np.log(0.5), np.log(0.5)], [0.0, 3e38], 3e38),
        ([np.log(0.5), np.log(0.5)], [0.0, -3e38], np.log(0.5)),
        ([-100.0, 0.0], [0.0, -100.0], -100 + np.log(2)),
        ([-1e-20, np.log(1e-20)], [0.0, 5.0], 1e-20 * np.expm1(5)),
        ([-1e-20, np.log(1e-20)], [0.0, -5.0], 1e-20 * np.expm1(-5)),
        ([-1e-20, np.log(1e-20)], [0.0, np.log(1e20)], np.log(2)),
        ([np.log(0.3), np.log(0.7)], [0.0, 0.0], 0.0),
        ([0.0], [0.0], 0.0),
    ],
)
def test_change_where_it_is_known(log_probs, change, expected):
    found = cross_entropy_change(
        jnp.array(log_probs)[:, None], jnp.array(change)[:, None]
    )
    np.testing.assert_allclose(found, [expected], rtol=2e-6)


@pytest.mark.parametrize(
    "label_log_prob, threshold",
    [
        (-0.5, 1.0),  # expm1 or a difference of two exponentials
        (-0.5, 1.0 - np.log(-np.expm1(-0.5))),  # a peak of one
        (-50.0, -40.0),  # a peak of -40
        (-2.0, np.log1p(0.5 / np.expm1(-2.0))),  # an excess of -1/2
        (-0.5, 88.0),  # around the largest exponential
        (-0.5, 0.0),
    ],
)
def test_change_is_smooth_where_its_form_changes(label_log_prob, threshold):
    other = np.log(-np.expm1(label_log_prob))
    change = np.float32(threshold + np.linspace(-1e-3, 1e-3, 401))
    log_probs = np.broadcast_to(np.float32([[label_log_prob], [other]]), (2, 401))
    change = np.stack([np.zeros_like(change), change])
    assert_exact(log_probs, change, rtol=2e-6)
    found = np.asarray(cross_entropy_change(log_probs, change), np.float64)
    assert np.diff(found).min() >= -2e-6 * np.abs(found).max()  # it only rises


def test_change_never_traces_a_class_of_its_own():
    """Memory and program do not grow with the classes: they are walked in a loop."""
    sizes = []
    for classes in (3, 300):
        log_probs = jnp.zeros((classes, 4))
        program = jax.make_jaxpr(
            lambda lp: numerics.cross_entropy_change(lp, lambda c: lp[c])
        )
        sizes.append(len(str(program(log_probs))))
    assert sizes[1] < 1.1 * sizes[0]


# Polynomials within a radius


def both_signs(smallest, largest):
    """Numbers of all sizes in between, the ends included."""
    sizes = np.geomspace(smallest, largest, 2000)
    line = np.linspace(-largest, largest, 20001)
    values = np.float32(np.concatenate([-sizes, sizes, line]))
    return values[values != 0]


@pytest.mark.parametrize(
    ("radius", "order"),
    [step_forms.SHORT_SERIES, *step_forms.SERIES, (0.1, 4), (1.0, 8), (0.5, 1)],
)
def test_series_is_expm1_up_to_its_radius(radius, order):
    series = numerics.expm1_series(radius, order)
    x = both_signs(1e-30, radius)
    found = np.longdouble(jax.jit(lambda x: numerics.polynomial((0.0, *series), x))(x))
    left_out = radius**order / math.factorial(order + 1) / 2 ** (order - 1)
    expected = np.expm1(np.longdouble(x))
    assert np.abs(found / expected - 1).max() < 2 * left_out + 3e-7
    assert len(series) == order


@pytest.mark.parametrize(
    ("radius", "order"), [step_forms.SHORT_SERIES, *step_forms.SERIES]
)
def test_series_of_the_look_ahead_leave_out_less_than_float32_rounds(radius, order):
    x = np.longdouble(np.linspace(-radius, radius, 10000))
    series = np.longdouble(numerics.expm1_series(radius, order))
    total = x * np.polynomial.polynomial.polyval(x, series)
    assert np.abs(total / np.expm1(x) - 1).max() < np.finfo(np.float32).eps


def test_moderate_log1p_is_log1p():
    x = np.float32(np.expm1(np.float64(both_signs(1e-30, 2.0))))
    expected = np.log1p(np.longdouble(x))
    found = np.longdouble(jax.jit(numerics.moderate_log1p)(x))
    assert np.abs(found / expected - 1).max() < 4e-7
    assert numerics.moderate_log1p(jnp.array(0.0)) == 0


def test_exp_and_expm1_are_those():
    x = both_signs(1e-30, 64.0)
    exp, expm1 = np.longdouble(jax.jit(numerics.exp_and_expm1)(x))
    wide = np.longdouble(x)
    rounding = 3e-7 * (1 + np.abs(wide))  # as much as x's own
    assert (np.abs(exp / np.exp(wide) - 1) < rounding).all()
    assert (np.abs(expm1 / np.expm1(wide) - 1) < rounding).all()
    small = np.abs(x) < 0.34
    assert np.abs(expm1 / np.expm1(wide) - 1)[small].max() < 4e-7
    assert [float(part) for part in numerics.exp_and_expm1(jnp.array(0.0))] == [1, 0]


def test_log_of_sum_is_exact_on_either_side_of_one():
    logs = np.longdouble(both_signs(1e-30, 64.0))
    total, excess = np.float32(np.exp(logs)), np.float32(np.expm1(logs))
    found = np.longdouble(jax.jit(numerics.log_of_sum)(total, excess))
    assert np.abs(found / logs - 1).max() < 6e-7


# Residual


def test_residual_is_onehot_minus_softmax(key):
    logits = 3 * jax.random.normal(key, (6, 4, 5))
    labels = jnp.arange(24).reshape(6, 4) % 5
    exact = np.exp(np.float64(logits))
    expected = np.eye(5)[labels] - exact / exact.sum(-1, keepdims=True)
    found = numerics.label_residual(logits, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@given(seed=SEEDS, scale=st.floats(0, 200))
def test_residual_sums_to_zero(seed, scale):
    rng = np.random.default_rng(seed)
    logits = np.float32(scale * rng.normal(size=(20, 7)))
    found = np.asarray(
        numerics.label_residual(jnp.asarray(logits), jnp.asarray(np.arange(20) % 7)),
        np.float64,
    )
    size = np.abs(found).sum(-1)
    assert (np.abs(found.sum(-1)) <= 1e-6 * size).all() and (size <= 2 + 1e-6).all()


@pytest.mark.parametrize("lead", [1.0, 10.0, 20.0, 40.0, 80.0])
def test_residual_keeps_its_digits_at_saturation(lead):
    logits = jnp.array([lead, 0.0, -1.0])
    found = numerics.label_residual(logits, jnp.array(0))
    others = np.exp(np.float64([-lead, -1 - lead]))
    others /= 1 + others.sum()
    expected = [others.sum(), -others[0], -others[1]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Logarithms of softmax and mean, entropy, divergence


@given(seed=SEEDS, scale=st.floats(-2, 3))
def test_log_softmax_keeps_the_digits_of_a_certain_class(seed, scale):
    rng = np.random.default_rng(seed)
    logits = np.float32(10**scale * rng.normal(size=(30, 6)))
    logits[:5] = np.round(logits[:5])  # with ties
    found = np.asarray(numerics.log_softmax(jnp.asarray(logits)))
    wide = np.longdouble(logits)
    wide = wide - wide.max(-1, keepdims=True)
    top = np.arange(6) == wide.argmax(-1)[:, None]
    others = np.where(top, 0, np.exp(wide)).sum(-1, keepdims=True)
    expected = wide - np.log1p(others)
    assert (np.abs(found - expected) <= 1e-5 * np.abs(expected) + TINY).all()


def test_log_softmax_of_excluded_classes():
    logits = jnp.array([[-jnp.inf, 0.0, -jnp.inf], [0.0, 0.0, -jnp.inf]])
    expected = [[-np.inf, 0, -np.inf], [-np.log(2), -np.log(2), -np.inf]]
    np.testing.assert_allclose(numerics.log_softmax(logits), expected, rtol=1e-6)


@pytest.mark.parametrize("draws", [1, 2, 10, 100])
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 50.0])
def test_log_mean_exp_is_numpy(draws, scale):
    rng = np.random.default_rng(draws)
    values = np.float32(-scale * rng.exponential(size=(draws, 200)))
    values[:, 0], values[0, 1] = -np.inf, -np.inf
    peak = np.where(values.max(0) == -np.inf, 0, values.max(0))
    with np.errstate(divide="ignore"):
        expected = peak + np.log1p(np.expm1(np.longdouble(values) - peak).mean(0))
    found = np.asarray(numerics.log_mean_exp(jnp.asarray(values)))
    assert found[0] == -np.inf and (draws > 1 or found[1] == -np.inf)
    np.testing.assert_allclose(found, np.float64(expected), rtol=1e-5)


def test_entropy_of_certain_uniform_and_impossible():
    log_probs = jnp.log(jnp.array([[1.0, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3]))
    expected = [0, np.log(2), np.log(3)]
    np.testing.assert_allclose(numerics.entropy_of(log_probs), expected, rtol=1e-6)


def test_divergence_term_is_exact_and_never_negative():
    ratio = np.concatenate([-np.logspace(-12, 2, 200), np.logspace(-12, 1.5, 200)])
    around_the_series = np.linspace(-0.011, 0.011, 200)
    ratio = np.float32(np.concatenate([ratio, around_the_series, [0, -1e-2, 1e-2]]))
    wide = np.longdouble(ratio)
    expected = np.where(
        np.abs(wide) < 1e-3,
        wide**2 * (0.5 + wide * (1 / np.longdouble(3) + wide / 8)),
        wide * np.exp(wide) - np.expm1(wide),
    )
    found = np.asarray(numerics.divergence_term(jnp.asarray(ratio)))
    assert (found >= 0).all()
    np.testing.assert_allclose(found, np.float64(expected), rtol=1e-4, atol=TINY)
    assert numerics.divergence_term(jnp.array(-jnp.inf)) == 1


# Types


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
)
def test_upcast_widens_narrow_floats_without_a_change(dtype):
    values = np.array([0.5, -2.0, 1.5]).astype(dtype)
    widened = numerics.upcast({"a": values, "b": (jnp.asarray(values), None)})
    for leaf in jax.tree.leaves(widened):
        assert leaf.dtype == jnp.float32 and leaf.tolist() == [0.5, -2.0, 1.5]
    assert widened["b"][1] is None


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int32, bool])
def test_upcast_leaves_other_types_alone(dtype):
    values = np.array([0, 1, 1]).astype(dtype)
    found = numerics.upcast(values)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, values)


def test_upcast_keeps_double_precision_and_random_keys(key):
    assert numerics.upcast(key) == key
    with jax.enable_x64(True):
        wide = numerics.upcast(jnp.array([1 + 1e-12]))
        assert wide.dtype == jnp.float64 and wide[0] == 1 + 1e-12
