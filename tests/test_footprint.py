"""What a score takes, told from its trace: by hand, and beside XLA's own account."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from iwps_jax import methods
from iwps_jax.method import Model
from iwps_jax.picking import bind_score
from iwps_jax.pool.devices import traced
from iwps_jax.pool.footprint import footprint
from iwps_jax.types import Head, Holdout

MATRIX = np.ones((50, 50), np.float32)
BYTES = MATRIX.nbytes


def of(function, *arguments):
    return footprint(jax.jit(function).trace(*arguments).jaxpr.jaxpr)


def powers(matrix):
    """Ten products, of which each is read by the next alone."""
    found = matrix
    for _ in range(10):
        found = found @ matrix
    return found


def all_powers(matrix):
    """Ten products that are all needed in the end."""
    found = [matrix]
    for _ in range(10):
        found.append(found[-1] @ matrix)
    return sum(found)


def in_a_loop(matrix):
    return jax.lax.fori_loop(0, 10, lambda i, found: found @ matrix, matrix)


def in_a_branch(matrix):
    return jax.lax.cond(matrix[0, 0] > 0, powers, lambda m: m, matrix)


@pytest.mark.parametrize("function", [powers, in_a_loop, in_a_branch])
def test_an_array_is_held_until_it_is_read_for_the_last_time(function):
    assert 2 * BYTES <= of(function, MATRIX).working_bytes < 5 * BYTES


def test_what_is_read_at_the_end_is_held():
    assert 10 * BYTES <= of(all_powers, MATRIX).working_bytes < 13 * BYTES


def test_what_one_reader_fuses_takes_no_memory():
    assert of(lambda m: (jnp.exp(m * 2) + 1).sum(), MATRIX).working_bytes < BYTES


@pytest.mark.parametrize("function", [powers, all_powers, in_a_loop, in_a_branch])
def test_operations_are_counted_in_loops_and_in_the_dearest_branch(function):
    by_hand = 10 * 2 * 50**3
    assert of(function, MATRIX).flops == pytest.approx(by_hand, rel=0.15)


def test_a_convolution_is_counted():
    images, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    convolve = partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert of(convolve, images, kernel).flops == 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)


@pytest.mark.parametrize("name", ["margin", "iwps_app"])
@pytest.mark.parametrize("classes", [10, 300])
def test_it_is_near_the_compiler_s_account(name, classes):
    rng, dim = np.random.default_rng(0), 64
    kernel, judging = rng.normal(size=(dim, classes)), rng.normal(size=(20, dim))
    model = Model(
        head=Head(np.float32(kernel), np.zeros(classes, np.float32)),
        holdout=Holdout(np.float32(judging), rng.integers(0, classes, 20)),
    )
    score, row = bind_score(methods.row_of(name), model), np.zeros((1, dim), np.float16)
    told = traced(score, row, 64, jax.devices()[0]).working_bytes
    rows = jax.ShapeDtypeStruct((64, dim), np.float16)
    memory = jax.jit(score).lower(rows).compile().memory_analysis()
    assert 0.4 < told / (memory.temp_size_in_bytes + memory.output_size_in_bytes) < 4
