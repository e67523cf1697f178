import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jaxtyping
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
# As many as a host with accelerators has; all in this machine's memory.
jax.config.update("jax_num_cpu_devices", 8)

# Every example may compile, so no deadline; derandomized, so CI is repeatable.
settings.register_profile("jax", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("jax")


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def without_jaxtyping():
    """Shows the package's own errors instead of those of the annotations."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
