"""The same picks in 64-bit mode and under strict type promotion."""

import jax
import numpy as np
import pytest

from iwps_jax import methods, numerics, picking
from iwps_jax.heads.linear_probe import fit_linear_probe
from iwps_jax.method import Model
from iwps_jax.types import Head, Holdout

QUICK = ("badge",)
"""It draws, and reads features and a fitted head; the others run in the full form."""
POOL = 40


def picks_of(method, dtype):
    """Picks from a pool of some type, by a head that is fitted in float32."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(POOL + 40, 4)).astype(np.float32)
    labels = (features @ rng.normal(size=(4, 3))).argmax(1)
    known, holdout = (
        Holdout(features[part].astype(dtype), labels[part])
        for part in (slice(20), slice(20, 40))
    )
    head = Head(*fit_linear_probe(*known, *holdout, num_classes=3)[:2])
    pool = features[40:].astype(dtype)
    if "draws" in method.needs:
        pool, head = rng.normal(size=(POOL, 5, 3)).astype(dtype), None
    model = Model(head, holdout, known)
    where = np.arange(POOL) % 7 > 0
    return picking.pick(method, model, pool, where, 4).rows.tolist()


@pytest.mark.parametrize("draw", [numerics.uniform, numerics.gumbel])
def test_every_mode_draws_the_same_numbers(draw, key):
    expected = draw(jax.random.clone(key), (8,))
    with jax.enable_x64(True):
        np.testing.assert_array_equal(draw(key, (8,)), expected, strict=True)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.full)
        for name in methods.ROWS
    ],
)
def test_every_mode_gives_the_same_picks(name):
    expected = picks_of(methods.ROWS[name], np.float32)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        assert picks_of(methods.ROWS[name], np.float64) == expected


@pytest.mark.full
@pytest.mark.parametrize("name", methods.ROWS)
@pytest.mark.parametrize("is_wide", [False, True])
def test_narrow_pools_give_the_same_picks(name, is_wide):
    expected = picks_of(methods.ROWS[name], np.float16)
    promotion = "standard" if is_wide else "strict"
    with jax.enable_x64(is_wide), jax.numpy_dtype_promotion(promotion):
        assert picks_of(methods.ROWS[name], np.float16) == expected
