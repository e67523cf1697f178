"""Power-Margin: its scores, and the law of its draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import stats

import iwps_jax
from iwps_jax import methods
from iwps_jax.method import Model
from iwps_jax.picking import pick
from iwps_jax.scores.power_margin import power_margin

LOGITS = (3 * np.random.default_rng(0).normal(size=(4096, 5))).astype(np.float32)


def new_keys():
    """The same keys each time, not used before."""
    return iwps_jax.sample_keys(jax.random.key(1), jnp.arange(len(LOGITS)))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_scores_are_those_of_the_oracle(beta):
    noise = np.float64([float(jax.random.gumbel(key)) for key in new_keys()[:64]])
    expected = beta * np.log(reference.margin(LOGITS[:64])) + noise
    scores = power_margin(new_keys(), LOGITS, beta=beta)
    assert scores.dtype == jnp.float32
    np.testing.assert_allclose(scores[:64], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_rows_are_drawn_in_proportion_to_the_power_of_margin(beta):
    few = LOGITS[:6]
    power = reference.margin(few) ** beta
    keys = jax.random.split(jax.random.key(2), (2000, 6))
    scores = jax.jit(jax.vmap(lambda keys: power_margin(keys, few, beta=beta)))(keys)
    found = np.bincount(np.asarray(scores).argmax(1), minlength=6)
    assert stats.chisquare(found, 2000 * power / power.sum()).pvalue > 1e-3


def test_certain_rows_come_last_and_have_finite_scores():
    logits = np.float32([[0, 1e4], [0, 0], [-np.inf, 0]])
    scores = np.asarray(power_margin(jax.random.split(jax.random.key(0), 3), logits))
    assert np.isfinite(scores).all() and scores.argmax() == 1


def test_a_power_of_zero_draws_uniformly_and_a_large_one_is_margin():
    by_margin = np.asarray(iwps_jax.top_k(iwps_jax.margin(LOGITS), 20))
    sharp = power_margin(new_keys(), LOGITS, beta=1e6)
    assert np.asarray(iwps_jax.top_k(sharp, 20)).tolist() == by_margin.tolist()
    with pytest.raises(ValueError, match="beta must be at least 0"):
        power_margin(new_keys(), LOGITS, beta=-1.0)


def test_every_batch_has_a_noise_of_its_own():
    def rows(**changes):
        model = Model(**changes)
        return pick(methods.POWER_MARGIN, model, LOGITS, None, 50).rows.tolist()

    assert rows() == rows() != rows(batch=1) != rows(seed=1)


def test_one_key_for_all_rows_is_refused(without_jaxtyping):
    with pytest.raises(ValueError, match="made by sample_keys"):
        power_margin(jax.random.key(0), jnp.zeros((3, 2)))
