"""The first batch of a campaign, before two classes have labels."""

import jax
import numpy as np
import pytest
from some_campaigns import CLASSES, some_digits

import iwps_jax
from iwps_jax.app.campaign import ask, next_batch, start
from iwps_jax.refusal import Refusal


@pytest.fixture(scope="module")
def digits():
    return some_digits(0)


def new(digits, **options):
    return start(digits["pool"], *digits["holdout"], classes=CLASSES, **options)


def test_without_a_head_picks_cover_the_pool(digits):
    state, first = ask(new(digits), 10)
    assert first == ask(new(digits), 10)[1]
    batch = state.events[0]
    assert batch.method == "max_herding" and (batch.predicted == -1).all()
    scaled = state.task.scaling.of(digits["pool"])
    judges = np.zeros(len(scaled), bool)
    key = jax.random.fold_in(jax.random.key(0), 0)
    expected = iwps_jax.max_herding(key, scaled, 10, judges)
    assert batch.rows.tolist() == expected.tolist()
    _, second = ask(state, 10)
    assert not {*first} & {*second}


def test_of_a_large_pool_few_rows_are_looked_at(digits, monkeypatch):
    monkeypatch.setattr(next_batch, "FIRST_ROWS", 50)
    states = [ask(new(digits, seed=seed), 10) for seed in (0, 0, 1)]
    assert states[0][1] == states[1][1] != states[2][1]
    assert len(ask(new(digits), 60)[1]) == 60


def test_a_method_that_needs_no_head_picks_from_the_start(digits):
    state, _ = ask(new(digits, method="random"), 10)
    assert state.events[0].method == "random"


def test_without_a_head_a_row_that_is_not_finite_is_named(digits):
    pool = digits["pool"].copy()
    state = new({**digits, "pool": pool})
    pool[3, 0] = np.nan
    with pytest.raises(Refusal, match=r"those of '3' \(row 3\) are not"):
        ask(state, 5)
