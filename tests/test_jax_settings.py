"""JAX's cache of compiled programs, where its folder can be written and where not."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from iwps_jax.app.commands.jax_settings import Computing, start_jax

NAMES = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_enable_compilation_cache",
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
    start_jax(Computing())
    assert Path(cache_dir()).parent == root
    compile_something()
    assert [*root.glob("programs-*/*-cache")]


def test_a_folder_that_cannot_be_made_is_no_cache(root):
    root.write_text("")
    start_jax(Computing())
    assert cache_dir() is None
    compile_something()


def test_a_user_without_a_home_has_no_cache(root, monkeypatch):
    monkeypatch.setenv("IWPS_JAX_CACHE", "~nobody-of-this-name/cache")
    start_jax(Computing())
    assert cache_dir() is None


def test_a_cache_that_fails_later_says_nothing(root):
    start_jax(Computing())
    folder = Path(cache_dir())
    folder.rmdir()
    folder.write_text("")
    compile_something()  # warnings are errors here


def test_without_a_cache_no_folder_is_made(root):
    start_jax(Computing(no_cache=True))
    compile_something()
    assert cache_dir() is None
    assert not root.exists()


def test_without_a_cache_the_user_s_own_is_left_alone(root, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    start_jax(Computing(no_cache=True))
    compile_something()
    assert not (tmp_path / "own").exists()


def test_a_command_that_loads_kept_programs_says_no_more(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "logits.npy", rng.normal(size=(60, 4)).astype(np.float32))
    given = ("score", "--logits", "logits.npy", "--method", "margin", "--k", "5")
    environment = {
        **{name: value for name, value in os.environ.items() if name[:3] != "TF_"},
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    told = [
        subprocess.run(
            [sys.executable, "-m", "iwps_jax", *given],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        for _ in range(2)
    ]
    assert [*tmp_path.glob("cache/*-cache")]
    assert "XLA" not in told[1].stderr
