"""What commands set of JAX before its first array."""

import dataclasses
import hashlib
import os
import platform
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

from iwps_jax.app.options import Flag, Options
from iwps_jax.cache import cache_root

PROGRAM_BYTES = 2**28
"""Bytes that compiled programs may take on the disk; the least recently used are
deleted first."""
BLOCK = 4096
"""Bytes that a disk with space has room for."""
SLOW = 0.3
"""Seconds from which on a compilation is worth a file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Computing(Options):
    """The options of commands that compute with JAX."""

    no_cache: Flag = False
    """compile everything anew, and keep no compiled program for the next command"""


def start_jax(options: Computing) -> None:
    """Settings of JAX for a command; before its first array.

    On a CPU, a device for each core: one alone leaves much of them idle. Compiled
    programs are kept for the next command, unless the user has set JAX's own cache:
    JAX_COMPILATION_CACHE_DIR is another folder, JAX_ENABLE_COMPILATION_CACHE=0 is none.
    Nothing is said where they cannot be kept: the command works without.
    """
    import jax  # takes a second, which commands without it need not wait

    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    with suppress(RuntimeError):  # a caller of `main` may have used JAX before
        jax.config.update("jax_num_cpu_devices", cores)
    if options.no_cache:
        jax.config.update("jax_enable_compilation_cache", False)
    elif jax.config.values["jax_compilation_cache_dir"] is None:
        folder = _writable_folder()
        if folder is None:
            return
        warnings.filterwarnings(  # as where the disk fills up later
            "ignore", r"Error (reading|writing) persistent compilation cache"
        )
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", PROGRAM_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SLOW)


def _writable_folder() -> Path | None:
    """The folder of the programs; None if no file can be written there."""
    with suppress(OSError, RuntimeError):  # the latter if there is no home
        folder = cache_root() / f"programs-{_kind_of_processor()}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(BLOCK))
        return folder
    return None


def _kind_of_processor() -> str:
    """A key for processors that need their own programs.

    Several machines may share a home.
    """
    about = f"{platform.machine()} {platform.processor()}"
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += next((line for line in lines if line.startswith("flags")), "")
    return hashlib.sha256(about.encode()).hexdigest()[:8]
