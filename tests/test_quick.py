"""Scores with a quick form: the same as the full one, which runs only where it must."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iwps_jax import score_pool, top_k_of_pool
from iwps_jax.pool.quick import Quick

LIMIT = 1.0


def counted(traces):
    """The absolute value in three forms, wrong beyond their limits, and who traced."""

    def form(name, limit):
        def score(rows):
            traces.append(name)
            scores = jnp.abs(rows)
            return jnp.where(scores <= limit, scores, -1.0), scores <= limit

        return score

    def full(rows):
        raise AssertionError("a scan needs no full form")

    forms = form("first", LIMIT), form("second", 4.5), form("last", jnp.inf)
    return Quick(forms, full)


def some_rows(beyond):
    rows = np.random.default_rng(0).uniform(-LIMIT, LIMIT, 100).astype(np.float32)
    rows[beyond] = -3 - np.arange(len(beyond))
    return rows


@given(
    beyond=st.lists(st.integers(0, 99), max_size=3, unique=True),
    chunk_size=st.sampled_from([8, 16, 104]),
)
def test_no_row_is_scored_by_a_form_that_does_not_hold(beyond, chunk_size):
    rows = some_rows(beyond)
    found = score_pool(counted([]), rows, chunk_size=chunk_size)
    np.testing.assert_array_equal(found, np.abs(rows))


@pytest.mark.parametrize(
    ("beyond", "compiled"),
    [
        ([], {"first"}),
        ([0], {"first", "second"}),
        ([0, 99], {"first", "second"}),
        ([5, 6, 7], {"first", "second", "last"}),
    ],
)
def test_only_the_forms_that_rows_need_are_compiled(beyond, compiled):
    traces = []
    score_pool(counted(traces), some_rows(beyond))
    assert {*traces} == compiled


def test_a_scan_that_was_killed_goes_on_in_the_same_forms(tmp_path):
    rows = some_rows([50])
    for _ in range(2):
        top = top_k_of_pool(counted([]), rows, 5, folder=tmp_path / "scan")
        assert top.rows[0] == 50
