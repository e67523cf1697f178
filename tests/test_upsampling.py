"""Enlarging maps: against a matrix of weights, and JAX's own resizing."""

from functools import partial

import jax
import numpy as np
import pytest
import reference_pixels

import iwps_jax
from iwps_jax.pixels import upsampling

FACTORS = [1, 2, 3, pytest.param(8, marks=pytest.mark.full)]
upsample = jax.jit(iwps_jax.upsample, static_argnums=1)


def some_maps(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("factor", "side"),
    [
        *[(1, (3, 5)), (2, (3, 5)), (3, (3, 5)), (8, (3, 5)), (8, (1, 1)), (3, (2, 1))],
        *(
            pytest.param(factor, side, marks=pytest.mark.full)
            for factor, side in [(1, (1, 1)), (2, (1, 1)), (3, (1, 1))]
            + [(1, (2, 1)), (2, (2, 1)), (8, (2, 1))]
        ),
    ],
)
def test_it_is_the_bilinear_interpolation(factor, side):
    maps = some_maps(2, *side, 3)
    found = upsample(maps, factor)
    expected = reference_pixels.enlarge(reference_pixels.wide(maps), factor)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    resized = jax.image.resize(maps, expected.shape, "bilinear")
    np.testing.assert_allclose(found, resized, atol=3e-6)  # it rounds its weights


def test_constants_stay_and_nothing_leaves_the_range():
    maps = some_maps(1, 4, 4, 2)
    found = np.asarray(upsample(maps, 8))
    assert found.min() >= maps.min() and found.max() <= maps.max()
    np.testing.assert_array_equal(
        upsample(np.full((1, 4, 4, 2), 5.0, np.float32), 8), 5.0
    )


@pytest.mark.parametrize("factor", FACTORS)
def test_shrinking_is_the_transposed_product(factor):
    coarse, fine = some_maps(2, 3, 5, 3), some_maps(2, 3 * factor, 5 * factor, 3)
    enlarge = partial(iwps_jax.upsample, factor=factor)
    (found,) = jax.jit(jax.linear_transpose(enlarge, coarse))(fine)
    expected = reference_pixels.shrink(reference_pixels.wide(fine), factor)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    enlarged = reference_pixels.enlarge(reference_pixels.wide(coarse), factor)
    np.testing.assert_allclose(
        (enlarged * fine).sum(), (coarse * expected).sum(), rtol=1e-9
    )


@pytest.mark.parametrize("factor", FACTORS)
def test_cells_are_only_a_rearrangement(factor):
    grid = upsampling.Grid(3, 5, factor)
    fine = some_maps(2, 3 * factor, 5 * factor)

    @jax.jit
    def there_and_back(fine):
        cells = upsampling.to_cells(fine, grid)
        return cells, upsampling.from_cells(cells, grid)

    cells, back = map(np.asarray, there_and_back(fine))
    assert cells.shape == (2, factor**2, grid.num_cells)
    np.testing.assert_array_equal(back, fine)
    np.testing.assert_allclose(cells.sum(), fine.sum(), rtol=1e-4)


@pytest.mark.parametrize("factor", FACTORS)
def test_shrinking_cells_is_the_transposed_product_too(factor):
    grid = upsampling.Grid(3, 5, factor)
    corners = some_maps(2, 5 * 7)

    @jax.jit
    def both(corners):
        enlarge = partial(upsampling.enlarge, grid=grid)
        enlarged = enlarge(corners)
        (transposed,) = jax.linear_transpose(enlarge, corners)(enlarged)
        return upsampling.shrink(enlarged, grid), transposed

    found, expected = both(corners)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_factor_below_one_is_named():
    with pytest.raises(ValueError, match="factor must be at least 1, got 0."):
        iwps_jax.upsample(some_maps(1, 2, 2, 1), 0)


def test_whole_numbers_are_refused():
    with pytest.raises(TypeError, match="maps"):
        iwps_jax.upsample(np.arange(4).reshape(1, 4, 1, 1), 2)
