"""JAX's cache of compiled programs, where its folder can be written and where not."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from iwps_jax.app.commands.jax_settings import start_jax

NAMES = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Where programs are kept, in a JAX that has no cache yet."""
    before = {name: jax.config.values[name] for name in NAMES}
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("IWPS_JAX_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def cache_dir():
    return jax.config.values["jax_compilation_cache_dir"]


def compile_something():
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    assert jax.jit(lambda x: x * 3 + 1)(jnp.ones(5)).tolist() == [4.0] * 5


def test_programs_are_kept_in_a_folder_of_ours(root):
    start_jax()
    assert Path(cache_dir()).parent == root
    compile_something()
    assert [*root.glob("programs-*/*-cache")]


def test_a_folder_that_cannot_be_made_is_no_cache(root):
    root.write_text("")
    start_jax()
    assert cache_dir() is None
    compile_something()


def test_a_user_without_a_home_has_no_cache(root, monkeypatch):
    monkeypatch.setenv("IWPS_JAX_CACHE", "~nobody-of-this-name/cache")
    start_jax()
    assert cache_dir() is None


def test_a_cache_that_fails_later_says_nothing(root):
    start_jax()
    folder = Path(cache_dir())
    folder.rmdir()
    folder.write_text("")
    compile_something()  # warnings are errors here
