"""Where things are kept that are fetched or computed once."""

import os
from pathlib import Path


def cache_root() -> Path:
    """The folder of everything that this package keeps: `IWPS_JAX_CACHE`, or our own.

    Without that variable it is `iwps_jax` in the user's folder of caches.
    """
    if own := os.environ.get("IWPS_JAX_CACHE"):
        return Path(own).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return caches.expanduser() / "iwps_jax"
