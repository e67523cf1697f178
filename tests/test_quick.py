"""Scores with a quick form: the same as the full one, which runs only where it must."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iwps_jax import score_pool, top_k_of_pool
from iwps_jax.pool.quick import Quick

LIMIT = 1.0


def counted(traces):
    """The absolute value, quick up to a limit and wrong beyond, and who was traced."""

    def quick(rows):
        traces.append("quick")
        scores = jnp.abs(rows)
        return jnp.where(scores <= LIMIT, scores, -1.0), scores <= LIMIT

    def full(rows):
        traces.append("full")
        return jnp.abs(rows)

    return Quick(quick, full)


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


@pytest.mark.parametrize("beyond", [[], [0], [99]])
def test_the_full_form_is_compiled_only_where_it_must(beyond):
    traces = []
    score_pool(counted(traces), some_rows(beyond))
    assert {"quick"} <= {*traces} and ("full" in traces) == bool(beyond)


def test_after_a_row_beyond_the_full_form_alone_runs():
    """Else every later chunk might be scored twice."""
    runs = []

    def told(form, rows):
        jax.debug.callback(lambda: runs.append(form), ordered=False)
        return jnp.abs(rows)

    score = Quick(
        lambda rows: (told("quick", rows), jnp.abs(rows) <= LIMIT),
        lambda rows: told("full", rows),
    )
    rows = some_rows([0])
    found = score_pool(score, rows, chunk_size=8, devices=jax.devices()[:1])
    jax.effects_barrier()
    np.testing.assert_array_equal(found, np.abs(rows))
    assert runs.count("quick") <= 4  # read ahead of the first answer
    assert len(runs) == 13 + 1


def test_a_scan_that_was_killed_goes_on_in_the_same_forms(tmp_path):
    rows = some_rows([50])
    for _ in range(2):
        top = top_k_of_pool(counted([]), rows, 5, folder=tmp_path / "scan")
        assert top.rows[0] == 50
