import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jaxtyping
import pytest
from hypothesis import settings
from jax.experimental.compilation_cache import compilation_cache

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


@pytest.fixture(scope="module")
def kept_programs(tmp_path_factory):
    """A folder that keeps a file's programs, so that a run again compiles nothing.

    As programs that are started from a command line do.
    """
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0.05,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield settings["jax_compilation_cache_dir"]
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def compiled_quickly():
    """For what runs once and whose numbers are compared with nothing that is not."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
