"""Reads `source.json`, which `iwps embed` writes beside a pool."""

from pathlib import Path
from typing import Any

from iwps_jax.app.embedding.pool_folder import ABOUT, POOL
from iwps_jax.app.files.json_file import read_json
from iwps_jax.app.files.unreadable import FileError


def read_about(pool: Path, num_rows: int) -> dict[str, Any] | None:
    """What `source.json` says of a pool; None if there is none, or of another pool.

    Args:
        pool: file of the features.
        num_rows: of it.

    Raises:
        FileError: if the file is damaged.
    """
    path = pool.parent / ABOUT
    if pool.name != POOL or not path.is_file():
        return None
    about = read_json(path)
    if not isinstance(about, dict):
        raise FileError(f"{path} is damaged: it must hold a JSON object.")
    if about.get("rows") != num_rows:
        return None
    if not isinstance(about.get("backbone", {}), dict):
        raise FileError(f"{path} is damaged: backbone must be a JSON object.")
    return about
