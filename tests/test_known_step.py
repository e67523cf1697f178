"""The form that a pool's steps need is told before it is compiled, and checked."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iwps_jax import methods, picking, score_pool
from iwps_jax.known_step import look_ahead_for
from iwps_jax.method import Model, Rows
from iwps_jax.pool.quick import Quick
from iwps_jax.scores import step_forms
from iwps_jax.types import Head, Holdout

RATES = (1e-5, 3e-3, 0.02, 0.3, 30.0)
QUICK = [name for name, method in methods.ROWS.items() if method.quick is not None]


def some_rows(size, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return (scale * rng.normal(size=(size, 6))).astype(np.float32)


def a_model(learning_rate, scale=1.0):
    rng = np.random.default_rng(1)
    head = Head(rng.normal(size=(6, 4)).astype(np.float32), np.zeros(4, np.float32))
    holdout = Holdout(some_rows(10, scale, seed=2), np.arange(10) % 4)
    labeled = Holdout(some_rows(8, seed=3), np.arange(8) % 4)
    return Model(head, holdout, labeled, learning_rate=learning_rate)


@given(
    learning_rate=st.floats(1e-5, 100),
    scale=st.sampled_from([0.01, 1.0, 30.0]),
    steps=st.integers(1, 5),
    seed=st.integers(0, 100),
)
def test_the_bound_is_never_below_the_largest_step(learning_rate, scale, steps, seed):
    """So the rows that were looked at are always served."""
    model = a_model(learning_rate, scale)._replace(steps=steps)
    rows = Rows(features=some_rows(20, scale, seed))
    taken = step_forms.take_steps(
        *(rows.features, *model.head, *model.holdout, jnp.float32(learning_rate), steps)
    )
    largest = float(step_forms.largest_change(taken.deltas, taken.reach).max())
    needed = np.searchsorted(step_forms.ALL_RADII, largest)
    assert look_ahead_for(rows, model)[0].args[0] >= needed


def test_every_form_is_chosen_for_some_step():
    rows = Rows(features=some_rows(50))
    chosen = {look_ahead_for(rows, a_model(rate))[0].args[0] for rate in RATES}
    assert chosen == {*range(len(step_forms.ALL_RADII) + 1)}


@pytest.mark.parametrize("learning_rate", RATES)
@pytest.mark.parametrize("name", QUICK)
def test_the_quick_form_is_the_score_where_it_holds(name, learning_rate):
    method, model = methods.ROWS[name], a_model(learning_rate)
    features = some_rows(32)
    score = picking.bind_score(method, model, some_rows=features)
    assert isinstance(score, Quick)
    full = np.asarray(score.full(features))
    assert np.asarray(score.forms[0](features)[1]).all()
    for form in score.forms:
        scores, holds = map(np.asarray, form(features))
        np.testing.assert_allclose(
            scores[holds], full[holds], rtol=2e-5, atol=1e-6 * abs(full).max()
        )
    assert holds.all()


@pytest.mark.parametrize("name", QUICK)
def test_a_row_far_beyond_those_looked_at_is_scored_all_the_same(name):
    pool, model = some_rows(2000), a_model(3e-3)
    # Far out, where the head is in doubt: its logits are those of zeros.
    _, _, directions = np.linalg.svd(model.head.kernel.T)
    pool[1234] = 1000 * directions[-1]
    method, where = methods.ROWS[name], np.ones(len(pool), bool)
    known = picking.bind_score(method, model, some_rows=pool[:50])
    assert not np.asarray(known.forms[0](pool[1234:1235])[1]).any()
    found = picking.pick(methods.IWPS, model, pool, where, 10)
    direct = np.asarray(picking.bind_score(methods.IWPS, model)(pool))
    assert found.rows.tolist() == np.argsort(-direct, kind="stable")[:10].tolist()
    np.testing.assert_allclose(found.scores, direct[found.rows], rtol=1e-5)


def test_rows_that_are_not_finite_say_nothing_of_others():
    rows = some_rows(20)
    expected = look_ahead_for(Rows(features=rows), a_model(3e-3))
    broken = np.concatenate([rows, np.full((1, 6), np.nan, np.float32)])
    assert look_ahead_for(Rows(features=broken), a_model(3e-3)) == expected


@pytest.mark.parametrize("size", [16, 64])
def test_a_row_far_beyond_changes_the_score_of_no_other(size):
    """Whatever chunk it is in, so that copies tie and a scan may be resumed."""
    pool, model = some_rows(400), a_model(1e-4)
    pool[-40:] = pool[:40]
    _, _, directions = np.linalg.svd(model.head.kernel.T)
    pool[200] = 1e4 * directions[-1]
    score = picking.bind_score(methods.IWPS, model, some_rows=pool[:50])
    found = score_pool(score, pool, chunk_size=size)
    np.testing.assert_array_equal(found[-40:], found[:40])
    pool[200] = 0
    others = np.arange(400) != 200
    again = score_pool(score, pool, chunk_size=104)
    np.testing.assert_array_equal(again[others], found[others])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
    ],
)
def test_steps_out_of_range_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        picking.pick(
            methods.IWPS, a_model(1e-3)._replace(**change), some_rows(9), None, 2
        )
