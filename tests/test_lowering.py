"""Every public function lowered for GPUs and TPUs, by a machine that has neither.

Nothing is compiled or run. What is looked for is what such a device would refuse, or
take many times longer for: 64-bit numbers, calls into libraries that it may not have,
and constants, which are copied to it, folded by the compiler and kept in its memory.
"""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import score_arguments
import test_signatures
from test_foreign_numbers import CONVERT, EXAMPLES

import iwps_jax

PLATFORMS = ("cuda", "tpu")
MOST_BYTES = 64_000
LONG_POOL = 20_000
"""The pools of the examples are drawn out: a constant of their length is seen."""
ALLOWED_CALLS = {"cusolver_potrf_ffi"}  # Cholesky, which comes with JAX for CUDA
ON_THE_HOST = {"dense_layers"}  # looks at values
LABELS_OF_POOL = np.zeros((score_arguments.POOL, score_arguments.CLASSES), np.int32)
PUBLIC = {
    name: EXAMPLES[name]
    for name in test_signatures.SIGNATURES
    if name not in CONVERT | ON_THE_HOST
} | {
    "score_in_chunks": (
        iwps_jax.score_in_chunks,
        {
            **{"score_fn": iwps_jax.margin, "chunk_size": 8},
            "inputs": score_arguments.logits_arguments(0)["logits"],
        },
    )
}


def lowered(function, arguments):
    """The module's text; whatever is an array is an argument of it."""
    if "predicted" in arguments:  # some examples need none
        arguments = {**arguments, "predicted": LABELS_OF_POOL}

    def is_array(leaf):
        return isinstance(leaf, np.ndarray | jax.Array)

    def shape_of(leaf):
        shape = [LONG_POOL if n == score_arguments.POOL else n for n in np.shape(leaf)]
        return jax.ShapeDtypeStruct(shape, jnp.asarray(leaf).dtype)

    given = {
        name: value
        for name, value in arguments.items()
        if all(map(is_array, jax.tree.leaves(value)))
    }
    others = {name: v for name, v in arguments.items() if name not in given}
    program = jax.jit(lambda given: function(**given, **others))
    unchecked = [
        jax.export.DisabledSafetyCheck.custom_call(name) for name in ALLOWED_CALLS
    ]
    export = jax.export.export(program, platforms=PLATFORMS, disabled_checks=unchecked)
    return export(jax.tree.map(shape_of, given)).mlir_module()


def offences(module):
    """What should not be in a module."""
    calls = set(re.findall(r"custom_call @([\w.$]+)", module))
    found = {f"calls {name}" for name in calls - ALLOWED_CALLS}
    # A scalar costs nothing; Python's numbers are such in 64-bit mode.
    found |= set(re.findall(r"tensor<(?:\d+x)+f64>", module))
    for shape, bits in re.findall(
        r'constant dense<["\[][^>]*> : tensor<((?:\d+x)+)[a-z]+(\d+)>', module
    ):
        size = math.prod(map(int, shape[:-1].split("x"))) * int(bits) // 8
        if size > MOST_BYTES:
            found.add(f"a constant of {size} bytes")
    return found


@pytest.mark.full
@pytest.mark.parametrize("name", test_signatures.IN_MODULES)
def test_a_function_of_a_module_does_too(without_jaxtyping, name):
    # Optax keeps float64 of its own in 64-bit mode.
    with jax.enable_x64("contrib" in name), jax.debug_key_reuse(False):
        assert offences(lowered(*EXAMPLES[name])) == set()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_function_lowers_for_both(without_jaxtyping, name):
    with jax.enable_x64(True), jax.debug_key_reuse(False):  # other tests watch keys
        assert offences(lowered(*PUBLIC[name])) == set()


PLANTED = {
    "a float64": (lambda x: x.astype(jnp.float64), "tensor<20000x8xf64>"),
    "a library": (lambda x: jnp.linalg.qr(x), "calls cusolver_geqrf_ffi"),
    "a constant": (
        lambda x: x + np.random.default_rng(0).random(x.shape, np.float32),
        "a constant of 640000 bytes",
    ),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_must_not_be_there_is_found(what):
    function, sentence = PLANTED[what]
    with jax.enable_x64(True):
        example = np.zeros((score_arguments.POOL, 8), np.float32)
        assert sentence in offences(lowered(function, {"x": example}))


@pytest.mark.parametrize(("platform", "size"), [("cpu", 8136), ("cuda", 250_000)])
def test_a_pick_reads_a_million_rows_in_blocks_that_suit(platform, size):
    """123 launches a pick on a GPU would take longer than the reading."""
    rows = jax.ShapeDtypeStruct((10**6, 8), jnp.float32)
    labeled = jax.ShapeDtypeStruct((10**6,), bool)
    program = jax.jit(lambda h, labeled: iwps_jax.k_center_greedy(h, 2, labeled))
    export = jax.export.export(program, platforms=(platform,))
    assert f"tensor<{size}x8xf32>" in export(rows, labeled).mlir_module()
