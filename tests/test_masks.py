"""Dropout masks by hash: as even and as independent as coins, fixed by their place.

Nothing here is drawn anew: keys are fixed, bounds are five deviations of fair coins.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iwps_jax import masks, sample_keys

UNITS = 256


@pytest.fixture(scope="module")
def drawn():
    """[rows, draws, units] of 400 rows with keys as in the studies, by share."""
    return {share: np.asarray(draw(share, jnp.arange(400))) for share in (0.5, 0.8)}


@partial(jax.jit, static_argnums=0)
def draw(share, rows, draws=10):
    def of_one(key):
        keys = jax.random.split(key, draws)
        return jax.vmap(lambda key: masks.kept(key, share, (1, UNITS))[0])(keys)

    return jax.vmap(of_one)(sample_keys(jax.random.key(0), rows))


def deviations(observed, expected):
    """How far Pearson's statistic is from its mean, in its standard deviations."""
    observed = np.ravel(observed)
    square = np.sum((observed - expected) ** 2 / expected)
    freedom = observed.size - 1
    return (square - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_every_unit_row_and_draw_is_kept_at_its_share(drawn, share):
    mask = drawn[share]
    deviation = np.sqrt(share * (1 - share) / mask.size)
    assert abs(mask.mean() - share) < 5 * deviation
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        number = mask.size // mask.shape[axis]
        z = (mask.mean(others) - share) / np.sqrt(share * (1 - share) / number)
        # Neither too uneven nor, as with a counter that shows, too even.
        squares = (np.sum(z**2) - len(z)) / np.sqrt(2 * len(z))
        assert abs(squares) < 5, axis


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_neighbors_along_every_axis_are_independent(drawn, share):
    """Of entries any of 1, 2, 4 … apart, both are kept as often as chance has it."""
    mask = drawn[share] - share
    for axis in range(3):
        for apart in 2 ** np.arange(8):
            if apart >= mask.shape[axis]:
                continue
            first = np.delete(mask, np.s_[-apart:], axis)
            second = np.delete(mask, np.s_[:apart], axis)
            correlation = np.mean(first * second) / (share * (1 - share))
            assert abs(correlation) < 5 / np.sqrt(first.size), (axis, apart)


def test_units_of_a_mask_are_independent_whichever_pair(drawn):
    """All 32,640 pairs of units at once: their correlations are those of chance."""
    mask = drawn[0.8].reshape(-1, UNITS) - 0.8
    correlations = (mask.T @ mask)[np.triu_indices(UNITS, 1)] / (0.16 * len(mask))
    z = correlations * np.sqrt(len(mask))
    assert abs(np.mean(z**2) - 1) < 5 * np.sqrt(2 / len(z))
    assert np.abs(z).max() < 6


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_eight_in_a_row_are_any_of_256_words(drawn, axis):
    mask = np.moveaxis(drawn[0.5], axis, -1)
    whole = mask[..., : 8 * (mask.shape[-1] // 8)].reshape(-1, 8)
    words = whole @ 2 ** np.arange(8)
    observed = np.bincount(words, minlength=256)
    assert abs(deviations(observed, len(words) / 256)) < 5


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_of_one_bit_more_are_other_masks(impl):
    """Keys made by hand, whose words differ in one bit: half of the entries differ."""
    words = jax.random.key_data(jax.random.key(0, impl=impl))
    base = np.zeros(words.shape, np.uint32)
    bits = [(word, bit) for word in range(len(base)) for bit in range(32)]
    flipped = np.stack([base] * len(bits))
    for i, (word, bit) in enumerate(bits):
        flipped[i, word] ^= np.uint32(1) << np.uint32(bit)
    make = jax.vmap(
        lambda w: masks.kept(jax.random.wrap_key_data(w, impl=impl), 0.5, (1000,))
    )
    found = np.asarray(make(np.concatenate([base[None], flipped])))
    differ = (found[1:] != found[0]).mean(1)
    assert np.abs(differ - 0.5).max() < 5.5 * 0.5 / np.sqrt(1000)


def test_rows_have_their_masks_in_any_chunk_and_order(drawn):
    rows = np.random.default_rng(0).permutation(400)
    for some in np.split(rows, 2):
        np.testing.assert_array_equal(draw(0.8, some), drawn[0.8][some])


def test_masks_are_the_same_in_64_bits(drawn):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        found = draw(0.8, jnp.arange(50, dtype=jnp.int32))
    np.testing.assert_array_equal(found, drawn[0.8][:50])


def test_a_smaller_mask_is_the_corner_of_a_larger_one(key):
    whole = np.asarray(masks.kept(key, 0.5, (7, 6, 5)))
    np.testing.assert_array_equal(masks.kept(key, 0.5, (3, 2, 5)), whole[:3, :2])
    assert len({tuple(np.ravel(row)) for row in whole}) == 7


def test_of_a_share_of_one_all_are_kept(key):
    assert np.all(masks.kept(key, 1.0, (10_000,)))
    assert not np.any(masks.kept(key, 1e-9, (10_000,)))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(key, share):
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\]"):
        masks.kept(key, share, (3,))
