"""What commands set of JAX before its first array."""

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path

import jax

from iwps_jax.cache import cache_root

PROGRAM_BYTES = 2**28
"""The most that compiled programs take on the disk; the least used go first."""
SLOW = 0.3
"""Seconds from which on a compilation is worth a file."""


def start_jax() -> None:
    """Settings of JAX for a command; before its first array.

    On a CPU, a device for each core: one alone leaves much of them idle. Compiled
    programs are kept for the next command, unless the user has set JAX's own cache:
    JAX_COMPILATION_CACHE_DIR is another folder, JAX_ENABLE_COMPILATION_CACHE=0 is none.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with suppress(RuntimeError):  # a caller of `main` may have used JAX before
        jax.config.update("jax_num_cpu_devices", cores)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = cache_root() / f"programs-{_kind_of_processor()}"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", PROGRAM_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SLOW)


def _kind_of_processor() -> str:
    """What tells processors apart for which programs differ; homes can be shared."""
    about = f"{platform.machine()} {platform.processor()}"
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += next((line for line in lines if line.startswith("flags")), "")
    return hashlib.sha256(about.encode()).hexdigest()[:8]
